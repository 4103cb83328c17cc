"""A sample fleet for `make dev`: 30 users over three tiers and three regions, one of them failing, one in grace.

It does what a host does: it signs users up and changes their tier by SQL, and calls the health function as the scheduler
does. Hangar does the rest. `user-23@example.com` fails because Fly refuses the image once, as if it had not been pushed yet.
`hangar retry user-23@example.com` succeeds. `user-30@example.com` cancelled and is in grace.
"""

import hashlib
import json
import sys
import threading
import time
from collections.abc import Mapping
from typing import Any

import httpx
import psycopg

FREE, PRO, ELITE = range(1, 7), range(7, 24), range(24, 31)
IN_FRANKFURT = range(15, 23)  # the Pro users who signed up while the Pro plan named the region fra
FAILING, IN_GRACE = 23, 30
MISSING_IMAGE = "registry.fly.io/sample-app:does-not-exist"
GRACE_S = 3 * 86400
FILL_S = 120.0
SWEEP_S = 30.0
_CHECK_EVERY_S = 0.5


def fill_sample_fleet(addresses: Mapping[str, Any], stopping: threading.Event) -> None:
    """Fill the fleet of the cloud with these addresses (the content of dev.json) and print what it holds.

    Returns early when `stopping` is set, and after FILL_S with the state at that time. An error is printed, because the
    cloud is useful without the sample.
    """
    print("Filling the sample fleet: 30 users. `EMPTY=1 make dev` starts without it ...", flush=True)
    try:
        _fill(addresses, stopping)
    except (httpx.HTTPError, psycopg.Error) as error:
        print(f"The sample fleet is not complete ({type(error).__name__}: {error})", file=sys.stderr, flush=True)


def _fill(addresses: Mapping[str, Any], stopping: threading.Event) -> None:
    with psycopg.connect(addresses["database_url"], autocommit=True) as database:
        _sign_up(database)
        _set_plans(database)
        elsewhere = [user for user in PRO if user not in (*IN_FRANKFURT, FAILING)]
        _set_tier(database, "pro", elsewhere)
        _set_tier(database, "elite", ELITE)
        _wait_until(database, {"active": len(elsewhere) + len(ELITE)}, stopping)
        _change_region(database, "fra")
        _set_tier(database, "pro", IN_FRANKFURT)
        _wait_until(database, {"active": len(PRO) + len(ELITE) - 1}, stopping)
        _change_region(database, None)  # now, because a row that is still on its way would follow the plan
        _refuse_image(addresses, database)
        _set_tier(database, "pro", [FAILING])
        expected = {"active": len(PRO) + len(ELITE) - 1, "error": 1}
        if _wait_until(database, expected, stopping):
            _set_tier(database, "free", [IN_GRACE])
            expected = {"active": expected["active"] - 1, "error": 1, "deprovisioning": 1}
            _wait_until(database, expected, stopping)
        if not stopping.is_set():
            _sweep(addresses)
            _print_fleet(_count_by_status(database), expected)


def email(number: int) -> str:
    """The address of a sample user."""
    return f"user-{number:02d}@example.com"


def _id(number: int) -> str:
    return f"00000000-0000-4000-8000-0000000010{number:02d}"


def _sign_up(database: psycopg.Connection) -> None:
    users = [(_id(number), email(number)) for number in (*FREE, *PRO, *ELITE)]
    with database.cursor() as cursor:
        cursor.executemany("insert into auth.users (id, email, email_confirmed_at) values (%s, %s, now())", users)
        cursor.executemany(
            "insert into public.traders (user_id, name, filter) values (%s, 'breakout', '{\"min_volume\": 100000}')",
            [(user,) for user, _ in users],
        )


def _set_plans(database: psycopg.Connection) -> None:
    database.execute("update public.fly_plans set price_usd = 29 where tier = 'pro'")
    database.execute(
        "update public.fly_plans set region = 'iad', cpu_count = 4, memory_mb = 1024, price_usd = 99, grace_s = %s"
        " where tier = 'elite'",
        (GRACE_S,),
    )


def _change_region(database: psycopg.Connection, region: str | None) -> None:
    """Set the region of the Pro plan. Users who have an app keep it where it is."""
    database.execute("update public.fly_plans set region = %s where tier = 'pro'", (region,))


def _set_tier(database: psycopg.Connection, tier: str, numbers: "range | list[int]") -> None:
    """The one SQL statement that a host runs."""
    users = [_id(number) for number in numbers]
    database.execute("update public.user_subscriptions set tier = %s where user_id = any(%s::uuid[])", (tier, users))


def _count_by_status(database: psycopg.Connection) -> dict[str, int]:
    rows = database.execute(
        "select status, count(*) from public.user_fly_apps where deleted_at is null group by status"
    )
    return {str(status): int(count) for status, count in rows}


def _wait_until(database: psycopg.Connection, expected: Mapping[str, int], stopping: threading.Event) -> bool:
    """Whether the fleet reached this state in time."""
    ends_at = time.monotonic() + FILL_S
    while time.monotonic() < ends_at:
        if _count_by_status(database) == expected:
            return True
        if stopping.wait(_CHECK_EVERY_S):
            return False
    return False


def _refuse_image(addresses: Mapping[str, Any], database: psycopg.Connection) -> None:
    """Make the simulator refuse the failing user's machine once, with Fly's answer for an image that does not exist."""
    [(prefix,)] = database.execute("select app_prefix from hangar.settings").fetchall()
    digest = hashlib.sha256(f"{_id(FAILING)}:0".encode()).hexdigest()[:8]  # docs/database.md, `name_seq`
    path = f"/v1/apps/{prefix}-{digest}/machines"
    body = {"error": f"failed to get manifest {MISSING_IMAGE}: image not found"}
    fault = {"method": "POST", "path": path, "status": 422, "body": body, "times": 1}
    httpx.put(f"{addresses['fly_api_url']}/_sim/faults", json=[fault], trust_env=False).raise_for_status()


def _sweep(addresses: Mapping[str, Any]) -> None:
    """Call the health function as the scheduler does, so that the first page shows health."""
    headers = {"X-Hangar-Secret": addresses["static_secret"], "content-type": "application/json"}
    httpx.post(
        addresses["functions"]["health"], headers=headers, content=json.dumps({}), timeout=SWEEP_S, trust_env=False
    ).raise_for_status()


def _print_fleet(counts: Mapping[str, int], expected: Mapping[str, int]) -> None:
    shown = ", ".join(f"{counts.get(status, 0)} {status}" for status in expected)
    late = "" if counts == expected else " (not finished after two minutes; Hangar continues)"
    print(
        f"Sample fleet: {shown}{late}. {email(FAILING)} fails because its image does not exist on Fly; "
        f"{email(IN_GRACE)} cancelled and is in grace. {len(IN_FRANKFURT)} apps run in Frankfurt, where the Pro plan was "
        "when they began, so they differ from their plan: `hangar release create --drift --dry-run` shows how they would move.",
        flush=True,
    )
