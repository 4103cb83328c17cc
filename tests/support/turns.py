"""Simulated processes that take turns in virtual time; a seed chooses which one runs next.

At every point before and after a call that leaves a process, another process may get the turn, and the process may die or freeze.
Sleeping takes no real time: when all processes sleep, the clock moves to the time at which the first one wakes. Their threads are
greenlets, because a switch between real threads takes longer than most turns. No thread may hold a lock across a boundary.
"""

from collections.abc import Callable, Iterable
from concurrent.futures import Future
from dataclasses import dataclass
from random import Random
from typing import Any, Self

from greenlet import getcurrent, greenlet

from shared.adapters import notifications
from shared.fleet import health_probe, releases
from shared.reconcile import drain
from tests.support.boundaries import Killed
from tests.support.clock import Clock

_NEVER = float("inf")


@dataclass
class Process:
    """Threads that die and freeze together. `fate` happens at boundary number `fate_at`: "die", or seconds of sleep."""

    name: str
    dead: bool = False
    slept: bool = False
    frozen_until: float = 0.0
    working_on: str | None = None
    crossed: int = 0
    fate_at: int = 0
    fate: str | float = "die"


@dataclass(eq=False)
class SimulatedThread:
    """One thread of one process. It runs only during its turn; `waits_on` identifies the wait that a result ends."""

    name: str
    process: Process
    wakes_at: float
    waits_on: object = None
    body: Any = None


class TurnFuture(Future):
    """A future. A thread that waits for it gives its turn away."""

    turns: "Turns"

    def result(self, timeout: float | None = None) -> Any:
        self.turns.wait([self], timeout)
        return super().result(0)


class Turns:
    """Runs simulated threads one at a time until a moment of the clock; the same seed gives the same run.

    `keep` is how often a thread keeps its turn at a boundary: 0 interleaves most, 1 lets each run until it sleeps.
    """

    def __init__(self, clock: Clock, random: Random, keep: float = 0.0) -> None:
        self.clock, self.random, self.keep = clock, random, keep
        self._main = SimulatedThread("main", Process("main"), 0.0, body=getcurrent())
        self._threads: list[SimulatedThread] = []
        self._turn_of = self._main
        self.has_slept = False  # whether any process was ever suspended
        self.tell: Callable[[Process, str], None] = lambda _process, _fate: None

    @property
    def thread(self) -> SimulatedThread | None:
        """The thread whose turn it is; None outside a run."""
        return None if self._turn_of is self._main else self._turn_of

    @property
    def process(self) -> Process | None:
        """The process whose turn it is."""
        return self.thread.process if self.thread else None

    @property
    def is_busy(self) -> bool:
        """Whether any thread is left."""
        return bool(self._threads)

    def spawn(
        self, name: str, body: Callable[[], Any], *, process: Process | None = None, in_s: float = 0.0
    ) -> TurnFuture:
        """Run `body` from `in_s` seconds from now, as a new process unless one is given."""
        future = TurnFuture()
        future.turns = self
        thread = SimulatedThread(name, process or Process(name), self.clock() + in_s)
        thread.body = greenlet(lambda: self._live(thread, future, body), parent=self._main.body)
        self._threads.append(thread)
        return future

    def run(self, until: float) -> None:
        """Give out turns until the clock reaches `until`; a thread that sleeps longer continues in the next run."""
        if self.clock() >= until:
            return
        main = self._main
        main.wakes_at = until
        self._threads.append(main)
        self._turn_of = self._choose()
        while self._turn_of is not main:
            self._turn_of.body.switch()
        self._threads.remove(main)

    def run_out(self, until: float) -> None:
        """Give out turns until no thread is left, or the clock reaches `until`."""
        while self._threads and self.clock() < until:
            latest = max(thread.wakes_at for thread in self._threads)
            self.run(min(until, max(latest, self.clock()) + 1e-3))

    def pause(self, seconds: float = 0.0) -> None:
        """Give the turn away for at least `seconds`. Outside a run only the clock moves. Raises Killed in a dead process."""
        thread = self._turn_of
        if thread is self._main:
            self.clock.advance(seconds)
        else:
            self._sleep(thread, self.clock() + seconds)

    def cross(self, where: str) -> None:
        """A boundary of tests.support.boundaries, here a place to give the turn away, to freeze, or to die."""
        process = self.process
        if process is not None:
            process.crossed += 1
            if process.crossed == process.fate_at and not process.dead:
                self._meet_fate(process, where)
        self.pause()

    def kill(self, process: Process) -> None:
        """End a process at the boundaries where its threads are now."""
        process.dead = True
        for thread in self._threads:
            if thread.process is process:
                thread.wakes_at = min(thread.wakes_at, self.clock())

    def kill_one(self) -> Process | None:
        """End one running process at the boundary where it is now. None if no process runs."""
        names = {
            id(thread.process): thread.process for thread in self._threads if thread.process.name.startswith("worker")
        }
        if not names:
            return None
        chosen = self.random.choice(list(names.values()))
        self.kill(chosen)
        return chosen

    def close(self) -> None:
        """End all threads, so that none waits for a turn that never comes."""
        for thread in self._threads:
            thread.process.dead = True
            thread.wakes_at = self.clock()
        while self._threads:
            self.run(self.clock() + 1e-3)

    def _meet_fate(self, process: Process, where: str) -> None:
        if process.fate == "die":
            self.tell(process, f"dies {where}")
            self.kill(process)
            return
        process.slept = self.has_slept = True
        process.frozen_until = self.clock() + float(process.fate)
        self.tell(process, f"freezes for {float(process.fate):.0f} s {where}")

    def _sleep(self, thread: SimulatedThread, wakes_at: float) -> None:
        process = thread.process
        if not process.dead:
            thread.wakes_at = wakes_at
            if wakes_at > self.clock() or not self.keep or self.random.random() >= self.keep:
                self._pass_turn(thread)
            while process.frozen_until > self.clock() and not process.dead:
                thread.wakes_at = process.frozen_until
                self._pass_turn(thread)
        if process.dead:
            raise Killed(thread.name)

    def _pass_turn(self, thread: SimulatedThread) -> None:
        self._turn_of = self._choose()
        if self._turn_of is not thread:
            self._main.body.switch()

    def _choose(self) -> SimulatedThread:
        """The next thread: one of those that are awake. If all sleep, the clock first moves to the earliest wake-up."""
        now = self.clock()
        ready = [each for each in self._threads if each.wakes_at <= now]
        if not ready:
            now = self.clock.seconds = min(each.wakes_at for each in self._threads)
            assert now < _NEVER, f"every thread waits for another: {[each.name for each in self._threads]}"
            ready = [each for each in self._threads if each.wakes_at <= now]
        return ready[0] if len(ready) == 1 else self.random.choice(ready)

    def _live(self, thread: SimulatedThread, future: TurnFuture, body: Callable[[], Any]) -> None:
        try:
            if not thread.process.dead:
                future.set_result(body())
        except BaseException as error:  # noqa: BLE001  raised again by `result`, as with threads
            future.set_exception(error)
        if not future.done():
            future.set_exception(Killed(thread.name))
        self._threads.remove(thread)
        self._turn_of = self._choose()

    # The interface of concurrent.futures, with turns

    def executor(self, *_: object, **__: object) -> "TurnPool":
        return TurnPool(self)

    def wait(self, futures: Iterable[Future], timeout: float | None = None, return_when: str = "ALL_COMPLETED") -> Any:
        """`concurrent.futures.wait` in virtual time."""
        awaited, ends_at = list(futures), None if timeout is None else self.clock() + timeout
        while True:
            done = {each for each in awaited if each.done()}
            enough = bool(done) if return_when == "FIRST_COMPLETED" else len(done) == len(awaited)
            if enough or (ends_at is not None and self.clock() >= ends_at):
                return _Waited(done, set(awaited) - done)
            self._await_any([each for each in awaited if not each.done()], _NEVER if ends_at is None else ends_at)

    def _await_any(self, futures: list[Future], until: float) -> None:
        thread = self.thread
        assert thread is not None, "only a simulated thread can wait for another one"
        waiting = thread.waits_on = object()

        def wake(_: Future) -> None:
            if thread.waits_on is waiting:
                thread.waits_on = None
                thread.wakes_at = self.clock()

        for future in futures:
            future.add_done_callback(wake)
        self._sleep(thread, until)
        thread.waits_on = None


@dataclass
class _Waited:
    done: set
    not_done: set


class TurnPool:
    """A pool whose threads belong to the process that opened it."""

    def __init__(self, turns: Turns) -> None:
        self.turns = turns
        self._futures: list[TurnFuture] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        process = self.turns.process
        if not (process and process.dead):
            self.turns.wait(self._futures)

    def submit(self, call: Callable[..., Any], *args: Any) -> TurnFuture:
        process = self.turns.process
        future = self.turns.spawn(f"{process.name if process else 'main'}+", lambda: call(*args), process=process)
        self._futures.append(future)
        return future


class _SenderWithoutThread(notifications._Sender):
    """Sends the messages of a destination at once: the receiver answers in no time, and a thread costs more than the message."""

    def start(self) -> None:
        self.run()

    def join(self, timeout: float | None = None) -> None:
        """Nothing is left to wait for."""


def use_turns(monkeypatch: Any, turns: Turns) -> None:
    """Make the thread pools of the drain, the health probe and the releases take turns as well. Alerts are sent within a turn."""
    monkeypatch.setattr(notifications, "_Sender", _SenderWithoutThread)
    monkeypatch.setattr(drain, "ThreadPoolExecutor", turns.executor)
    monkeypatch.setattr(drain, "wait", turns.wait)
    monkeypatch.setattr(health_probe, "ThreadPoolExecutor", turns.executor)
    monkeypatch.setattr(releases, "ThreadPoolExecutor", turns.executor)
