"""Thousands of small worlds: `make simulate SEEDS=10000 SEED=1`. docs/simulation.md describes what a seed runs.

`run_seed(url, seed)` runs one of them. The same seed gives the same run, call for call.
"""

import gc
import logging
import os
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from local.supabase.postgres.server import Postgres
from shared.domain.machine_states import STUCK
from tests.simulation.silent_failure import SilentFailure
from tests.simulation.small_storm import SmallStorm, draw_unkindness
from tests.support.clock import make_chance
from tests.support.databases import fresh_database
from tests.support.promises import find_all, find_open_alerts, find_unrest
from tests.support.sessions import StandingDatabase
from tests.support.turns import use_turns
from tests.support.world import World

AT_ONCE = 25  # seeds that a worker runs before it reports
FLY_TAKES_S = 10.0  # time that Fly needs for a deletion it has accepted
SILENT_SHARE = 0.15  # of the worlds that end without a violation
SAMPLES, SAMPLE_EVERY_S = 3, 300.0
ALERTS_END_S = 500.0  # two lists without an orphan, eight minutes apart, end the alert about orphans
_LINES_BEFORE, _LINES_ABOUT = 60, 80
_FAST = {
    "synchronous_commit": "off",
    "autovacuum": "off",
    "jit": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    # Nobody looks at its statistics, and each costs a little at every statement.
    "track_activities": "off",
    "track_counts": "off",
    "update_process_title": "off",
}
_standing: dict[str, StandingDatabase] = {}


@dataclass
class SeedRun:
    """The result of one seed: its violations, its trace and its counts."""

    seed: int
    violations: list[str] = field(default_factory=list)
    trace: list[str] = field(default_factory=list)
    steps: int = 0
    faults: int = 0
    kills: int = 0


def check_seed(url: str, seed: int) -> list[str]:
    """The violations of one seed. The database must hold our schema and have no other user; it is emptied first."""
    return run_seed(url, seed).violations


def run_seed(url: str, seed: int, *, keep_trace: bool = False) -> SeedRun:
    """Run one seed from an empty world to the last check. The result has a trace if a promise broke or `keep_trace` is set."""
    with _make_world(url, seed) as world:
        storm = SmallStorm(world, seed)
        storm.run()
        storm.end()
        violations = come_to_rest(world, storm)
        if not violations:
            violations = fail_in_silence(world, storm, seed)
        names = world.read_names() if violations or keep_trace else {}
    for id_, name in names.items():
        violations = [violation.replace(id_, name) for violation in violations]
    seen = world.recorder
    return SeedRun(seed, violations, seen.trace.show(names) if names else [], seen.steps, seen.faults_met, seen.kills)


def come_to_rest(world: World, storm: SmallStorm) -> list[str]:
    """At most two calls of `health`, and a third that reports what the second one changed. What is wrong after them.

    A call is left out if there is nothing left for it to do, because every promise of a world at rest holds without it.
    """
    world.turns.run(find_last_deadline(world))
    storm.call_health()
    world.turns.run(world.clock() + FLY_TAKES_S)
    if not find_wrong(world, storm):
        return world.recorder.violations
    world.turns.run(find_second_deadline(world))
    storm.call_health()
    world.turns.run(world.clock() + FLY_TAKES_S)
    unrest = find_unrest(world)
    if not unrest and not find_wrong(world, storm):
        return world.recorder.violations
    world.turns.run(max(world.clock() + ALERTS_END_S, find_end_of_episodes(world)))
    storm.call_health()  # tells what the second one brought about: health, and the end of alerts
    if (steady_at := find_end_of_episodes(world)) > world.clock():
        # Only the third call saw the app well, so that its alert could not end yet.
        world.turns.run(steady_at)
        storm.call_health()
    return world.recorder.violations + unrest + find_wrong(world, storm)


def find_wrong(world: World, storm: SmallStorm) -> list[str]:
    """What keeps this world from being at rest."""
    return find_all(world) + storm.find_wrong_contents()


def fail_in_silence(world: World, storm: SmallStorm, seed: int) -> list[str]:
    """In one of seven worlds at rest one app fails in silence; what is wrong with how Hangar deals with that."""
    chance = make_chance(seed, "silence")
    failure = SilentFailure(world, chance)
    if chance.random() > SILENT_SHARE or not failure.begin():
        return []
    for _ in range(SAMPLES):
        world.turns.run(world.clock() + SAMPLE_EVERY_S)
        storm.call_health()
    problems = failure.find_silence()
    failure.end()
    for _ in range(2):
        world.turns.run(world.clock() + SAMPLE_EVERY_S)
        storm.call_health()
    return problems + world.recorder.violations + find_unrest(world) + find_open_alerts(world)


_STEADY_AT = (  # when the apps in a crash loop have been left alone for an hour
    "select e.created_at + interval '1 hour' from hangar.alerts l join public.user_fly_app_events e on e.fly_app_id::text = l.key"
    " where l.kind = 'crash_loop' and l.resolved_at is null and e.metadata ->> 'purpose' in ('repair', 'replace')"
)


def find_last_deadline(world: World) -> float:
    """The time at which every wait of Hangar has ended. docs/simulation.md lists the waits."""
    times = world.sql(
        "select max(at) from ("
        " select greatest(lease_expires_at, next_attempt_at, hold_until, delete_after, create_unknown_at + interval '120 s') at"
        "   from public.user_fly_apps where deleted_at is null"
        " union all select expires_at from public.user_subscriptions union all select ends_at from public.fly_overrides"
        " union all select lease_expires_at from hangar.sweeps"
        " union all select greatest(next_attempt_at, lease_expires_at) from hangar.alert_destinations"
        " union all select next_attempt_at from hangar.alert_deliveries where delivered_at is null"
        " union all select created_at + interval '1 hour' from public.user_fly_app_events where event_type = 'brake_tripped'"
        f" union all {_STEADY_AT}) deadlines"
    )[0][0]
    booted_at = find_end_of_boots(world)
    passing = [machine for machine in world.sim.machines() if machine.state != "started"]
    second = [machine for app in world.sim.apps.values() for machine in app.live_machines()[1:]]
    aged = [max(machine.updated_at, booted_at) + STUCK.total_seconds() for machine in passing + second]
    listed = [app.listed_at for app in world.sim.apps.values()]
    return max(world.clock(), *aged, *listed, times.timestamp() if times else 0.0) + 1.0


def find_second_deadline(world: World) -> float:
    """The end of the waits that the first call began: an orphan's age, a hold, a grace, a boot, a second machine's age."""
    times = world.sql(
        "select max(at) from (select greatest(hold_until, delete_after,"
        "     case when machine_state in ('created', 'starting') then next_attempt_at end) at"
        "   from public.user_fly_apps where deleted_at is null"
        " union all select first_seen_at + interval '900 s' from public.fly_orphans"
        f" union all {_STEADY_AT}) deadlines"
    )[0][0]
    booted_at = find_end_of_boots(world)
    second = [machine for app in world.sim.apps.values() for machine in app.live_machines()[1:]]
    aged = [max(machine.updated_at, booted_at) + STUCK.total_seconds() for machine in second]
    return max(world.clock(), booted_at, *aged, times.timestamp() if times else 0.0) + 1.0


def find_end_of_episodes(world: World) -> float:
    """When the alert of an app that was well only now and then can end."""
    times = world.sql(
        "select max(h.well_since + make_interval(secs => (g.unhealthy_after * g.bad_sample_gap_s)::double precision))"
        " from hangar.app_health h cross join hangar.settings g where h.unsteady"
    )[0][0]
    return times.timestamp() + 1.0 if times else 0.0


def find_end_of_boots(world: World) -> float:
    """The time at which every machine that is booting will have booted; 0 if none is booting."""
    boots = any(machine.state in ("created", "starting") for machine in world.sim.machines())
    return max((moment for moment, _, _ in world.sim.world._agenda), default=world.sim.world.now()) if boots else 0.0


def forget(url: str) -> None:
    """Close the sessions that `run_seed` keeps open to a database."""
    if url in _standing:
        _standing.pop(url).close()


@contextmanager
def _make_world(url: str, seed: int) -> Iterator[World]:
    logging.getLogger("hangar").setLevel(logging.CRITICAL)
    if url not in _standing:
        _standing[url] = StandingDatabase(url)
    keep = make_chance(seed, "keep").choice((0.0, 0.5, 0.9))
    world = World(
        url,
        seed=seed,
        unkind=draw_unkindness(seed),
        take_turns=True,
        keep_turn=keep,
        record=True,
        alerts=True,
        standing=_standing[url],
    )
    with pytest.MonkeyPatch.context() as patch:
        use_turns(patch, world.turns)
        try:
            yield world
        finally:
            world.close()


def explain(result: SeedRun) -> str:
    """Describe a failing seed: how to reproduce it, what broke, the trace of the apps concerned and the end of the trace."""
    lines = [f"seed {result.seed} breaks a promise; reproduce: make simulate SEEDS=1 SEED={result.seed}"]
    lines += [f"  {violation}" for violation in result.violations]
    concerned = {word.strip("(),:.") for violation in result.violations for word in violation.replace("(", " ").split()}
    users = {word.split(".")[0] for word in concerned if word.startswith("user") and word[4:5].isdigit()}
    about = [line for line in result.trace if any(f"{user}." in line or f"{user} " in line for user in users)]
    lines += (
        [f"  the last {_LINES_ABOUT} lines about {', '.join(sorted(users))}:", *about[-_LINES_ABOUT:]] if users else []
    )
    lines += ["  the last lines of all:", *result.trace[-_LINES_BEFORE:]]
    return "\n".join(lines)


def _run_share(job: tuple[str, range]) -> list[SeedRun]:
    url, seeds = job
    gc.disable()  # traces consist of many small objects without reference cycles
    try:
        return [run_seed(url, seed) for seed in seeds]
    finally:
        gc.collect()


def run_many(first: int, count: int) -> Iterator[SeedRun]:
    """Seeds `first` to `first + count - 1` on every core, each core with its own database. Yields results as they come."""
    workers = os.cpu_count() or 1
    memory = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108  thousands of databases belong in memory
    with (
        TemporaryDirectory(dir=memory) as folder,
        Postgres(Path(folder), fsync=False, settings=_FAST | {"unix_socket_directories": f"{folder}/data"}) as server,
        ExitStack() as processes,
    ):
        shares = [range(first, first + count)[start : start + AT_ONCE] for start in range(0, count, AT_ONCE)]
        # Each process keeps the sessions of its database open, so no other may be given that database.
        free = []
        for _ in range(workers):
            process = processes.enter_context(ProcessPoolExecutor(1, mp_context=get_context("spawn")))
            free.append((process, f"{fresh_database(server)}?host={folder}/data"))
        under_way = {}
        while shares or under_way:
            while free and shares:
                process, url = free.pop()
                under_way[process.submit(_run_share, (url, shares.pop(0)))] = process, url
            done = next(as_completed(under_way))
            free.append(under_way.pop(done))
            yield from done.result()


def main(count: int, first: int) -> int:
    """Run the seeds, print progress and violations; 1 if there is a violation."""
    started, total, broken = time.monotonic(), SeedRun(0), 0
    for number, result in enumerate(run_many(first, count), 1):
        total.steps += result.steps
        total.faults += result.faults
        total.kills += result.kills
        if result.violations:
            broken += 1
            print(explain(result), flush=True)  # noqa: T201  this is a command
        if number % 100 == 0 or number == count:
            print(  # noqa: T201
                f"{number} seeds from {first}, {total.steps} steps, {total.faults} faults, {total.kills} deaths and sleeps,"
                f" {broken} with violations, {time.monotonic() - started:.0f} s",
                flush=True,
            )
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2])))
