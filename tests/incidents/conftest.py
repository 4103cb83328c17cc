from collections.abc import Iterator

import pytest

from tests.incidents.fleet import Fleet, have_fleet
from tests.support.world import World


@pytest.fixture
def world(database) -> Iterator[World]:
    """A live installation without users, on a Fly without faults."""
    made = World(database)
    yield made
    made.close()


@pytest.fixture
def fleet(world) -> Fleet:
    """Four paying users with healthy apps."""
    return have_fleet(world)
