"""Runs every use case with every failure of every call, every fate of the process and every delivery of the nudge.

    python -m tests.simulation.exhaustive            every case, on every core
    python -m tests.simulation.exhaustive 50         every 50th case
    python -m tests.simulation.exhaustive --case 7   one case, by the number that a violation names

After the faults have stopped, the promises must hold within two sweeps after the last deadline. See docs/reliability.md.
"""

import logging
import os
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from itertools import groupby
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory

from local.supabase.postgres.server import Postgres
from tests.simulation.exhaustive_case import Case, CaseRun
from tests.simulation.exhaustive_circumstances import CIRCUMSTANCES, PLAIN
from tests.simulation.exhaustive_faults import FAILURES, NOTHING, TYPICAL
from tests.simulation.exhaustive_ways import WAYS
from tests.support.databases import fresh_database
from tests.support.promises import find_entitled
from tests.support.rewind import ProcessPlan, without_threads
from tests.support.world import World

# What happens to the process at the call. It continues; it dies before the call is sent, after its effect and before the
# response, or after the response and before anything is recorded; it is frozen until its lease has expired and another process
# has worked.
FATES = ("lives", "dies before", "dies after", "dies unrecorded", "sleeps before", "sleeps after")
# How the nudge arrives: once; twice, one after the other; twice, the second during the first; once, followed by an older nudge of
# the opposite direction; only after a sweep has begun; never.
DELIVERIES = ("once", "doubled", "interleaved", "reordered", "late", "never")
OFTEN = 5
RPC_FAILURES = ("refused", "lost")
CHUNK = 250


def trace_ways(world: World) -> dict[str, ProcessPlan]:
    """The calls of each use case's worker when nothing fails."""
    traces = {}
    for name, way in WAYS.items():
        world.rewind.begin()
        start = way(world)
        world.rewind.keep()
        world.rewind.put_back()
        run = CaseRun(world, start, Case(name, -1, ("", ""), NOTHING))
        broken = run.run()
        assert not broken, f"{name}: {broken}"
        traces[name] = run.worker
    return traces


def enumerate_cases(traces: dict[str, ProcessPlan]) -> Iterator[Case]:
    """All cases, in a fixed order."""
    for way, trace in traces.items():
        for number, call in enumerate(trace.calls):
            yield from _enumerate_at(way, number, call)
        for number, name in enumerate(trace.rpcs):
            for failure in RPC_FAILURES:
                for times in (1, 2, OFTEN):
                    for delivery in DELIVERIES:
                        yield Case(way, number, ("rpc", name), failure, times=times, delivery=delivery)
    for way, trace in traces.items():
        for circumstance in CIRCUMSTANCES:
            for number, call in enumerate(trace.calls if circumstance != PLAIN else ()):
                yield from _enumerate_around(way, number, call, circumstance)


def _enumerate_at(way: str, number: int, call: tuple[str, str]) -> Iterator[Case]:
    """Every failure with every fate and with every delivery. A typical failure is combined with every pair of both."""
    reads = call[0] == "GET"
    # A read has no effect, so "after its effect" does not apply to it.
    fates = [fate for fate in FATES if not (reads and fate.endswith("after"))]
    for name, failure in FAILURES.items():
        if not failure.may_meet(call):
            continue
        for when in ("before", "after") if failure.rule and not reads else ("before",):
            for fate in fates:
                for delivery in DELIVERIES:
                    if name in TYPICAL or FATES[0] == fate or DELIVERIES[0] == delivery:
                        yield Case(way, number, call, name, when, fate=fate, delivery=delivery)
            if failure.rule:
                yield Case(way, number, call, name, when, OFTEN)


def _enumerate_around(way: str, number: int, call: tuple[str, str], circumstance: str) -> Iterator[Case]:
    """In each circumstance: a typical failure of the call, or each fate of the process, or each delivery of the nudge."""
    for failure in TYPICAL:
        if FAILURES[failure].may_meet(call):
            yield Case(way, number, call, failure, circumstance=circumstance)
    for fate in FATES[1:]:
        if call[0] != "GET" or not fate.endswith("after"):
            yield Case(way, number, call, NOTHING, fate=fate, circumstance=circumstance)
    for delivery in DELIVERIES[1:]:
        yield Case(way, number, call, NOTHING, delivery=delivery, circumstance=circumstance)


@dataclass
class Share:
    """The results of a share of the cases: counts of each value of each dimension, sweeps until settled, violations."""

    cases: int = 0
    values: Counter[tuple[str, str]] = field(default_factory=Counter)
    sweeps: Counter[int] = field(default_factory=Counter)
    unmet: int = 0
    broken: list[str] = field(default_factory=list)

    def count(self, number: int, case: Case, run: CaseRun, broken: list[str]) -> None:
        """Count one case that was run."""
        self.cases += 1
        failure = case.failure if case.call[0] != "rpc" else f"database {case.failure}"
        labels = {
            "way": case.way,
            "failure": failure,
            "fate": case.fate,
            "delivery": case.delivery,
            "when": case.when,
            "circumstance": case.circumstance,
        }
        self.values.update((name, value) for name, value in labels.items())
        self.sweeps[run.sweeps] += 1
        self.unmet += not run.armed
        self.broken += [f"{number}: {case}: {line}" for line in broken]

    def add(self, other: "Share") -> None:
        self.cases += other.cases
        self.values += other.values
        self.sweeps += other.sweeps
        self.unmet += other.unmet
        self.broken += other.broken


class CaseRunner:
    """The world of one process, and every case by its number."""

    def __init__(self, url: str) -> None:
        logging.getLogger("hangar").setLevel(logging.CRITICAL)
        self.world = World(url, rewinds=True)
        with without_threads():
            self.cases = list(enumerate_cases(trace_ways(self.world)))

    def _find_start(self, number: int) -> tuple[str, str]:
        return self.cases[number].way, self.cases[number].circumstance

    def run(self, numbers: list[int]) -> Share:
        """Run these cases one after the other. The starting point of a use case is set up once."""
        share = Share()
        with without_threads():
            for (way, circumstance), group in groupby(numbers, self._find_start):
                self.world.rewind.begin()
                start = WAYS[way](self.world)
                if begin := CIRCUMSTANCES[circumstance].begin:
                    begin(self.world, start.user, start.user in find_entitled(self.world))
                self.world.rewind.keep()
                for number in group:
                    self.world.rewind.put_back()
                    run = CaseRun(self.world, start, self.cases[number])
                    try:
                        broken = run.run()
                    except Exception as failure:  # noqa: BLE001  any error is a violation; the other cases still run
                        broken = [f"{type(failure).__name__}: {failure}"]
                    share.count(number, self.cases[number], run, broken)
        return share


def draw(cases: Sequence[Case], step: int) -> list[int]:
    """The numbers of every `step`-th case of a shuffled order in which each circumstance keeps its share."""
    numbers = list(range(len(cases)))
    if step > 1:
        random.Random(20261126).shuffle(numbers)  # noqa: S311  chance that can be repeated
        numbers.sort(key=lambda number: cases[number].circumstance)
    return sorted(numbers[::step])


_runners: list[CaseRunner] = []


def open_runner(server_url: str) -> None:
    """Open the world of this process. Each process of the pool calls this first."""
    _runners.append(CaseRunner(fresh_database(server_url)))


def run_chunk(chunk: list[int]) -> Share:
    return _runners[0].run(chunk)


def draw_numbers(step: int) -> list[int]:
    return draw(_runners[0].cases, step)


def main(arguments: list[str]) -> int:
    """Run the cases on every core; print violations as they appear, and the counts at the end."""
    named = [int(number) for number in arguments[1:]] if arguments[:1] == ["--case"] else None
    step = int(arguments[0]) if arguments and named is None else 1
    processes = 1 if named else os.cpu_count() or 1
    started, total = time.monotonic(), Share()
    memory = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108  only for temporary files
    with (
        TemporaryDirectory(dir=memory) as folder,
        Postgres(Path(folder), fsync=False) as server,
        ProcessPoolExecutor(
            processes, mp_context=get_context("spawn"), initializer=open_runner, initargs=(server.url(),)
        ) as pool,
    ):
        numbers = named if named is not None else pool.submit(draw_numbers, step).result()
        chunks = [numbers[first : first + CHUNK] for first in range(0, len(numbers), CHUNK)]
        for share in pool.map(run_chunk, chunks):
            total.add(share)
            for line in share.broken:
                say(line)
    report(total, time.monotonic() - started)
    return 1 if total.broken else 0


def report(total: Share, seconds: float) -> None:
    """Print the number of cases by dimension, and the totals."""
    for dimension in ("way", "failure", "when", "fate", "delivery", "circumstance"):
        counts = {value: count for (name, value), count in total.values.items() if name == dimension}
        say(f"by {dimension}: " + ", ".join(f"{value} {count}" for value, count in counts.items()))
    say(f"sweeps until settled: {dict(sorted(total.sweeps.items()))}; the call was not made: {total.unmet}")
    say(f"{total.cases} cases, {len(total.broken)} violations, {seconds:.0f} s")


def say(line: str) -> None:
    print(line, flush=True)  # noqa: T201  this is a command


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
