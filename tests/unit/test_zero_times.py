"""Times that Fly writes when it has none: Go's zero time, and 0."""

from datetime import UTC, datetime, timedelta

import pytest

from shared.domain.machine_states import is_stuck
from shared.fly.parsing import parse_machine, parse_time
from shared.reconcile.observed_machine import to_observation

NOW = datetime(2026, 11, 27, tzinfo=UTC)


@pytest.mark.parametrize(
    "raw", ["0001-01-01T00:00:00Z", "1970-01-01T00:00:00Z", "0001-01-01T00:00:00+14:00", 0, -1, 0.0]
)
def test_a_time_before_fly_is_none(raw):
    """A machine with such times has just begun for all that is known, so it is never destroyed as stuck."""
    assert parse_time(raw) is None
    machine = parse_machine(
        {"id": "m", "state": "starting", "created_at": raw, "updated_at": raw, "config": {"image": "a"}}
    )
    assert not is_stuck(to_observation(machine, timedelta()), NOW)


def test_a_time_is_read():
    """A machine that has been starting for an hour is stuck."""
    machine = parse_machine(
        {"id": "m", "state": "starting", "updated_at": "2026-11-26T23:00:00Z", "config": {"image": "a"}}
    )
    assert is_stuck(to_observation(machine, timedelta()), NOW)
