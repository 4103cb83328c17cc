"""Worlds of tests that share a database, one after the other."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.support.world import World


@contextmanager
def open_world(request: pytest.FixtureRequest, **options: Any) -> Iterator[World]:
    """A world in a shared database; in the test's own if the test uses one, because it opens sessions of its own there."""
    if "database" in request.fixturenames:
        with World(request.getfixturevalue("database"), **options) as made:
            yield made
        return
    databases, server = request.getfixturevalue("shared_databases"), request.getfixturevalue("postgres")
    with databases.lend(server) as shared, World(shared.url, shared=shared, **options) as made:
        yield made
