"""Cron schedules as pg_cron reads them: crontab(5) in GMT, `$`, and `N seconds`."""

from datetime import UTC, datetime, timedelta

import pytest

from local.supabase.extensions.cron_schedule import Schedule

START = datetime(2026, 2, 1, tzinfo=UTC)  # a Sunday


def due(text: str, days: int = 1) -> list[str]:
    """All due minutes of the day START, or the due midnights of several days, as "day hour:minute"."""
    schedule, step_min = Schedule.parse(text), 1 if days == 1 else 1440
    minutes = (START + timedelta(minutes=number) for number in range(0, days * 1440, step_min))
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
def test_minutes_that_are_due_on_a_sunday(text, expected):
    """Steps, ranges, lists, names and nicknames are those of crontab(5)."""
    found = due(text)
    assert (len(found) if isinstance(expected, int) else found) == expected


def test_the_last_day_of_the_month():
    """`$` is the last day, alone or in a list; a day that no month has is never due."""
    assert not Schedule.parse("0 0 30 2 *").matches(START)
    assert due("0 0 $ * *", days=28) == ["28 0:00"]
    assert due("0 0 1,$ * *", days=28) == ["1 0:00", "28 0:00"]


def test_a_day_or_a_weekday_is_enough_unless_one_has_a_star():
    """A field that begins with `*` must fit as well, as in Vixie cron."""
    assert due("0 0 5 * 1", days=9) == ["2 0:00", "5 0:00", "9 0:00"]
    assert due("0 0 */2 * 1", days=9) == ["9 0:00"]


def test_seconds():
    """`N seconds` is an interval; a five-field schedule has none."""
    assert Schedule.parse("30 seconds").every_s == 30
    assert Schedule.parse("1 second").every_s == 1
    assert Schedule.parse("*/5 * * * *").every_s is None


INVALID = """|* * * *|* * * * * *|60 * * * *|* 24 * * *|* * 0 * *|* * * 13 *|* * * * 8|5-1 * * * *|*/0 * * * *|0 seconds
60 seconds|x * * * *|$ * * * *|1- * * * *|@reboots|@reboot|l * * * *|* * 1#2 * *""".replace("\n", "|").split("|")


@pytest.mark.parametrize("text", INVALID)
def test_an_invalid_schedule_is_a_value_error(text):
    """Text that pg_cron refuses, and forms that only croniter knows."""
    with pytest.raises(ValueError, match="invalid schedule"):
        Schedule.parse(text)
