"""`hangar migrate-users`: from an installed Hangar, which acts on no user, to one that is live for everyone."""

import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from uuid import UUID

import click
from rich.console import Console

from ops.adoption.go_live import warn_of_leftovers
from ops.cli_support import get_actor, json_option, make_console, open_installation, print_json, report_errors, stop
from ops.client import Installation
from ops.exit_codes import EXIT_INTERRUPTED, EXIT_REFUSED, EXIT_SOME_FAILED, EXIT_USAGE
from ops.migration.interrupt import finish_on_ctrl_c
from ops.migration.pace import PER_MINUTE
from ops.migration.plan import make_plan, read_candidates, total_cost_usd
from ops.migration.provision import UserResult, check_provision_function
from ops.migration.report import find_unwritable, make_report, print_outcome, print_plan, show_progress, write_report
from ops.migration.run import WORKERS, Migration
from shared.adapters.procedures_migration import Candidate
from shared.adapters.procedures_operator import Overview, UserStatus

_ALREADY_LIVE = "Hangar is live already: every entitled user gets an app automatically"


@click.command("migrate-users")
@click.option("--apply", is_flag=True, help="Create the apps. Without this option nothing changes.")
@click.option("--limit", type=click.IntRange(1), help="Only the first N users.")
@click.option(
    "--only",
    multiple=True,
    metavar="USER",
    help="Only these users (uuid, e-mail or app name). Repeat it or separate by commas.",
)
@click.option(
    "--batch", type=click.IntRange(1, 500), default=25, show_default=True, help="How many users to admit at a time."
)
@click.option(
    "--workers",
    type=click.IntRange(1, 64),
    default=WORKERS,
    show_default=True,
    help="How many users to process at once.",
)
@click.option(
    "--per-minute",
    type=click.FloatRange(1, 100_000),
    default=PER_MINUTE,
    show_default=True,
    help="How many users to start a minute.",
)
@click.option(
    "--report",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the outcome of each user to this file as JSON.",
)
@click.option(
    "--go-live/--no-go-live", default=None, help="At the end, turn Hangar on for everyone (default: ask on a terminal)."
)
@json_option
@report_errors
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
    """Create apps for the users who are entitled already. At the end, turn Hangar on for everyone.

    By default this is a dry run that shows users, sizes and cost. Ctrl-C finishes the users in progress. Run the same
    command again to continue.
    """
    if go_live and not apply:
        stop(EXIT_USAGE, "--go-live needs --apply; to go live without migrating: hangar settings set live=true")
    if math.isnan(per_minute):  # no number is less than it, so that the range lets it pass
        stop(EXIT_USAGE, "--per-minute must be a number from 1 to 100000, not nan")
    if report and (problem := find_unwritable(report)):
        stop(EXIT_USAGE, f"the report cannot be written: {problem}")
    installation, console = open_installation(), make_console(to_stderr=as_json)
    overview = installation.database.read_overview()
    candidates, skipped = _choose_users(installation, only, limit)
    if not apply:
        _show_dry_run(installation, console, overview, candidates, skipped, report, as_json=as_json)
        return
    if overview.is_paused:
        stop(EXIT_REFUSED, "Hangar is paused, so no user was admitted; run `hangar resume` first")
    _print_skipped(console, skipped)
    started_at = datetime.now(UTC)
    with _migration(installation, console, len(candidates), batch, workers, per_minute) as run:
        if candidates:
            run.run(candidates)
    run.results.extend(skipped)
    print_outcome(console, run)
    document = make_report(run, started_at=started_at, installation=installation.target.supabase_url)
    if report:
        write_report(report, document)  # before the question, which Ctrl-C may end
        console.print(f"Report: {report}")
    document["live"] = _offer_going_live(installation, console, go_live, run, as_json=as_json)
    if report:
        write_report(report, document)
    if as_json:
        print_json(document)
    _exit(run)


def _choose_users(
    installation: Installation, only: tuple[str, ...], limit: int | None
) -> tuple[list[Candidate], list[UserResult]]:
    """The users to process, and a result with the reason for each named user who is not a candidate."""
    candidates = read_candidates(installation)
    skipped = []
    if only:
        typed = [word.strip() for option in only for word in option.split(",") if word.strip()]
        if not typed:
            stop(EXIT_USAGE, f"--only names no user: {','.join(only)!r}")
        named = {installation.find_user(word): word for word in typed}
        by_id = {candidate.user_id: candidate for candidate in candidates}
        candidates = [by_id[user] for user in named if user in by_id]
        for user in named.keys() - by_id.keys():
            status = installation.database.read_user_status(user)
            if not status.is_known:
                stop(EXIT_USAGE, f"no user {named[user]} in this installation")
            skipped.append(_skip(user, named[user], status))
    return candidates[:limit], skipped


def _skip(user: UUID, typed: str, status: UserStatus) -> UserResult:
    row = status.row or {}
    reason = "already active" if row.get("status") == "active" else f"not entitled ({status.why})"
    if status.is_entitled and row.get("status") == "deprovisioning":
        reason = "the old app is still being removed; run the same command again later"
    email = typed if "@" in typed else None
    candidate = Candidate(
        user_id=user,
        email=email,
        tier=row.get("tier") or "-",
        why=status.why,
        cpu_kind="shared",
        cpu_count=0,
        memory_mb=0,
        region="-",
        monthly_cost_estimate_usd=Decimal("0.00"),
        status=row.get("status"),
        error_code=row.get("error_code"),
    )
    return UserResult(candidate, "skipped", reason)


def _print_skipped(console: Console, skipped: list[UserResult]) -> None:
    for result in skipped:
        console.print(f"{result.candidate.name}: skipped, {result.detail}")


def _show_dry_run(
    installation: Installation,
    console: Console,
    overview: Overview,
    candidates: list[Candidate],
    skipped: list[UserResult],
    report: Path | None,
    *,
    as_json: bool,
) -> None:
    today = datetime.now(UTC).date()
    state = {"installation": installation.target.supabase_url, "applied": False, "live": overview.is_live}
    plan = state | make_plan(candidates, today)
    if report:
        write_report(report, plan)
    if as_json:
        print_json(plan)
        return
    print_plan(console, candidates, today)
    _print_skipped(console, skipped)
    if overview.is_live:
        console.print(f"{_ALREADY_LIVE}, at the latest with the next sweep")
    else:
        console.print("Hangar is not live: nothing happens to users who were not admitted by this command")
    for limit in ("max_apps", "max_monthly_cost_usd"):
        if (value := overview.settings[limit]) is not None:
            console.print(f"hangar.settings.{limit} is {value}: apps beyond this limit are refused")
    if candidates:
        console.print("Nothing was changed. To create the apps, run the same command with --apply")


@contextmanager
def _migration(
    installation: Installation, console: Console, total: int, batch: int, workers: int, per_minute: float
) -> Iterator[Migration]:
    """A migration with progress on `console` that Ctrl-C ends in an orderly way."""
    if total:
        check_provision_function(installation)
    with show_progress(console, total) as on_result:
        run = Migration(
            installation, get_actor(), on_result, batch=batch, workers=min(workers, batch), per_minute=per_minute
        )
        with finish_on_ctrl_c(run.stopping):
            yield run


def _offer_going_live(
    installation: Installation, console: Console, go_live: bool | None, run: Migration, *, as_json: bool
) -> bool:
    """Turn Hangar on for everyone if asked to, after saying how many users that affects. Returns whether it is live."""
    if installation.database.read_overview().is_live:
        console.print(_ALREADY_LIVE)
        return True
    if run.ending != "done":
        console.print("Hangar is still not live")
        return False
    waiting = [candidate for candidate in read_candidates(installation) if candidate.status is None]
    cost = total_cost_usd(waiting)
    affected = f"{len(waiting)} entitled users without an app ({cost} USD a month)" if waiting else "no user at once"
    effect = f"affects {affected}; from then on every entitled user gets an app automatically"
    if go_live is None and not as_json and sys.stdin.isatty() and sys.stdout.isatty():
        go_live = click.confirm(f"Turn Hangar on for everyone? This {effect}")
    if not go_live:
        command = "hangar migrate-users --apply --go-live"
        console.print(f"Hangar is not live. Going live {effect}: `{command}`", soft_wrap=True)
        return False
    installation.database.set_settings({"live": True}, actor=get_actor(), reason="migrate-users --go-live")
    console.print(f"Hangar is live now. This {effect}", soft_wrap=True)
    warn_of_leftovers(installation)
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
