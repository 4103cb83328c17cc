"""How far Fly's clock is ahead of another one, measured by the `Date` of Fly's answers.

Time stamps of Fly are ages only by Fly's own clock. Whoever compares one with the database's time subtracts this lead first;
otherwise a database whose clock is minutes ahead would take every booting machine for a stuck one.
"""

from collections import deque
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

# `Date` counts whole seconds and is written before the answer travels: less than this is no skew.
NOISE = timedelta(seconds=5)
# Two answers that differ by more were not stamped by one clock: until the next answer, no age is known.
AGREEMENT = timedelta(seconds=30)


class FlyClock:
    """The readings of one client, shared by its threads. `clock` is the process's, in seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._offsets: deque[float] = deque(maxlen=2)

    def note(self, date: datetime | None) -> None:
        """Remember the `Date` of an answer that has just arrived."""
        if date is not None:
            self._offsets.append(date.timestamp() - self._clock())

    def lead_over(self, now: datetime) -> timedelta | None:
        """How far Fly's clock is ahead of `now`, the other clock's time at this moment.

        Zero without any reading, and None while the last two deny each other: then no age may be concluded.
        """
        offsets = tuple(self._offsets)
        if not offsets:
            return timedelta(0)
        if abs(offsets[0] - offsets[-1]) > AGREEMENT.total_seconds():
            return None
        lead = timedelta(seconds=offsets[-1] + self._clock() - now.timestamp())
        return lead if abs(lead) > NOISE else timedelta(0)


def find_common_lead(leads: Sequence[timedelta | None]) -> timedelta | None:
    """The last of these leads, which were read one after the other. None if one is unknown, or two of them deny each other."""
    known = [lead for lead in leads if lead is not None]
    agree = len(known) == len(leads) and max(known) - min(known) <= AGREEMENT
    return known[-1] if agree else None
