"""What is wanted turns round while a worker is in the midst of it: the same worker goes the other way, and forgets the first."""

from dataclasses import replace

import pytest


@pytest.fixture
def turn(world, monkeypatch):
    """`turn(user, tier, behind)`: the user's tier changes right behind the next call named so."""

    def arrange(user, tier, behind):
        cross, turned = world.boundaries.cross, []

        def cross_and_turn(where):
            cross(where)
            if where.startswith(f"after {behind}") and not turned:
                turned.append(where)
                world.set_tier(user, tier)

        monkeypatch.setattr(world.boundaries, "cross", cross_and_turn)

    return arrange


def reconcile(world, user):
    """The outcome, and how long the worker took by its own clock."""
    begun = world.clock()
    return world.reconciler.reconcile(user, 240), world.clock() - begun


def test_an_app_made_and_deleted_by_one_worker_is_gone_when_fly_says_so(world, turn):
    """I8: that it was made a moment ago explains no 404 once the same worker has deleted it."""
    user = world.add_user("pro")
    turn(user, "free", "POST /v1/apps")
    outcome, seconds = reconcile(world, user)
    assert (outcome.status, outcome.failure) == ("deleted", None)
    assert seconds < 10
    assert world.apps() == {}


@pytest.mark.parametrize("goes_in_s", [0.0, 5.0])
def test_an_app_deleted_and_made_again_by_one_worker_is_looked_into(world, turn, goes_in_s):
    """I2: the deletion that went before says nothing about the machines of the app that came after it."""
    timing = world.sim.world.timing
    world.sim.world.timing = replace(
        timing, app_delete_s=(goes_in_s, goes_in_s), boot_s=(3.0, 3.0), cold_boot_s=(3.0, 3.0)
    )
    user = world.add_user("pro")
    world.reconciler.reconcile(user, 240)
    world.set_tier(user, "free")
    turn(user, "pro", "DELETE /v1/apps")
    seen = world.watch_calls()
    outcome, seconds = reconcile(world, user)
    assert (outcome.status, outcome.failure) == ("active", None)
    assert seconds < 40
    assert [call for call in seen if call[0] == "POST" and call[1].endswith("/machines")] == [
        ("POST", "/v1/apps/*/machines")
    ]
    assert {name: [machine.id for machine in machines] for name, machines in world.apps().items()} == {
        outcome.app_name: [outcome.machine_id]
    }


@pytest.mark.parametrize(("first", "then"), [("pro", "free"), ("free", "pro")])
def test_a_call_that_the_database_refuses_does_not_go_out(world, turn, first, then):
    """I5, I6: the tier turned between claim and intent, so what was decided before is stale: Fly hears nothing of it."""
    user = world.add_user("pro")
    if first == "free":
        world.reconciler.reconcile(user, 240)
        world.set_tier(user, "free")
    turn(user, then, "fly_claim")
    seen = world.watch_calls()
    outcome, _ = reconcile(world, user)
    assert (outcome.status, outcome.failure) == ("active" if then == "pro" else "deleted", None)
    assert [call for call in seen if call[0] != "GET"] == []
