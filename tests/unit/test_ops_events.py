"""What `hangar events` reads and prints, without an installation."""

from datetime import UTC, datetime, timedelta

import pytest

from ops.commands.events import read_since
from ops.connection import TargetError
from shared.domain.remediation import format_event

NOW = datetime(2026, 11, 23, 3, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "back"),
    [
        ("90s", timedelta(seconds=90)),
        ("15m", timedelta(minutes=15)),
        ("24h", timedelta(days=1)),
        ("2w", timedelta(weeks=2)),
    ],
)
def test_since_is_a_span_before_now(text, back):
    assert read_since(text, NOW) == NOW - back


def test_since_may_be_a_time_which_is_utc_unless_it_has_an_offset():
    assert read_since("2026-11-22T01:00", NOW) == datetime(2026, 11, 22, 1, tzinfo=UTC)
    assert read_since("2026-11-22T01:00+02:00", NOW) == datetime(2026, 11, 21, 23, tzinfo=UTC)


@pytest.mark.parametrize("text", ["", "24", "h", "yesterday", "9999999d", "-1h"])
def test_since_refuses_anything_else(text):
    with pytest.raises(TargetError, match="15m"):
        read_since(text, NOW)


def test_an_event_is_shown_without_the_worker_that_held_the_lease():
    metadata = {"action": "create_app", "actor": "provision@a:1", "intent_id": "y", "app": None}
    assert (
        format_event({"event_type": "action", "metadata": metadata, "error_details": "boom"})
        == "action create_app; boom"
    )


def test_an_event_of_an_operator_is_shown_with_the_operator():
    event = {
        "event_type": "settings_changed",
        "metadata": {"actor": "cli:me", "changes": {"live": 1}},
        "error_details": None,
    }
    assert format_event(event) == 'actor cli:me; changes {"live": 1}'
