"""The dashboard over a large fleet: how long its process needs for a page, and how large the page is.

The fleet is inserted as plain rows with the triggers off, since nothing here calls Fly. The gateway and the function are the
processes of the local cloud. The time is the one that the function itself measured (Server-Timing).

`python -m bench.dashboard --events 10000000` gives the fleet a long log: 400 days of events, most of them of the common types,
with a failure for one app in a thousand, and one user with every hundredth event.
"""

import argparse
import re
import statistics
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import psycopg

from bench.sizes import FULL, Sizes
from functions.admin.pagination import write_cursor
from local.dev.cloud import LocalCloud

PAGES = {
    "fleet": "",
    "fleet, one status": "?status=error",
    "fleet, sorted by cost": "?sort=cost",
    "fleet, search": "?q=user-9999",
    "events": "events",
    "events, one type": "events?type=provision_failed",
    "events, one status": "events?status=failed",
    "events, type and status": "events?type=action&status=unknown",
    "events, one day": "events?day={day}",
    "events, 30 days": "events?span=30d&type=provision_completed",
    "events, one user": "events?user={user}&type=provision_failed",
    "events, far back": "events?after={far_back}",
    "failures": "failures",
    "one user": "users/{user}",
    "a user with many events": "users/{busy_user}",
    "releases": "releases",
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
_EVENTS_OF_FLEET = 5  # of each app, above
_MORE_EVENTS = """
set session_replication_role = replica;
insert into public.user_fly_app_events (fly_app_id, user_id, event_type, status, created_at, metadata)
  select a.id, a.user_id, e.kind, e.status, now() - interval '400 days' * (n.n + random()) / {each}, e.metadata
    from (select a.*, row_number() over (order by a.id) as place from public.user_fly_apps a) a,
         generate_series(0, {each} - 1) n (n),
         lateral (select * from (values
             ('action', 'intent', '{{"action": "update_machine", "from": "started"}}'::jsonb),
             ('action', 'succeeded', '{{"action": "update_machine", "intent_id": "1"}}'),
             ('health_check_failed', 'info', '{{"from": "healthy", "to": "unhealthy", "reason": "check"}}'),
             ('health_check_passed', 'info', '{{"from": "unhealthy", "to": "healthy", "reason": "check"}}'),
             ('desired_changed', 'info', '{{"from": "present", "to": "present"}}')) v (kind, status, metadata)
           offset (n.n + a.place) % 5 limit 1) e
   where n.n % 100 <> 0;
insert into public.user_fly_app_events (fly_app_id, user_id, event_type, status, created_at, metadata)
  select a.id, a.user_id, 'action', case n % 2 when 0 then 'intent' else 'succeeded' end,
         now() - random() * interval '400 days', '{{"action": "update_machine"}}'
    from (select * from public.user_fly_apps order by id limit 1) a, generate_series(1, {apps} * {each} / 100) n;
insert into public.user_fly_app_events (fly_app_id, user_id, event_type, status, created_at, error_details)
  select a.id, a.user_id, 'provision_failed', 'failed', now() - random() * interval '400 days', 'image: not found'
    from (select * from public.user_fly_apps order by id limit greatest(1, {apps} / 1000)) a;
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
            more = sizes.dashboard_events // max(1, sizes.dashboard_apps) - _EVENTS_OF_FLEET
            if more > 0:
                host.execute(_MORE_EVENTS.format(apps=sizes.dashboard_apps, each=more).encode())
            host.execute("vacuum analyze")
            events = host.execute("select count(*) from public.user_fly_app_events").fetchone()
            places = _find_places(host)
        with httpx.Client(base_url=known["functions"]["admin"], trust_env=False, timeout=60) as http:
            answer = http.post("/sign-in", data={**known["admin"], "next": ""})
            cookie = answer.headers["set-cookie"].partition(";")[0]
            found = {
                name: _measure(http, path.format_map(places), cookie, sizes.dashboard_answers)
                for name, path in PAGES.items()
            }
    return {"apps": sizes.dashboard_apps, "events": events[0] if events else 0, "pages": found}


def _find_places(host: psycopg.Connection) -> dict[str, str]:
    """What the addresses of the pages name: a user, the user with the most events, a day, and a place halfway down the log."""
    row = host.execute(
        "select (select user_id::text from public.user_fly_apps order by id desc limit 1),"
        " (select user_id::text from public.user_fly_apps order by id limit 1),"
        " (now() - interval '90 days')::date::text,"
        " (now() - interval '200 days')::text, (select max(seq) from public.user_fly_app_events)::text"
    ).fetchone()
    if row is None:
        raise RuntimeError("a statement without tables gave no row")
    user, busy_user, day, moment, number = row
    return {"user": user, "busy_user": busy_user, "day": day, "far_back": write_cursor([moment, number]) or ""}


def _measure(http: httpx.Client, path: str, cookie: str, answers: int) -> dict[str, float]:
    seconds, size = [], 0
    for place in range(answers + 1):
        answer = http.get(f"/{path}", headers={"Cookie": cookie})
        answer.raise_for_status()
        size = len(answer.content)
        timing = re.search(r"dur=(\d+)", answer.headers["server-timing"])
        if place and timing:  # the first request opens connections
            seconds.append(int(timing[1]) / 1000)
    p95 = sorted(seconds)[-(-len(seconds) * 95 // 100) - 1]
    return {"median_s": statistics.median(seconds), "p95_s": p95, "slowest_s": max(seconds), "bytes": size}


def format_dashboard(found: dict[str, Any]) -> list[str]:
    """One line for each page."""
    lines = [
        "",
        f"the dashboard over {found['apps']:,} apps and {found['events']:,} events",
        f"  {'page':<24} {'median':>8} {'p95':>8} {'slowest':>8} {'size':>9}",
    ]
    for name, one in found["pages"].items():
        lines.append(
            f"  {name:<24} {one['median_s'] * 1000:>5.0f} ms {one['p95_s'] * 1000:>5.0f} ms {one['slowest_s'] * 1000:>5.0f} ms"
            f" {one['bytes'] / 1000:>6.1f} kB"
        )
    return lines


def main() -> None:
    """Measure the pages alone, with the sizes of a full run or those of the options."""
    parser = argparse.ArgumentParser(prog="python -m bench.dashboard")
    parser.add_argument("--apps", type=int, default=FULL.dashboard_apps)
    parser.add_argument("--events", type=int, default=FULL.dashboard_events)
    parser.add_argument("--answers", type=int, default=FULL.dashboard_answers, help="of each page")
    chosen = parser.parse_args()
    sizes = replace(FULL, dashboard_apps=chosen.apps, dashboard_events=chosen.events, dashboard_answers=chosen.answers)
    print("\n".join(format_dashboard(measure_dashboard(sizes))))


if __name__ == "__main__":
    main()
