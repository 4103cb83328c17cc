"""Makes a fleet in the state after provisioning, without waiting for the provisioning.

The host's own write and Hangar's procedure make the rows. The simulator's API makes the apps, secrets and machines, with the same
config that Hangar sends. Then the rows get what a worker would have saved at the end.
"""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import psycopg

from local.fly.simulator import FlySim
from local.http_server import Request
from shared.domain.cost import list_price_usd_per_s
from shared.domain.machine_config import build_config
from shared.domain.models import Row
from shared.domain.naming import machine_name
from shared.fleet.inventory import SHARES, SWEEP_EVERY


@dataclass(frozen=True)
class Made:
    """The ids and the price that Fly returned for one row."""

    row_id: str
    machine_id: str
    region: str
    secrets_version: int
    price_usd_per_s: str


def sign_up(host: psycopg.Connection, count: int, mark: str = "user") -> list[UUID]:
    """Add `count` users on the free tier in one statement. The host's own trigger makes profile and subscription."""
    made = host.execute(
        "insert into auth.users (id, email) select gen_random_uuid(), format('%%s-%%s@example.test', %s::text, n)"
        " from generate_series(1, %s) n returning id",
        (mark, count),
    ).fetchall()
    return [user for (user,) in made]


def change_tier(host: psycopg.Connection, users: list[UUID], tier: str) -> None:
    """The host's own write: one statement for all users."""
    host.execute("update public.user_subscriptions set tier = %s where user_id = any(%s)", (tier, users))


def follow_host(host: psycopg.Connection) -> None:
    """Let the rows follow the host's changes, as a drain does."""
    left = True
    while left:
        row = host.execute("select public.fly_apply_marks()").fetchone()
        left = bool(row and row[0]["left"])


def read_rows(host: psycopg.Connection) -> list[Row]:
    """Every live row, by id."""
    found = host.execute("select to_jsonb(a) from public.user_fly_apps a where deleted_at is null order by id")
    return [Row.model_validate(row) for (row,) in found]


def make_apps(sim: FlySim, rows: Iterable[Row], installation_id: UUID) -> list[Made]:
    """Make app, secrets and machine of each row with the three calls of provisioning."""
    today = datetime.now(UTC).date()
    made = []
    for row in rows:
        app = f"/v1/apps/{row.fly_app_name}"
        _post(sim, "/v1/apps", app_name=row.fly_app_name, org_slug=row.fly_org_slug, network=row.network)
        version = _post(sim, f"{app}/secrets", values={"SUPABASE_USER_TOKEN": "t"})["version"]
        config = build_config(
            row.model_copy(update={"secrets_version": version}),
            installation_id=installation_id,
            env={"USER_ID": str(row.user_id)},
        )
        name = machine_name(row.fly_app_name)
        machine = _post(sim, f"{app}/machines", name=name, region=row.region, config=config)
        price = list_price_usd_per_s(row.cpu_kind, row.cpu_count, row.memory_mb, machine["region"], today)
        made.append(Made(str(row.id), machine["id"], machine["region"], version, f"{price:.12f}"))
    return made


def settle_rows(host: psycopg.Connection, made: Iterable[Made]) -> None:
    """Write what the last save of a provisioning writes: active, no longer due, health still unknown."""
    with host.cursor() as cursor, host.transaction():
        cursor.execute(
            "create temporary table made (id uuid, machine_id text, region text, version bigint, price numeric) on commit drop"
        )
        with cursor.copy("copy made from stdin") as copy:
            for each in made:
                copy.write_row((each.row_id, each.machine_id, each.region, each.secrets_version, each.price_usd_per_s))
        cursor.execute(
            "update public.user_fly_apps a set status = 'active', observed_generation = a.generation, next_attempt_at = null,"
            " machine_id = m.machine_id, machine_state = 'started', machine_region = m.region, secrets_version = m.version,"
            # One time for both: a token that runs until another time than its own is due for renewal.
            " token_issued_at = t.now, token_expires_at = t.now + interval '30 days',"
            " token_running_until = t.now + interval '30 days',"
            " price_usd_per_s = m.price, deployed_at = hangar.now(), observed_at = hangar.now(), health_status = 'unknown',"
            " last_health_check = hangar.now() from made m, (select hangar.now() as now offset 0) t where m.id = a.id"
        )
    [due] = host.execute("select count(*) from hangar.find_due_tokens(null)").fetchone() or (None,)
    if due != 0:
        raise RuntimeError(f"{due} tokens of the fleet are due for renewal: the benchmark would measure these renewals")


def spread_probes(host: psycopg.Connection, now_s: float) -> None:
    """Write the state after half an hour of sweeps: every app is healthy and was probed in its slot."""
    slot_s = SWEEP_EVERY.total_seconds()
    slot = int(now_s // slot_s)
    rows = read_rows(host)
    with host.cursor() as cursor, host.transaction():
        cursor.execute("create temporary table probes (id uuid, at double precision) on commit drop")
        with cursor.copy("copy probes from stdin") as copy:
            for row in rows:
                turn = slot - (slot - row.id.int) % SHARES
                copy.write_row((str(row.id), min(turn * slot_s + 20, now_s - 1)))
        cursor.execute(
            "update public.user_fly_apps a set health_status = 'healthy', last_health_check = to_timestamp(l.at),"
            " observed_at = to_timestamp(l.at) from probes l where l.id = a.id"
        )


def make_fleet(host: psycopg.Connection, sim: FlySim, count: int, tick: Callable[[], None]) -> list[UUID]:
    """Make `count` active apps with rows and machines. `tick` lets the machines boot. Hangar must be live."""
    users = sign_up(host, count)
    change_tier(host, users, "pro")
    follow_host(host)
    (installation_id,) = host.execute("select installation_id from hangar.settings").fetchone() or (None,)
    made = make_apps(sim, read_rows(host), UUID(str(installation_id)))
    tick()
    settle_rows(host, made)
    return users


def _post(sim: FlySim, path: str, **body: Any) -> dict[str, Any]:
    headers = {"authorization": "Bearer any", "content-type": "application/json"}
    answer = sim.handle(Request("POST", path, (), headers, json.dumps(body).encode()))
    if answer.status >= 300:
        raise RuntimeError(f"POST {path}: {answer.status} {answer.body[:200]!r}")
    found: dict[str, Any] = json.loads(answer.body)
    return found
