"""The story of Hangar on one machine, told in lines that are checks: each can fail, and one failure fails the demo."""

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
from ops.demo.cloud import CheckFailed, Stage
from ops.demo.fault_scenarios import FaultStory
from ops.demo.scenarios import Story
from ops.tables import make_table


def play(console: Console, folder: str | None) -> int:
    """Play every act; 0 when each check held, 1 when one did not or the cloud did not come up."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _end)
    try:
        return _play(console, folder)
    except DevError as error:
        console.print(f"[red]the local cloud did not come up[/red]: {error}", highlight=False)
        return 1


def _end(number: int, _frame: FrameType | None) -> NoReturn:
    """Being asked to end is like Ctrl-C: everything that was started stops, everything that was written goes."""
    raise SystemExit(128 + number)


def _play(console: Console, folder: str | None) -> int:
    started, failed = time.monotonic(), 0
    with tempfile.TemporaryDirectory(prefix="hangar-demo-") as scratch:
        console.print("Starting Postgres, the Supabase gateway, the Fly simulator and three functions on free ports …")
        with LocalCloud(Path(folder or scratch)) as cloud:
            console.print(f"up in {time.monotonic() - started:.1f} s\n")
            stage = Stage(dict(cloud.addresses))
            for story in (Story(stage), FaultStory(stage)):
                for title, act in story.acts():
                    failed += not _play_act(console, title, act)
            _print_fleet(console, stage)
            stage.close()
    seconds = time.monotonic() - started
    console.print(
        f"\n[red]{failed} check(s) failed[/red]" if failed else f"\n[green]every check held[/green] in {seconds:.0f} s"
    )
    return 1 if failed else 0


def _play_act(console: Console, title: str, act: Callable[[], str]) -> bool:
    started = time.monotonic()
    try:
        with console.status(title):
            seen = act()
    except CheckFailed as failure:
        console.print(f"[red]✗ {title}[/red]\n  {failure}", highlight=False)
        return False
    console.print(
        f"[green]✓[/green] {title}\n  [dim]{seen} ({time.monotonic() - started:.1f} s)[/dim]", highlight=False
    )
    return True


def _print_fleet(console: Console, stage: Stage) -> None:
    rows = stage.sql(
        "select p.email as user, f.fly_app_name as app, f.status, f.health_status as health, f.region,"
        "       f.cpu_count || ' vCPU ' || f.memory_mb || ' MB' as size, f.monthly_cost_estimate_usd as usd_a_month"
        "  from public.user_fly_apps f join public.user_profiles p on p.id = f.user_id"
        " where f.deleted_at is null order by f.created_at"
    )
    console.print()
    console.print(make_table("The fleet", rows))
    total = sum((row["usd_a_month"] for row in rows), Decimal(0))
    console.print(f"Estimated monthly cost: {total} USD for {len(rows)} apps")
