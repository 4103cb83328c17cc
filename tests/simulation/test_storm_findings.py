"""Findings of the storm, each as a minimal test."""

from dataclasses import replace

import pytest

from bench.fleet import change_tier, sign_up
from shared.fleet.sweep import Sweep
from tests.support.turns import use_turns
from tests.support.world import make_storm_world


@pytest.fixture
def staged(database, monkeypatch):
    world = make_storm_world(database, 0)
    use_turns(monkeypatch, world.turns)
    world.sim.world.unkindness = replace(world.sim.world.unkindness, lost_answers=0.0, error_regions=0.0)
    yield world
    world.close()


@pytest.mark.slow
def test_a_full_house_of_slow_calls_is_waited_for(staged):
    """When 16 rows occupy every worker, the drain waits for a free one instead of claiming zero rows."""
    staged.sql("select 1")
    change_tier(staged.host, sign_up(staged.host, 16), "pro")
    staged.fault(method="POST", path="/v1/apps", delay_s=5.0)
    drained = staged.turns.spawn(
        "worker", lambda: Sweep(staged.new_worker(), staged.clock() + 240).run(drain_only=True)
    )
    staged.turns.run(staged.clock() + 240)
    assert drained.result().provisioned == 16


def test_a_row_that_comes_due_while_a_drain_waits_for_a_slow_call_is_claimed(staged):
    """A lost nudge costs only seconds: a drain with free workers claims again, less often than every second."""
    staged.turns.run(staged.clock() + 1)
    change_tier(staged.host, sign_up(staged.host, 1), "pro")
    staged.fault(method="POST", path="/v1/apps", delay_s=35.0, times=2)
    staged.turns.spawn("worker", lambda: Sweep(staged.new_worker(), staged.clock() + 240).run(drain_only=True))
    staged.turns.run(staged.clock() + 20)
    looks = staged.store.calls.count("fly_claim_due")
    assert 5 <= looks <= 10
    late = staged.add_user("pro")
    staged.turns.run(staged.clock() + 6)
    row = staged.row(late)
    assert row["status"] == "active" or row["lease_holder"]


def test_an_app_that_is_deleted_slowly_is_read_again(world):
    """Fly accepts a deletion and carries it out seconds later: the same worker sees that, without a failure in between."""
    world.sim.world.timing = replace(world.sim.world.timing, app_delete_s=(5.0, 5.0))
    user = world.add_user("pro")
    world.sweep(drain_only=True)
    world.set_tier(user, "free")
    world.reconciler.reconcile(user, 100)
    assert world.row(user)["status"] == "deleted"
    assert not [kind for kind, _, _ in world.events(user) if kind == "deprovision_failed"]


def test_a_machine_found_by_its_409_has_a_price(world):
    """I10: the create's response was lost and the repeat names the machine. It costs from its first second."""
    user = world.add_user("pro")
    world.fault(method="POST", path="/v1/apps/*/machines", when="after", disconnect=True, times=1)
    world.sweep(drain_only=True)
    assert world.row(user)["status"] == "active"
    assert world.row(user)["price_usd_per_s"] is not None


def test_a_larger_plan_costs_more_from_its_update_on(world):
    """I10: an update in place changes the price that the cost interval carries."""
    world.sql("update public.fly_plans set memory_mb = 1024 where tier = 'elite'")
    user = world.add_user("pro")
    world.sweep(drain_only=True)
    before = world.row(user)["price_usd_per_s"]
    world.clock.advance(3600)
    world.set_tier(user, "elite")
    world.sweep(drain_only=True)
    assert world.row(user)["price_usd_per_s"] > before
    prices = world.sql("select price_usd_per_s, ended_at is null from public.fly_cost_intervals order by started_at")
    assert [running for _, running in prices] == [False, True]
    assert prices[0][0] < prices[1][0]


def test_a_plan_change_closes_the_alert_of_the_failure_it_clears(world):
    """Provisioning fails and the user leaves. After the app is deleted, no alert about the failure is open."""
    user = world.add_user("pro")
    world.fault(
        method="POST", path="/v1/apps/*/machines", status=422, body={"error": "x", "status": "insufficient_capacity"}
    )
    world.sweep(drain_only=True)
    assert {kind for kind, _ in world.open_alerts()} == {"provision_failed"}
    world.control("PUT", "faults", [])
    world.set_tier(user, "free")
    world.settle()
    assert world.row(user)["status"] == "deleted"
    assert world.open_alerts() == set()
