"""Many active apps: the cost of one sweep, compared with a plain loop over the same simulator and the same gateway.

For each app the plain loop does what a health check without listings does: one GET, one update of the row, one event. It keeps
its connections open and has one thread.
"""

import json
import logging
import time
from dataclasses import asdict, dataclass
from typing import Any

import httpx

from bench.cloud import Cloud
from bench.fleet import Made, change_tier, follow_host, read_rows, settle_rows, sign_up, spread_probes
from bench.sizes import Sizes
from shared.fleet.inventory import SWEEP_EVERY
from shared.fleet.sweep import Sweep

ORG_LIST, APP_LIST = "GET /v1/orgs/{org_slug}/machines", "GET /v1/apps"
PROBE = "GET /v1/apps/{app_name}/machines/{machine_id}"


@dataclass
class Measured:
    """One sweep, in counts and seconds."""

    seconds: float
    org_lists: int
    app_lists: int
    probes: int
    other_fly_calls: int
    health_results: int
    health_statements: int
    database_calls: int

    @property
    def statements_per_1000(self) -> float:
        return 1000 * self.health_statements / max(1, self.health_results)


def build_fleet(cloud: Cloud, apps: int) -> None:
    """Make rows with the host's write, apps with the simulator's API, and set the rows to the state after provisioning."""
    change_tier(cloud.host, sign_up(cloud.host, apps, "fleet"), "pro")
    follow_host(cloud.host)
    found = read_rows(cloud.host)
    if len(found) != apps:
        raise RuntimeError(f"{len(found)} of {apps} users have a row: the benchmark would measure another fleet")
    rows = cloud.folder / "rows.json"
    fleet = {
        "installation_id": str(cloud.installation_id),
        "rows": [row.model_dump(mode="json") for row in found],
    }
    rows.write_text(json.dumps(fleet))
    made = cloud.start_fly(rows)
    settle_rows(cloud.host, [Made(**each) for each in made])
    cloud.host.execute("vacuum analyze public.user_fly_apps")


def measure_sweeps(cloud: Cloud, sizes: Sizes) -> dict[str, Any]:
    """Measure the first sweep after provisioning, one at rest, and one at rest with Fly's latency; also the plain loop."""
    first = measure_sweep(cloud)
    spread_probes(cloud.host, time.time() - SWEEP_EVERY.total_seconds())  # one slot is due
    cloud.host.execute("vacuum analyze public.user_fly_apps")
    rest = measure_sweep(cloud)
    plain_s = measure_plain_loop(cloud, sizes.plain_apps)
    spread_probes(cloud.host, time.time() - SWEEP_EVERY.total_seconds())  # one slot is due
    cloud.set_fly_latency("typical")
    slow = measure_sweep(cloud)
    slow_plain_s = measure_plain_loop(cloud, sizes.plain_apps_with_latency)
    cloud.set_fly_latency("instant")
    return {
        "fleet": sizes.fleet,
        "first": asdict(first) | {"statements_per_1000": first.statements_per_1000},
        "rest": asdict(rest) | {"statements_per_1000": rest.statements_per_1000},
        "rest_with_latency": asdict(slow) | {"statements_per_1000": slow.statements_per_1000},
        "plain_s": plain_s * sizes.fleet,
        "plain_sample": sizes.plain_apps,
        "plain_with_latency_s": slow_plain_s * sizes.fleet,
        "plain_with_latency_sample": sizes.plain_apps_with_latency,
    }


def measure_sweep(cloud: Cloud) -> Measured:
    """One whole sweep by a worker wired as in production. RuntimeError if it did not cover the fleet."""
    worker, store = cloud.make_worker()
    before = cloud.count_fly_requests()
    started = time.perf_counter()
    report = Sweep(worker, time.monotonic() + 600).run(drain_only=False)
    seconds = time.perf_counter() - started
    worker.fly.close()
    if not report.complete:
        raise RuntimeError(f"the sweep is not complete: {report.detail}")
    calls = cloud.count_fly_requests() - before
    named = (ORG_LIST, APP_LIST, PROBE)
    return Measured(
        seconds=seconds,
        org_lists=calls[ORG_LIST],
        app_lists=calls[APP_LIST],
        probes=calls[PROBE],
        other_fly_calls=sum(count for call, count in calls.items() if call not in named),
        health_results=store.results,
        health_statements=store.calls["fly_record_sweep"],
        database_calls=sum(store.calls.values()),
    )


def measure_plain_loop(cloud: Cloud, sample: int) -> float:
    """Seconds per app: GET the machine, PATCH the row, POST an event. service_role gets the grants for it in this database."""
    cloud.host.execute("grant update on public.user_fly_apps to service_role")
    cloud.host.execute("grant insert on public.user_fly_app_events to service_role")
    rows = cloud.host.execute(
        "select id::text, user_id::text, fly_app_name, machine_id from public.user_fly_apps"
        " where status = 'active' order by id limit %s",
        (sample,),
    ).fetchall()
    headers = {"apikey": cloud.keys.secret_key, "Authorization": f"Bearer {cloud.keys.secret_key}"}
    with (
        httpx.Client(base_url=cloud.fly_url, headers={"Authorization": "Bearer any"}, timeout=60) as fly,
        httpx.Client(base_url=f"{cloud.supabase_url}/rest/v1", headers=headers, timeout=60) as rest,
    ):
        started = time.perf_counter()
        for row_id, user_id, app, machine in rows:
            answer = fly.get(f"/v1/apps/{app}/machines/{machine}").raise_for_status().json()
            healthy = answer["state"] == "started" and all(each["status"] == "passing" for each in answer["checks"])
            patch = {"health_status": "healthy" if healthy else "unhealthy", "last_health_check": "now()"}
            rest.patch("/user_fly_apps", params={"id": f"eq.{row_id}"}, json=patch).raise_for_status()
            event = {
                "fly_app_id": row_id,
                "user_id": user_id,
                "event_type": "health_check_passed" if healthy else "health_check_failed",
                "status": "succeeded" if healthy else "failed",
                "metadata": {"state": answer["state"]},
            }
            rest.post("/user_fly_app_events", json=event).raise_for_status()
        return (time.perf_counter() - started) / len(rows)


logging.getLogger("httpx").setLevel(logging.WARNING)
