"""When a pg_cron job is due: five fields in GMT as in Vixie cron, with `$` for the last day of a month, or seconds."""

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Self

from croniter import CroniterBadCronError, CroniterBadDateError, croniter

_SECONDS = re.compile(r"\s*([1-9]|[1-5][0-9])\s+seconds?\s*", re.IGNORECASE)
_NICKNAMES = ("@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly")
_RANGE = re.compile(r"(\d+)-(\d+)")
_FIELDS = re.compile(r"\s*([\w*,/-]+\s+){2}[\w*,/$-]+(\s+[\w*,/-]+){2}\s*", re.ASCII)


@dataclass(frozen=True)
class Schedule:
    """Either `every_s`, seconds from one start to the next, or a five-field `expression` as croniter reads it."""

    every_s: int | None = None
    expression: str = ""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a schedule as pg_cron takes it; ValueError for anything else."""
        if found := _SECONDS.fullmatch(text):
            return cls(every_s=int(found[1]))
        # croniter takes more than pg_cron: six fields, other nicknames, `#`, ranges that run backwards. Its last day is `l`.
        schedule = cls(expression=text.strip().lower().replace("$", "l"))
        backwards = any(int(first) > int(last) for first, last in _RANGE.findall(text))
        if backwards or (schedule.expression not in _NICKNAMES and not _FIELDS.fullmatch(text)):
            raise ValueError(f"invalid schedule: {text}")
        try:
            croniter.expand(schedule.expression)
        except CroniterBadCronError as error:
            raise ValueError(f"invalid schedule: {text}") from error
        return schedule

    def matches(self, minute: datetime) -> bool:
        """Whether a five-field schedule is due in this minute of GMT.

        With both a day and a weekday given, either is enough; with a `*` in one of them both must fit (crontab(5), which
        croniter calls a bug of cron).
        """
        before = minute - timedelta(minutes=1)
        try:
            times = croniter(self.expression, before, datetime, max_years_between_matches=1, implement_cron_bug=True)
            following: datetime = times.get_next()
        except CroniterBadDateError:  # a day that does not come within a year, or never
            return False
        return following == minute
