"""Releases to large fleets, with workers that die at random and users who come, go and change their plan meanwhile."""

import pytest

from bench.fleet import make_fleet, spread_probes
from tests.support.boundaries import Killed
from tests.support.clock import make_chance
from tests.support.promises import find_unrest
from tests.support.releases import NEW, count_writes, find_states, finish, read_digests, read_release, start_release
from tests.support.sizes import size

OLD_CHANGES = "select user_id from public.user_fly_app_events where event_type = 'desired_changed'"
MOST_WRITES = 4
"""One update is what an unchanged app needs; the canary is restarted; two more for what a killed worker repeats."""


def have_fleet(world, count):
    """Healthy apps at rest. Returns their users."""

    def boot():
        world.clock.advance(60)
        world.sim.settle()
        world.sql("select 1")

    users = make_fleet(world.host, world.sim, count, boot)
    spread_probes(world.host, world.clock())
    world.allow_mass_losses()
    return users


def pass_a_minute(world, minute, chance):
    """One drain or sweep. Sometimes the worker dies at a random point between two calls."""
    world.clock.advance(60)
    if chance.random() < 0.6:
        world.boundaries.die_at = world.boundaries.passed + chance.choice((3, 10, 30, 60))
    try:
        world.sweep(drain_only=minute % 5 != 4)
    except Killed:
        world.killed += 1
    world.boundaries.die_at = None


@pytest.mark.sized
@pytest.mark.timeout(3600)
@pytest.mark.slow
def test_a_good_release_survives_deaths_and_changes_of_plan(world):
    """Everybody ends with the new image, on the right plan, with one machine, at few writes to Fly."""
    chance, count = make_chance(12, "releases"), size("RELEASE_FLEET")
    users = have_fleet(world, count)
    # A quarter of the changes of plan end an app. So many in an hour trip the brake, which holds every release.
    world.sql("update hangar.settings set brake_floor = 100000")
    world.killed = 0
    release = start_release(world, image=NEW, soak_s=30, max_moving=100)
    before, steps = count_writes(world), 600
    moved = set()
    for minute in range(steps):
        for _ in range(max(1, count // 150)):
            user = chance.choice(users)
            moved.add(user)
            world.set_tier(user, chance.choice(("free", "pro", "elite", "elite")))
        if chance.random() < 0.3:
            moved.update(world.add_users(["pro"]))
        pass_a_minute(world, minute, chance)
        if read_release(world, release)["state"] != "rolling":
            break
    found = read_release(world, release)
    assert found["state"] == "completed", (found["state"], found.get("reason"), found["waves"])
    assert world.killed > 3
    world.settle(3)
    world.clock.advance(8000)  # grace is over
    world.settle(3)
    assert find_unrest(world) == []
    images = {machine.config["image"].partition("@")[0] for machines in world.apps().values() for machine in machines}
    assert images == {NEW}
    names = dict(world.sql("select user_id, fly_app_name from public.user_fly_apps where deleted_at is null"))
    made = count_writes(world) - before
    unmoved = {user: made[names[user]] for user in set(users) - moved}
    assert min(unmoved.values()) >= 1, "each was updated, so the count sees the calls"
    assert not {user: count for user, count in unmoved.items() if count > MOST_WRITES}


@pytest.mark.sized
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("behaviour", ["crash-after-60s", "pull-reverts", "missing"])
def test_a_bad_release_touches_the_canary_and_the_first_wave_only(world, behaviour):
    count = size("BAD_RELEASE_FLEET")
    have_fleet(world, count)
    before = read_digests(world)
    release = start_release(world, image=f"registry.fly.io/vyx-app:v2-{behaviour}", deadline_s=300)
    first_wave = sum(wave["size"] for wave in read_release(world, release)["waves"] if wave["wave"] <= 1)
    assert first_wave <= 1 + count / 20 + 1
    found = finish(world, release)
    assert found["state"] == "paused"
    assert find_states(found) == {"pending", "reverted"}
    assert len([each for each in found["targets"] if each["state"] == "reverted"]) <= first_wave
    world.clock.advance(300)
    world.settle(2)
    assert read_digests(world) == before
    assert find_unrest(world) == []
