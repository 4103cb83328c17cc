"""Every call of everything Hangar does, failing in every way, with the worker dying there or not, however the nudge comes.

    python -m tests.simulation.exhaustive            all of it, on every core
    python -m tests.simulation.exhaustive 50         every 50th case
    python -m tests.simulation.exhaustive --case 7   one case, by the number that a failure names

When the faults have stopped, the promises must hold one sweep or two after the last deadline. docs/reliability.md.
"""

import logging
import os
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from itertools import groupby
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory

from local.supabase.database import fresh_database
from local.supabase.postgres import Postgres
from tests.simulation.exhaustive_faults import FAILURES, NOTHING, TYPICAL
from tests.simulation.exhaustive_play import Case, Play
from tests.simulation.exhaustive_ways import WAYS
from tests.simulation.exhaustive_world import CheapWorld, Worker, without_threads

# What becomes of the worker at the call: it goes on; it dies before the call leaves, behind its effect and before the answer, or
# behind the answer and before anything is written down; it is frozen until its lease is over and another has been at work.
FATES = ("lives", "dies before", "dies behind", "dies unrecorded", "sleeps before", "sleeps behind")
# The nudge comes once; twice, one after the other; twice, the second in the middle of the first; after it an older one of the
# opposite direction; only when a sweep has begun to settle things; never.
DELIVERIES = ("once", "doubled", "interleaved", "reordered", "late", "never")
OFTEN = 5
RPC_FAILURES = ("refused", "lost")


def trace_ways(world: CheapWorld) -> dict[str, Worker]:
    """What each way's worker calls when nothing goes wrong."""
    traces = {}
    for name, way in WAYS.items():
        world.begin()
        start = way(world)
        world.keep()
        world.put_back()
        play = Play(world, start, Case(name, -1, ("", ""), NOTHING))
        broken = play.run()
        assert not broken, f"{name}: {broken}"
        traces[name] = play.worker
    return traces


def enumerate_cases(traces: dict[str, Worker]) -> Iterator[Case]:
    """All of them, in a fixed order."""
    for way, trace in traces.items():
        for number, call in enumerate(trace.calls):
            yield from _enumerate_at(way, number, call)
        for number, name in enumerate(trace.rpcs):
            for failure in RPC_FAILURES:
                for times in (1, 2, OFTEN):
                    for delivery in DELIVERIES:
                        yield Case(way, number, ("rpc", name), failure, times=times, delivery=delivery)


def _enumerate_at(way: str, number: int, call: tuple[str, str]) -> Iterator[Case]:
    """Every failure with every fate, and with every delivery; where one stands for its kind, every fate with every delivery."""
    reads = call[0] == "GET"
    # A read has no effect that anything could come before or behind.
    fates = [fate for fate in FATES if not (reads and fate.endswith("behind"))]
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


@dataclass
class Share:
    """What one process played."""

    cases: Counter[str] = field(default_factory=Counter)
    sweeps: Counter[int] = field(default_factory=Counter)
    unmet: int = 0
    broken: list[str] = field(default_factory=list)


def draw(cases: list[Case], step: int) -> list[int]:
    """The numbers of every `step`-th case, of an order in which no dimension keeps time with the step."""
    numbers = list(range(len(cases)))
    if step > 1:
        random.Random(20261126).shuffle(numbers)  # noqa: S311  chance that can be repeated
    return sorted(numbers[::step])


def play_cases(url: str, numbers: list[int] | None, step: int, part: int, parts: int) -> Share:
    """A part of every `step`-th case, or of those named, in one database of its own."""
    logging.getLogger("hangar").setLevel(logging.CRITICAL)
    share = Share()
    with CheapWorld(url) as world, without_threads():
        cases = list(enumerate_cases(trace_ways(world)))
        chosen = (draw(cases, step) if numbers is None else numbers)[part::parts]
        for way, group in groupby(chosen, lambda number: cases[number].way):
            world.begin()
            start = WAYS[way](world)
            world.keep()
            for number in group:
                play_one(world, start, number, cases[number], share)
    return share


def play_one(world: CheapWorld, start, number: int, case: Case, share: Share) -> None:
    world.put_back()
    play = Play(world, start, case)
    try:
        broken = play.run()
    except Exception as failure:  # noqa: BLE001  whatever breaks is a finding, and the rest goes on
        broken = [f"{type(failure).__name__}: {failure}"]
    share.broken += [f"{number}: {case}: {line}" for line in broken]
    share.cases[case.way] += 1
    share.sweeps[play.sweeps] += 1
    share.unmet += not play.armed


def main(arguments: list[str]) -> int:
    """Play on every core; print the counts and what was broken."""
    numbers = [int(number) for number in arguments[1:]] if arguments[:1] == ["--case"] else None
    step = int(arguments[0]) if arguments and numbers is None else 1
    parts = 1 if numbers else os.cpu_count() or 1
    started = time.monotonic()
    memory = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108  made to be thrown away
    with TemporaryDirectory(dir=memory) as folder, Postgres(Path(folder), fsync=False) as server:
        jobs = [(fresh_database(server), numbers, step, part, parts) for part in range(parts)]
        with ProcessPoolExecutor(parts, mp_context=get_context("spawn")) as pool:
            shares = list(pool.map(play_cases, *zip(*jobs, strict=True)))
    report(shares, time.monotonic() - started)
    return 1 if any(share.broken for share in shares) else 0


def report(shares: list[Share], seconds: float) -> None:
    cases, sweeps = (sum((getattr(share, name) for share in shares), Counter()) for name in ("cases", "sweeps"))
    for share in shares:
        for line in share.broken:
            print(line)  # noqa: T201  this is a command
    for way, count in cases.items():
        print(f"{count:8} {way}")  # noqa: T201  as above
    print(f"settled by sweeps: {dict(sorted(sweeps.items()))}; not met: {sum(share.unmet for share in shares)}")  # noqa: T201
    broken = sum(len(share.broken) for share in shares)
    print(f"{cases.total()} cases, {broken} violations, {seconds:.0f} s")  # noqa: T201  as above


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
