"""The process dies at every boundary of every use case in turn: nothing is lost, duplicated or orphaned.

A boundary is a point before or after a call that leaves the process (database or Fly write). A first run counts the boundaries of
a way, then one run dies at each. `make test` takes every seventh boundary of a way, `make proof` all of them.
"""

import pytest

from tests.support.boundaries import Killed
from tests.support.databases import drop_database, fresh_database
from tests.support.sizes import size
from tests.support.world import World


def provision(world, user):
    world.reconciler.reconcile(user, 240)


def upgrade(world):
    user = world.add_user("pro")
    return user, lambda: provision(world, user)


def downgrade(world):
    user = world.add_user("pro")
    provision(world, user)
    world.set_tier(user, "free")
    return user, lambda: provision(world, user)


def upgrade_again(world):
    user = world.add_user("pro")
    provision(world, user)
    world.set_tier(user, "free")
    provision(world, user)
    world.set_tier(user, "pro")
    return user, lambda: provision(world, user)


def repair_a_missing_machine(world):
    user = world.add_user("pro")
    provision(world, user)
    app = world.sim.apps[world.row(user)["fly_app_name"]]
    app.machines.clear()
    return user, lambda: provision(world, user)


def rename(world):
    user = world.add_user("pro")
    world.control("PUT", "foreign-apps", [world.row(user)["fly_app_name"]])
    return user, lambda: provision(world, user)


WAYS = [upgrade, downgrade, upgrade_again, repair_a_missing_machine, rename]


def check_promises(world, user):
    """I1, I2, I3, I11 for one user, from the world's own state."""
    row = world.row(user)
    entitled = world.sql("select tier from public.user_subscriptions where user_id = %s", user)[0][0] == "pro"
    if entitled:
        assert row["status"] == "active"
        assert {name: [machine.id for machine in machines] for name, machines in world.apps().items()} == {
            row["fly_app_name"]: [row["machine_id"]]
        }
    else:
        assert row["status"] == "deleted"
        assert world.apps() == {}
    events = world.events(user)
    intents = sum(event[:2] == ("action", "intent") for event in events)
    closed = sum(event[0] == "action" and event[1] in ("succeeded", "failed", "unknown") for event in events)
    assert intents == closed


@pytest.mark.sized
@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_death_at_every_boundary(postgres, way):
    boundaries = _count_boundaries(postgres, way)
    assert boundaries >= 6
    step = size("DEATH_STEP")
    # The ways start at different boundaries, so that their common part is not always sampled at the same points.
    for die_at in range(WAYS.index(way) % step, boundaries, step):
        url = fresh_database(postgres)
        world = World(url, seed=die_at)
        try:
            user, run = way(world)
            world.boundaries.passed, world.boundaries.die_at = 0, die_at
            with pytest.raises(Killed):
                run()
            world.reconciler = world.new_worker()
            world.settle()
            check_promises(world, user)
        except AssertionError as failure:
            raise AssertionError(f"killed at boundary {die_at}: {world.boundaries.trace[-40:]}") from failure
        finally:
            world.close()
            drop_database(url)


def _count_boundaries(postgres, way) -> int:
    url = fresh_database(postgres)
    world = World(url)
    try:
        user, run = way(world)
        world.boundaries.passed = 0
        run()
        passed = world.boundaries.passed
        world.settle()
        check_promises(world, user)
    finally:
        world.close()
        drop_database(url)
    return passed
