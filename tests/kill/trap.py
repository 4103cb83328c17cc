"""Where somebody is killed: a call of the functions, on one side of it; and the trap that is set there."""

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from local.http_server import Response
from tests.kill.cloud import KillCloud, Slot
from tests.kill.relay import LOST

WHENS = ("before", "after", "answered")
VICTIMS = ("worker", "function", "postgres", "gateway")
_DIES_WITHIN_S = 0.004


@dataclass(frozen=True)
class Point:
    """A side of a call: before it is passed on; after its effect, the answer lost; after the answer was passed on.

    Postgres and the gateway die `answered` while the call is under way, for they have no life after it.
    """

    call: str
    when: str

    def __str__(self) -> str:
        return f"{self.when:8} {self.call}"


@dataclass(frozen=True)
class Strike:
    """One kill: who dies where, at the how-manieth such call."""

    point: Point
    victim: str
    nth: int = 1

    def __str__(self) -> str:
        return f"{self.victim} {self.point.when} {self.point.call} (number {self.nth})"


@dataclass
class Trap:
    """Watches every call of the functions; springs once for each time it is set. A killed function stays dead until mended."""

    cloud: KillCloud
    chance: random.Random
    seen: Counter[str] = field(default_factory=Counter)
    sprung: list[Strike] = field(default_factory=list)
    failures: list[BaseException] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._set: dict[str, list[Strike]] = {}
        self._lock = threading.Lock()
        self._deaths: list[threading.Thread] = []
        self.cloud.watch = self.watch

    def set(self, strikes: Iterable[Strike]) -> None:
        """The first of these that can happen will; none of them twice."""
        with self._lock:
            self._set = {}
            for strike in strikes:
                self._set.setdefault(strike.point.call, []).append(strike)
            self._met: Counter[str] = Counter()
            self._done = False

    def close(self) -> Strike | None:
        """The strike that happened since the trap was set, once its victim is dead; nobody dies any more."""
        with self._lock:
            self._set = {}
        for death in self._deaths:
            death.join()
        self._deaths.clear()
        if self.failures:
            raise self.failures[0]
        return self.sprung[-1] if self._done else None

    def watch(self, slot: Slot, call: str, pass_on: Callable[[], Response]) -> Response:
        """Pass a call on, unless somebody dies of it."""
        strike = self._spring(call)
        if strike is None:
            answer = pass_on()
            return LOST if slot.is_doomed else answer
        if strike.victim in ("worker", "function"):
            return self._kill_caller(strike, slot, pass_on)
        kill = self.cloud.kill_postgres if strike.victim == "postgres" else self.cloud.kill_gateway
        return self._kill_other(strike, kill, pass_on)

    def _spring(self, call: str) -> Strike | None:
        with self._lock:
            self.seen[call] += 1
            if call not in self._set:
                return None
            self._met[call] += 1
            ready = [strike for strike in self._set[call] if strike.nth <= self._met[call]]
            if not ready:
                return None
            self._set, self._done = {}, True
            self.sprung.append(ready[0])
            return ready[0]

    def _kill_caller(self, strike: Strike, slot: Slot, pass_on: Callable[[], Response]) -> Response:
        kill = slot.kill_workers if strike.victim == "worker" else slot.kill_function
        if strike.point.when != "before":
            answer = pass_on()
        slot.is_doomed = True
        if strike.point.when == "answered":
            # It runs on with the answer for as long as this takes, and no call of its passes: it dies between two calls.
            self._let_die(kill, self.chance.random() * _DIES_WITHIN_S)
            return answer
        self._let_die(kill, 0).join()
        return LOST

    def _kill_other(self, strike: Strike, kill: Callable[[], None], pass_on: Callable[[], Response]) -> Response:
        match strike.point.when:
            case "before":
                self._let_die(kill, 0).join()
                return pass_on()
            case "after":
                answer = pass_on()
                self._let_die(kill, 0).join()
                return LOST if strike.victim == "gateway" and strike.point.call.startswith("fly_") else answer
        self._let_die(kill, self.chance.random() * _DIES_WITHIN_S)
        return pass_on()

    def _let_die(self, kill: Callable[[], None], after_s: float) -> threading.Thread:
        def die() -> None:
            time.sleep(after_s)
            try:
                kill()
            except BaseException as failure:  # noqa: BLE001  `close` raises it where the strike was ordered
                self.failures.append(failure)

        death = threading.Thread(target=die, daemon=True)
        self._deaths.append(death)
        death.start()
        return death
