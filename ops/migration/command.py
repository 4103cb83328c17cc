"""`hangar migrate-users`: the way from an installed Hangar, which does nothing to anybody, to one that is live for everyone."""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any

import click
from rich.console import Console

from ops.cli_support import (
    EXIT_INTERRUPTED,
    EXIT_REFUSED,
    EXIT_SOME_FAILED,
    EXIT_USAGE,
    explained,
    get_actor,
    json_option,
    make_console,
    open_installation,
    print_json,
    stop,
)
from ops.client import Installation
from ops.migration.report import add_up, describe, make_report, print_outcome, print_plan, show_progress, write_report
from ops.migration.run import PER_MINUTE, WORKERS, Candidate, Migration, Result, probe, read_candidates
from ops.users import find_user


@click.command("migrate-users")
@click.option("--apply", is_flag=True, help="Do it. Without this nothing changes.")
@click.option("--limit", type=click.IntRange(1), help="Only the first N users.")
@click.option(
    "--only", multiple=True, metavar="USER", help="Only these (uuid or e-mail; may be repeated, or comma-separated)."
)
@click.option(
    "--batch", type=click.IntRange(1, 500), default=25, show_default=True, help="How many are admitted at a time."
)
@click.option(
    "--workers", type=click.IntRange(1, 64), default=WORKERS, show_default=True, help="How many are worked on at once."
)
@click.option(
    "--per-minute", type=click.FloatRange(1), default=PER_MINUTE, show_default=True, help="How many are begun a minute."
)
@click.option(
    "--report", type=click.Path(dir_okay=False, path_type=Path), help="Write what became of each user as JSON."
)
@click.option(
    "--go-live/--no-go-live", default=None, help="At the end, turn Hangar on for everyone (default: ask on a terminal)."
)
@json_option
@explained
def migrate_users(
    *,
    apply: bool,
    limit: int | None,
    only: tuple[str, ...],
    batch: int,
    workers: int,
    per_minute: float,
    report: Path | None,
    go_live: bool | None,
    as_json: bool,
) -> None:
    """Give apps to the users who are entitled already; at the end, turn Hangar on for everyone.

    A dry run by default: it shows who, what size, what cost. Ctrl-C finishes what is under way; run it again to go on.
    """
    if go_live and not apply:
        stop(EXIT_USAGE, "--go-live needs --apply; to go live without migrating: hangar settings set live=true")
    if report and not (report.parent.is_dir() and os.access(report.parent, os.W_OK)):
        stop(EXIT_USAGE, f"the report cannot be written: {report.parent} is no folder that can be written to")
    installation, console = open_installation(), make_console(to_stderr=as_json)
    overview = installation.database.rpc("fly_overview")
    candidates, left_out = _choose(installation, only, limit)
    today = datetime.now(UTC).date()
    if not apply:
        told = {
            "installation": installation.target.supabase_url,
            "applied": False,
            "live": overview["settings"]["live"],
        }
        plan = told | describe(candidates, today)
        if report:
            write_report(report, plan)
        if as_json:
            print_json(plan)
            return
        print_plan(console, candidates, today)
        _print_left_out(console, left_out)
        _explain_dry_run(console, overview["settings"], candidates)
        return
    if overview["settings"]["paused"]:
        stop(EXIT_REFUSED, "Hangar is paused, so nobody was admitted; `hangar resume` first")
    _print_left_out(console, left_out)
    started_at = datetime.now(UTC)
    run = _run(installation, console, candidates, batch=batch, workers=workers, per_minute=per_minute)
    run.results.extend(left_out)
    print_outcome(console, run)
    document = make_report(run, started_at=started_at, installation=installation.target.supabase_url)
    if report:
        write_report(report, document)  # before the question, which may be answered by Ctrl-C
        console.print(f"Report: {report}", highlight=False, soft_wrap=True)
    document["live"] = _offer_going_live(installation, console, go_live, run, as_json=as_json)
    if report:
        write_report(report, document)
    if as_json:
        print_json(document)
    _exit(run)


def _choose(
    installation: Installation, only: tuple[str, ...], limit: int | None
) -> tuple[list[Candidate], list[Result]]:
    """Whom to work on, and of those named who are not to be, with why."""
    candidates = read_candidates(installation)
    left_out = []
    if only:
        typed = [each.strip() for word in only for each in word.split(",") if each.strip()]
        named = {find_user(installation, each): each for each in typed}
        by_id = {candidate.user_id: candidate for candidate in candidates}
        candidates = [by_id[user] for user in named if user in by_id]
        for user in named.keys() - by_id.keys():
            told = installation.database.rpc("fly_user_status", user=str(user))
            if not told["known"]:
                stop(EXIT_USAGE, f"no user {named[user]} in this installation")
            left_out.append(_leave_out(user, named[user], told))
    return candidates[:limit], left_out


def _leave_out(user: Any, typed: str, told: dict[str, Any]) -> Result:
    """A named user who is no candidate, as a result."""
    row = told["row"] or {}
    why = "already active" if row.get("status") == "active" else f"not entitled ({told['why']})"
    if told["entitled"] and row.get("status") == "deprovisioning":
        why = "the old app is still being taken away; run this again later"
    like = {"email": typed if "@" in typed else None, "tier": row.get("tier") or "-", "why": told["why"], "region": "-"}
    size = {"cpu_kind": "shared", "cpu_count": 0, "memory_mb": 0, "monthly_cost_estimate_usd": "0.00"}
    state = {"status": row.get("status"), "error_code": row.get("error_code")}
    return Result(Candidate.read({"user_id": str(user), **like, **size, **state}), "skipped", why)


def _print_left_out(console: Console, left_out: list[Result]) -> None:
    for each in left_out:
        console.print(f"{each.candidate.name}: skipped, {each.detail}", highlight=False)


def _explain_dry_run(console: Console, settings: dict[str, Any], candidates: list[Candidate]) -> None:
    if settings["live"]:
        console.print(
            "Hangar is live already: whoever pays gets an app by itself, and these get theirs with the next sweep at the latest"
        )
    else:
        console.print("Hangar is not live: nothing happens to anybody who was not admitted here")
    for cap in ("max_apps", "max_monthly_cost_usd"):
        if settings[cap] is not None:
            console.print(f"hangar.settings.{cap} is {settings[cap]}: what goes beyond it is refused")
    if candidates:
        console.print("Nothing was changed. To do it: the same command with --apply")


def _run(
    installation: Installation,
    console: Console,
    candidates: list[Candidate],
    *,
    batch: int,
    workers: int,
    per_minute: float,
) -> Migration:
    if candidates:
        probe(installation)
    with show_progress(console, len(candidates)) as on_result:
        run = Migration(
            installation, get_actor(), on_result, batch=batch, workers=min(workers, batch), per_minute=per_minute
        )
        with _finish_on_ctrl_c(run):
            run.run(candidates)
    return run


@contextmanager
def _finish_on_ctrl_c(run: Migration) -> Iterator[None]:
    """The first Ctrl-C begins nothing more and lets finish what is under way; the second ends at once."""
    asked: list[int] = []

    def ask_to_stop(number: int, _frame: FrameType | None) -> None:
        if asked:
            os.write(2, b"hangar: ended at once; what was under way goes on in Hangar by itself, nothing is lost\n")
            os._exit(EXIT_INTERRUPTED)  # the pool's threads would otherwise be waited for
        asked.append(number)  # first of all: the next signal may come between any two lines
        os.write(2, b"hangar: finishing what is under way (Ctrl-C again ends at once) ...\n")
        # Not here: the interrupted thread may hold the event's own lock this very moment.
        threading.Thread(target=run.stopping.set).start()

    before = signal.signal(signal.SIGINT, ask_to_stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _offer_going_live(
    installation: Installation, console: Console, go_live: bool | None, run: Migration, *, as_json: bool
) -> bool:
    """Turn Hangar on for everyone when told to; says how many users that concerns. Returns whether Hangar is live."""
    if installation.database.rpc("fly_overview")["settings"]["live"]:
        console.print("Hangar is live already: whoever pays gets an app by itself")
        return True
    if run.ending != "done":
        console.print("Hangar stays as it was, not live")
        return False
    waiting = [candidate for candidate in read_candidates(installation) if candidate.status is None]
    concerned = (
        f"{len(waiting)} entitled users without an app ({add_up(waiting)} USD a month)" if waiting else "nobody at once"
    )
    means = f"concerns {concerned}; from then on whoever pays gets an app by itself"
    if go_live is None and not as_json and sys.stdin.isatty() and sys.stdout.isatty():
        go_live = click.confirm(f"Turn Hangar on for everyone? It {means}")
    if not go_live:
        console.print(
            f"Hangar is not live. Going live {means}: `hangar migrate-users --apply --go-live`", soft_wrap=True
        )
        return False
    changes = {"changes": {"live": True}, "actor": get_actor(), "reason": "migrate-users --go-live"}
    installation.database.rpc("fly_set_settings", **changes)
    console.print(f"Hangar is live now. That {means}", soft_wrap=True)
    return True


def _exit(run: Migration) -> None:
    if run.ending == "interrupted":
        sys.exit(EXIT_INTERRUPTED)
    if run.ending == "refused":
        stop(EXIT_REFUSED, run.reason)
    if run.ending == "stopped":
        stop(EXIT_SOME_FAILED, run.reason)
    if any(result.outcome in ("failed", "unfinished") for result in run.results):
        sys.exit(EXIT_SOME_FAILED)
