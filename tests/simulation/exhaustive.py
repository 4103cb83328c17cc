"""Every call of every way, failing in every way: no sampling by hand.

A case is (way, call, failure, before or after its effect, once or until the client gives up, killed afterwards or not). It runs
on a world of its own kind, and when the faults have stopped the promises must hold after two sweeps.
"""

import logging
import os
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory

from local.fly.transport import open_client
from local.supabase.database import fresh_database
from local.supabase.postgres import Postgres
from shared.errors import HangarError
from tests.simulation.world import Killed, World

FAILURES = {
    "500": {"status": 500, "body": {"error": "unknown: internal"}},
    "502 html": {"status": 502, "text": "<html>bad gateway</html>"},
    "503": {"status": 503, "body": {"error": "unavailable: try again"}},
    "504 empty": {"status": 504},
    "408": {"status": 408, "body": {"error": "deadline_exceeded: timed out"}},
    "408 empty": {"status": 408},
    "429": {"status": 429, "body": {"error": "rate limit exceeded"}},
    "429 with Retry-After": {"status": 429, "headers": {"Retry-After": "3"}},
    "401": {"status": 401, "body": {"error": "Authenticate: token validation error"}},
    "403": {"status": 403, "body": {"error": "unauthorized"}},
    "403 quota": {
        "status": 403,
        "body": {"error": 'organization "x" is over the allowed quota. please consider other regions'},
    },
    "404": {"status": 404, "body": {"error": "app not found"}},
    "409": {"status": 409, "body": {"error": "aborted: machine update failed due to concurrent update"}},
    "409 leased": {
        "status": 409,
        "body": {"error": "machine ID m lease currently held by a@tokens.fly.io, expires at 2030"},
    },
    "412": {"status": 412, "body": {"error": "failed_precondition: machine still active, refusing to start"}},
    "422": {"status": 422, "body": {"error": "validation failed"}},
    "422 capacity": {
        "status": 422,
        "body": {"error": "could not find a candidate host", "status": "insufficient_capacity"},
    },
    "422 name taken": {
        "status": 422,
        "body": {"error": "Validation failed: Name has already been taken", "status": "name_taken"},
    },
    "reset": {"disconnect": True},
    "slow": {"delay_s": 90.0},
    "slow and reset": {"delay_s": 20.0, "disconnect": True},
}


def upgrade(world: World):
    return world.add_user("pro")


def downgrade(world: World):
    user = world.add_user("pro")
    world.reconciler.reconcile(user, 240)
    world.set_tier(user, "free")
    return user


def upgrade_again(world: World):
    user = downgrade(world)
    world.reconciler.reconcile(user, 240)
    world.set_tier(user, "pro")
    return user


def repair_stopped(world: World):
    user = world.add_user("pro")
    world.reconciler.reconcile(user, 240)
    row = world.row(user)
    with open_client(world.sim) as fly:
        fly.post(f"/v1/apps/{row['fly_app_name']}/machines/{row['machine_id']}/stop").raise_for_status()
    world.clock.advance(60)
    return user


def replace_failed(world: World):
    user = world.add_user("pro")
    world.reconciler.reconcile(user, 240)
    world.control("PUT", f"machines/{world.row(user)['machine_id']}", {"state": "failed"})
    return user


def change_size(world: World):
    world.sql("update public.fly_plans set cpu_count = 4, memory_mb = 1024 where tier = 'elite'")
    user = world.add_user("pro")
    world.reconciler.reconcile(user, 240)
    world.set_tier(user, "elite")
    return user


WAYS = (upgrade, downgrade, upgrade_again, repair_stopped, replace_failed, change_size)


@dataclass(frozen=True)
class Case:
    """One thing that goes wrong on one way."""

    way: str
    call: tuple[str, str]
    failure: str
    when: str
    times: int
    killed: bool

    def __str__(self) -> str:
        ending = ", then the process dies" if self.killed else ""
        return f"{self.way}: {self.failure} {self.when} {' '.join(self.call)} x{self.times}{ending}"


def find_calls(url: str, way) -> list[tuple[str, str]]:
    """Every distinct call to Fly this way makes, as method and path pattern."""
    world = empty_world(url, 0)
    try:
        user = way(world)
        seen = world.watch_calls()
        world.reconciler.reconcile(user, 240)
        return sorted(set(seen))
    finally:
        world.close()


def empty_world(url: str, seed: int) -> World:
    """A world in which nobody ever was; emptying a database is ten times faster than making one."""
    world = World(url, seed=seed)
    world.host.execute("set session_replication_role = replica")  # the audit log refuses even this, otherwise
    world.host.execute(
        "truncate auth.users, public.user_profiles, public.user_subscriptions, public.user_fly_apps, public.user_fly_app_events,"
        " public.fly_cost_intervals, public.fly_orphans, public.fly_overrides, hangar.alerts, hangar.sweeps cascade"
    )
    world.host.execute("set session_replication_role = origin")
    world.host.execute("update public.fly_plans set cpu_count = 2, memory_mb = 512 where tier = 'elite'")
    return world


def enumerate_cases(url: str) -> Iterator[Case]:
    """All of them, in a fixed order."""
    for way in WAYS:
        for call in find_calls(url, way):
            for failure in FAILURES:
                for when in ("before", "after"):
                    for times in (1, 5):
                        for killed in (False, True):
                            yield Case(way.__name__, call, failure, when, times, killed)


def play(url: str, case: Case, seed: int) -> None:
    """One case from beginning to end; AssertionError when a promise is broken."""
    world = empty_world(url, seed)
    try:
        way = next(way for way in WAYS if way.__name__ == case.way)
        user = way(world)
        method, path = case.call
        world.fault(method=method, path=path, when=case.when, times=case.times, **FAILURES[case.failure])
        if case.killed:
            # Right behind the first call that meets the fault, whatever it answered.
            world.kill_after(method, path)
        with suppress(Killed, HangarError):
            world.reconciler.reconcile(user, 240)
        world.spare()
        world.control("PUT", "faults", [])
        world.reconciler = world.new_worker()
        world.settle(3)
        check(world, user)
    finally:
        world.close()


def check(world: World, user) -> None:
    """I1, I2, I3, I8, I10, I11 for one user, from the world's own state."""
    row = world.row(user)
    tier = world.sql("select tier from public.user_subscriptions where user_id = %s", user)[0][0]
    expected = {row["fly_app_name"]: [row["machine_id"]]} if tier != "free" else {}
    found = {name: [machine.id for machine in machines] for name, machines in world.apps().items()}
    assert found == expected, f"Fly has {found}, expected {expected}"
    states = {machine.state for machines in world.apps().values() for machine in machines}
    assert states <= {"started"}, f"machines are {states}"
    assert row["status"] == ("deleted" if tier == "free" else "active"), (
        f"the row is {row['status']}: {row['error_message']}"
    )
    intents = world.count_actions(user, "intent")
    outcomes = world.count_actions(user, "succeeded", "failed", "unknown")
    assert intents == outcomes, f"{intents} intents, {outcomes} outcomes"
    open_intervals = world.sql("select count(*) from public.fly_cost_intervals where ended_at is null")[0][0]
    assert open_intervals == len(expected), f"{open_intervals} open cost intervals"


def play_share(job: tuple[str, int, int]) -> tuple[int, list[str]]:
    """Every `step`-th case from `first` on, in one database of its own: how many they were, and what broke."""
    url, first, step = job
    logging.getLogger("hangar").setLevel(logging.CRITICAL)
    broken, cases = [], list(enumerate_cases(url))
    for number in range(first, len(cases), step):
        try:
            play(url, cases[number], seed=number)
        except Exception as failure:  # noqa: BLE001  whatever breaks is a finding, and the rest goes on
            broken.append(f"{number}: {cases[number]}: {type(failure).__name__}: {failure}")
    return len(range(first, len(cases), step)), broken


def main() -> int:
    """Play every case on every core (`python -m tests.simulation.exhaustive N`: every N-th); print count and violations."""
    step, started = int(sys.argv[1]) if len(sys.argv) > 1 else 1, time.monotonic()
    workers = os.cpu_count() or 1
    memory = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108  databases by the thousand are for memory
    with TemporaryDirectory(dir=memory) as folder, Postgres(Path(folder), fsync=False) as server:
        jobs = [(fresh_database(server), step * worker, step * workers) for worker in range(workers)]
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
            shares = list(pool.map(play_share, jobs))
    broken = [line for _, lines in shares for line in lines]
    print("\n".join(broken))  # noqa: T201  this is a command
    played = sum(count for count, _ in shares)
    print(f"{played} cases, {len(broken)} violations, {time.monotonic() - started:.0f} s")  # noqa: T201
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
