"""A machine's life in the simulator, in process and in virtual time, as any Fly client would live it."""

import httpx
import pytest

from local.fly.core import FlySim
from local.fly.profiles import Unkindness
from local.fly.times import VirtualClock
from local.fly.transport import open_client

CONFIG = {
    "image": "registry.fly.io/backend:1@sha256:" + "a" * 64,
    "guest": {"cpu_kind": "shared", "cpus": 2, "memory_mb": 512},
    "env": {"USER_ID": "user-1"},
    "metadata": {"owner": "one"},
    "checks": {"alive": {"type": "http", "port": 8080, "path": "/health", "interval": "15s"}},
}


class Fly:
    """One organisation, a raw client, a clock that only moves when told or when a call takes its time."""

    def __init__(self, **settings):
        self.clock = VirtualClock()
        self.sim = FlySim(self.clock, **{"seed": 3, **settings})
        self.http = open_client(self.sim, self.clock.advance)

    def app(self, name="app-one", **more):
        return self.http.post("/v1/apps?wait=true", json={"app_name": name, "org_slug": "personal", **more})

    def machine(self, name="app-one-main", app="app-one", config=CONFIG, **more):
        return self.http.post(f"/v1/apps/{app}/machines", json={"name": name, "config": config, **more})

    def started(self):
        self.app()
        path = f"/v1/apps/app-one/machines/{self.machine().json()['id']}"
        assert self.http.get(f"{path}/wait?state=started").status_code == 200
        return path

    def state(self, path):
        return self.http.get(path).json()["state"]

    def world(self):
        return self.http.get("/_sim/world").json()


@pytest.fixture
def fly():
    return Fly()


@pytest.fixture
def slow():
    """Typical times, without the rate limits that would get in the way of looking often."""
    return Fly(profile="typical", rate_limits=False)


def error_of(response: httpx.Response):
    return response.status_code, response.json()["error"]


def test_app_create_answers_id_and_milliseconds(fly):
    answer = fly.app(network="tenant-1")
    assert answer.status_code == 201
    assert answer.json()["created_at"] == int(fly.clock() * 1000)
    shown = fly.http.get("/v1/apps/app-one").json()
    assert (shown["name"], shown["network"], shown["organization"]["slug"]) == ("app-one", "tenant-1", "personal")


@pytest.mark.parametrize("field", ["name", "app_name"])
def test_app_name_is_taken_under_either_field(fly, field):
    answer = fly.http.post("/v1/apps", json={field: "app-two", "org_slug": "personal"})
    assert answer.status_code == 201
    assert fly.http.get("/v1/apps/app-two").status_code == 200


def test_taken_name_is_422_with_code(fly):
    fly.app()
    answer = fly.app()
    assert answer.status_code == 422
    assert answer.json() == {"error": "Validation failed: Name has already been taken", "status": "name_taken"}


def test_strangers_name_is_taken_on_create_and_403_on_get(fly):
    fly.http.put("/_sim/foreign-apps", json=["app-one"])
    assert fly.app().json()["status"] == "name_taken"
    assert error_of(fly.http.get("/v1/apps/app-one")) == (403, "unauthorized")
    assert error_of(fly.http.delete("/v1/apps/app-one")) == (403, "unauthorized")
    assert fly.http.get("/v1/apps/app-two").status_code == 404


@pytest.mark.parametrize("name", ["Upper", "under_score", "a" * 63, "dot.dot"])
def test_bad_name_is_422(fly, name):
    expected = "Validation failed: Name under 63 chars using numbers, lowercase letters and dashes"
    assert error_of(fly.app(name)) == (422, expected)


def test_same_idempotency_key_answers_the_same_app(fly):
    first = fly.app(idempotency_key="k1").json()
    assert fly.app(idempotency_key="k1").json() == first
    assert fly.app("another", idempotency_key="k1").status_code == 422
    assert [app["name"] for app in fly.world()["apps"]] == ["app-one"]


def test_no_token_and_wrong_token_are_401():
    fly = Fly(token="right")
    assert fly.http.get("/v1/apps/x", headers={"Authorization": ""}).status_code == 401
    assert error_of(fly.http.get("/v1/apps/x", headers={"Authorization": "Bearer wrong"})) == (401, "invalid token")
    for given in ("Bearer right", "FlyV1 right", "FlyV1 other,right", "Bearer FlyV1 right"):
        assert fly.http.get("/v1/apps/x", headers={"Authorization": given}).status_code == 404


def test_every_answer_carries_a_request_id(fly):
    ids = [fly.http.get(path).headers["fly-request-id"] for path in ("/v1/apps/none", "/v1/nowhere", "/v1/apps")]
    assert len(set(ids)) == 3


def test_the_rest_of_flys_api_is_501_and_unknown_paths_are_404(fly):
    assert fly.http.get("/v1/apps/app-one/volumes").status_code == 501
    assert fly.http.get("/v1/apps/app-one/nonsense").status_code == 404
    assert fly.http.put("/v1/apps/app-one").status_code == 405


def test_a_machine_lives_from_created_to_started_to_gone(slow):
    slow.app()
    machine = slow.machine().json()
    path = f"/v1/apps/app-one/machines/{machine['id']}"
    assert (machine["state"], machine["checks"], machine["region"]) == ("created", [], "iad")
    assert len(machine["id"]) == 14
    assert machine["instance_id"] == machine["version"]
    assert len(machine["version"]) == 26
    wait = slow.http.get(f"{path}/wait?state=started&timeout=60").json()
    assert (wait["ok"], wait["state"], wait["version"]) == (True, "started", machine["version"])
    slow.clock.advance(5)
    assert slow.http.get(path).json()["checks"][0]["status"] == "passing"
    assert slow.http.post(f"{path}/stop").json() == {"ok": True}
    assert slow.state(path) == "stopping"
    assert slow.http.get(f"{path}/wait?state=stopped").status_code == 200
    assert slow.http.delete(path).json() == {"ok": True}
    assert slow.http.get(f"{path}/wait?state=destroyed").status_code == 200
    assert slow.state(path) == "destroyed"
    slow.clock.advance(61)
    assert error_of(slow.http.get(path)) == (404, "not_found: machine not found")
    assert [gone["machine_id"] for gone in slow.world()["destroyed"]] == [machine["id"]]


def test_created_phase_refuses_start_with_412(slow):
    slow.app()
    path = f"/v1/apps/app-one/machines/{slow.machine().json()['id']}"
    expected = "failed_precondition: unable to start machine from current state: 'created'"
    assert error_of(slow.http.post(f"{path}/start")) == (412, expected)


def test_skip_launch_ends_stopped_and_start_boots_it(slow):
    slow.app()
    path = f"/v1/apps/app-one/machines/{slow.machine(skip_launch=True).json()['id']}"
    assert slow.state(path) == "created"
    assert slow.http.get(f"{path}/wait?state=settled").json()["state"] == "stopped"
    assert slow.http.post(f"{path}/start").json()["previous_state"] == "stopped"
    assert slow.http.get(f"{path}/wait").json()["state"] == "started"


def test_start_right_after_stop_is_still_active(slow):
    path = slow.started()
    slow.http.post(f"{path}/stop")
    slow.http.get(f"{path}/wait?state=stopped")
    expected = "failed_precondition: machine still active, refusing to start"
    assert error_of(slow.http.post(f"{path}/start")) == (412, expected)
    slow.clock.advance(3)
    assert slow.http.post(f"{path}/start").status_code == 200


def test_duplicate_name_is_409_naming_the_machine(fly):
    fly.app()
    machine_id = fly.machine().json()["id"]
    expected = (
        f"already_exists: unique machine name violation, machine ID {machine_id} already exists "
        'with name "app-one-main"'
    )
    assert error_of(fly.machine()) == (409, expected)
    fly.http.delete(f"/v1/apps/app-one/machines/{machine_id}?force=true")
    assert fly.machine().status_code == 200, "the name of a destroyed machine is free"


@pytest.mark.parametrize(
    ("guest", "text"),
    [
        ({"cpu_kind": "shared", "cpus": 2, "memory_mb": 256}, "minimum required 512 MiB"),
        ({"cpu_kind": "shared", "cpus": 1, "memory_mb": 4096}, "maximum allowed 2048 MiB"),
        ({"cpu_kind": "performance", "cpus": 1, "memory_mb": 512}, "minimum required 2048 MiB"),
        ({"cpu_kind": "shared", "cpus": 3, "memory_mb": 1024}, "guest.cpus"),
        ({"cpu_kind": "huge", "cpus": 1, "memory_mb": 1024}, "guest.cpu_kind"),
        ({"cpu_kind": "shared", "cpus": 1, "memory_mb": 300}, "multiple of 256"),
    ],
)
def test_sizes_that_do_not_exist_are_refused(fly, guest, text):
    fly.app()
    answer = fly.machine(config={"image": "x", "guest": guest})
    assert answer.status_code == 400
    assert text in answer.json()["error"]
    assert fly.world()["apps"][0]["machines"] == []


def test_region_is_the_first_of_the_preference_with_room(fly):
    fly.app()
    fly.http.put("/_sim/regions/lhr", json={"full": True})
    assert fly.machine("m1", region="lhr,eu").json()["region"] == "ams"
    answer = fly.machine("m2", region="lhr")
    assert answer.json() == {"error": "could not find a candidate host", "status": "insufficient_capacity"}
    assert answer.status_code == 422
    assert fly.machine("m3", region="nowhere").status_code == 400


def test_region_quota_is_403_with_its_own_text(fly):
    fly.app()
    fly.http.put("/_sim/regions/iad", json={"quota_mb": 512})
    assert fly.machine("m1").status_code == 200
    status, text = error_of(fly.machine("m2"))
    assert status == 403
    assert text == (
        'organization "personal" is using 512 MB of memory in iad which is over the allowed quota. '
        "please consider other regions"
    )


def test_wait_answers_408_when_the_time_is_up(slow):
    slow.app()
    path = f"/v1/apps/app-one/machines/{slow.machine().json()['id']}"
    before = slow.clock()
    expected = "deadline_exceeded: machine failed to reach desired state, started, currently created"
    assert error_of(slow.http.get(f"{path}/wait?state=started&timeout=1")) == (408, expected)
    assert 1 <= slow.clock() - before < 1.5, "it waited just that long"


@pytest.mark.parametrize("timeout", ["0", "61", "x"])
def test_wait_timeout_outside_1_to_60_is_400(fly, timeout):
    path = fly.started()
    expected = "invalid_argument: invalid WaitMachineRequest.Timeout: value must be inside range [1s, 1m0s]"
    assert error_of(fly.http.get(f"{path}/wait?timeout={timeout}")) == (400, expected)


def test_wait_for_a_replaced_version_says_so(fly):
    path = fly.started()
    old = fly.http.get(path).json()["version"]
    fly.http.post(path, json={"config": CONFIG})
    status, text = error_of(fly.http.get(f"{path}/wait?version={old}"))
    assert status == 409
    assert "currently replaced" in text


def test_update_replaces_the_whole_config_under_its_guard(fly):
    path = fly.started()
    old = fly.http.get(path).json()["version"]
    config = {"image": "other:2", "guest": CONFIG["guest"]}
    new = fly.http.post(path, json={"config": config, "current_version": old}).json()["version"]
    assert new != old
    shown = fly.http.get(path).json()
    assert (shown["state"], shown["config"]["image"]) == ("started", "other:2")
    assert "env" not in shown["config"], "an update does not merge"
    expected = "aborted: machine update failed due to concurrent update"
    assert error_of(fly.http.post(path, json={"config": CONFIG, "current_version": old})) == (409, expected)
    assert [each["version"] for each in fly.http.get(f"{path}/versions").json()] == [new, old]


def test_update_of_a_stopped_machine_leaves_it_stopped(fly):
    path = fly.started()
    fly.http.post(f"{path}/stop")
    fly.http.post(path, json={"config": CONFIG})
    assert fly.state(path) == "stopped"


def test_delete_of_a_running_machine_needs_force(fly):
    path = fly.started()
    assert fly.http.delete(path).status_code == 412
    assert fly.state(path) == "started"
    assert fly.http.delete(f"{path}?kill=true").status_code == 200
    assert fly.http.delete(path).status_code == 404


def test_suspend_and_wake(fly):
    path = fly.started()
    fly.http.post(f"{path}/suspend")
    assert fly.state(path) == "suspended"
    assert fly.http.post(f"{path}/start").json()["previous_state"] == "suspended"
    assert fly.state(path) == "started"


def test_restart_keeps_the_version(fly):
    path = fly.started()
    version = fly.http.get(path).json()["version"]
    assert fly.http.post(f"{path}/restart?timeout=5s").status_code == 200
    assert (fly.state(path), fly.http.get(path).json()["version"]) == ("started", version)


def test_a_killed_machine_follows_its_restart_policy(fly):
    fly.app()
    config = {**CONFIG, "restart": {"policy": "on-failure", "max_retries": 2}}
    path = f"/v1/apps/app-one/machines/{fly.machine(config=config).json()['id']}"
    for expected in ("started", "started", "stopped"):
        fly.http.post(f"{path}/signal", json={"signal": "SIGKILL"})
        fly.clock.advance(1)
        assert fly.state(path) == expected
    exits = [event for event in fly.http.get(f"{path}/events").json() if event["type"] == "exit"]
    assert [each["request"]["exit_event"]["restarting"] for each in exits] == [False, True, True]


def test_auto_destroy_ends_in_destroyed(fly):
    fly.app()
    config = {**CONFIG, "auto_destroy": True, "restart": {"policy": "no"}}
    path = f"/v1/apps/app-one/machines/{fly.machine(config=config).json()['id']}"
    fly.http.post(f"{path}/signal", json={"signal": "SIGTERM"})
    assert fly.state(path) == "destroyed"


def test_crash_ends_stopped_with_restarts_exhausted(fly):
    path = fly.started()
    machine_id = path.rsplit("/", 1)[1]
    assert fly.http.post(f"/_sim/machines/{machine_id}/crash").status_code == 200
    shown = fly.http.get(path).json()
    assert shown["state"] == "stopped"
    event = shown["events"][0]
    assert (event["type"], event["request"]["exit_event"]["restarting"]) == ("exit", False)
    assert event["request"]["restart_count"] == 10


def test_lease_keeps_others_out_until_it_expires(fly):
    path = fly.started()
    lease = fly.http.post(f"{path}/lease", json={"ttl": 30})
    assert lease.status_code == 201
    nonce = lease.json()["data"]["nonce"]
    status, text = error_of(fly.http.post(path, json={"config": CONFIG}))
    assert status == 409
    assert "lease currently held by" in text
    mine = {"fly-machine-lease-nonce": nonce}
    assert fly.http.post(f"{path}/lease", json={"ttl": 60}, headers=mine).json()["data"]["nonce"] == nonce
    assert fly.http.post(f"{path}/stop", headers=mine).status_code == 200
    assert fly.http.delete(f"{path}/lease").status_code == 400
    fly.clock.advance(61)
    assert fly.http.get(f"{path}/lease").status_code == 404
    assert fly.http.post(f"{path}/start").status_code == 200


def test_metadata_merges_and_filters_the_list(fly):
    path = fly.started()
    assert fly.http.patch(f"{path}/metadata", json={"metadata": {"a": "1", "owner": None}}).status_code == 204
    assert fly.http.get(f"{path}/metadata").json() == {"a": "1"}
    assert fly.http.post(f"{path}/metadata/b", json={"value": "2"}).status_code == 204
    assert fly.http.get(f"{path}/metadata/b").json() == {"value": "2"}
    assert len(fly.http.get("/v1/apps/app-one/machines?metadata.a=1&metadata.b=2").json()) == 1
    assert fly.http.get("/v1/apps/app-one/machines?metadata.a=2").json() == []
    guard = {"metadata": {"a": "3"}, "machine_version": "x"}
    assert fly.http.patch(f"{path}/metadata", json=guard).status_code == 412


def test_secrets_reach_machines_at_create_with_their_version(fly):
    fly.app()
    assert fly.machine("early", min_secrets_version=1).status_code == 412
    version = fly.http.post("/v1/apps/app-one/secrets", json={"values": {"TOKEN": "s3cret"}}).json()["version"]
    listed = fly.http.get("/v1/apps/app-one/secrets").json()["secrets"]
    assert [(each["name"], "value" in each) for each in listed] == [("TOKEN", False)]
    path = f"/v1/apps/app-one/machines/{fly.machine(min_secrets_version=version).json()['id']}"
    told = fly.http.post(f"{path}/exec", json={"command": ["printenv", "TOKEN"]}).json()
    assert told == {"stdout": "s3cret\n", "stderr": "", "exit_code": 0, "exit_signal": 0}
    fly.http.post("/v1/apps/app-one/secrets", json={"values": {"TOKEN": None}})
    assert fly.http.get("/v1/apps/app-one/secrets").json() == {"secrets": []}
    assert "s3cret" not in fly.http.get("/_sim/world").text


def test_exec_in_a_virtual_machine_knows_its_env_and_refuses_the_rest(fly):
    path = fly.started()
    assert fly.http.post(f"{path}/exec", json={"command": ["printenv", "USER_ID"]}).json()["stdout"] == "user-1\n"
    assert fly.http.post(f"{path}/exec", json={"command": ["printenv", "NONE"]}).json()["exit_code"] == 1
    assert "FLY_APP_NAME=app-one" in fly.http.post(f"{path}/exec", json={"cmd": "env"}).json()["stdout"]
    status, text = error_of(fly.http.post(f"{path}/exec", json={"command": ["ls"]}))
    assert status == 400
    assert "virtual" in text


def test_app_delete_is_asynchronous_and_holds_its_name(slow):
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


def test_billing_counts_started_seconds_only(slow):
    path = slow.started()
    slow.clock.advance(100)
    slow.http.post(f"{path}/stop")
    slow.http.get(f"{path}/wait?state=stopped")
    billed = slow.world()["apps"][0]["machines"][0]["started_s"]
    assert 100 <= billed < 101
    slow.clock.advance(1000)
    assert slow.world()["apps"][0]["machines"][0]["started_s"] == billed


def test_a_bent_machine_shows_what_it_was_told(fly):
    path = fly.started()
    control = f"/_sim/machines/{path.rsplit('/', 1)[1]}"
    fly.http.put(control, json={"checks": {"alive": "critical"}})
    assert fly.http.get(path).json()["checks"][0]["status"] == "critical"
    fly.http.put(control, json={"host_status": "unreachable", "checks": {}})
    shown = fly.http.get(path).json()
    assert (shown["host_status"], "config" in shown, "incomplete_config" in shown) == ("unreachable", False, True)
    fly.http.put(control, json={"host_status": "ok", "state": "failed"})
    assert fly.state(path) == "failed"
    assert fly.http.get(f"{path}/wait?state=settled").json()["state"] == "failed"


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
    machine = fly.started()
    before = fly.world()["apps"]
    answer = fly.http.request(method, path.replace("{machine}", machine), content=body)
    assert answer.status_code == 400
    assert set(answer.json()) == {"error"}
    assert fly.world()["apps"] == before


def test_a_process_that_cannot_live_is_restarted_ever_more_slowly(fly):
    fly.app()
    path = f"/v1/apps/app-one/machines/{fly.machine(config={**CONFIG, 'restart': {'policy': 'always'}}).json()['id']}"
    pauses = []
    for _ in range(12):
        fly.http.post(f"{path}/signal", json={"signal": "SIGKILL"})
        before = fly.clock()
        fly.http.get(f"{path}/wait?state=started")
        pauses.append(fly.clock() - before)
    assert pauses == sorted(pauses)
    assert (round(pauses[0], 3), round(pauses[-1], 3)) == (0.1, 10)


def test_a_fresh_machine_may_be_unknown_for_a_moment_when_asked_for():
    fly = Fly(unkind=Unkindness(fresh_machine_lag_s=(1.0, 1.0), lost_answers=0), rate_limits=False)
    fly.app()
    machine_id = fly.machine().json()["id"]
    path = f"/v1/apps/app-one/machines/{machine_id}"
    assert fly.http.get(path).status_code == 404
    assert machine_id in fly.machine().json()["error"], "its name is taken all the same"
    fly.clock.advance(1.1)
    assert fly.http.get(path).status_code == 200


def test_typical_calls_take_their_time(slow):
    """App creation is slower than a look at it, as everywhere it was measured."""
    slow.app()
    create_s = slow.clock() - VirtualClock()()
    slow.http.get("/v1/apps/app-one")
    look_s = slow.clock() - VirtualClock()() - create_s
    assert 0.15 <= create_s <= 0.6
    assert 0.03 <= look_s <= 0.2


def test_a_machine_stopped_while_it_starts_does_not_start_after_all(slow):
    path = slow.started()
    slow.http.post(f"{path}/stop")
    slow.http.get(f"{path}/wait?state=stopped")
    slow.clock.advance(3)
    slow.http.post(f"{path}/start")
    assert slow.state(path) == "starting"
    slow.http.post(f"{path}/stop")
    slow.clock.advance(60)
    assert slow.state(path) == "stopped"


def test_an_image_that_cannot_be_pulled_ends_failed_with_the_reason(fly):
    fly.app()
    fly.http.put("/_sim/bad-images", json=["gone:1"])
    path = f"/v1/apps/app-one/machines/{fly.machine(config={'image': 'gone:1'}).json()['id']}"
    shown = fly.http.get(path).json()
    assert shown["state"] == "failed"
    assert "pull image" in shown["events"][0]["request"]["exit_event"]["error"]


def test_a_machine_can_be_stuck_on_its_way(fly):
    path = fly.started()
    fly.http.put(f"/_sim/machines/{path.rsplit('/', 1)[1]}", json={"state": "stopping"})
    fly.clock.advance(3600)
    assert fly.state(path) == "stopping"
    assert fly.http.delete(f"{path}?force=true").status_code == 200
    assert fly.state(path) == "destroyed"


def test_service_checks_show_under_their_own_names(fly):
    fly.app()
    service = {"protocol": "tcp", "internal_port": 8080, "checks": [{"type": "http", "path": "/ready"}]}
    path = f"/v1/apps/app-one/machines/{fly.machine(config={**CONFIG, 'services': [service]}).json()['id']}"
    assert {check["name"] for check in fly.http.get(path).json()["checks"]} == {"alive", "servicecheck-00-http-8080"}
