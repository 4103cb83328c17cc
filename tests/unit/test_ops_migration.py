"""The parts of a migration that need no installation: its pace, and which answers concern every user."""

import re
from datetime import UTC, datetime
from pathlib import Path

from ops.migration.pace import Pace
from ops.migration.provision import REFUSAL_CODES
from shared.reconcile.result import REFUSALS

NOW = datetime(2026, 11, 23, 3, 0, tzinfo=UTC)


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def test_pace_allows_a_tenth_at_once_and_never_more_than_that_above_the_rate():
    clock = Clock()
    pace, starts = Pace(100, clock), []
    for _ in range(6000):
        clock.now += 0.1
        if pace.take():
            starts.append(clock.now)
    assert sum(at <= 0.5 for at in starts) <= 10
    assert 1000 <= len(starts) <= 1010
    for begin in range(0, 540, 7):
        assert sum(begin < at <= begin + 60 for at in starts) <= 110


def test_a_pace_of_one_a_minute_allows_one_at_once_and_one_a_minute_later():
    clock = Clock()
    pace = Pace(1, clock)
    assert [pace.take(), pace.take()] == [True, False]
    clock.now = 60.1
    assert pace.take()


def test_the_codes_that_concern_every_user_are_refusals_of_the_loop():
    """Holds on deletions do not end a migration: it deletes nothing."""
    assert REFUSALS.keys() - {"deletes_paused", "brake", "entitlement_unknown"} == REFUSAL_CODES


def test_every_refusal_code_is_a_documented_answer_of_fly_save():
    page = (Path(__file__).parents[2] / "docs" / "database.md").read_text()
    (documented,) = re.findall(r'"refused": null((?:\|"\w+")+)', page)
    assert set(re.findall(r"\w+", documented)) >= REFUSAL_CODES
