"""Every request of the Fly client fits Fly's own OpenAPI description. Skipped without a copy beside the checkout."""

import json
from pathlib import Path

import httpx
import pytest
from jsonschema import Draft4Validator

from local.fly.api import routes
from local.fly.simulator import FlySim
from local.fly.times import VirtualClock
from local.fly.transport import SimTransport
from shared.fly.client import FlyClient

_DESCRIPTION = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "fly-machines-openapi.json"

# Missing from the description, but sent by Fly's own clients or shown in its guides:
# fly-go sends `?wait=true`, the guides use `app_name` and `?force=true` for apps.
BEYOND_QUERY = {("POST", "/v1/apps"): {"wait"}, ("DELETE", "/v1/apps/{app_name}"): {"force"}}
BEYOND_BODY = {("POST", "/v1/apps"): {"app_name"}}
CONFIG = {"image": "registry.fly.io/backend:1", "guest": {"cpu_kind": "shared", "cpus": 2, "memory_mb": 512}}


@pytest.fixture(scope="module")
def description():
    if not _DESCRIPTION.exists():
        pytest.skip("no copy of Fly's OpenAPI description beside this checkout")
    return json.loads(_DESCRIPTION.read_text(encoding="utf-8"))


class Checking(httpx.BaseTransport):
    """Checks every request against the description before it passes it on."""

    def __init__(self, inner, description):
        self._inner = inner
        self._description = description
        self.seen = set()

    def handle_request(self, request):
        template, _ = routes.find_template(request.url.path)
        key = (request.method, template)
        operation = self._description["paths"][template][request.method.lower()]
        known = {each["name"] for each in operation.get("parameters", []) if each["in"] == "query"}
        assert set(request.url.params) <= known | BEYOND_QUERY.get(key, set())
        if request.content:
            body = json.loads(request.content)
            schema = operation["requestBody"]["content"]["application/json"]["schema"]
            named = self._description["components"]["schemas"][schema["$ref"].rsplit("/", 1)[-1]]
            assert set(body) <= set(named["properties"]) | BEYOND_BODY.get(key, set())
            Draft4Validator(schema | {"components": self._description["components"]}).validate(body)
        self.seen.add(key)
        return self._inner.handle_request(request)


def test_every_request_fits_the_description(description):
    """Paths, query names, body fields and their types, over the whole lifecycle of an app."""
    clock = VirtualClock()
    checking = Checking(SimTransport(FlySim(clock)), description)
    fly = FlyClient("http://fly.test", "token", org_slug="acme", transport=checking, sleep=lambda _: None)
    fly.create_app("app-1", "net-1", "key-1")
    fly.get_app("app-1")
    version = fly.set_secrets("app-1", {"A": "value-1"})  # the description allows null in its text, not in its type
    machine = fly.create_machine("app-1", "app-1-main", ("fra", "eu"), CONFIG, version)
    fly.wait_machine("app-1", machine.id, "started", machine.version, 5)
    changed = fly.update_machine("app-1", machine.id, CONFIG, machine.version, min_secrets_version=version)
    fly.wait_machine("app-1", machine.id, "started", changed.version, 5)
    fly.list_machines("app-1")
    fly.exec("app-1", machine.id, ["env"], timeout_s=5)
    fly.stop_machine("app-1", machine.id, signal="SIGTERM", timeout_s=30)
    fly.start_machine("app-1", machine.id)
    fly.get_machine("app-1", machine.id)
    list(fly.list_org_machines())
    list(fly.list_apps())
    fly.destroy_machine("app-1", machine.id)
    fly.delete_app("app-1")
    assert len(checking.seen) == 15
