"""The parts of a migration that need no installation: its pace, and which answers concern every user."""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest

from ops.migration.pace import Pace
from ops.migration.provision import REFUSAL_CODES, is_refused

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


def installation(*, paused=False, alerts=()):
    """An installation whose overview is this; alerts are (kind, age in seconds)."""
    found = [{"kind": kind, "seen_at": (NOW - timedelta(seconds=age_s)).isoformat()} for kind, age_s in alerts]
    overview = {"now": NOW.isoformat(), "settings": {"paused": paused}, "alerts": found}
    return SimpleNamespace(database=SimpleNamespace(rpc=lambda _name: overview))


@pytest.mark.parametrize("code", sorted(REFUSAL_CODES))
def test_a_code_that_concerns_every_user_ends_the_migration(code):
    assert is_refused(installation(), {"code": code})


@pytest.mark.parametrize("code", ["leased", "waiting", "deletes_paused", "brake", "rate"])
def test_a_code_of_one_user_or_of_deletions_does_not_end_it(code):
    """The code alone decides, whatever settings and alerts say."""
    assert not is_refused(installation(paused=True, alerts=[("max_apps", 1)]), {"code": code})


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ({"paused": True}, True),
        ({"alerts": [("max_apps", 5)]}, True),
        ({"alerts": [("max_apps", 600)]}, False),
        ({"alerts": [("orphans", 5)]}, False),
        ({}, False),
    ],
)
def test_without_a_code_the_pause_and_fresh_alerts_decide(state, expected):
    assert is_refused(installation(**state), {"detail": "text that nobody parses"}) is expected


def test_every_refusal_code_is_a_documented_answer_of_fly_save():
    page = (Path(__file__).parents[2] / "docs" / "database.md").read_text()
    (documented,) = re.findall(r'"refused": null((?:\|"\w+")+)', page)
    assert set(re.findall(r"\w+", documented)) >= REFUSAL_CODES
