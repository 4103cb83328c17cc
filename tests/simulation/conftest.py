import logging
from collections.abc import Iterator

import pytest

from tests.support.world import World


@pytest.fixture(autouse=True, scope="module")
def _log() -> Iterator[None]:
    """Tests that run worlds by the hundred silence our log; tests of other modules read it."""
    log = logging.getLogger("hangar")
    before = log.level
    yield
    log.setLevel(before)


@pytest.fixture
def world(database) -> Iterator[World]:
    """A live installation without users, on a Fly without surprises."""
    made = World(database)
    yield made
    made.close()


@pytest.fixture
def unkind_world(database) -> Iterator[World]:
    """The same on a Fly that does what Fly does: lagging lists, short pages, rate limits, names held after deletion."""
    made = World(database, seed=7, unkind=True)
    yield made
    made.close()
