from collections.abc import Iterator

import pytest

from tests.simulation.world import World


@pytest.fixture
def world(database) -> Iterator[World]:
    """A live installation with nobody in it, on a Fly without surprises."""
    made = World(database)
    yield made
    made.close()


@pytest.fixture
def unkind_world(database) -> Iterator[World]:
    """The same on a Fly that does what Fly does: lagging lists, short pages, rate limits, names held after deletion."""
    made = World(database, seed=7, unkind=True)
    yield made
    made.close()
