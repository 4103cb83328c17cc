"""The steps against an unhealthy app: a restart, a replacement, then a person; each once, and none in an incident."""

import pytest

from shared.fleet.sweep import Sweep
from tests.support.boundaries import Killed
from tests.support.health import (
    CRITICAL,
    GAP_S,
    NEEDED,
    alerts,
    have_healthy_users,
    hurt,
    machines_of,
    steps,
    sweeps,
    symptom,
)


@pytest.mark.slow
def test_an_unhealthy_app_is_restarted_once_replaced_once_and_left_to_a_person(world):
    (user,) = have_healthy_users(world)
    first = machines_of(world, user)
    hurt(world, user, **CRITICAL)
    sweeps(world)
    assert "restarts the machine now" in alerts(world, user)["unhealthy"]
    assert steps(world, user) == []
    sweeps(world, 1)
    assert steps(world, user) == ["restart_machine"]
    sweeps(world, NEEDED)
    assert steps(world, user) == ["restart_machine", "destroy_machine"]
    second = machines_of(world, user)
    assert len(second) == 1
    assert second != first
    hurt(world, user, **CRITICAL)
    sweeps(world, NEEDED + 1)
    told = alerts(world, user)["unhealthy"]
    assert "Hangar restarted the machine at" in told
    assert "Hangar replaced the machine at" in told
    assert "a person has to look" in told
    sweeps(world, 8)
    assert steps(world, user) == ["restart_machine", "destroy_machine"]
    assert machines_of(world, user) == second
    assert world.row(user)["next_attempt_at"] is None


@pytest.mark.parametrize(("policy", "begun"), [("alert", []), ("restart", ["restart_machine"])])
def test_the_plan_limits_what_is_done(world, policy, begun):
    world.sql("update public.fly_plans set on_unhealthy = %s", policy)
    (user,) = have_healthy_users(world)
    first = machines_of(world, user)
    hurt(world, user, **CRITICAL)
    sweeps(world, 12)
    assert steps(world, user) == begun
    assert machines_of(world, user) == first
    assert "a person has to look" in alerts(world, user)["unhealthy"]


def test_a_check_without_a_result_never_costs_the_machine(world):
    """Nothing says that the app does not work: a restart is tried, and the machine stays."""
    (user,) = have_healthy_users(world)
    first = machines_of(world, user)
    hurt(world, user, checks={"ready": "none"})
    sweeps(world, 12)
    assert steps(world, user) == ["restart_machine"]
    assert machines_of(world, user) == first


def test_a_restart_that_helps_ends_the_alert_and_nothing_is_replaced(world):
    (user,) = have_healthy_users(world)
    hurt(world, user, **CRITICAL)
    sweeps(world, NEEDED + 1)
    hurt(world, user, checks={})
    sweeps(world, 8)
    assert steps(world, user) == ["restart_machine"]
    assert world.open_alerts() == set()
    assert world.row(user)["health_status"] == "healthy"


@pytest.mark.slow
def test_what_was_tried_is_remembered_for_an_hour_of_health(world):
    """Ill again after half an hour: the machine is replaced next. Ill again after an hour: Hangar starts with a restart."""
    (user,) = have_healthy_users(world)
    hurt(world, user, **CRITICAL)
    sweeps(world, NEEDED + 1)
    hurt(world, user, checks={})
    sweeps(world, 6)
    hurt(world, user, **CRITICAL)
    sweeps(world, NEEDED + 1)
    assert steps(world, user) == ["restart_machine", "destroy_machine"]
    sweeps(world, 15)
    hurt(world, user, **CRITICAL)
    sweeps(world, NEEDED + 1)
    assert steps(world, user) == ["restart_machine", "destroy_machine", "restart_machine"]


def test_an_operators_retry_lets_hangar_try_again(world):
    world.sql("update public.fly_plans set on_unhealthy = 'restart'")
    (user,) = have_healthy_users(world)
    hurt(world, user, **CRITICAL)
    sweeps(world, 8)
    assert symptom(world, user)["next"] == "person"
    world.sql("select public.fly_retry(%s, 'an operator')", user)
    assert symptom(world, user)["next"] == "restart"
    sweeps(world, 2)
    assert steps(world, user) == ["restart_machine", "restart_machine"]


@pytest.mark.slow
def test_an_app_that_is_well_only_now_and_then_alerts_once(world):
    """Bad, well, bad, well: three bad samples raise one alert, which stays open until the app is well for good."""
    (user,) = have_healthy_users(world)
    for _ in range(8):
        hurt(world, user, **CRITICAL)
        sweeps(world, 1)
        hurt(world, user, checks={})
        sweeps(world, 1)
    [(opened,)] = world.sql("select count(*) from hangar.alerts where kind = 'unhealthy'")
    assert (opened, set(alerts(world, user))) == (1, {"unhealthy"})
    sweeps(world, 4)
    assert world.open_alerts() == set()


@pytest.mark.slow
def test_bad_samples_far_apart_are_no_episode(world):
    (user,) = have_healthy_users(world)
    for _ in range(5):
        hurt(world, user, **CRITICAL)
        sweeps(world, 1)
        hurt(world, user, checks={})
        sweeps(world, 6)
    assert world.sql("select kind from hangar.alerts where kind <> 'nudges'") == []
    assert steps(world, user) == []


@pytest.mark.slow
def test_many_unhealthy_apps_are_one_incident_without_repairs(world):
    """More than the incident floor: one alert, none of single apps, no step, and nothing destroyed."""
    world.sql("update hangar.settings set incident_floor = 4")
    users = have_healthy_users(world, 6)
    before = {name: [each.id for each in machines] for name, machines in world.apps().items()}
    for user in users[:5]:
        hurt(world, user, **CRITICAL)
    sweeps(world, 12)
    assert world.open_alerts() == {("incident", "health")}
    [(message,)] = world.sql("select message from hangar.alerts where kind = 'incident' and resolved_at is null")
    assert "5 of 6 apps" in message
    assert "database is locked" in message
    assert [steps(world, user) for user in users] == [[]] * 6
    assert {name: [each.id for each in machines] for name, machines in world.apps().items()} == before
    for user in users[:4]:
        hurt(world, user, checks={})
    sweeps(world, 1)
    assert world.open_alerts() == {("unhealthy", world.row(users[4])["id"])}
    sweeps(world, 2)
    assert steps(world, users[4]) == ["restart_machine"]


def test_many_unreachable_hosts_are_one_incident(world):
    world.sql("update hangar.settings set incident_floor = 2")
    users = have_healthy_users(world, 4)
    for user in users:
        hurt(world, user, host_status="unreachable")
    sweeps(world)
    assert world.open_alerts() == {("incident", "health")}


@pytest.mark.parametrize("what", ["paused", "deletes_paused"])
def test_a_pause_holds_the_steps_back(world, what):
    (user,) = have_healthy_users(world)
    world.sql(f"select public.fly_set_settings('{{\"{what}\": true}}', 'an operator')")
    hurt(world, user, **CRITICAL)
    sweeps(world, 10)
    assert steps(world, user) == ([] if what == "paused" else ["restart_machine"])
    assert "until somebody" in alerts(world, user)["unhealthy"]
    assert "paused" in symptom(world, user)["says"]
    world.sql(f"select public.fly_set_settings('{{\"{what}\": false}}', 'an operator')")
    sweeps(world, 2)
    assert len(steps(world, user)) == (1 if what == "paused" else 2)


@pytest.mark.slow
def test_the_brake_holds_a_replacement_back(world):
    world.sql("update hangar.settings set brake_floor = 0, brake_share = 0")
    (user,) = have_healthy_users(world)
    first = machines_of(world, user)
    hurt(world, user, **CRITICAL)
    sweeps(world, 12)
    assert machines_of(world, user) == first
    assert {kind for kind, _ in world.open_alerts()} == {"brake", "unhealthy"}


def test_an_app_that_is_well_at_the_last_moment_is_not_touched(world):
    """The step is due, and the look just before the call finds the app healthy."""
    (user,) = have_healthy_users(world)
    hurt(world, user, **CRITICAL)
    sweeps(world)
    assert world.row(user)["health_step"] == "restart"
    hurt(world, user, checks={})
    sweeps(world, 2)
    assert steps(world, user) == []
    assert world.row(user)["health_step"] is None


def die_before(world, where):
    """The process dies once, at this boundary."""
    boundaries, left = world.boundaries, [where]
    cross = boundaries.cross

    def cross_or_die(at):
        cross(at)
        if at in left:
            left.remove(at)
            raise Killed(at)

    boundaries.cross = cross_or_die


def test_a_crash_between_the_restart_and_its_save_restarts_once(world):
    """Wherever the worker dies around the call, Fly is asked for at most one restart, and the app is not left in between."""
    (user,) = have_healthy_users(world)
    hurt(world, user, **CRITICAL)
    sweeps(world)
    restart = ("POST", "/v1/apps/*/machines/*/restart")
    calls = world.watch_calls()
    world.kill_after(*restart)
    with pytest.raises(Killed):
        sweeps(world, 1)
    world.spare()
    sweeps(world, 2)
    assert calls.count(restart) == 1
    assert steps(world, user) == ["restart_machine"]
    assert "Hangar restarted the machine at" in alerts(world, user)["unhealthy"]


@pytest.mark.slow
def test_a_crash_before_the_replacement_does_not_count_as_one(world):
    """The worker dies behind the intent: the old machine is still there, so the replacement is made later, once."""
    (user,) = have_healthy_users(world)
    hurt(world, user, **CRITICAL)
    sweeps(world, 2 * NEEDED)
    row = world.row(user)
    assert row["health_step"] == "replace"
    die_before(world, f"before DELETE /v1/apps/{row['fly_app_name']}/machines/{row['machine_id']}")
    with pytest.raises(Killed):
        sweeps(world, 1)
    assert steps(world, user) == ["restart_machine", "destroy_machine"]
    assert machines_of(world, user) == [row["machine_id"]]
    sweeps(world, NEEDED + 2)
    (second,) = machines_of(world, user)
    assert second != row["machine_id"]
    hurt(world, user, **CRITICAL)
    sweeps(world, 8)
    assert machines_of(world, user) == [second]


def test_two_sweeps_at_once_take_one_step(unkind_world):
    """Both read the fleet and drain it; the row's lease and the step in the row leave one restart."""
    world = unkind_world
    (user,) = have_healthy_users(world)
    hurt(world, user, **CRITICAL)
    sweeps(world)
    another = world.new_worker()
    world.clock.advance(GAP_S)
    Sweep(another, world.clock() + 240).run(drain_only=False)
    world.sweep()
    assert steps(world, user) == ["restart_machine"]
