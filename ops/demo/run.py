"""`hangar demo`: runs every scenario on a local cloud of its own. Each line is a check, and one failure fails the demo."""

import signal
import tempfile
import time
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from types import FrameType
from typing import NoReturn

from rich.console import Console

from local.dev.child import DevError
from local.dev.cloud import LocalCloud
from ops.demo.cloud import CheckFailed, DemoCloud
from ops.demo.fault_scenarios import FaultScenarios
from ops.demo.release_scenarios import ReleaseScenarios
from ops.demo.scenarios import LifecycleScenarios
from ops.tables import make_table


def run_demo(console: Console, folder: str | None) -> int:
    """Run every scenario. Returns 0 if each check passed, 1 if one failed or the cloud did not start."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _exit)
    try:
        return _run(console, folder)
    except DevError as error:
        console.print(f"[red]the local cloud did not start[/red]: {error}", markup=True)
        return 1


def _exit(number: int, _frame: FrameType | None) -> NoReturn:
    """End as after Ctrl-C: every process is stopped and every temporary file removed."""
    raise SystemExit(128 + number)


def _run(console: Console, folder: str | None) -> int:
    started, failed = time.monotonic(), 0
    with tempfile.TemporaryDirectory(prefix="hangar-demo-") as scratch:
        console.print(
            "Starting Postgres, the Supabase gateway, the Fly simulator and Hangar's functions on free ports …"
        )
        with LocalCloud(Path(folder or scratch)) as cloud:
            console.print(f"up in {time.monotonic() - started:.1f} s", "")
            access = DemoCloud(dict(cloud.addresses))
            for scenarios in (LifecycleScenarios(access), FaultScenarios(access), ReleaseScenarios(access)):
                for title, check in scenarios.steps():
                    failed += not _run_step(console, title, check)
            _print_fleet(console, access)
            access.close()
    seconds = time.monotonic() - started
    console.print(
        "",
        f"[red]{failed} check(s) failed[/red]" if failed else f"[green]every check passed[/green] in {seconds:.0f} s",
        markup=True,
    )
    return 1 if failed else 0


def _run_step(console: Console, title: str, check: Callable[[], str]) -> bool:
    started = time.monotonic()
    try:
        with console.status(title):
            observed = check()
    except CheckFailed as failure:
        console.print(f"[red]✗ {title}[/red]\n  {failure}", markup=True)
        return False
    console.print(
        f"[green]✓[/green] {title}\n  [dim]{observed} ({time.monotonic() - started:.1f} s)[/dim]", markup=True
    )
    return True


def _print_fleet(console: Console, cloud: DemoCloud) -> None:
    rows = cloud.sql(
        "select p.email as user, f.fly_app_name as app, f.status, f.health_status as health, f.region,"
        "       f.cpu_count || ' vCPU ' || f.memory_mb || ' MB' as size, f.monthly_cost_estimate_usd as usd_a_month"
        "  from public.user_fly_apps f join public.user_profiles p on p.id = f.user_id"
        " where f.deleted_at is null order by f.created_at"
    )
    console.print()
    console.print(make_table("The fleet", rows))
    total = sum((row["usd_a_month"] for row in rows), Decimal(0))
    console.print(f"Estimated monthly cost: {total} USD for {len(rows)} apps")
