"""Fly's documented rate limits, kept by the caller itself: one `RateLimits` for all threads of a process.

Docs "Working with the Machines API": each action on each app or machine once a second, three in a burst; Get Machine five a
second, ten in a burst; 100 app deletions a minute. For calls that name no app no limit is documented, so only Fly's own 429 holds
them back. Across processes the deletions are counted by the database (hangar.reserve_delete_slot).
"""

import re
from bisect import insort
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Lock

from shared.domain.errors import Throttled
from shared.fly.messages import Request

DELETIONS_A_MINUTE = 100
# A thousandth slower than documented, so that neither rounding nor a slightly fast clock causes a 429.
_SLACK = 1.001
_MINUTE_S = 60.0 * _SLACK
_NOW_S = 1e-6  # a shorter wait is rounding
# Fly counts when a call arrives: the first call of a burst may take longer to arrive than the one that waited for it.
_JITTER_S = 0.25
_NEVER = float("-inf")
_MACHINE = re.compile(r"/v1/apps/[^/]+/machines/[^/]+")
_APP = re.compile(r"/v1/apps/[^/]+")


@dataclass(slots=True)
class _TokenBucket:
    """`burst` at once, then one each `interval_s`; `full_at` is when the whole burst is there again."""

    interval_s: float
    burst: int
    full_at: float = _NEVER
    held_until: float = _NEVER

    def free_at(self) -> float:
        return self.full_at - (self.burst - 1) * self.interval_s

    def take(self, at: float) -> None:
        self.full_at = max(self.full_at, at) + self.interval_s

    def hold(self, until: float) -> None:
        """Fly counted differently: send nothing before `until`, and no burst after it."""
        self.held_until = max(self.held_until, until)
        self.full_at = max(self.full_at, until + (self.burst - 1) * self.interval_s)


@dataclass(slots=True)
class _Window:
    """At most `most` in any minute; `times` are the last of them, in order."""

    most: int
    times: list[float] = field(default_factory=list)
    held_until: float = _NEVER

    def free_at(self) -> float:
        room = self.times[-self.most] + _MINUTE_S if len(self.times) >= self.most else _NEVER
        return max(room, self.held_until)

    def take(self, at: float) -> None:
        insort(self.times, at)
        del self.times[: -self.most]

    def hold(self, until: float) -> None:
        self.held_until = max(self.held_until, until)


class RateLimits:
    """Decides when each call may be sent. It has no threads: the caller's thread sleeps, outside the lock."""

    def __init__(
        self,
        clock: Callable[[], float],
        sleep: Callable[[float], None],
        *,
        deletions_a_minute: int = DELETIONS_A_MINUTE,
    ) -> None:
        self._clock, self._sleep = clock, sleep
        self._lock = Lock()
        self._paces: OrderedDict[tuple[str, str], _TokenBucket] = OrderedDict()
        self._deletions = _Window(deletions_a_minute)

    def __len__(self) -> int:
        """How many buckets are remembered: those used within the last seconds."""
        return len(self._paces)

    def wait_turn(self, call: Request, ends_at: float | None) -> None:
        """Sleep until `call` may be sent. Raises Throttled, with nothing counted, if that would be after `ends_at`."""
        wait_s, known_hold = self._reserve(call, ends_at)
        while wait_s > 0:
            self._sleep(wait_s)
            if not self._was_held(call, known_hold):
                break
            wait_s, known_hold = self._reserve(call, ends_at)
        if ends_at is not None and self._clock() > ends_at:
            raise _throttled(call, 1.0)  # frozen in the wait: the lease may be another's by now

    def hold(self, call: Request, seconds: float) -> None:
        """Fly answered 429 to `call`: nothing under the same limit is sent for `seconds`."""
        with self._lock:
            until = self._clock() + seconds
            for each in self._limits_of(call):
                each.hold(until)

    def _reserve(self, call: Request, ends_at: float | None) -> tuple[float, float]:
        """Seconds until the slot reserved for this call, and until when its limits are known to be held."""
        with self._lock:
            now = self._clock()
            self._drop_full_buckets(now)
            limits = self._limits_of(call)
            at = max(each.free_at() for each in limits)
            at = now if at < now + _NOW_S else at + _JITTER_S
            if ends_at is not None and at > ends_at:
                raise _throttled(call, at - now)
            for each in limits:
                each.take(at)
            return at - now, max(each.held_until for each in limits)

    def _was_held(self, call: Request, known: float) -> bool:
        """Whether another call received a 429 while this one slept."""
        with self._lock:
            return max(each.held_until for each in self._limits_of(call)) > max(known, self._clock())

    def _limits_of(self, call: Request) -> list[_TokenBucket | _Window]:
        """The limits of this call. Method and path identify the action and its app or machine."""
        key = (call.method, call.path)
        pace = self._paces.get(key)
        if pace is None:
            if call.app is None or call.path == "/v1/apps":
                pace = _TokenBucket(0.0, 1)
            elif call.method == "GET" and _MACHINE.fullmatch(call.path):
                pace = _TokenBucket(_SLACK / 5, 10)
            else:
                pace = _TokenBucket(_SLACK, 3)
            self._paces[key] = pace
        self._paces.move_to_end(key)
        deletes_app = call.method == "DELETE" and _APP.fullmatch(call.path)
        return [pace, self._deletions] if deletes_app else [pace]

    def _drop_full_buckets(self, now: float) -> None:
        """Drop full buckets, which equal new ones; the least recently used come first."""
        while self._paces:
            key, pace = next(iter(self._paces.items()))
            if pace.full_at > now:
                return
            del self._paces[key]


def _throttled(call: Request, wait_s: float) -> Throttled:
    return Throttled(
        f"{call.what}: not sent yet, to keep Fly's rate limit; its turn comes in {wait_s:.0f} s", retry_after_s=wait_s
    )
