import logging
from collections.abc import Iterator

import pytest

from tests.support.world import World


@pytest.fixture(autouse=True, scope="module")
def _log() -> Iterator[None]:
    """Enable the log again after tests that run many worlds without it: other tests read it."""
    log = logging.getLogger("hangar")
    before = log.level
    yield
    log.setLevel(before)


@pytest.fixture
def world(database) -> Iterator[World]:
    """A live installation without users, on a Fly without faults."""
    made = World(database)
    yield made
    made.close()


@pytest.fixture
def unkind_world(database) -> Iterator[World]:
    """The same on a realistic Fly: list lag, short pages, rate limits, names held after deletion."""
    made = World(database, seed=7, unkind=True)
    yield made
    made.close()
