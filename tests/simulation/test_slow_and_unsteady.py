"""Trouble without an error: an app in a crash loop, a stalled app, an app that runs in its grace."""

import pytest

from local.fly.transport import open_client
from shared.adapters.notifications import Notifier
from tests.simulation.test_guards import MINUTES, have_active_users, sweep_for
from tests.support.alert_receiver import AlertReceiver
from tests.support.worker import ORG

HOUR = 60 * MINUTES


@pytest.fixture
def told(world):
    """What the alert webhook was sent."""
    receiver = AlertReceiver()
    world.reconciler.notifier = Notifier(world.reconciler.database, [receiver.make_webhook()], world.clock)
    return receiver.accepted


def crash(world, user):
    """The machine has stopped for good; a sweep runs five minutes later."""
    machine_id = world.row(user)["machine_id"]
    world.control("POST", f"machines/{machine_id}/crash", {})
    world.clock.advance(5 * MINUTES)
    world.sweep()
    assert world.row(user)["status"] == "active"


def kinds_told(told, kind):
    return [body for _, body in told if body["kind"] == kind and not body.get("resolved")]


def state_of(world, row):
    (machine,) = world.apps()[row["fly_app_name"]]
    return machine.state


@pytest.mark.slow
def test_a_crash_loop_raises_one_alert(world, told):
    """Three repairs within an hour are one crash loop, however many follow. An hour without one ends it."""
    user, other = have_active_users(world, 2)
    row = world.row(user)
    for _ in range(2):
        crash(world, user)
    assert world.open_alerts() == set()
    for _ in range(4):
        crash(world, user)
    assert world.open_alerts() == {("crash_loop", row["id"])}
    [alert] = kinds_told(told, "crash_loop")
    for what in (row["fly_app_name"], str(user), "repaired 3 times", "hangar explain", "hangar logs"):
        assert what in alert["message"]
    crash(world, other)  # the repair of another app does not count
    sweep_for(world, 50)
    assert world.open_alerts() == {("crash_loop", row["id"])}
    sweep_for(world, 15)
    assert world.open_alerts() == set()
    assert len(kinds_told(told, "crash_loop")) == 1


def test_repairs_far_apart_are_no_crash_loop(world):
    (user,) = have_active_users(world, 1)
    for _ in range(5):
        crash(world, user)
        world.clock.advance(30 * MINUTES)
    assert world.open_alerts() == set()


def test_a_replaced_machine_counts_as_a_repair(world):
    """A failed machine is replaced, a missing one created again. Each counts as one repair."""
    (user,) = have_active_users(world, 1)
    for _ in range(2):
        world.control("PUT", f"machines/{world.row(user)['machine_id']}", {"state": "failed"})
        world.clock.advance(5 * MINUTES)
        world.sweep()
    assert world.open_alerts() == set()
    with open_client(world.sim) as fly:
        row = world.row(user)
        path = f"/v1/apps/{row['fly_app_name']}/machines/{row['machine_id']}"
        fly.request("DELETE", path, params={"force": "true"}).raise_for_status()
    world.clock.advance(5 * MINUTES)
    world.sweep()
    assert world.row(user)["status"] == "active"
    assert world.open_alerts() == {("crash_loop", world.row(user)["id"])}


@pytest.mark.slow
def test_an_app_that_only_fails_its_checks_is_not_steady(world):
    """It is no longer repaired, but it is not healthy either. The two causes have an alert each."""
    (user,) = have_active_users(world, 1)
    world.sql("update public.fly_plans set on_unhealthy = 'alert'")
    for _ in range(3):
        crash(world, user)
    machine = f"machines/{world.row(user)['machine_id']}"
    world.control("PUT", machine, {"checks": {"alive": "critical"}})
    sweep_for(world, 90)
    row = world.row(user)
    assert world.open_alerts() == {("crash_loop", row["id"]), ("unhealthy", row["id"])}
    world.control("PUT", machine, {"checks": {}})
    sweep_for(world, 10)
    assert world.open_alerts() == set()


def test_a_machine_that_cannot_be_started_has_one_alert(world):
    """Every start fails at once: the row is in error, and only that alert is open, however often it is tried."""
    (user,) = have_active_users(world, 1)
    row = world.row(user)
    stopped = {"id": row["machine_id"], "name": f"{row['fly_app_name']}-main", "state": "stopped", "region": "iad"}
    with open_client(world.sim) as fly:
        found = fly.get(f"/v1/apps/{row['fly_app_name']}/machines/{row['machine_id']}").json()
    path = "/v1/apps/*/machines/*"
    world.fault(method="GET", path=path, when="before", status=200, body={**found, **stopped})
    for _ in range(4):
        world.clock.advance(10 * MINUTES)
        world.sweep()
    started = [
        kind for kind, status, told in world.events(user) if (status, told.get("purpose")) == ("succeeded", "repair")
    ]
    assert len(started) >= 3
    assert world.open_alerts() == {("provision_failed", row["id"])}


def test_coming_back_within_the_grace_repairs_nothing(world):
    """Hangar stopped the machine, so starting it again is not a repair, however often the plan changes."""
    world.sql("update public.fly_plans set grace_s = 7200 where tier = 'pro'")
    (user,) = have_active_users(world, 1)
    for tier in ("free", "pro") * 4:
        world.set_tier(user, tier)
        world.clock.advance(60)
        world.sweep()
    assert world.row(user)["status"] == "active"
    assert world.open_alerts() == set()
    assert "recovery_attempted" not in {kind for kind, _, _ in world.events(user)}


def test_an_app_that_is_wanted_no_more_does_not_crash(world):
    """Its alert ends with the next whole sweep."""
    (user,) = have_active_users(world, 1)
    for _ in range(3):
        crash(world, user)
    assert world.open_alerts() == {("crash_loop", world.row(user)["id"])}
    world.set_tier(user, "free")
    world.sweep()
    assert world.open_alerts() == set()


def have_slow_users(world, count):
    """Their rows are due but no drain runs."""
    users = [world.add_user("pro") for _ in range(count)]
    world.sql("update public.user_fly_apps set next_attempt_at = hangar.now() + interval '1 day'")
    return users


@pytest.mark.slow
def test_apps_that_are_long_on_their_way_are_one_alert(world, told):
    """After an hour, once, with a few of them by name; it ends when none is left."""
    users = have_slow_users(world, 5)
    sweep_for(world, 55)
    assert world.open_alerts() == set()
    sweep_for(world, 30)
    assert world.open_alerts() == {("provisioning_slow", "fleet")}
    [alert] = kinds_told(told, "provisioning_slow")
    assert alert["message"].startswith("5 app(s) have been in progress for more than an hour")
    assert sum(str(user) in alert["message"] for user in users) == 3
    world.sql("update public.user_fly_apps set next_attempt_at = hangar.now()")
    world.sweep()
    assert world.open_alerts() == set()


def test_a_change_that_waits_is_slow_too(world):
    """The app is active and asks for something else since an hour ago."""
    (user,) = have_active_users(world, 1)
    world.set_tier(user, "elite")
    world.sql("update public.user_fly_apps set next_attempt_at = hangar.now() + interval '1 day'")
    row = world.row(user)
    assert (row["status"], int(row["generation"]), int(row["observed_generation"])) == ("active", 2, 1)
    # A sweep that looked at it would make it due.
    world.sql("alter table public.user_fly_apps disable trigger touch")
    world.sql("update public.user_fly_apps set updated_at = hangar.now() + interval '1 day'")
    sweep_for(world, 65)
    assert world.open_alerts() == {("provisioning_slow", "fleet")}


@pytest.mark.parametrize(
    "held", ["paused", "deletes_paused", "brake", "max_apps", "error", "grace", "turn", "just resumed", "mind changed"]
)
def test_a_row_with_a_known_wait_is_not_stalled(world, held):
    """It waits for a known reason, which is shown elsewhere."""
    wants = "free" if held in ("deletes_paused", "brake", "grace", "turn") else "pro"
    if held == "grace":
        world.sql("update public.fly_plans set grace_s = 86400 where tier = 'pro'")
    if wants == "free":
        (user,) = have_active_users(world, 1)
        world.set_tier(user, "free")
        world.sql("update public.user_fly_apps set next_attempt_at = hangar.now() + interval '1 day'")
    else:
        (user,) = have_slow_users(world, 1)
    match held:
        case "paused" | "deletes_paused":
            world.sql(f"update hangar.settings set {held} = true")
        case "brake":
            world.sql("select hangar.raise_alert('brake', 'fleet', 'too many')")
            world.sql("update hangar.settings set brake_floor = 0, brake_share = 0")
        case "max_apps":
            world.sql("update hangar.settings set max_apps = 0")
            world.sql("update public.user_fly_apps set next_attempt_at = hangar.now()")
        case "error":
            world.sql("update public.user_fly_apps set status = 'error', error_code = 'image'")
        case "turn":
            world.sql("update public.user_fly_apps set delete_turn_at = hangar.now() + interval '2 hours'")
    for _ in range(13):
        if held == "mind changed":
            world.set_tier(user, "free")
            world.set_tier(user, "pro")
            world.sql("update public.user_fly_apps set next_attempt_at = hangar.now() + interval '1 day'")
        world.clock.advance(5 * MINUTES)
        if held == "just resumed":
            world.sql("update hangar.settings set paused = not paused")
            world.sql("update hangar.settings set paused = false")
        world.sweep()
    assert world.row(user)["status"] not in ("active", "deleted")
    assert ("provisioning_slow", "fleet") not in world.open_alerts()


def enter_grace(world):
    """A user who left a moment ago: the machine is stopped, the app kept for a day."""
    world.sql("update public.fly_plans set grace_s = 86400 where tier = 'pro'")
    (user,) = have_active_users(world, 1)
    world.set_tier(user, "free")
    world.sweep()
    row = world.row(user)
    assert (row["status"], state_of(world, row)) == ("deprovisioning", "stopped")
    return user


def start_by_hand(world, row):
    with open_client(world.sim) as fly:
        fly.post(f"/v1/apps/{row['fly_app_name']}/machines/{row['machine_id']}/start").raise_for_status()
    world.clock.advance(5 * MINUTES)


def test_a_machine_that_runs_in_its_grace_is_stopped_again(world):
    """Within one sweep; what it cost since it was seen counts, and an event says what happened."""
    user = enter_grace(world)
    row = world.row(user)
    intervals = "select count(*), count(ended_at) from public.fly_cost_intervals"
    assert world.sql(intervals) == [(1, 1)]
    start_by_hand(world, row)
    world.sweep()
    after = world.row(user)
    assert (after["status"], after["delete_after"]) == ("deprovisioning", row["delete_after"])
    assert state_of(world, row) == after["machine_state"] == "stopped"
    assert after["next_attempt_at"] == row["delete_after"]
    assert after["health_status"] == row["health_status"]
    assert world.sql(intervals) == [(2, 2)]
    [(kind, status, told)] = [event for event in world.events(user) if event[0] == "recovery_attempted"]
    assert (kind, status, told["action"], told["machine_id"]) == (
        "recovery_attempted",
        "info",
        "stop_machine",
        row["machine_id"],
    )
    calls = world.watch_calls()
    world.clock.advance(5 * MINUTES)
    world.sweep()
    # Both lists are read at the same time. A sleeping machine is not probed.
    assert sorted(calls) == [("GET", "/v1/apps"), ("GET", f"/v1/orgs/{ORG}/machines")]


def test_a_list_that_lags_stops_nothing(world):
    """Only a direct read makes the row due, and only what it shows is billed."""
    user = enter_grace(world)
    row = world.row(user)
    with open_client(world.sim) as fly:
        listed = fly.get(f"/v1/orgs/{ORG}/machines").json()
    listed["machines"][0]["state"] = "started"
    world.fault(method="GET", path="/v1/orgs/*/machines", when="before", status=200, body=listed, times=1)
    calls = world.watch_calls()
    world.clock.advance(5 * MINUTES)
    world.sweep()
    assert [method for method, _ in calls] == ["GET"] * 3
    assert world.row(user)["next_attempt_at"] == row["next_attempt_at"]
    assert world.sql("select count(*), count(ended_at) from public.fly_cost_intervals") == [(1, 1)]


def test_a_machine_in_grace_that_cannot_be_read_is_left_for_the_next_sweep(world):
    user = enter_grace(world)
    row = world.row(user)
    start_by_hand(world, row)
    world.fault(method="GET", path="/v1/apps/*/machines/*", when="before", status=500)
    world.sweep()
    assert world.row(user)["machine_state"] == "stopped"
    assert world.row(user)["health_status"] == row["health_status"]
    world.control("PUT", "faults", [])
    world.clock.advance(5 * MINUTES)
    world.sweep()
    assert state_of(world, row) == "stopped"
    assert world.open_alerts() == set()
