"""A death or a change at every boundary of a move to another region: nobody runs twice, and one machine is left."""

import pytest

from tests.support.boundaries import Killed
from tests.support.region_moves import add_users_in_sin, check_costs, check_rest, find_spares, watch
from tests.support.releases import change, find_states, finish, pass_minutes, read_release, start_release
from tests.support.sizes import size

FORWARD, BACK = "good", "never-ready"


@pytest.mark.sized
@pytest.mark.parametrize("image", [FORWARD, BACK], ids=["forward", "back"])
@pytest.mark.slow
def test_death_at_every_boundary_of_a_move(world, image):
    """The process dies at each boundary in turn. The next one continues: nobody runs twice, and one machine is left."""
    step = 3 * size("DEATH_STEP")
    [user] = add_users_in_sin(world, ["pro"])
    boundaries = watch(world)
    here, there = "sin", "nrt"
    die_at, deaths = 0, 0
    while True:
        boundaries.passed, boundaries.die_at = 0, die_at
        tag = f"registry.fly.io/vyx-app:r{die_at}-{image}"
        release = start_release(world, region=there, image=tag, soak_s=60, deadline_s=300)
        died = False
        for minute in range(60):
            world.clock.advance(60)
            try:
                world.sweep(drain_only=minute % 5 != 4)
            except Killed:
                died = True
                boundaries.die_at = None
                world.reconciler = world.new_worker()
            if read_release(world, release)["state"] in ("completed", "paused") and minute > 8:
                break
        boundaries.die_at = None
        found = finish(world, release)
        assert boundaries.wrong == []
        if image == BACK:
            assert (found["state"], find_states(found)) == ("paused", {"reverted"}), (die_at, found)
            change(world, release, "abort")
            finish(world, release)
            check_rest(world, region=here, apps=1)
        else:
            assert (found["state"], find_states(found)) == ("completed", {"done"}), (die_at, found)
            check_rest(world, region=there, apps=1)
            here, there = there, here
        assert world.row(user)["status"] == "active"
        if not died:
            break
        deaths += 1
        die_at += step
    assert deaths >= 40 // step
    check_costs(world)


@pytest.mark.sized
@pytest.mark.parametrize("change_of_mind", ["free", "elite", "deny", "free and back", "abort"])
def test_a_change_at_every_boundary_of_a_move(world, change_of_mind):
    """Another tier, the end of a subscription, or an abort in the middle of a move: the last word holds; nobody runs twice."""
    step = 3 * size("DEATH_STEP")
    world.allow_mass_losses()
    at = 0
    while True:
        [user] = add_users_in_sin(world, ["pro"])
        boundaries = watch(world)
        world.watches_loss = False
        release = start_release(world, region="nrt", users=[str(user)], soak_s=60)
        acted = []

        def act(user=user, release=release, acted=acted):
            acted.append(read_release(world, release)["state"])
            if change_of_mind == "abort" and acted == ["rolling"]:
                change(world, release, "abort")
            elif change_of_mind == "deny":
                sql = "select public.fly_set_override(%s, 'deny', null, 'ops', 'test')"
                world.sql(sql, user)
            elif change_of_mind != "abort":
                world.set_tier(user, change_of_mind.partition(" ")[0])
                if change_of_mind.endswith("back"):
                    world.set_tier(user, "pro")

        boundaries.act_at, boundaries.act = at, act
        pass_minutes(world, 12)
        finish(world, release)
        world.settle(3)
        assert boundaries.wrong == []
        if not acted or acted == ["completed"]:
            break
        row = world.row(user)
        if change_of_mind in ("free", "deny"):
            assert row["status"] == "deleted", (at, row)
            assert row["fly_app_name"] not in world.apps()
        else:
            (machine,) = world.apps()[row["fly_app_name"]]
            assert (row["status"], machine.state, machine.id) == ("active", "started", row["machine_id"]), (at, row)
            assert machine.region in row["region"].split(","), (at, row)
            if change_of_mind == "abort":
                assert machine.region == "sin"
        assert find_spares(world) == []
        at += step
    assert at > 20
    check_costs(world)
