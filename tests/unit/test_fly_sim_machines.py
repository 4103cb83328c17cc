"""Creating, placing, updating, leasing and deleting machines: in process and in virtual time."""

import pytest

from local.fly.state.latency_profiles import Unkindness
from tests.unit.fly_sim import CONFIG, Fly, error_of


@pytest.fixture
def fly():
    return Fly()


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
        ({"cpu_kind": ["shared"], "cpus": 1, "memory_mb": 256}, "guest.cpu_kind"),
        ({"cpu_kind": "shared", "cpus": 1, "memory_mb": 300}, "multiple of 256"),
    ],
)
def test_sizes_that_do_not_exist_are_refused(fly, guest, text):
    fly.app()
    answer = fly.machine(config={"image": "x", "guest": guest})
    assert answer.status_code == 400
    assert text in answer.json()["error"]
    assert fly.world()["apps"][0]["machines"] == []


def test_the_region_is_the_first_preference_with_room(fly):
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


def test_update_replaces_the_whole_config_and_checks_the_version(fly):
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


def test_a_lease_excludes_other_callers_until_it_expires(fly):
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


def test_exec_in_a_virtual_machine_knows_its_env_and_refuses_the_rest(fly):
    path = fly.started()
    assert fly.http.post(f"{path}/exec", json={"command": ["printenv", "USER_ID"]}).json()["stdout"] == "user-1\n"
    assert fly.http.post(f"{path}/exec", json={"command": ["printenv", "NONE"]}).json()["exit_code"] == 1
    assert "FLY_APP_NAME=app-one" in fly.http.post(f"{path}/exec", json={"cmd": "env"}).json()["stdout"]
    status, text = error_of(fly.http.post(f"{path}/exec", json={"command": ["ls"]}))
    assert status == 400
    assert "virtual" in text


@pytest.mark.parametrize("body", [{"command": "env"}, {"cmd": ["env"]}, {"command": []}, {"command": [1]}, {}])
def test_exec_takes_a_list_as_command_or_a_string_as_cmd(fly, body):
    """As in Fly's description; another form is 400 and names both."""
    path = fly.started()
    expected = "invalid_argument: command must be a list of strings (the deprecated cmd is one string)"
    assert error_of(fly.http.post(f"{path}/exec", json=body)) == (400, expected)


def test_a_broken_machine_shows_its_overrides(fly):
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


def test_a_new_machine_can_be_invisible_for_a_while():
    fly = Fly(unkind=Unkindness(fresh_machine_lag_s=(1.0, 1.0), lost_answers=0), rate_limits=False)
    fly.app()
    machine_id = fly.machine().json()["id"]
    path = f"/v1/apps/app-one/machines/{machine_id}"
    assert fly.http.get(path).status_code == 404
    assert machine_id in fly.machine().json()["error"], "its name is nevertheless taken"
    fly.clock.advance(1.1)
    assert fly.http.get(path).status_code == 200


def test_an_image_that_cannot_be_pulled_ends_failed_with_the_reason(fly):
    fly.app()
    fly.http.put("/_sim/bad-images", json=["gone:1"])
    path = f"/v1/apps/app-one/machines/{fly.machine(config={'image': 'gone:1'}).json()['id']}"
    shown = fly.http.get(path).json()
    assert shown["state"] == "failed"
    assert "pull image" in shown["events"][0]["request"]["exit_event"]["error"]


def test_service_checks_have_their_own_names(fly):
    fly.app()
    service = {"protocol": "tcp", "internal_port": 8080, "checks": [{"type": "http", "path": "/ready"}]}
    path = f"/v1/apps/app-one/machines/{fly.machine(config={**CONFIG, 'services': [service]}).json()['id']}"
    assert {check["name"] for check in fly.http.get(path).json()["checks"]} == {"alive", "servicecheck-00-http-8080"}
