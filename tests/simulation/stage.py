"""Many workers in one process of whom one runs at a time, chosen by a seed, in virtual time.

Every point before and after a call that leaves the process is a place where the stage may go on with somebody else, and
where a worker may die. Sleeping costs no time: when everybody sleeps, the clock moves to whoever wakes first.
"""

import sys
import threading
import traceback
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from random import Random
from typing import Any, Self

from tests.simulation.world import Clock, Killed

_PATIENCE_S = 60.0  # real seconds that one turn may take before the test is given up


@dataclass
class Actor:
    """One thread of one process. `process` is shared by the threads that die together."""

    name: str
    process: "Process"
    wakes_at: float
    future: "StageFuture"
    turn: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    ended: bool = False
    thread: threading.Thread | None = None

    def show(self) -> str:
        """Where it stands, for a test that hangs."""
        frame = sys._current_frames().get(self.thread.ident or 0) if self.thread else None
        return "".join(traceback.format_stack(frame)[-6:]) if frame else ""


@dataclass
class Process:
    """What dies as one."""

    name: str
    dead: bool = False
    working_on: str | None = None


class StageFuture(Future):
    """A future whose waiter lets the others go on."""

    stage: "Stage"

    def result(self, timeout: float | None = None) -> Any:
        while not self.done():
            self.stage.pause(0.2)
        return super().result(timeout)


class Stage:
    """Runs actors one at a time until a moment of the clock; the same seed plays the same piece."""

    def __init__(self, clock: Clock, random: Random) -> None:
        self.clock, self.random = clock, random
        self._actors: list[Actor] = []
        self._back = threading.Semaphore(0)
        self._here = threading.local()
        self.turns = 0

    @property
    def process(self) -> Process | None:
        """Whose turn it is."""
        actor: Actor | None = getattr(self._here, "actor", None)
        return actor.process if actor else None

    def spawn(
        self, name: str, play: Callable[[], Any], *, process: Process | None = None, in_s: float = 0.0
    ) -> StageFuture:
        """Have `play` run from `in_s` seconds from now, as a process of its own unless one is given."""
        future = StageFuture()
        future.stage = self
        actor = Actor(name, process or Process(name), self.clock() + in_s, future)
        self._actors.append(actor)
        actor.thread = threading.Thread(target=self._live, args=(actor, play), daemon=True, name=name)
        actor.thread.start()
        return future

    def run(self, until: float) -> None:
        """Give out turns until the clock reaches `until`; whoever sleeps longer goes on in the next run."""
        while True:
            ready = [actor for actor in self._actors if actor.wakes_at <= self.clock()]
            if not ready:
                wakes_at = min((actor.wakes_at for actor in self._actors), default=until)
                self.clock.seconds = max(self.clock(), min(wakes_at, until))
                if self.clock() >= until:
                    return
                continue
            if self.clock() >= until:
                return
            actor = self.random.choice(ready)
            self.turns += 1
            actor.turn.release()
            assert self._back.acquire(timeout=_PATIENCE_S), f"{actor.name} keeps its turn: {actor.show()}"
            if actor.ended:
                self._actors.remove(actor)

    def pause(self, seconds: float = 0.0) -> None:
        """Give the turn away, for `seconds` at least. Outside a run the clock simply moves. Raises Killed in a dead process."""
        actor: Actor | None = getattr(self._here, "actor", None)
        if actor is None:
            self.clock.advance(seconds)
            return
        actor.wakes_at = self.clock() + seconds
        self._back.release()
        actor.turn.acquire()
        if actor.process.dead:
            raise Killed(actor.name)

    def cross(self, where: str) -> None:
        """A boundary of tests.simulation.world, here a place to give the turn away."""
        self.pause()

    def kill_somebody(self) -> Process | None:
        """End one process that is under way, at the boundary where it stands; None when nobody works."""
        processes = {
            id(actor.process): actor.process for actor in self._actors if actor.process.name.startswith("worker")
        }
        if not processes:
            return None
        chosen = self.random.choice(list(processes.values()))
        chosen.dead = True
        for actor in self._actors:
            if actor.process is chosen:
                actor.wakes_at = self.clock()
        return chosen

    def _live(self, actor: Actor, play: Callable[[], Any]) -> None:
        actor.turn.acquire()
        self._here.actor = actor
        try:
            if not actor.process.dead:
                actor.future.set_result(play())
        except BaseException as error:  # noqa: BLE001  handed to whoever asks, as threads do
            actor.future.set_exception(error)
        finally:
            if not actor.future.done():
                actor.future.set_exception(Killed(actor.name))
            actor.ended = True
            self._back.release()

    # What concurrent.futures offers, on this stage

    def executor(self, *_: object, **__: object) -> "StagePool":
        return StagePool(self)

    def wait(self, futures: Any, timeout: float | None = None, return_when: str = "ALL_COMPLETED") -> Any:
        """`concurrent.futures.wait` in virtual time."""
        asked, ends_at = list(futures), None if timeout is None else self.clock() + timeout
        while True:
            done = {each for each in asked if each.done()}
            enough = bool(done) if return_when == "FIRST_COMPLETED" else len(done) == len(asked)
            if enough or (ends_at is not None and self.clock() >= ends_at):
                return _Waited(done, set(asked) - done)
            self.pause(0.2)


@dataclass
class _Waited:
    done: set
    not_done: set


class StagePool:
    """A pool whose threads are actors of the process that opened it."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self._futures: list[StageFuture] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        process = self.stage.process
        while not all(future.done() for future in self._futures) and not (process and process.dead):
            self.stage.pause(0.2)

    def submit(self, call: Callable[..., Any], *args: Any) -> StageFuture:
        process = self.stage.process
        future = self.stage.spawn(f"{process.name if process else 'main'}+", lambda: call(*args), process=process)
        self._futures.append(future)
        return future
