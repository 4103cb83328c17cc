"""Every list loop ends, also when the other side sends it in circles."""

from types import SimpleNamespace
from uuid import UUID

import pytest

from ops.commands.events import _read_all
from ops.migration.plan import read_candidates
from shared.domain.errors import TransientError
from shared.domain.paging import MOST_PAGES, Paging
from shared.fleet.sweep import Sweep, SweepReport

AGAIN = UUID(int=7)


class CircularDatabase:
    """Answers every page with the same place to continue from."""

    def __init__(self) -> None:
        self.calls = 0

    def _answer(self, value):
        self.calls += 1
        assert self.calls < 10, "the loop does not end"
        return value

    def sync_entitlements(self, _after, _limit):
        return self._answer(AGAIN)

    def read_fleet_page(self, _after, _limit):
        return self._answer(SimpleNamespace(rows=(), next=AGAIN))

    def read_candidate_page(self, _after, _limit):
        return self._answer(SimpleNamespace(candidates=[], next=AGAIN))


def make_sweep(database):
    sweep = Sweep.__new__(Sweep)  # only what the loops use
    sweep.worker, sweep.report = SimpleNamespace(database=database), SweepReport()
    return sweep


@pytest.mark.parametrize(
    "loop",
    [
        lambda database: make_sweep(database)._sync_entitlements(),
        lambda database: make_sweep(database)._record_all_unknown(None, "Fly is away"),
        lambda database: read_candidates(SimpleNamespace(database=database)),
    ],
)
def test_a_database_that_continues_at_the_same_place_ends_the_loop(loop):
    """C9's kind, in the loops over our own procedures."""
    with pytest.raises(TransientError, match="repeats a page"):
        loop(CircularDatabase())


def test_a_server_that_ignores_the_offset_ends_the_loop():
    """`hangar events` reads by offset: the same full page for ever is an error, not a full disk."""
    calls = []

    def read_rows(_table, limit, **_query):
        calls.append(limit)
        return [None] * limit

    with pytest.raises(TransientError, match="does not end"):
        _read_all(SimpleNamespace(read_rows=read_rows), {})
    assert len(calls) == MOST_PAGES


def test_the_pages_of_a_large_fleet_are_far_from_the_bound():
    """100,000 apps in half-empty pages of 1,000 machines."""
    paging = Paging("list machines")
    for page in range(400):
        paging.advance(str(page))
