"""Many users upgraded, then downgraded, in one statement each: the cost for the host, and the time until every app follows."""

import statistics
import time
from dataclasses import asdict, dataclass
from typing import Any
from uuid import UUID

import psycopg

from bench.cloud import Cloud
from bench.fleet import change_tier, sign_up
from bench.sizes import Sizes
from shared.fleet.sweep import Sweep

_TRIGGER = "alter table public.user_subscriptions {} trigger on_user_tier_change"


@dataclass
class Statement:
    """One UPDATE of `users` rows with and without Hangar's trigger: medians of several rounds, each rolled back."""

    users: int
    with_trigger_s: float
    without_trigger_s: float

    @property
    def bound_s(self) -> float:
        """The promised limit: twice the time without the trigger plus a millisecond per row."""
        return 2 * self.without_trigger_s + self.users / 1000

    @property
    def extra_ms_a_row(self) -> float:
        return 1000 * (self.with_trigger_s - self.without_trigger_s) / self.users


def measure_tiers(cloud: Cloud, sizes: Sizes) -> dict[str, Any]:
    """Measure upgrade and downgrade. Fly answers at once, and neither Fly nor Hangar limits the rate of app deletions."""
    users = sign_up(cloud.host, sizes.tier_users, "tier")
    upgrade = measure_statement(cloud.host, users, "pro", sizes.tier_rounds)
    change_tier(cloud.host, users, "pro")
    up_s = drain_all(cloud, users, "active")
    doubles = cloud.one(
        "select count(*) from (select 1 from public.user_fly_apps where deleted_at is null"
        " group by user_id having count(*) > 1) d"
    )
    machines = cloud.one(
        "select count(distinct machine_id) from public.user_fly_apps where user_id = any(%s) and status = 'active'",
        users,
    )
    brake_floor = 2 * len(users)
    cloud.operator.set_settings(
        {"brake_floor": brake_floor, "deletes_per_minute": 100 * len(users)},
        actor="operator",
        reason="the benchmark downgrades every user at once",
    )
    downgrade = measure_statement(cloud.host, users, "free", sizes.tier_rounds)
    change_tier(cloud.host, users, "free")
    down_s = drain_all(cloud, users, "deleted")
    return {
        "users": len(users),
        "upgrade": _show(upgrade),
        "downgrade": _show(downgrade),
        "until_all_active_s": up_s,
        "until_all_gone_s": down_s,
        "users_with_two": doubles,
        "machines": machines,
        "brake_floor": brake_floor,
        "deletion_limit": "off",
    }


def _show(statement: Statement) -> dict[str, float]:
    return asdict(statement) | {"bound_s": statement.bound_s, "extra_ms_a_row": statement.extra_ms_a_row}


def measure_statement(host: psycopg.Connection, users: list[UUID], tier: str, rounds: int) -> Statement:
    """Alternate between with and without the trigger, so that a slow moment of the machine affects both."""
    taken: dict[str, list[float]] = {"enable": [], "disable": []}
    for _ in range(rounds):
        for word, seconds in taken.items():
            host.execute(_TRIGGER.format(word).encode())
            with host.transaction(force_rollback=True):
                started = time.perf_counter()
                change_tier(host, users, tier)
                seconds.append(time.perf_counter() - started)
    host.execute(_TRIGGER.format("enable").encode())
    host.execute("vacuum public.user_subscriptions, public.user_fly_apps")
    return Statement(len(users), statistics.median(taken["enable"]), statistics.median(taken["disable"]))


def drain_all(cloud: Cloud, users: list[UUID], status: str) -> float:
    """Drain repeatedly; return the seconds until all users have this status. RuntimeError after three minutes."""
    worker, _ = cloud.make_worker()
    started = time.perf_counter()
    while time.perf_counter() - started < 180:
        Sweep(worker, time.monotonic() + 120).run(drain_only=True)
        reached = cloud.one(
            "select count(*) from public.user_fly_apps where user_id = any(%s) and status = %s", users, status
        )
        if reached == len(users):
            worker.fly.close()
            return time.perf_counter() - started
        time.sleep(0.2)
    raise RuntimeError(f"only {reached} of {len(users)} became {status}")
