"""The simulated world: its clock, timers, ids, apps and machines. No I/O; every access holds `World.lock`."""

import heapq
import itertools
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Any

from local.fly.runtime.runner import MachineRunner
from local.fly.state.app_logs import AppLogs
from local.fly.state.images import Images
from local.fly.state.latency_profiles import KIND, UNKIND, Span, Unkindness, timing_for
from local.fly.state.model import MAX_EVENTS, App, Listing, Machine
from local.fly.state.rate import RateLimits

if TYPE_CHECKING:
    from local.fly.faults import Fault

_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_PAIRS = [first + second for first in _CROCKFORD for second in _CROCKFORD]


@dataclass(frozen=True)
class Settings:
    """The settings of a simulator, to which `reset` returns. With `org` None every organisation exists."""

    seed: int
    profile: str = "instant"
    unkindness: Unkindness = KIND
    rate_limits: bool | None = None
    token: str | None = field(default=None, repr=False)
    org: str | None = None


@dataclass
class RegionState:
    """A region's overrides by a test."""

    error: bool = False
    """Listings cannot read it and name it in `error_regions`."""
    full: bool = False
    """No machine finds a host there."""
    quota_mb: int | None = None
    """The organisation's memory quota there."""


@dataclass
class Cursor:
    """The position in a paged listing; `ids` existed at its first page."""

    ids: list[str]
    at: int
    expires_at: float
    total: int


@dataclass
class World:
    """Everything that exists. `clock` gives seconds since 1970; control calls add `offset_s` to it.

    `skew_s` is added to every time in an answer, and to nothing else.
    """

    settings: Settings
    clock: Callable[[], float]
    runner: MachineRunner
    lock: threading.RLock = field(default_factory=threading.RLock, repr=False)
    offset_s: float = 0.0
    skew_s: float = 0.0

    def __post_init__(self) -> None:
        self.reset()

    def reset(self, seed: int | None = None) -> None:
        """Return to the start: nothing exists, the clock is not shifted, the draws start again."""
        seed = self.settings.seed if seed is None else seed
        # One stream per concern: one more listing must not change the ids that follow.
        # The names are part of the seed: another name would change every recorded world.
        self.ids, self.times, self.chances = (Random(f"{seed}:{name}") for name in ("ids", "times", "moods"))
        self.offset_s = self.skew_s = 0.0
        self.profile = self.settings.profile
        self.unkindness = self.settings.unkindness
        self.apps: dict[str, App] = {}
        self.unlisted_later: list[App] = []
        self.held_names: set[str] = set()
        self.foreign: set[str] = set()
        self.read_only_tokens: set[str] = set()
        self.bad_images: set[str] = set()
        self.images = Images()
        self.logs = AppLogs()
        self.keys: dict[str, str] = {}
        self.machines: dict[str, Machine] = {}
        self.regions: dict[str, RegionState] = {}
        self.cursors: dict[str, Cursor] = {}
        self.requests: Counter[str] = Counter()
        self.destroyed: list[dict[str, Any]] = []
        self.gone_apps: list[dict[str, str]] = []
        self.faults: list[Fault] = []
        self.rates = RateLimits()
        self._agenda: list[tuple[float, int, Callable[[float], None]]] = []
        self._order = itertools.count()
        self.numbers = itertools.count(1_000)
        self.use_profile(self.profile)

    def use_profile(self, profile: str) -> None:
        """Use another latency profile from now on; KeyError for an unknown one."""
        self.timing = timing_for(profile, unkind=self.unkind)
        self.profile = profile

    @property
    def unkind(self) -> bool:
        return self.unkindness != KIND

    @property
    def rate_limited(self) -> bool:
        if self.settings.rate_limits is not None:
            return self.settings.rate_limits
        return self.unkind or self.profile == "typical"

    # Time

    def now(self) -> float:
        return self.clock() + self.offset_s

    def draw(self, span: Span) -> float:
        """How long a change takes: seconds drawn from a span."""
        return _draw(self.times, span)

    def draw_unkind(self, span: Span) -> float:
        """How late a listing or an answer is: seconds drawn from a span, independent of the other draws."""
        return _draw(self.chances, span)

    def at(self, moment: float, call: Callable[[float], None]) -> None:
        """Call `call(moment)` when the clock reaches the moment."""
        heapq.heappush(self._agenda, (moment, next(self._order), call))

    def plan(self, machine: Machine, moment: float, step: Callable[[Machine, float], None]) -> None:
        """Let a machine take a step at a moment, unless a newer plan replaces this one."""
        epoch = machine.epoch

        def take(at: float) -> None:
            if machine.epoch == epoch:
                step(machine, at)

        self.at(moment, take)

    def next_at(self) -> float | None:
        """When the next timer falls due."""
        return self._agenda[0][0] if self._agenda else None

    def settle(self) -> None:
        """Apply everything that is due, in order of time."""
        now = self.now()
        while self._agenda and self._agenda[0][0] <= now:
            moment, _, call = heapq.heappop(self._agenda)
            call(moment)

    # Ids

    def hex_id(self, length: int) -> str:
        return f"{self.ids.getrandbits(4 * length):0{length}x}"

    def ulid(self, moment: float) -> str:
        """26 characters, later moments sort later."""
        number = (int(moment * 1000) << 80) | self.ids.getrandbits(80)
        return "".join([_PAIRS[(number >> shift) & 1023] for shift in range(120, -1, -10)])

    # Changes that listings show

    def touch(self, machine: Machine, moment: float) -> None:
        """Record a change of a machine, which listings show after their lag."""
        machine.updated_at = moment
        lag_s = self.draw_unkind(self.unkindness.list_lag_s)
        machine.listings.append(Listing(moment + lag_s, machine.state, machine.version, moment, machine.config))
        if lag_s == 0:
            del machine.listings[:-1]

    def chance(self, share: float) -> bool:
        """True for that share of calls, drawn from the seed."""
        return share > 0 and self.chances.random() < share

    def record(
        self,
        machine: Machine,
        kind: str,
        status: str,
        source: str,
        moment: float,
        *,
        request: dict[str, Any] | None = None,
    ) -> None:
        """Add an event to a machine, newest first, up to the number that Fly keeps."""
        event = {
            "id": self.ulid(moment),
            "type": kind,
            "status": status,
            "source": source,
            "timestamp": int(moment * 1000),
        }
        machine.events.insert(0, event | ({"request": request} if request else {}))
        del machine.events[MAX_EVENTS:]


def _draw(numbers: Random, span: Span) -> float:
    low, high = span
    return low if high <= low else numbers.uniform(low, high)


def unkindness_of(unkind: bool | Unkindness) -> Unkindness:
    """True is UNKIND, False is KIND; an `Unkindness` is kept."""
    if isinstance(unkind, Unkindness):
        return unkind
    return UNKIND if unkind else KIND
