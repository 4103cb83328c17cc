"""The dashboard over a large fleet: how long its process needs for a page, and how large the page is.

The fleet is inserted as plain rows with the triggers off, since nothing here calls Fly. The gateway and the function are the
processes of the local cloud. The time is the one that the function itself measured (Server-Timing).
"""

import re
import statistics
import tempfile
from pathlib import Path
from typing import Any

import httpx
import psycopg

from bench.sizes import FULL, Sizes
from local.dev.cloud import LocalCloud

PAGES = {
    "fleet": "",
    "fleet, one status": "?status=error",
    "fleet, sorted by cost": "?sort=cost",
    "fleet, search": "?q=user-9999",
    "events": "events",
    "events, one type": "events?type=provision_failed",
    "failures": "failures",
    "one user": "users/{user}",
    "costs": "costs",
    "controls": "controls",
}

_FLEET = """
set session_replication_role = replica;
insert into auth.users (id, email)
  select gen_random_uuid(), format('user-%s@fleet.test', n) from generate_series(1, {apps}) n;
insert into public.user_profiles (id, email) select id, email from auth.users where email like '%@fleet.test';
insert into public.user_subscriptions (user_id, tier, status)
  select id, 'pro', 'active' from auth.users where email like '%@fleet.test';
insert into public.user_fly_apps (
    user_id, fly_app_name, fly_org_slug, network, status, region, docker_image, machine_id, machine_state, health_status,
    last_health_check, observed_at, created_at, tier, monthly_cost_estimate_usd, price_usd_per_s, observed_generation,
    next_attempt_at, error_code, retry_count)
  select u.id, 'vyx-user-' || lpad(to_hex(u.n), 8, '0'), 'hangar-local', 'hangar-bench-' || u.n,
         case when u.n % 200 = 0 then 'error' else 'active' end, (array['sin', 'fra', 'iad'])[1 + u.n % 3],
         'registry.fly.io/acme-backend@sha256:' || md5('a') || md5('b'), substr(md5(u.n::text), 1, 14), 'started',
         case when u.n % 100 = 1 then 'unhealthy' else 'healthy' end,
         now() - random() * interval '5 minutes', now(), now() - random() * interval '300 days', 'pro', 6.00, 0.00000215, 1,
         null, case when u.n % 200 = 0 then 'image' end, u.n % 5
    from (select id, split_part(split_part(email, '@', 1), '-', 2)::integer as n
            from auth.users where email like '%@fleet.test') u;
insert into public.fly_cost_intervals (
    fly_app_id, user_id, machine_id, region, cpu_kind, cpu_count, memory_mb, price_usd_per_s, started_at)
  select id, user_id, machine_id, region, 'shared', 2, 512, price_usd_per_s, created_at from public.user_fly_apps;
insert into public.user_fly_app_events (fly_app_id, user_id, event_type, status, created_at, metadata)
  select a.id, a.user_id, e.kind, 'succeeded', a.created_at, '{{"action": "create_machine"}}'
    from public.user_fly_apps a,
         unnest(array['desired_changed', 'action', 'action', 'provision_completed', 'health_check_passed']) e (kind);
set session_replication_role = origin;
"""


def measure_dashboard(sizes: Sizes) -> dict[str, Any]:
    """For every page, the median and the slowest of several responses in seconds, and its size in bytes."""
    with tempfile.TemporaryDirectory(prefix="hangar-bench-") as folder, LocalCloud(Path(folder), processes=0) as cloud:
        cloud.pg_net.stop()
        cloud.pg_cron.stop()
        known = cloud.addresses
        with psycopg.connect(known["database_url"], autocommit=True) as host:
            host.execute(_FLEET.format(apps=sizes.dashboard_apps).encode())
            host.execute("vacuum analyze")
            row = host.execute("select user_id from public.user_fly_apps limit 1").fetchone()
        user = "" if row is None else str(row[0])
        with httpx.Client(base_url=known["functions"]["admin"], trust_env=False, timeout=60) as http:
            answer = http.post("/sign-in", data={**known["admin"], "next": ""})
            cookie = answer.headers["set-cookie"].partition(";")[0]
            found = {
                name: _measure(http, path.format(user=user), cookie, sizes.dashboard_answers)
                for name, path in PAGES.items()
            }
    return {"apps": sizes.dashboard_apps, "pages": found}


def _measure(http: httpx.Client, path: str, cookie: str, answers: int) -> dict[str, float]:
    seconds, size = [], 0
    for place in range(answers + 1):
        answer = http.get(f"/{path}", headers={"Cookie": cookie})
        answer.raise_for_status()
        size = len(answer.content)
        timing = re.search(r"dur=(\d+)", answer.headers["server-timing"])
        if place and timing:  # the first request opens connections
            seconds.append(int(timing[1]) / 1000)
    return {"median_s": statistics.median(seconds), "slowest_s": max(seconds), "bytes": size}


def format_dashboard(found: dict[str, Any]) -> list[str]:
    """One line for each page."""
    lines = [
        "",
        f"the dashboard over {found['apps']:,} apps",
        f"  {'page':<24} {'median':>8} {'slowest':>8} {'size':>9}",
    ]
    for name, one in found["pages"].items():
        lines.append(
            f"  {name:<24} {one['median_s'] * 1000:>5.0f} ms {one['slowest_s'] * 1000:>5.0f} ms {one['bytes'] / 1000:>6.1f} kB"
        )
    return lines


if __name__ == "__main__":
    print("\n".join(format_dashboard(measure_dashboard(FULL))))
