from collections.abc import Iterator

import pytest

from tests.incidents.fleet import Fleet, have_fleet
from tests.support.shared_worlds import open_world
from tests.support.world import World


@pytest.fixture
def world(request, postgres) -> Iterator[World]:
    """A live installation without users, on a Fly without faults."""
    with open_world(request) as made:
        yield made


@pytest.fixture
def fleet(world) -> Fleet:
    """Four paying users with healthy apps."""
    return have_fleet(world)
