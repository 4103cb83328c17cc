"""Every response of the simulator fits Fly's OpenAPI description. Skipped without a copy beside the checkout."""

import json
from functools import lru_cache
from pathlib import Path

import httpx
import pytest
from jsonschema import Draft4Validator

from local.fly.api import routes
from local.fly.simulator import FlySim
from local.fly.times import VirtualClock
from local.fly.transport import SimTransport

_DESCRIPTION = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "fly-machines-openapi.json"

CONFIG = {
    "image": "registry.fly.io/backend:1@sha256:" + "b" * 64,
    "guest": {"cpu_kind": "shared", "cpus": 2, "memory_mb": 512},
    "env": {"USER_ID": "user-1"},
    "metadata": {"owner": "one"},
    "restart": {"policy": "always"},
    "checks": {"alive": {"type": "http", "port": 8080, "path": "/health", "interval": "15s", "timeout": "2s"}},
    "services": [{"protocol": "tcp", "internal_port": 8080, "autostop": "suspend", "ports": [{"port": 443}]}],
    "stop_config": {"signal": "SIGTERM", "timeout": "30s"},
}


@lru_cache
def description():
    if not _DESCRIPTION.exists():
        pytest.skip("no copy of Fly's OpenAPI description beside this checkout")
    return json.loads(_DESCRIPTION.read_text(encoding="utf-8"))


@lru_cache
def strict_components():
    """The schemas without additional properties: a field that Fly does not describe is an error."""
    components = json.loads(json.dumps(description()["components"]))
    for schema in components["schemas"].values():
        if schema.get("type") == "object" and schema.get("properties") and "additionalProperties" not in schema:
            schema["additionalProperties"] = False
    # Fly's documentation shows a lease inside {"status", "data"}, its description has it flat; the simulator sends both.
    components["schemas"]["Lease"]["properties"] |= {"status": {"type": "string"}, "data": {"type": "object"}}
    # The text of the description says that responses have booleans here, its enum does not.
    autostop = components["schemas"]["fly.MachineService"]["properties"]["autostop"]
    components["schemas"]["fly.MachineService"]["properties"]["autostop"] = {"anyOf": [autostop, {"type": "boolean"}]}
    # The text of the description says that an action consists of letters ("rw"), its enum has the names of Go's constants.
    components["schemas"]["resset.Action"] = {"type": "string", "pattern": "^[rwcdC]*$"}
    return components


class Checking(httpx.BaseTransport):
    """Checks every response against the description."""

    def __init__(self, inner):
        self._inner = inner
        self.seen = set()

    def handle_request(self, request):
        response = self._inner.handle_request(request)
        if not request.url.path.startswith("/_sim"):
            response.read()
            self._check(request, response)
        return response

    def _check(self, request, response):
        template, _ = routes.find_template(request.url.path)
        operation = description()["paths"][template][request.method.lower()]
        self.seen.add((request.method, template))
        where = f"{request.method} {template} -> {response.status_code}"
        assert response.headers["fly-request-id"], where
        documented = operation["responses"].get(str(response.status_code))
        if documented is None:
            assert response.status_code >= 400, f"{where}: Fly documents no such success"
            schema = {"$ref": "#/components/schemas/ErrorResponse"}
        else:
            schema = next((each["schema"] for each in documented.get("content", {}).values()), None)
        if schema is None:
            assert response.status_code in (200, 202, 204), where
            return
        Draft4Validator({**schema, "components": strict_components()}).validate(response.json())


class Fly:
    """A raw client that checks every response."""

    def __init__(self, **settings):
        self.clock = VirtualClock()
        self.sim = FlySim(self.clock, seed=11, **settings)
        self.checking = Checking(SimTransport(self.sim, self.clock.advance))
        headers = {"Authorization": "FlyV1 fm2_token"}
        self.http = httpx.Client(transport=self.checking, base_url="http://fly.test", headers=headers, timeout=70)

    def expect(self, status, method, path, **more):
        answer = self.http.request(method, path, **more)
        assert answer.status_code == status, (method, path, answer.status_code, answer.text)
        return answer


def live_a_whole_life(fly):
    """The lifecycle of an app, through every operation that the simulator answers."""
    app, expect = "/v1/apps/app-one", fly.expect
    expect(200, "GET", "/v1/platform/regions")
    expect(200, "GET", "/v1/tokens/current")
    question = {"header": "FlyV1 fm2_token", "access": {"org_slug": "acme", "action": "rwcdC"}}
    expect(200, "POST", "/v1/tokens/authorize", json=question)
    expect(400, "POST", "/v1/tokens/authorize", json={**question, "header": "nonsense"})
    body = {"name": "app-one", "app_name": "app-one", "org_slug": "acme", "network": "tenant-1", "idempotency_key": "k"}
    expect(201, "POST", "/v1/apps?wait=true", json=body)
    expect(422, "POST", "/v1/apps", json={"name": "app-one", "org_slug": "acme"})
    expect(400, "POST", "/v1/apps", json={"name": "app-two"})
    expect(200, "GET", app)
    expect(404, "GET", "/v1/apps/app-two")
    expect(200, "GET", "/v1/apps?org_slug=acme&limit=5")
    expect(200, "POST", f"{app}/ip_assignments", json={"type": "private_v6", "network": "tenant-1"})
    ip = expect(200, "POST", f"{app}/ip_assignments", json={"type": "shared_v4"}).json()["ip"]
    expect(200, "GET", f"{app}/ip_assignments")
    expect(204, "DELETE", f"{app}/ip_assignments/{ip}")
    expect(200, "POST", f"{app}/secrets", json={"values": {"TOKEN": "x", "OLD": None}})
    expect(201, "POST", f"{app}/secrets/OTHER", json={"value": "y"})
    expect(200, "GET", f"{app}/secrets?show_secrets=true")
    expect(200, "GET", f"{app}/secrets/TOKEN")
    version = expect(200, "DELETE", f"{app}/secrets/OTHER").json()["version"]
    machine = live_under_lease(fly, app, version)
    live_through_power(fly, machine)
    expect(200, "DELETE", f"{machine}?force=true")
    expect(200, "GET", f"{machine}/wait?state=destroyed")
    expect(202, "DELETE", f"{app}?force=true")
    fly.clock.advance(30)
    expect(404, "GET", app)


def live_under_lease(fly, app, version):
    """Create a machine, wait until it runs, read it with every operation. Returns its path."""
    expect = fly.expect
    create = {"name": "main", "region": "fra,eu", "config": CONFIG, "min_secrets_version": version, "lease_ttl": 20}
    created = expect(200, "POST", f"{app}/machines", json=create).json()
    machine = f"{app}/machines/{created['id']}"
    mine = {"fly-machine-lease-nonce": created["nonce"]}
    expect(409, "POST", f"{app}/machines", json=create)
    expect(409, "POST", f"{machine}/cordon")
    expect(200, "GET", f"{machine}/lease")
    expect(200, "DELETE", f"{machine}/lease", headers=mine)
    expect(200, "GET", f"{machine}/wait?state=started&timeout=60")
    fly.clock.advance(10)
    assert expect(200, "GET", machine).json()["checks"]
    expect(200, "GET", f"{app}/machines?include_leases=true")
    expect(200, "GET", f"{app}/machines?summary=true&limit=1")
    expect(200, "GET", "/v1/orgs/acme/machines?include_deleted=true")
    nonce = expect(201, "POST", f"{machine}/lease", json={"ttl": 13, "description": "test"}).json()["data"]["nonce"]
    expect(200, "DELETE", f"{machine}/lease", headers={"fly-machine-lease-nonce": nonce})
    expect(200, "POST", f"{machine}/exec", json={"command": ["printenv", "USER_ID"]})
    expect(204, "PATCH", f"{machine}/metadata", json={"metadata": {"a": "1"}})
    expect(204, "PUT", f"{machine}/metadata", json={"metadata": {"b": "1"}})
    expect(204, "POST", f"{machine}/metadata/c", json={"value": "2"})
    expect(200, "GET", f"{machine}/metadata/c")
    expect(204, "DELETE", f"{machine}/metadata/c")
    expect(404, "GET", f"{machine}/metadata/c")
    expect(200, "GET", f"{machine}/metadata")
    expect(200, "POST", f"{machine}/cordon")
    expect(200, "POST", f"{machine}/uncordon")
    return machine


def live_through_power(fly, machine):
    """Update, restart, suspend, start, stop."""
    expect, current = fly.expect, fly.http.get(machine).json()["version"]
    expect(200, "POST", machine, json={"config": CONFIG, "current_version": current})
    expect(200, "GET", f"{machine}/wait?state=started")
    expect(200, "GET", f"{machine}/versions")
    expect(200, "POST", f"{machine}/restart?timeout=5s")
    expect(200, "GET", f"{machine}/wait?state=started")
    expect(200, "POST", f"{machine}/signal", json={"signal": "SIGUSR1"})
    expect(200, "POST", f"{machine}/suspend")
    expect(200, "GET", f"{machine}/wait?state=suspended")
    expect(200, "POST", f"{machine}/start")
    expect(200, "GET", f"{machine}/wait?state=started")
    expect(200, "POST", f"{machine}/stop", json={"signal": "SIGTERM", "timeout": "30s"})
    expect(408, "GET", f"{machine}/wait?state=suspended&timeout=1")
    expect(200, "GET", f"{machine}/wait?state=stopped")
    expect(200, "GET", f"{machine}/events?limit=50")


@pytest.mark.parametrize("profile", ["instant", "typical"])
def test_every_response_of_a_lifecycle_fits_the_description(profile):
    """Every operation that the simulator answers is called, and each response fits the schema and status of its path template."""
    description()
    fly = Fly(profile=profile, rate_limits=False)
    live_a_whole_life(fly)
    assert fly.checking.seen == set(routes.ANSWERED)


def test_the_route_table_is_the_description():
    """No operation of Fly is missing from the table, and the table has no other."""
    described = {
        (method.upper(), template)
        for template, operations in description()["paths"].items()
        for method in operations
        if method != "parameters"
    }
    assert set(routes.ANSWERED) | set(routes.UNANSWERED) == described
    assert not set(routes.ANSWERED) & set(routes.UNANSWERED)


def test_operations_without_an_answer_are_501_in_flys_error_shape():
    fly = Fly()
    for method, template in routes.UNANSWERED:
        path = template
        for name in ("app_name", "machine_id", "volume_id", "hostname", "secret_name", "org_slug"):
            path = path.replace(f"{{{name}}}", "x")
        assert fly.http.request(method, path).status_code == 501, (method, template)


def test_requests_are_counted_by_path_template():
    fly = Fly()
    live_a_whole_life(fly)
    counted = fly.http.get("/_sim/world").json()["requests"]
    assert set(counted) == {f"{method} {template}" for method, template in routes.ANSWERED}
