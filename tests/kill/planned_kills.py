"""Planned kills: at which call of the functions, at which moment of the call, and which process is killed."""

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
    """A moment of a call: before it is passed on; after its effect, with the response lost; after its response was passed on.

    For Postgres and the gateway `answered` means during the call: after it they do no work that a kill could interrupt.
    """

    call: str
    when: str

    def __str__(self) -> str:
        return f"{self.when:8} {self.call}"


@dataclass(frozen=True)
class PlannedKill:
    """One kill: which process is killed at which point, at the n-th such call."""

    point: Point
    victim: str
    nth: int = 1

    def __str__(self) -> str:
        return f"{self.victim} {self.point.when} {self.point.call} (number {self.nth})"


@dataclass
class Killer:
    """Watches every call of the functions. Each `arm` leads to at most one kill. A killed function stays down until `repair`."""

    cloud: KillCloud
    chance: random.Random
    seen: Counter[str] = field(default_factory=Counter)
    done: list[PlannedKill] = field(default_factory=list)
    failures: list[BaseException] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._armed: dict[str, list[PlannedKill]] = {}
        self._lock = threading.Lock()
        self._deaths: list[threading.Thread] = []
        self.cloud.watch = self.watch

    def arm(self, kills: Iterable[PlannedKill]) -> None:
        """Carry out the first of these kills whose call arrives, and only that one."""
        with self._lock:
            self._armed = {}
            for kill in kills:
                self._armed.setdefault(kill.point.call, []).append(kill)
            self._met: Counter[str] = Counter()
            self._has_killed = False

    def disarm(self) -> PlannedKill | None:
        """Allow no more kills. Wait until the victim is dead, and return the kill carried out since `arm`, if any."""
        with self._lock:
            self._armed = {}
        for death in self._deaths:
            death.join()
        self._deaths.clear()
        if self.failures:
            raise self.failures[0]
        return self.done[-1] if self._has_killed else None

    def watch(self, slot: Slot, call: str, pass_on: Callable[[], Response]) -> Response:
        """Pass a call on, or carry out the kill that is due at it."""
        planned = self._take_due(call)
        if planned is None:
            answer = pass_on()
            return LOST if slot.is_doomed else answer
        if planned.victim in ("worker", "function"):
            return self._kill_caller(planned, slot, pass_on)
        kill = self.cloud.kill_postgres if planned.victim == "postgres" else self.cloud.kill_gateway
        return self._kill_other(planned, kill, pass_on)

    def _take_due(self, call: str) -> PlannedKill | None:
        with self._lock:
            self.seen[call] += 1
            if call not in self._armed:
                return None
            self._met[call] += 1
            ready = [each for each in self._armed[call] if each.nth <= self._met[call]]
            if not ready:
                return None
            self._armed, self._has_killed = {}, True
            self.done.append(ready[0])
            return ready[0]

    def _kill_caller(self, planned: PlannedKill, slot: Slot, pass_on: Callable[[], Response]) -> Response:
        kill = slot.kill_workers if planned.victim == "worker" else slot.kill_function
        if planned.point.when != "before":
            answer = pass_on()
        slot.is_doomed = True
        if planned.point.when == "answered":
            # The process continues with this response for a moment, but its next request is blocked: it dies between two calls.
            self._let_die(kill, self.chance.random() * _DIES_WITHIN_S)
            return answer
        self._let_die(kill, 0).join()
        return LOST

    def _kill_other(self, planned: PlannedKill, kill: Callable[[], None], pass_on: Callable[[], Response]) -> Response:
        match planned.point.when:
            case "before":
                self._let_die(kill, 0).join()
                return pass_on()
            case "after":
                answer = pass_on()
                self._let_die(kill, 0).join()
                return LOST if planned.victim == "gateway" and planned.point.call.startswith("fly_") else answer
        self._let_die(kill, self.chance.random() * _DIES_WITHIN_S)
        return pass_on()

    def _let_die(self, kill: Callable[[], None], after_s: float) -> threading.Thread:
        def die() -> None:
            time.sleep(after_s)
            try:
                kill()
            except BaseException as failure:  # noqa: BLE001  `disarm` raises it where the kill was ordered
                self.failures.append(failure)

        death = threading.Thread(target=die, daemon=True)
        self._deaths.append(death)
        death.start()
        return death
