"""The desired state changes while a worker is at work: the same worker changes direction and drops stale knowledge."""

from dataclasses import replace

import pytest


@pytest.fixture
def turn(world, monkeypatch):
    """`turn(user, tier, behind)`: change the user's tier right after the next call of that name."""

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


def test_an_app_that_one_worker_created_and_deleted_is_gone_after_a_404(world, turn):
    """I8: after the same worker deleted the app, its recent creation does not explain a 404."""
    user = world.add_user("pro")
    turn(user, "free", "POST /v1/apps")
    outcome, seconds = reconcile(world, user)
    assert (outcome.status, outcome.failure) == ("deleted", None)
    assert seconds < 10
    assert world.apps() == {}


@pytest.mark.parametrize("goes_in_s", [0.0, 5.0])
def test_the_machines_of_an_app_that_one_worker_deleted_and_created_again_are_read(world, turn, goes_in_s):
    """I2: the earlier deletion proves nothing about the machines of the new app."""
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
    """I5, I6: the tier changed between claim and intent, so the decision is stale and no call is sent to Fly."""
    user = world.add_user("pro")
    if first == "free":
        world.reconciler.reconcile(user, 240)
        world.set_tier(user, "free")
    turn(user, then, "fly_claim")
    seen = world.watch_calls()
    outcome, _ = reconcile(world, user)
    assert (outcome.status, outcome.failure) == ("active" if then == "pro" else "deleted", None)
    assert [call for call in seen if call[0] != "GET"] == []
