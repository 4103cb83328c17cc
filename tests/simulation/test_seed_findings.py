"""Findings of the small worlds, each as a minimal test."""

from dataclasses import replace

import pytest

from tests.simulation.seeds import check_seed, forget
from tests.support.fault_schedule import by_hand


def test_a_new_machine_that_is_not_visible_yet_is_waited_for(world):
    """Fly names a machine and then answers 404 for it, by id and in its list, for seconds: nothing failed."""
    unkindness = replace(world.sim.world.unkindness, fresh_machine_lag_s=(3.0, 3.0), list_lag_s=(5.0, 5.0))
    world.sim.world.unkindness = unkindness
    user = world.add_user("pro")
    world.sweep(drain_only=True)
    assert world.row(user)["status"] == "active"
    assert world.count_actions(user, "failed", "unknown") == 0


def test_a_list_that_still_shows_what_was_destroyed_is_not_believed(world):
    """A failed machine is replaced; Fly lists it as failed for seconds after a direct look has found it destroyed."""
    user = world.add_user("pro")
    world.sweep(drain_only=True)
    failed = world.row(user)["machine_id"]
    world.sim.world.unkindness = replace(world.sim.world.unkindness, list_lag_s=(8.0, 8.0))
    world.control("PUT", f"machines/{failed}", {"state": "failed"})
    world.clock.advance(60)
    world.reconciler.reconcile(user, 100)
    row = world.row(user)
    assert (row["status"], row["retry_count"]) == ("active", 0)
    assert row["machine_id"] != failed
    assert world.count_actions(user, "intent") == 3 + 2  # created; destroyed and created again, each once


def test_a_machine_found_in_the_removal_hold_has_a_price(world):
    """I10: the answer to its creation was lost, then its user left. It runs and costs money, so it is recorded with its price."""
    world.sql("update hangar.settings set removal_hold_s = 300")
    user = world.add_user("pro")
    world.set_faults(
        {"method": "POST", "path": "/v1/apps/*/machines", "when": "after", "disconnect": True},
        {"method": "GET", "path": "/v1/apps/*/machines", "when": "before", "status": 503, "text": ""},
    )
    world.sweep(drain_only=True)
    assert world.row(user)["machine_id"] is None
    (machine,) = world.sim.machines()
    world.set_faults()
    world.set_tier(user, "free")
    world.reconciler.reconcile(user, 100, force=True)
    row = world.row(user)
    assert (row["status"], row["machine_id"], row["machine_state"]) == ("deprovisioning", machine.id, "started")
    [(price,)] = world.sql("select price_usd_per_s from public.fly_cost_intervals")
    assert price > 0


def test_a_second_machine_that_is_stuck_half_way_goes_too(world):
    """I2, I8: made by hand, and stuck in a state that ought to pass."""
    user = world.add_user("pro")
    world.sweep(drain_only=True)
    (main,) = world.sim.machines()
    with by_hand(world) as fly:
        path = f"/v1/apps/{main.app.name}/machines"
        second = fly.post(path, json={"name": "by-hand", "config": main.config}).json()["id"]
    world.control("PUT", f"machines/{second}", {"state": "stopping"})
    world.clock.advance(700)
    world.sweep()
    world.clock.advance(60)
    assert [machine.id for machine in world.sim.machines()] == [main.id]
    assert world.row(user)["status"] == "active"


def test_a_second_machine_is_removed_in_the_sweep_that_replaces_the_first(world):
    """I2: the list was read before the main machine was created again, and the second machine it showed is kept."""
    user = world.add_user("pro")
    world.sweep(drain_only=True)
    (main,) = world.sim.machines()
    with by_hand(world) as fly:
        fly.post(f"/v1/apps/{main.app.name}/machines", json={"name": "by-hand", "config": main.config})
    world.clock.advance(700)
    world.control("PUT", f"machines/{main.id}", {"state": "failed"})
    world.sweep()
    world.clock.advance(60)
    (left,) = world.sim.machines()
    assert left.id == world.row(user)["machine_id"] != main.id


def test_a_machine_of_the_old_size_has_its_price_too(world):
    """I10: a machine known from a 409 was not read before the plan changed. It costs its real size."""
    world.sql("update public.fly_plans set memory_mb = 1024 where tier = 'elite'")
    user = world.add_user("pro")
    lost = {"method": "POST", "path": "/v1/apps/*/machines", "when": "after", "disconnect": True, "times": 1}
    unseen = {"method": "GET", "path": "/v1/apps/*/machines", "when": "before", "status": 503}
    world.control("PUT", "faults", [lost, unseen])
    world.sweep(drain_only=True)
    assert world.row(user)["machine_id"]
    world.control("PUT", "faults", [])
    world.set_tier(user, "elite")
    world.sweep(drain_only=True)
    prices = [
        price for (price,) in world.sql("select price_usd_per_s from public.fly_cost_intervals order by started_at")
    ]
    assert len(prices) == 2
    assert prices[0] < prices[1]


@pytest.mark.parametrize("comes_back", [False, True])
def test_an_app_that_fly_denied_goes_with_the_next_sweep(world, comes_back):
    """I3: delete and read both got a false 404. The closed row proves the deletion, so the orphan need not age."""
    user = world.add_user("pro")
    world.sweep(drain_only=True)
    (app,) = world.apps()
    world.fault(method="*", path="/v1/apps/*", status=404, body={"error": "Could not find App"})
    world.set_tier(user, "free")
    world.reconciler.reconcile(user, 240)
    assert world.row(user)["status"] == "deleted"
    world.control("PUT", "faults", [])
    assert set(world.apps()) == {app}
    if comes_back:
        world.set_tier(user, "pro")
    world.clock.advance(1000)
    world.sweep()
    world.sweep()
    left = world.apps()
    assert list(left) == ([world.row(user)["fly_app_name"]] if comes_back else [])
    assert app not in left


@pytest.mark.slow
def test_an_app_whose_row_was_closed_otherwise_ages(world):
    """A row closed without a deletion of ours proves nothing: its app must age like every orphan."""
    user = world.add_user("pro")
    world.sweep(drain_only=True)
    (app,) = world.apps()
    world.sql("update public.user_subscriptions set tier = 'free' where user_id = %s", user)
    world.sql("update public.user_fly_apps set status = 'deleted', deleted_at = hangar.now() where user_id = %s", user)
    world.sweep()
    world.sweep()
    assert set(world.apps()) == {app}


def test_an_app_deleted_by_hand_is_made_again_as_soon_as_fly_frees_its_name(world):
    """Seeds 770014 and 770679: Fly holds a deleted app's name for up to a minute. That is no failure and no alert."""
    user = world.add_user("pro")
    world.sweep(drain_only=True)
    app = world.row(user)["fly_app_name"]
    world.sim.world.timing = replace(world.sim.world.timing, name_held_s=(40.0, 40.0))
    with by_hand(world) as fly:
        assert fly.delete(f"/v1/apps/{app}", params={"force": "true"}).status_code == 202
    world.clock.advance(5)
    world.sweep()
    row = world.row(user)
    assert (row["status"], row["fly_app_name"], row["error_code"]) == ("active", app, None)
    assert world.open_alerts() == set()


@pytest.mark.slow
@pytest.mark.parametrize("seed", [770014, 770569, 770679, 20810, 21140])
def test_a_seed_that_broke_a_promise_holds(database, seed):
    """Apps deleted by hand whose names are held, a young second machine, and machines found only in the removal hold."""
    try:
        assert check_seed(database, seed) == []
    finally:
        forget(database)
