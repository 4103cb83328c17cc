"""A storm of random tier changes with Fly failing all the while ends with exactly the entitled users' apps, and nothing else.

Longer and slower than the small worlds of test_seeds.py, with what they leave out: a scheduler that never stops, httpx's client.
"""

import logging
import os

import pytest

from tests.simulation.storm import Storm
from tests.support.promises import find_all, find_unrest
from tests.support.sizes import size
from tests.support.turns import use_turns
from tests.support.world import make_storm_world

SEEDS = [int(seed) for seed in os.environ.get("STORM_SEEDS", "").split(",") if seed] or list(
    range(1, size("STORMS") + 1)
)
STORM_S = float(size("STORM_S"))
# A retry waits 30 minutes at most, an orphan ripens for 15, an unknown create blocks for two: four hours are plenty.
CALM_S = 4 * 3600.0


@pytest.mark.sized
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.slow
def test_a_storm_ends_with_exactly_the_entitled_users_apps(database, monkeypatch, caplog, seed):
    """I1, I2, I3, I4, I7, I8, I10 and I11 after many minutes of tier changes, faults and deaths, once the faults stop."""
    caplog.set_level(logging.CRITICAL)
    world = make_storm_world(database, seed)
    use_turns(monkeypatch, world.turns)
    storm = Storm(world, seed)
    world.database_fails = 0.01
    try:
        storm.begin()
        world.turns.run(world.clock() + STORM_S)
        storm.end()
        world.turns.run(world.clock() + 1000)  # every expiry that the storm left behind has passed
        calm_until = world.clock() + CALM_S
        while world.clock() < calm_until and find_unrest(world):
            world.turns.run(world.clock() + 300)
        world.turns.run(world.clock() + 3900)  # health is judged by the sweeps that follow, and an hour is steady
        problems = find_all(world)
    finally:
        world.close()
    again = f"STORM_SEEDS={seed} .venv/bin/python -m pytest tests/simulation/test_storm.py"
    assert not problems, f"reproduce: {again}\n" + "\n".join(map(str, problems))
