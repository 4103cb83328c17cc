"""The parts of a migration that need no installation: its pace, what counts as a refusal, spans of time, and settings."""

from datetime import UTC, datetime, timedelta

import pytest

from ops.commands.events import read_since
from ops.connection import TargetError
from ops.migration.run import _REFUSALS, Pace
from shared.domain.remediation import format_event
from shared.reconcile.result import REFUSALS

NOW = datetime(2026, 11, 23, 3, 0, tzinfo=UTC)


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def test_no_more_than_so_many_are_begun_a_minute():
    """A tenth at once, and never more than that beyond the pace in any minute."""
    clock = Clock()
    pace, taken = Pace(100, clock), []
    for _ in range(6000):
        clock.now += 0.1
        if pace.take():
            taken.append(clock.now)
    assert sum(at <= 0.5 for at in taken) <= 10
    assert 1000 <= len(taken) <= 1010
    for begin in range(0, 540, 7):
        assert sum(begin < at <= begin + 60 for at in taken) <= 110


def test_a_slow_pace_still_begins():
    """One a minute is one at once and one a minute later."""
    clock = Clock()
    pace = Pace(1, clock)
    assert [pace.take(), pace.take()] == [True, False]
    clock.now = 60.1
    assert pace.take()


def test_what_hangar_says_when_it_holds_back_is_known_as_a_refusal():
    """Whatever keeps every user from an app ends a migration; what only concerns deletions does not."""
    for word, text in REFUSALS.items():
        expected = word not in ("deletes_paused", "brake")
        assert any(part in text for part in _REFUSALS) is expected, word


@pytest.mark.parametrize(
    ("text", "back"),
    [
        ("90s", timedelta(seconds=90)),
        ("15m", timedelta(minutes=15)),
        ("24h", timedelta(days=1)),
        ("2w", timedelta(weeks=2)),
    ],
)
def test_since_is_a_span_back_from_now(text, back):
    assert read_since(text, NOW) == NOW - back


def test_since_may_be_a_time_which_is_utc_unless_it_says_otherwise():
    assert read_since("2026-11-22T01:00", NOW) == datetime(2026, 11, 22, 1, tzinfo=UTC)
    assert read_since("2026-11-22T01:00+02:00", NOW) == datetime(2026, 11, 21, 23, tzinfo=UTC)


@pytest.mark.parametrize("text", ["", "24", "h", "yesterday", "9999999d", "-1h"])
def test_since_refuses_what_is_neither(text):
    with pytest.raises(TargetError, match="15m"):
        read_since(text, NOW)


def test_an_event_is_told_by_what_it_says_not_by_who_held_the_lease():
    metadata = {"action": "create_app", "actor": "provision@a:1", "intent_id": "y", "app": None}
    assert (
        format_event({"event_type": "action", "metadata": metadata, "error_details": "boom"})
        == "action create_app; boom"
    )


def test_what_a_person_did_is_told_with_who_it_was():
    event = {
        "event_type": "settings_changed",
        "metadata": {"actor": "cli:me", "changes": {"live": 1}},
        "error_details": None,
    }
    assert format_event(event) == 'actor cli:me; changes {"live": 1}'
