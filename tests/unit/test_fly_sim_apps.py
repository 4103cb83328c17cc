"""Apps, tokens, secrets and malformed requests, in process and in virtual time."""

import pytest

from local.fly.times import VirtualClock
from tests.unit.fly_sim import Fly, error_of


@pytest.fixture
def fly():
    return Fly()


@pytest.fixture
def slow():
    """Typical times without rate limits, so that a test can poll often."""
    return Fly(profile="typical", rate_limits=False)


def test_app_create_returns_id_and_milliseconds(fly):
    """201 with `id` and `created_at` in milliseconds."""
    answer = fly.app(network="tenant-1")
    assert answer.status_code == 201
    assert answer.json()["created_at"] == int(fly.clock() * 1000)
    shown = fly.http.get("/v1/apps/app-one").json()
    assert (shown["name"], shown["network"], shown["organization"]["slug"]) == ("app-one", "tenant-1", "personal")


@pytest.mark.parametrize("field", ["name", "app_name"])
def test_app_name_may_be_in_either_field(fly, field):
    """`name` and `app_name` both name the app."""
    answer = fly.http.post("/v1/apps", json={field: "app-two", "org_slug": "personal"})
    assert answer.status_code == 201
    assert fly.http.get("/v1/apps/app-two").status_code == 200


def test_taken_name_is_422_with_code(fly):
    """The code is `name_taken`."""
    fly.app()
    answer = fly.app()
    assert answer.status_code == 422
    assert answer.json() == {"error": "Validation failed: Name has already been taken", "status": "name_taken"}


def test_a_strangers_name_is_taken_on_create_and_403_on_get(fly):
    """A stranger's app cannot be created or read."""
    fly.http.put("/_sim/foreign-apps", json=["app-one"])
    assert fly.app().json()["status"] == "name_taken"
    assert error_of(fly.http.get("/v1/apps/app-one")) == (403, "unauthorized")
    assert error_of(fly.http.delete("/v1/apps/app-one")) == (403, "unauthorized")
    assert fly.http.get("/v1/apps/app-two").status_code == 404


def test_an_app_whose_name_another_organisation_takes_is_gone_and_403(fly):
    """No list shows the app or its machines, and its name cannot be used; a second take finds no app."""
    fly.app()
    fly.app("app-two")
    fly.machine("app-one")
    assert fly.http.post("/_sim/apps/app-one/take").json() == ["app-one"]
    assert error_of(fly.http.get("/v1/apps/app-one")) == (403, "unauthorized")
    assert fly.app().json()["status"] == "name_taken"
    assert [app["name"] for app in fly.http.get("/v1/apps?org_slug=personal").json()["apps"]] == ["app-two"]
    assert fly.http.get("/v1/orgs/personal/machines").json()["machines"] == []
    assert fly.http.post("/_sim/apps/app-one/take").status_code == 404


@pytest.mark.parametrize("name", ["Upper", "under_score", "a" * 63, "dot.dot"])
def test_bad_name_is_422(fly, name):
    """Names have at most 62 lower-case letters, digits and dashes."""
    expected = "Validation failed: Name under 63 chars using numbers, lowercase letters and dashes"
    assert error_of(fly.app(name)) == (422, expected)


def test_the_same_idempotency_key_returns_the_same_app(fly):
    """A repeated creation returns the first app."""
    first = fly.app(idempotency_key="k1").json()
    assert fly.app(idempotency_key="k1").json() == first
    assert fly.app("another", idempotency_key="k1").status_code == 422
    assert [app["name"] for app in fly.world()["apps"]] == ["app-one"]


def test_no_token_and_wrong_token_are_401():
    """A simulator with a token accepts only that token."""
    fly = Fly(token="right")
    assert fly.http.get("/v1/apps/x", headers={"Authorization": ""}).status_code == 401
    assert error_of(fly.http.get("/v1/apps/x", headers={"Authorization": "Bearer wrong"})) == (401, "invalid token")
    for given in ("Bearer right", "FlyV1 right", "FlyV1 other,right", "Bearer FlyV1 right"):
        assert fly.http.get("/v1/apps/x", headers={"Authorization": given}).status_code == 404


def test_every_response_has_a_request_id(fly):
    """Errors and faults also have one."""
    ids = [fly.http.get(path).headers["fly-request-id"] for path in ("/v1/apps/none", "/v1/nowhere", "/v1/apps")]
    assert len(set(ids)) == 3


def test_the_rest_of_flys_api_is_501_and_unknown_paths_are_404(fly):
    """In Fly's error shape."""
    assert fly.http.get("/v1/apps/app-one/volumes").status_code == 501
    assert fly.http.get("/v1/apps/app-one/nonsense").status_code == 404
    assert fly.http.put("/v1/apps/app-one").status_code == 405


def test_secrets_reach_machines_at_create_with_their_version(fly):
    """`min_secrets_version` is 412 until the version exists."""
    fly.app()
    assert fly.machine("early", min_secrets_version=1).status_code == 412
    version = fly.http.post("/v1/apps/app-one/secrets", json={"values": {"TOKEN": "s3cret"}}).json()["version"]
    listed = fly.http.get("/v1/apps/app-one/secrets").json()["secrets"]
    assert [(each["name"], "value" in each) for each in listed] == [("TOKEN", False)]
    path = f"/v1/apps/app-one/machines/{fly.machine(min_secrets_version=version).json()['id']}"
    shown = fly.http.post(f"{path}/exec", json={"command": ["printenv", "TOKEN"]}).json()
    assert shown == {"stdout": "s3cret\n", "stderr": "", "exit_code": 0, "exit_signal": 0}
    fly.http.post("/v1/apps/app-one/secrets", json={"values": {"TOKEN": None}})
    assert fly.http.get("/v1/apps/app-one/secrets").json() == {"secrets": []}
    assert "s3cret" not in fly.http.get("/_sim/world").text


def test_app_delete_is_asynchronous_and_holds_its_name(slow):
    """202 at once; the app disappears later, and its name is free later still."""
    path = slow.started()
    answer = slow.http.delete("/v1/apps/app-one?force=true")
    assert (answer.status_code, answer.content) == (202, b"")
    assert slow.http.get("/v1/apps/app-one").status_code == 200
    assert slow.machine("late").status_code == 404
    slow.clock.advance(6)
    assert slow.http.get("/v1/apps/app-one").status_code == 404
    assert slow.http.get(path).status_code == 404
    assert slow.app().json()["status"] == "name_taken"
    slow.clock.advance(61)
    assert slow.app().status_code == 201


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/v1/apps", b"not json"),
        ("POST", "/v1/apps", b"[]"),
        ("POST", "/v1/apps", b""),
        ("POST", "/v1/apps/app-one/machines", b'{"config":{}}'),
        ("POST", "/v1/apps/app-one/machines", b'{"config":{"image":"x","env":{"A":1}}}'),
        ("POST", "/v1/apps/app-one/machines", b'{"config":{"image":"x","stop_config":{"timeout":"soon"}}}'),
        ("POST", "/v1/apps/app-one/machines", b'{"config":{"image":"x","stop_config":{"signal":"SIGNONE"}}}'),
        ("POST", "/v1/apps/app-one/machines", b'{"config":{"image":"x","restart":{"policy":"maybe"}}}'),
        (
            "POST",
            "/v1/apps/app-one/machines",
            b'{"config":{"image":"x","checks":{"a":{"type":"http","interval":"x"}}}}',
        ),
        ("POST", "/v1/apps/app-one/secrets", b'{"values":{"bad-name":"x"}}'),
        ("POST", "{machine}/stop", b"[]"),
        ("POST", "{machine}/stop", b'{"signal":"SIGNONE"}'),
        ("POST", "{machine}/stop", b'{"timeout":"soon"}'),
        ("POST", "{machine}/exec", b'{"command":"env"}'),
        ("POST", "{machine}/signal", b'{"signal":"x"}'),
        ("GET", "{machine}/wait?state=flying", b""),
        ("GET", "/v1/apps?org_slug=personal&limit=0", b""),
        ("GET", "/v1/apps?org_slug=personal&limit=5&cursor=none", b""),
        ("GET", "/v1/orgs/personal/machines?updated_after=yesterday", b""),
        ("GET", "/v1/orgs/personal/machines?limit=1001", b""),
    ],
)
def test_malformed_requests_are_400_in_flys_shape_and_change_nothing(fly, method, path, body):
    """Wrong types and invalid JSON."""
    machine = fly.started()
    before = fly.world()["apps"]
    answer = fly.http.request(method, path.replace("{machine}", machine), content=body)
    assert answer.status_code == 400
    assert set(answer.json()) == {"error"}
    assert fly.world()["apps"] == before


def test_typical_calls_take_their_time(slow):
    """Creating an app takes longer than reading it."""
    slow.app()
    create_s = slow.clock() - VirtualClock()()
    slow.http.get("/v1/apps/app-one")
    look_s = slow.clock() - VirtualClock()() - create_s
    assert 0.15 <= create_s <= 0.6
    assert 0.03 <= look_s <= 0.2
