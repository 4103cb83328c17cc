"""An app that fails is never silent: what goes wrong with one app ends in an alert within three samples, and in one next step."""

import pytest

from local.fly.transport import open_client
from tests.support.health import CRITICAL, GAP_S, NEEDED, alerts, have_healthy_users, hurt, read_fault, sweeps, symptom
from tests.support.worker import ORG

SWEEP_S = 300.0
CASES = {
    "critical": (CRITICAL, "unhealthy", "the check 'alive' is critical: 500 database is locked"),
    "warning": ({"checks": {"ready": "warning"}}, "unhealthy", "the check 'ready' is warning"),
    "no result": ({"checks": {"ready": "none"}}, "unhealthy", "the check 'ready' has no result"),
    "host": ({"host_status": "unreachable"}, "unknown_health", "cannot reach the host"),
    "unknown host": ({"host_status": "unknown"}, "unknown_health", "host status 'unknown'"),
    "unknown state": ({"reported_state": "hibernating"}, "unknown_health", "'hibernating'"),
}


@pytest.mark.parametrize("case", CASES)
def test_each_symptom_of_one_app_alerts_within_three_samples(world, case):
    """The alert names the app, what Fly says and what happens next; two samples raise none, and recovery resolves it."""
    what, kind, words = CASES[case]
    (user,) = have_healthy_users(world)
    hurt(world, user, **what)
    sweeps(world, NEEDED - 1)
    assert alerts(world, user) == {}
    assert symptom(world, user)["next"] == "watch"
    sweeps(world, 1)
    (message,) = alerts(world, user).values()
    assert set(alerts(world, user)) == {kind}
    assert words in message
    assert world.row(user)["fly_app_name"] in message
    assert str(user) in message
    assert "Hangar" in message
    hurt(world, user, checks={}, host_status="ok", reported_state=None)
    sweeps(world, 2)
    assert alerts(world, user) == {}


def test_an_app_that_answers_403_for_long_alerts_and_is_left_alone(world):
    user, other = have_healthy_users(world, 2)
    before = world.apps().keys()
    read_fault(world, user, status=403, body={"error": "unauthorized"})
    sweeps(world)
    assert "403" in alerts(world, user)["unknown_health"]
    assert alerts(world, other) == {}
    assert world.apps().keys() == before


def test_an_app_that_cannot_be_read_for_long_alerts(world):
    (user,) = have_healthy_users(world)
    read_fault(world, user, status=500)
    sweeps(world)
    assert "does not answer" in alerts(world, user)["unknown_health"]
    assert world.row(user)["health_status"] == "unknown"


@pytest.mark.slow
def test_a_404_against_flys_own_list_makes_no_second_machine(world):
    """Fly's list shows the machine and a direct look does not: an alert, and nothing is created."""
    (user,) = have_healthy_users(world)
    machine = world.row(user)["machine_id"]
    read_fault(world, user, status=404, body={"error": "not found"})
    sweeps(world)
    assert "list shows the machine" in alerts(world, user)["unknown_health"]
    assert world.row(user)["next_attempt_at"] is None
    sweeps(world, 15)  # after an hour Hangar looks closer, at the app's own list
    assert [each.id for machines in world.apps().values() for each in machines] == [machine]


def test_a_token_of_another_organisation_is_one_alert_for_the_fleet(world):
    """Empty lists with 200, and 403 for every app: one alert, no alert of an app, and nothing destroyed or created."""
    users = have_healthy_users(world, 4)
    before = {name: [each.id for each in machines] for name, machines in world.apps().items()}
    denied = {"when": "before", "status": 403, "body": {"error": "unauthorized"}}
    world.set_faults(
        {
            "method": "GET",
            "path": f"/v1/orgs/{ORG}/machines",
            "when": "before",
            "status": 200,
            "body": {"machines": []},
        },
        {"method": "GET", "path": "/v1/apps", "when": "before", "status": 200, "body": {"apps": [], "total_apps": 0}},
        {"method": "*", "path": "/v1/apps/*", **denied},
        {"method": "*", "path": "/v1/apps/*/machines", **denied},
        {"method": "*", "path": "/v1/apps/*/machines/*", **denied},
    )
    sweeps(world, 6)
    assert world.open_alerts() == {("wrong_organisation", "fleet")}
    assert {world.row(user)["status"] for user in users} == {"active"}
    world.set_faults()
    assert {name: [each.id for each in machines] for name, machines in world.apps().items()} == before
    sweeps(world, 1)
    assert world.open_alerts() == set()


def test_lists_that_show_nothing_are_one_alert(world):
    """Fly's list of machines is empty although direct looks find each one healthy."""
    users = have_healthy_users(world, 4)
    world.fault(method="GET", path=f"/v1/orgs/{ORG}/machines", when="before", status=200, body={"machines": []})
    sweeps(world)
    assert world.open_alerts() == {("unlisted", "fleet")}
    assert {world.row(user)["health_status"] for user in users} == {"healthy"}


def test_a_machine_that_never_becomes_ready_alerts(world):
    """It hangs in `created`, again and again: Hangar replaces it after ten minutes, and says so before."""
    user = world.add_user("pro")
    world.sweep(drain_only=True)
    for _ in range(NEEDED):
        world.clock.advance(GAP_S)
        hurt(world, user, state="created")
        world.sweep()
    assert set(alerts(world, user)) == {"unhealthy"}


def test_a_sleeper_is_no_failure(world):
    """An on-demand machine that Fly has stopped, as often as a sweep looks."""
    world.sql("update public.fly_plans set power = 'on_demand', public_service = true where tier = 'pro'")
    (user,) = have_healthy_users(world)
    row = world.row(user)
    with open_client(world.sim) as fly:
        fly.post(f"/v1/apps/{row['fly_app_name']}/machines/{row['machine_id']}/stop").raise_for_status()
    sweeps(world, 5)
    assert world.open_alerts() == set()
    assert symptom(world, user) is None


@pytest.mark.slow
def test_a_fleet_of_which_one_app_is_left_is_one_incident(world):
    """More apps than the incident floor vanish at once: one alert, which counts the rows, and no alert of a single app."""
    world.sql("update hangar.settings set incident_floor = 1")
    users = have_healthy_users(world, 7)
    left = world.row(users[0])
    for app in [name for name in world.sim.apps if name != left["fly_app_name"]]:
        del world.sim.apps[app]
    for machine in [each for each in world.sim.world.machines if each != left["machine_id"]]:
        del world.sim.world.machines[machine]
    for _ in range(NEEDED + 1):
        sweeps(world, 1)
        assert world.open_alerts() <= {("incident", "fleet")}
    [(message,)] = world.sql("select message from hangar.alerts where kind = 'incident'")
    assert "of 7 apps broke at once" in message
    sweeps(world, 4)
    assert world.open_alerts() == set()
    assert sorted(world.apps()) == sorted(world.row(user)["fly_app_name"] for user in users)


def test_a_machine_that_stays_down_while_hangar_is_paused_alerts(world):
    (user,) = have_healthy_users(world)
    world.sql("select public.fly_set_paused(true, 'an operator')")
    world.control("POST", f"machines/{world.row(user)['machine_id']}/crash", {})
    sweeps(world)
    told = alerts(world, user)["unhealthy"]
    assert "the machine is stopped" in told
    assert "exit code 1" in told
    assert "Hangar is paused" in told
    world.sql("select public.fly_set_paused(false, 'an operator')")
    sweeps(world, 3)
    assert world.open_alerts() == set()


def test_an_app_with_a_failure_of_its_own_has_one_alert(world):
    """The row is in error, so its failure has the alert; the samples raise no second one."""
    (user,) = have_healthy_users(world)
    world.control("POST", f"machines/{world.row(user)['machine_id']}/crash", {})
    world.fault(method="POST", path="/v1/apps/*/machines/*/start", when="before", status=422, body={"error": "no"})
    sweeps(world, 5)
    assert world.row(user)["status"] == "error"
    assert {kind for kind, _ in world.open_alerts()} == {"provision_failed"}


@pytest.mark.slow
def test_a_program_that_runs_out_of_memory_between_two_looks_alerts(world):
    """Fly restarts it each time, and its checks pass at every look. Nothing is restarted or replaced because of it."""
    image = world.sql("select default_image from hangar.settings")[0][0]
    world.control("PUT", "images", {image: {"behaviour": "oom-after-20m"}})
    (user,) = have_healthy_users(world, 1)
    row = world.row(user)
    seen = set()
    for _ in range(48):
        world.clock.advance(SWEEP_S)
        world.sweep()
        seen |= {kind for kind, _ in world.open_alerts()}
    assert seen == {"unhealthy"}
    [(message,)] = world.sql("select message from hangar.alerts where kind = 'unhealthy'")
    assert "its program has failed" in message
    after = world.row(user)
    assert (after["status"], after["health_status"], after["health_step"]) == ("active", "healthy", None)
    assert (after["machine_id"], after["generation"]) == (row["machine_id"], row["generation"])


@pytest.mark.slow
def test_a_crash_an_hour_alerts_and_ends_with_six_hours_of_peace(world):
    """Hangar brings it up each time, so the crash loop of three repairs an hour never sees it."""
    (user,) = have_healthy_users(world, 1)
    told = []
    for _ in range(6):
        world.control("POST", f"machines/{world.row(user)['machine_id']}/crash", {})
        for _ in range(12):
            world.clock.advance(SWEEP_S)
            world.sweep()
        told.append({kind for kind, _ in world.open_alerts()})
    assert told == [set()] * 4 + [{"unhealthy"}] * 2
    for _ in range(16):
        world.clock.advance(1800)
        world.sweep()
    assert world.open_alerts() == set()
