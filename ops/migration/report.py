"""What a migration shows: the plan, the progress, the outcome of each user, and what to do next."""

import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from ops.migration.plan import make_plan
from ops.migration.provision import UserResult
from ops.migration.run import Migration
from ops.tables import make_table, print_failures
from shared.adapters.procedures_migration import Candidate
from shared.domain.cost import format_size

_MOST_NAME_BYTES = 240  # 255 on Linux, less the process id of the partial file
SHOWN_USERS = 50
OnResult = Callable[[UserResult], None]


def make_report(run: Migration, *, started_at: datetime, installation: str) -> dict[str, Any]:
    """The run as JSON: every user with the outcome, totals, and how the run ended. Money is text."""
    users = [
        {
            "user_id": str(result.candidate.user_id),
            "email": result.candidate.email,
            "tier": result.candidate.tier,
            "outcome": result.outcome,
            "detail": result.detail,
            "error_code": result.error_code,
            "advice": result.advice,
            "app_name": result.app_name,
            "machine_id": result.machine_id,
            "seconds": round(result.seconds, 3),
            "monthly_cost_estimate_usd": str(result.candidate.monthly_cost_estimate_usd),
        }
        for result in run.results
    ]
    for outcome, candidates in (("admitted", run.admitted_only), ("not_begun", run.not_begun)):
        users += [
            {"user_id": str(each.user_id), "email": each.email, "tier": each.tier, "outcome": outcome, "detail": ""}
            for each in candidates
        ]
    outcomes = [str(user["outcome"]) for user in users]
    return {
        "installation": installation,
        "started_at": started_at.isoformat(),
        "ended_at": datetime.now(UTC).isoformat(),
        "applied": True,
        "ending": run.ending,
        "reason": run.reason,
        "totals": {outcome: outcomes.count(outcome) for outcome in sorted(set(outcomes))},
        "users": users,
    }


def find_unwritable(path: Path) -> str | None:
    """Why a report cannot be written there, as a sentence. None if it can.

    A device such as /dev/null is refused, because writing replaces the file.
    """
    target = path.resolve()
    try:
        if len(os.fsencode(target.name)) > _MOST_NAME_BYTES:
            return f"the name of {path} is too long"
        if target.exists() and not target.is_file():
            return f"{path} is no file"
    except OSError as error:
        return f"{path}: {error.strerror}"
    if not (target.parent.is_dir() and os.access(target.parent, os.W_OK)):
        return f"{target.parent} is not a writable folder"
    return None


def write_report(path: Path, report: dict[str, Any]) -> None:
    """Replace the file as a whole, readable by its owner only because it holds e-mail addresses.

    The file that a symbolic link names is replaced, not the link. `find_unwritable` says first whether this is possible.
    """
    path = path.resolve()
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        json.dump(report, file, indent=2)
        file.write("\n")
    partial.replace(path)


def print_plan(console: Console, candidates: Sequence[Candidate], on: date) -> None:
    """A table of the first 50 users, and the total."""
    rows = [
        {
            "user": candidate.name,
            "tier": candidate.tier,
            "why": candidate.why,
            "size": format_size(candidate.cpu_kind, candidate.cpu_count, candidate.memory_mb),
            "region": candidate.region,
            "app": candidate.status or "none",
            "USD a month": candidate.monthly_cost_estimate_usd,
        }
        for candidate in candidates[:SHOWN_USERS]
    ]
    console.print(make_table("Entitled users without an active app", rows))
    if len(candidates) > SHOWN_USERS:
        console.print(f"and {len(candidates) - SHOWN_USERS} more (all of them: --json)")
    total = make_plan(candidates, on)["total"]
    console.print(
        f"Total: {total['users']} users, {total['monthly_cost_estimate_usd']} USD a month as estimated, "
        f"{total['monthly_list_price_usd']} USD by Fly's list price for machines that run all month"
    )


class _RateColumn(ProgressColumn):
    """Users a minute."""

    def render(self, task: Task) -> Text:
        return Text(f"{task.speed * 60:.0f}/min" if task.speed else "-/min")


@contextmanager
def show_progress(console: Console, total: int) -> Iterator[OnResult]:
    """On a terminal, a bar with rate and time left below the failures. Elsewhere, one line for each user."""
    if not console.is_terminal:
        yield _print_lines(console, total)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _RateColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("Migrating", total=total)

        def advance(result: UserResult) -> None:
            if result.outcome != "active":
                progress.console.print(f"{result.candidate.name}: {result.outcome}, {result.detail}")
            progress.advance(task)

        yield advance


def _print_lines(console: Console, total: int) -> OnResult:
    width, count = len(str(total)), 0

    def print_line(result: UserResult) -> None:
        nonlocal count
        count += 1
        app = result.app_name if result.outcome == "active" else result.detail
        line = (
            f"[{count:>{width}}/{total}] {result.candidate.name}  {result.outcome}  {app or ''}  {result.seconds:.1f} s"
        )
        console.print(line)

    return print_line


def print_outcome(console: Console, run: Migration) -> None:
    """Counts, the failures with what to do, and how to continue."""
    counts = Counter(result.outcome for result in run.results)
    parts = [f"{counts[name]} {name}" for name in ("active", "failed", "unfinished", "skipped") if counts[name]]
    console.print(", ".join(parts) or "no user was processed")
    failed = [result for result in run.results if result.outcome == "failed"]
    if failed:
        rows = [
            {
                "user": result.candidate.name,
                "app": result.app_name,
                "code": result.error_code,
                "what happened": result.detail,
                "what to do": result.advice or "read the message, fix the cause, then run the same command again",
            }
            for result in failed[:SHOWN_USERS]
        ]
        print_failures(console, rows, ("user", "app", "code"))
        if len(failed) > SHOWN_USERS:
            console.print(f"and {len(failed) - SHOWN_USERS} more (all of them: --report FILE)")
    if counts["unfinished"]:
        console.print(
            f"{counts['unfinished']} unfinished: Hangar continues with them; run the same command again for their outcome"
        )
    if run.admitted_only:
        console.print(f"{len(run.admitted_only)} admitted but not begun: the next drain starts them within a minute")
    if run.not_begun:
        console.print(f"{len(run.not_begun)} not begun: nothing has changed for them")
    if run.ending != "done":
        console.print(
            "To continue, run the same command again: it skips active users and waits for those in progress",
            soft_wrap=True,
        )
