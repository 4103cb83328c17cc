"""The caps on apps and cost are asked at every door: what would exceed them waits, and what runs keeps running."""

import pytest

from local.fly.transport import open_client
from tests.simulation.test_guards import have_active_users, sweep_for

PRO_USD, ELITE_USD = 6, 28  # 2 vCPU and 512 MB, 8 vCPU and 4 GB


@pytest.fixture
def fleet(world):
    """Five small apps, and a plan that costs more than four times as much."""
    world.sql("update public.fly_plans set cpu_count = 8, memory_mb = 4096 where tier = 'elite'")
    return world, have_active_users(world, 5)


def cap_cost(world, usd):
    world.sql("update hangar.settings set max_monthly_cost_usd = %s", usd)


def machines(world):
    """Memory and state of each machine on Fly, by app."""
    with open_client(world.sim) as fly:
        listed = fly.get("/v1/orgs/hangar-test/machines").json()["machines"]
    return {
        each["app_name"]: (each["config"]["guest"]["memory_mb"], each["state"])
        for each in listed
        if each["state"] != "destroyed"
    }


def sizes(world, users):
    found = machines(world)
    return [found[world.row(user)["fly_app_name"]][0] for user in users]


@pytest.mark.slow
def test_a_plan_change_beyond_the_cap_waits_with_an_alert(fleet):
    """D3: five upgrades under a cap of 60 dollars. One fits; the others keep their machine, running, and an alert is open."""
    world, users = fleet
    before = {user: world.row(user)["machine_id"] for user in users}
    cap_cost(world, 60)
    for user in users:
        world.set_tier(user, "elite")
    sweep_for(world, 30)
    assert sorted(sizes(world, users)) == [512, 512, 512, 512, 4096]
    assert {state for _, state in machines(world).values()} == {"started"}
    assert {user: world.row(user)["machine_id"] for user in users} == before
    assert {world.row(user)["status"] for user in users} == {"active"}
    assert ("max_cost", "fleet") in world.open_alerts()
    assert ("provisioning_slow", "fleet") not in world.open_alerts()
    sweep_for(world, 90)
    assert world.open_alerts() == {("max_cost", "fleet")}  # held back is not stalled
    cap_cost(world, None)
    sweep_for(world, 15)
    assert sizes(world, users) == [4096] * 5
    assert world.open_alerts() == set()


def test_an_upgrade_that_waits_takes_no_room_from_a_new_user(fleet):
    """What counts is what may run, not what a held row desires."""
    world, users = fleet
    cap_cost(world, 5 * PRO_USD + PRO_USD)
    world.set_tier(users[0], "elite")
    world.settle()
    late = world.add_user("pro")
    world.settle()
    assert world.row(late)["status"] == "active"
    assert sizes(world, users) == [512] * 5


def test_a_downgrade_is_never_refused_and_makes_room(fleet):
    """The cap is below what runs; a user takes a smaller plan, and the freed room counts."""
    world, users = fleet
    world.set_tier(users[0], "elite")
    world.settle()
    cap_cost(world, 1)
    world.set_tier(users[0], "pro")
    world.settle()
    assert sizes(world, users) == [512] * 5
    cap_cost(world, 4 * PRO_USD + ELITE_USD)
    world.set_tier(users[1], "elite")
    world.settle()
    assert sizes(world, users) == [512, 4096, 512, 512, 512]


def test_a_held_upgrade_still_starts_a_machine_that_stopped(fleet):
    """The app of a paying user runs with the size it has, whatever waits."""
    world, users = fleet
    cap_cost(world, 5 * PRO_USD)
    world.set_tier(users[0], "elite")
    world.reconciler.reconcile(users[0], 240)
    row = world.row(users[0])
    with open_client(world.sim) as fly:
        fly.post(f"/v1/apps/{row['fly_app_name']}/machines/{row['machine_id']}/stop").raise_for_status()
    world.clock.advance(60)
    assert machines(world)[row["fly_app_name"]] == (512, "stopped")
    sweep_for(world, 10)
    assert machines(world)[row["fly_app_name"]] == (512, "started")
    assert world.row(users[0])["machine_id"] == row["machine_id"]


def test_a_retry_with_a_dearer_plan_is_refused(fleet):
    """D3: the plan was made dearer after the app had failed, and `hangar retry` takes the plan of today."""
    world, _ = fleet
    failing = world.add_user("pro")
    world.fault(
        method="POST", path="/v1/apps/*/machines", when="before", status=422, body={"error": "image not found"}, times=1
    )
    world.reconciler.reconcile(failing, 240)
    assert world.row(failing)["status"] == "error"
    cap_cost(world, 6 * PRO_USD)
    world.sql("update public.fly_plans set cpu_count = 8, memory_mb = 4096 where tier = 'pro'")
    world.sql("select public.fly_retry(%s, 'test')", failing)
    world.settle()
    assert ("max_cost", "fleet") in world.open_alerts()
    assert sorted(size for size, _ in machines(world).values()) == [512] * 5


def test_a_lost_app_that_returns_is_not_made_larger_beyond_the_cap(fleet):
    """D3: the user pays for a dearer plan than their old app has. They get it back as it is, and its growth waits."""
    world, users = fleet
    row = world.row(users[0])
    world.sql("alter table public.user_fly_app_events disable trigger append_only")
    for table in ("user_fly_app_events", "fly_cost_intervals", "user_fly_apps", "user_subscriptions"):
        world.sql(f"delete from public.{table} where user_id = %s", users[0])
    cap_cost(world, 5 * PRO_USD)
    sweep_for(world, 10)
    world.sql("insert into public.user_subscriptions (user_id, tier, status) values (%s, 'elite', 'active')", users[0])
    sweep_for(world, 20)
    assert world.row(users[0])["fly_app_name"] == row["fly_app_name"]
    assert machines(world)[row["fly_app_name"]] == (512, "started")
    assert ("max_cost", "fleet") in world.open_alerts()


def test_a_cap_below_the_fleet_stops_no_repair(fleet):
    """A machine that broke is replaced at the size that was admitted, although the fleet is over both caps."""
    world, users = fleet
    world.sql("update hangar.settings set max_apps = 1, max_monthly_cost_usd = 1")
    row = world.row(users[0])
    world.control("PUT", f"machines/{row['machine_id']}", {"state": "failed"})
    sweep_for(world, 15)
    assert machines(world)[row["fly_app_name"]] == (512, "started")
