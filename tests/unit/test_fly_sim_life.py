"""A machine's lifecycle: boots, stops, exits, restarts, waits and billing, in process and in virtual time."""

from datetime import datetime
from email.utils import parsedate_to_datetime

import pytest

from tests.unit.fly_sim import CONFIG, Fly, error_of


@pytest.fixture
def fly():
    return Fly()


@pytest.fixture
def slow():
    """Typical times without rate limits, so that a test can poll often."""
    return Fly(profile="typical", rate_limits=False)


def test_a_machine_goes_from_created_to_started_to_destroyed(slow):
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
    """412 for 0.4 to 2 s after `stopped` shows, as reported by users of the API; clients retry."""
    path = slow.started()
    slow.http.post(f"{path}/stop")
    slow.http.get(f"{path}/wait?state=stopped")
    expected = "failed_precondition: machine still active, refusing to start"
    assert error_of(slow.http.post(f"{path}/start")) == (412, expected)
    slow.clock.advance(3)
    assert slow.http.post(f"{path}/start").status_code == 200


def test_wait_is_408_after_its_timeout(slow):
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


def test_wait_for_a_replaced_version_is_409(fly):
    path = fly.started()
    old = fly.http.get(path).json()["version"]
    fly.http.post(path, json={"config": CONFIG})
    status, text = error_of(fly.http.get(f"{path}/wait?version={old}"))
    assert status == 409
    assert "currently replaced" in text


def test_suspend_and_resume(fly):
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


def test_billing_counts_started_seconds_only(slow):
    path = slow.started()
    slow.clock.advance(100)
    slow.http.post(f"{path}/stop")
    slow.http.get(f"{path}/wait?state=stopped")
    billed = slow.world()["apps"][0]["machines"][0]["started_s"]
    assert 100 <= billed < 101
    slow.clock.advance(1000)
    assert slow.world()["apps"][0]["machines"][0]["started_s"] == billed


def test_a_crash_loop_is_restarted_ever_more_slowly(fly):
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


def test_a_machine_stopped_while_it_starts_stays_stopped(slow):
    path = slow.started()
    slow.http.post(f"{path}/stop")
    slow.http.get(f"{path}/wait?state=stopped")
    slow.clock.advance(3)
    slow.http.post(f"{path}/start")
    assert slow.state(path) == "starting"
    slow.http.post(f"{path}/stop")
    slow.clock.advance(60)
    assert slow.state(path) == "stopped"


def test_a_machine_can_be_stuck_in_a_passing_state(fly):
    path = fly.started()
    fly.http.put(f"/_sim/machines/{path.rsplit('/', 1)[1]}", json={"state": "stopping"})
    fly.clock.advance(3600)
    assert fly.state(path) == "stopping"
    assert fly.http.delete(f"{path}?force=true").status_code == 200
    assert fly.state(path) == "destroyed"


def test_a_wrong_clock_shifts_what_fly_shows_and_no_timer(slow):
    """`PUT /_sim/clock`: the Date and every time stamp; the machine boots as fast as before."""
    slow.app()
    right = slow.http.get("/v1/apps/app-one")
    shown = slow.http.put("/_sim/clock", json={"skew_s": -720}).json()
    assert (shown["skew_s"], slow.http.get("/_sim/clock").json()["skew_s"]) == (-720, -720)
    machine = slow.machine().json()
    path = f"/v1/apps/app-one/machines/{machine['id']}"
    assert slow.http.get(f"{path}/wait?state=started&timeout=60").status_code == 200
    wrong = slow.http.get(path)
    ago_s = (
        parsedate_to_datetime(right.headers["date"]) - parsedate_to_datetime(wrong.headers["date"])
    ).total_seconds()
    assert 600 < ago_s < 720
    created_at = datetime.fromisoformat(machine["created_at"]).timestamp()
    assert slow.clock() - created_at > 720
    assert all(event["timestamp"] < (slow.clock() - 700) * 1000 for event in wrong.json()["events"])
    assert wrong.json()["config"].items() >= CONFIG.items()
    slow.http.put("/_sim/clock", json={"skew_s": 0})
    assert datetime.fromisoformat(slow.http.get(path).json()["created_at"]).timestamp() == pytest.approx(
        created_at + 720
    )


@pytest.mark.parametrize("body", [{}, {"skew_s": "1"}, {"skew_s": True}, {"skew_s": 1e9}, {"other": 1}, []])
def test_a_wrong_skew_is_refused(fly, body):
    assert fly.http.put("/_sim/clock", json=body).status_code == 400
