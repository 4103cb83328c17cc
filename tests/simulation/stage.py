"""Many workers in one process of whom one runs at a time, chosen by a seed, in virtual time.

Every point before and after a call that leaves the process is a place where the stage may go on with somebody else, where a
worker may die, and where it may freeze. Sleeping costs no time: when everybody sleeps, the clock moves to whoever wakes first.
Actors are greenlets, because handing a turn from thread to thread costs more than what most turns do. None may hold a lock
across a boundary.
"""

from collections.abc import Callable, Iterable
from concurrent.futures import Future
from dataclasses import dataclass
from random import Random
from typing import Any, Self

from greenlet import getcurrent, greenlet

from tests.simulation.world import Clock, Killed

_NEVER = float("inf")


@dataclass
class Process:
    """What dies, and freezes, as one. `fate` is what happens at its boundary number `fate_at`: "die", or seconds of sleep."""

    name: str
    dead: bool = False
    slept: bool = False
    frozen_until: float = 0.0
    working_on: str | None = None
    crossed: int = 0
    fate_at: int = 0
    fate: str | float = "die"


@dataclass(eq=False)
class Actor:
    """One thread of one process. Only who holds the turn runs; `waits_on` is what a waiting one would be woken for."""

    name: str
    process: Process
    wakes_at: float
    waits_on: object = None
    body: Any = None


class StageFuture(Future):
    """A future whose waiter lets the others go on."""

    stage: "Stage"

    def result(self, timeout: float | None = None) -> Any:
        self.stage.wait([self], timeout)
        return super().result(0)


class Stage:
    """Runs actors one at a time until a moment of the clock; the same seed plays the same piece.

    `keep` is how often who has the turn keeps it at a boundary: 0 interleaves most, 1 lets each go on until it sleeps.
    """

    def __init__(self, clock: Clock, random: Random, keep: float = 0.0) -> None:
        self.clock, self.random, self.keep = clock, random, keep
        self._director = Actor("director", Process("director"), 0.0, body=getcurrent())
        self._actors: list[Actor] = []
        self._turn_of = self._director
        self.tell: Callable[[Process, str], None] = lambda _process, _fate: None

    @property
    def actor(self) -> Actor | None:
        """Whose turn it is; None outside the stage."""
        return None if self._turn_of is self._director else self._turn_of

    @property
    def process(self) -> Process | None:
        """The process whose turn it is."""
        return self.actor.process if self.actor else None

    @property
    def is_busy(self) -> bool:
        """Whether anybody is left on the stage."""
        return bool(self._actors)

    def spawn(
        self, name: str, play: Callable[[], Any], *, process: Process | None = None, in_s: float = 0.0
    ) -> StageFuture:
        """Have `play` run from `in_s` seconds from now, as a process of its own unless one is given."""
        future = StageFuture()
        future.stage = self
        actor = Actor(name, process or Process(name), self.clock() + in_s)
        actor.body = greenlet(lambda: self._live(actor, future, play), parent=self._director.body)
        self._actors.append(actor)
        return future

    def run(self, until: float) -> None:
        """Give out turns until the clock reaches `until`; whoever sleeps longer goes on in the next run."""
        if self.clock() >= until:
            return
        director = self._director
        director.wakes_at = until
        self._actors.append(director)
        self._turn_of = self._choose()
        while self._turn_of is not director:
            self._turn_of.body.switch()
        self._actors.remove(director)

    def run_out(self, until: float) -> None:
        """Give out turns until nobody is left, or the clock reaches `until`."""
        while self._actors and self.clock() < until:
            latest = max(actor.wakes_at for actor in self._actors)
            self.run(min(until, max(latest, self.clock()) + 1e-3))

    def pause(self, seconds: float = 0.0) -> None:
        """Give the turn away, for `seconds` at least. Outside a run the clock simply moves. Raises Killed in a dead process."""
        actor = self._turn_of
        if actor is self._director:
            self.clock.advance(seconds)
        else:
            self._sleep(actor, self.clock() + seconds)

    def cross(self, where: str) -> None:
        """A boundary of tests.simulation.world, here a place to give the turn away, to freeze, or to die."""
        process = self.process
        if process is not None:
            process.crossed += 1
            if process.crossed == process.fate_at and not process.dead:
                self._meet_fate(process, where)
        self.pause()

    def kill(self, process: Process) -> None:
        """End a process at the boundaries where its threads stand."""
        process.dead = True
        for actor in self._actors:
            if actor.process is process:
                actor.wakes_at = min(actor.wakes_at, self.clock())

    def kill_somebody(self) -> Process | None:
        """End one process that is under way, at the boundary where it stands; None when nobody works."""
        names = {id(actor.process): actor.process for actor in self._actors if actor.process.name.startswith("worker")}
        if not names:
            return None
        chosen = self.random.choice(list(names.values()))
        self.kill(chosen)
        return chosen

    def close(self) -> None:
        """End everybody, so that no thread waits for a turn that will not come."""
        for actor in self._actors:
            actor.process.dead = True
            actor.wakes_at = self.clock()
        while self._actors:
            self.run(self.clock() + 1e-3)

    def _meet_fate(self, process: Process, where: str) -> None:
        if process.fate == "die":
            self.tell(process, f"dies {where}")
            self.kill(process)
            return
        process.slept = True
        process.frozen_until = self.clock() + float(process.fate)
        self.tell(process, f"freezes for {float(process.fate):.0f} s {where}")

    def _sleep(self, actor: Actor, wakes_at: float) -> None:
        process = actor.process
        if not process.dead:
            actor.wakes_at = wakes_at
            if wakes_at > self.clock() or not self.keep or self.random.random() >= self.keep:
                self._pass_turn(actor)
            while process.frozen_until > self.clock() and not process.dead:
                actor.wakes_at = process.frozen_until
                self._pass_turn(actor)
        if process.dead:
            raise Killed(actor.name)

    def _pass_turn(self, actor: Actor) -> None:
        self._turn_of = self._choose()
        if self._turn_of is not actor:
            self._director.body.switch()

    def _choose(self) -> Actor:
        """Who goes on: one of those that are awake, after the clock has moved to the first who wakes, if nobody is."""
        now = self.clock()
        ready = [each for each in self._actors if each.wakes_at <= now]
        if not ready:
            now = self.clock.seconds = min(each.wakes_at for each in self._actors)
            assert now < _NEVER, f"everybody waits for somebody: {[each.name for each in self._actors]}"
            ready = [each for each in self._actors if each.wakes_at <= now]
        return ready[0] if len(ready) == 1 else self.random.choice(ready)

    def _live(self, actor: Actor, future: StageFuture, play: Callable[[], Any]) -> None:
        try:
            if not actor.process.dead:
                future.set_result(play())
        except BaseException as error:  # noqa: BLE001  handed to whoever asks, as threads do
            future.set_exception(error)
        if not future.done():
            future.set_exception(Killed(actor.name))
        self._actors.remove(actor)
        self._turn_of = self._choose()

    # What concurrent.futures offers, on this stage

    def executor(self, *_: object, **__: object) -> "StagePool":
        return StagePool(self)

    def wait(self, futures: Iterable[Future], timeout: float | None = None, return_when: str = "ALL_COMPLETED") -> Any:
        """`concurrent.futures.wait` in virtual time."""
        asked, ends_at = list(futures), None if timeout is None else self.clock() + timeout
        while True:
            done = {each for each in asked if each.done()}
            enough = bool(done) if return_when == "FIRST_COMPLETED" else len(done) == len(asked)
            if enough or (ends_at is not None and self.clock() >= ends_at):
                return _Waited(done, set(asked) - done)
            self._await_any([each for each in asked if not each.done()], _NEVER if ends_at is None else ends_at)

    def _await_any(self, futures: list[Future], until: float) -> None:
        actor = self.actor
        assert actor is not None, "nobody outside the stage can wait for somebody on it"
        waiting = actor.waits_on = object()

        def wake(_: Future) -> None:
            if actor.waits_on is waiting:
                actor.waits_on = None
                actor.wakes_at = self.clock()

        for future in futures:
            future.add_done_callback(wake)
        self._sleep(actor, until)
        actor.waits_on = None


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
        if not (process and process.dead):
            self.stage.wait(self._futures)

    def submit(self, call: Callable[..., Any], *args: Any) -> StageFuture:
        process = self.stage.process
        future = self.stage.spawn(f"{process.name if process else 'main'}+", lambda: call(*args), process=process)
        self._futures.append(future)
        return future
