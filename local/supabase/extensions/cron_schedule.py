"""When a pg_cron job is due: five fields in GMT as in Vixie cron, with `$` for the last day of a month, or seconds."""

import calendar
import re
from dataclasses import dataclass
from datetime import datetime
from typing import Self

_SECONDS = re.compile(r"\s*([1-9]|[1-5][0-9])\s+seconds?\s*", re.IGNORECASE)
_ITEM = re.compile(r"(?:\*|(\d{1,2})(?:-(\d{1,2}))?)(?:/([1-9]\d*))?")
_NICKNAMES = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_BOUNDS = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))
_MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
_DAYS = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"]


@dataclass(frozen=True)
class Schedule:
    """Either `every_s` (N seconds after the last start) or sets of minutes, hours, days, months and weekdays (0 Sunday)."""

    every_s: int | None = None
    minutes: frozenset[int] = frozenset()
    hours: frozenset[int] = frozenset()
    days: frozenset[int] = frozenset()
    months: frozenset[int] = frozenset()
    weekdays: frozenset[int] = frozenset()
    last_day: bool = False
    any_day: bool = True
    any_weekday: bool = True

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a schedule as pg_cron takes it; ValueError for anything else."""
        if found := _SECONDS.fullmatch(text):
            return cls(every_s=int(found[1]))
        fields = _NICKNAMES.get(text.strip().lower(), text).lower().split()
        if len(fields) != len(_BOUNDS):
            raise ValueError(f"invalid schedule: {text}")
        for names, first, place in ((_MONTHS, 1, 3), (_DAYS, 0, 4)):
            for number, name in enumerate(names, start=first):
                fields[place] = re.sub(rf"\b{name}\b", str(number), fields[place])
        try:
            days = [item for item in fields[2].split(",") if item != "$"]
            return cls(
                minutes=_numbers(fields[0], 0),
                hours=_numbers(fields[1], 1),
                days=_numbers(",".join(days), 2) if days else frozenset(),
                months=_numbers(fields[3], 3),
                weekdays=frozenset(day % 7 for day in _numbers(fields[4], 4)),
                last_day="$" in fields[2].split(","),
                any_day=fields[2].startswith("*"),
                any_weekday=fields[4].startswith("*"),
            )
        except ValueError as error:
            raise ValueError(f"invalid schedule: {text}") from error

    def matches(self, minute: datetime) -> bool:
        """Whether a five-field schedule is due in this minute of GMT.

        With both a day and a weekday given, either is enough; with a `*` in one of them both must fit (crontab(5)).
        """
        if minute.minute not in self.minutes or minute.hour not in self.hours or minute.month not in self.months:
            return False
        last = calendar.monthrange(minute.year, minute.month)[1]
        day_fits = minute.day in self.days or (self.last_day and minute.day == last)
        weekday_fits = minute.isoweekday() % 7 in self.weekdays
        if self.any_day or self.any_weekday:
            return day_fits and weekday_fits
        return day_fits or weekday_fits


def _numbers(field: str, place: int) -> frozenset[int]:
    lowest, highest = _BOUNDS[place]
    numbers: set[int] = set()
    for item in field.split(","):
        found = _ITEM.fullmatch(item)
        if not found:
            raise ValueError(item)
        first = int(found[1]) if found[1] else lowest
        # A single number with a step runs on to the end, as `5/10` does in Vixie cron.
        only = found[1] and not found[3]
        last = int(found[2]) if found[2] else first if only else highest
        if not lowest <= first <= last <= highest:
            raise ValueError(item)
        numbers.update(range(first, last + 1, int(found[3] or 1)))
    return frozenset(numbers)
