import logging
from collections.abc import Iterator

import pytest

from tests.support.shared_worlds import open_world
from tests.support.world import World


@pytest.fixture(autouse=True, scope="module")
def _log() -> Iterator[None]:
    """Enable the log again after tests that run many worlds without it: other tests read it."""
    log = logging.getLogger("hangar")
    before = log.level
    yield
    log.setLevel(before)


@pytest.fixture
def world(request, postgres) -> Iterator[World]:
    """A live installation without users, on a Fly without faults."""
    with open_world(request) as made:
        yield made


@pytest.fixture
def unkind_world(request, postgres) -> Iterator[World]:
    """The same on a realistic Fly: list lag, short pages, rate limits, names held after deletion."""
    with open_world(request, seed=7, unkind=True) as made:
        yield made
