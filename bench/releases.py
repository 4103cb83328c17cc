"""What a release costs the database while it waits, is planned and moves apps, as multiples of one round trip."""

import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import psycopg

from bench.cloud import Cloud
from bench.sizes import Sizes

_IMAGE = "registry.test/bench/backend:v2"
_SPEC = {"image": _IMAGE, "wave_shares": [1], "canary_size": 1, "max_moving": 500, "moving_share": 1}
_ADVANCE = "select public.fly_advance_releases(50)"


def measure_releases(cloud: Cloud, sizes: Sizes) -> dict[str, Any]:
    """Measure over the active fleet, in one transaction that is rolled back: nothing moves on Fly."""
    host = cloud.host
    with host.transaction(force_rollback=True):
        found: dict[str, Any] = {"fleet": sizes.fleet}
        found["round_trip_s"] = _measure(host, "select 1", 50)
        found["idle_s"] = _measure(host, _ADVANCE, 20)
        plan_it = "select public.fly_create_release(%s, 'bench', 'bench', %s)"
        found["dry_run_s"] = _time(lambda: host.execute(plan_it, (json.dumps(_SPEC), True)))
        found["plan_s"] = _time(lambda: host.execute(plan_it, (json.dumps(_SPEC), False)))
        found["draft_s"] = _measure(host, _ADVANCE, 20)
        [release] = host.execute("select max(id) from hangar.releases").fetchone() or [None]
        change = "select public.fly_change_release(%s, %s, 'bench', 'bench')"
        host.execute(change, (release, "start"))
        host.execute(change, (release, "pause"))
        found["paused_s"] = _measure(host, _ADVANCE, 20)
        host.execute(change, (release, "resume"))
        # The canary counts as proved, so that everybody's wave opens.
        host.execute("update hangar.release_targets set state = 'done' where release_id = %s and wave = 0", (release,))
        found["first_step_s"] = _time(lambda: host.execute(_ADVANCE))
        [found["moved"]] = host.execute(
            "select count(*) from hangar.release_targets where release_id = %s and state = 'applying'", (release,)
        ).fetchone() or [0]
        found["later_step_s"] = _measure(host, _ADVANCE, 5)
    return found


def _measure(host: psycopg.Connection, query: str, rounds: int) -> float:
    """The median of several calls; the first one only warms up."""
    host.execute(query.encode())
    return statistics.median(_time(lambda: host.execute(query.encode())) for _ in range(rounds))


def _time(call: Callable[[], Any]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def format_releases(found: dict[str, Any]) -> list[str]:
    """The figures as multiples of one round trip to the same database."""
    trip = found["round_trip_s"]
    moved = found["moved"]
    rows = [
        ("a step without any release", found["idle_s"]),
        ("a step with a draft", found["draft_s"]),
        ("a step with a paused release", found["paused_s"]),
        ("a step with nothing to move", found["later_step_s"]),
        (f"a step that moves {moved} apps", found["first_step_s"]),
        ("a dry run", found["dry_run_s"]),
        ("planning the release", found["plan_s"]),
    ]
    lines = ["", f"a release over {found['fleet']:,} apps (one round trip: {1000 * trip:.2f} ms)"]
    lines += [f"  {name:<34} {1000 * seconds:>9.2f} ms {seconds / trip:>9.1f} x" for name, seconds in rows]
    return lines
