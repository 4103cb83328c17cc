"""Cron schedules as pg_cron reads them: crontab(5) in GMT, `$`, and `N seconds`."""

from datetime import UTC, datetime, timedelta

import pytest

from local.supabase.extensions.cron_schedule import Schedule

START = datetime(2026, 2, 1, tzinfo=UTC)  # a Sunday


def due(text: str, days: int = 1) -> list[str]:
    """All due minutes of some days from START on, as "day hour:minute"."""
    schedule = Schedule.parse(text)
    minutes = (START + timedelta(minutes=number) for number in range(days * 1440))
    return [f"{minute:%-d %-H:%M}" for minute in minutes if schedule.matches(minute)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("*/5 * * * *", 288),
        ("* * * * *", 1440),
        ("0 * * * *", 24),
        ("@hourly", 24),
        ("0-10/5,30 0,12 * * *", ["1 0:00", "1 0:05", "1 0:10", "1 0:30", "1 12:00", "1 12:05", "1 12:10", "1 12:30"]),
        ("50/5 23 * * *", ["1 23:50", "1 23:55"]),
        ("0 0 * * 7", ["1 0:00"]),
        ("0 0 * * sun", ["1 0:00"]),
        ("0 0 1 feb *", ["1 0:00"]),
        ("0 0 1 mar *", []),
    ],
)
def test_what_is_due_on_a_sunday(text, expected):
    found = due(text)
    assert (len(found) if isinstance(expected, int) else found) == expected


def test_the_last_day_of_the_month():
    assert due("0 0 $ * *", days=28) == ["28 0:00"]
    assert due("0 0 1,$ * *", days=28) == ["1 0:00", "28 0:00"]


def test_a_day_and_a_weekday_are_either_or_unless_one_is_a_star():
    assert due("0 0 5 * 1", days=9) == ["2 0:00", "5 0:00", "9 0:00"]
    assert due("0 0 */2 * 1", days=9) == ["9 0:00"]


def test_seconds():
    assert Schedule.parse("30 seconds").every_s == 30
    assert Schedule.parse("1 second").every_s == 1
    assert Schedule.parse("*/5 * * * *").every_s is None


INVALID = ("", "* * * *", "* * * * * *", "60 * * * *", "* 24 * * *", "* * 0 * *", "* * * 13 *", "* * * * 8", "5-1 * * * *",
           "*/0 * * * *", "0 seconds", "60 seconds", "x * * * *", "$ * * * *", "1- * * * *", "@reboots")  # fmt: skip


@pytest.mark.parametrize("text", INVALID)
def test_what_is_no_schedule(text):
    with pytest.raises(ValueError, match="invalid schedule"):
        Schedule.parse(text)
