"""What a migration shows: who would get an app and at what cost, how far it is, what became of whom, and what to do."""

import json
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Protocol

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from ops.migration.run import Candidate, Migration, Result
from ops.tables import make_table, print_failures
from shared.domain.cost import to_cents

SHOWN = 50


class OnResult(Protocol):
    """Told of each user as the outcome is known."""

    def __call__(self, result: Result) -> None: ...


def make_report(run: Migration, *, started_at: datetime, installation: str) -> dict[str, Any]:
    """The run as JSON: every user with outcome, totals, how it ended. Money as text."""
    users = [
        {
            "user_id": str(each.candidate.user_id),
            "email": each.candidate.email,
            "tier": each.candidate.tier,
            "outcome": each.outcome,
            "detail": each.detail,
            "error_code": each.error_code,
            "advice": each.advice,
            "app_name": each.app_name,
            "machine_id": each.machine_id,
            "seconds": round(each.seconds, 3),
            "monthly_cost_estimate_usd": str(each.candidate.monthly_cost_estimate_usd),
        }
        for each in run.results
    ]
    for words, left in (("admitted", run.admitted_only), ("not_begun", run.untouched)):
        users += [
            {"user_id": str(each.user_id), "email": each.email, "tier": each.tier, "outcome": words, "detail": ""}
            for each in left
        ]
    outcomes = [str(user["outcome"]) for user in users]
    return {
        "installation": installation,
        "started_at": started_at.isoformat(),
        "ended_at": datetime.now(UTC).isoformat(),
        "applied": True,
        "ending": run.ending,
        "reason": run.reason,
        "totals": {word: outcomes.count(word) for word in sorted(set(outcomes))},
        "users": users,
    }


def describe(candidates: Sequence[Candidate], on: date) -> dict[str, Any]:
    """Who would get an app, what each and all of them cost, as JSON. Money as text."""
    return {
        "users": [
            {
                "user_id": str(each.user_id),
                "email": each.email,
                "tier": each.tier,
                "why": each.why,
                "cpu_kind": each.cpu_kind,
                "cpu_count": each.cpu_count,
                "memory_mb": each.memory_mb,
                "region": each.region,
                "monthly_cost_estimate_usd": str(each.monthly_cost_estimate_usd),
                "monthly_list_price_usd": str(to_cents(each.list_price_usd(on))),
                "status": each.status,
            }
            for each in candidates
        ],
        "total": {
            "users": len(candidates),
            "monthly_cost_estimate_usd": str(add_up(candidates)),
            "monthly_list_price_usd": str(to_cents(sum((each.list_price_usd(on) for each in candidates), Decimal(0)))),
        },
    }


def add_up(candidates: Sequence[Candidate]) -> Decimal:
    """The estimated cost a month of all of them."""
    return sum((each.monthly_cost_estimate_usd for each in candidates), Decimal("0.00"))


def print_plan(console: Console, candidates: Sequence[Candidate], on: date) -> None:
    """A table of users, the first 50, and the total."""
    rows = [
        {
            "user": each.email or each.user_id,
            "tier": each.tier,
            "why": each.why,
            "size": f"{each.cpu_count} {each.cpu_kind} vCPU, {each.memory_mb} MB",
            "region": each.region,
            "app": each.status or "none",
            "USD a month": each.monthly_cost_estimate_usd,
        }
        for each in candidates[:SHOWN]
    ]
    console.print(make_table("Entitled users without an active app", rows))
    if len(candidates) > SHOWN:
        console.print(f"and {len(candidates) - SHOWN} more (all of them: --json)")
    total = describe(candidates, on)["total"]
    console.print(
        f"Total: {total['users']} users, {total['monthly_cost_estimate_usd']} USD a month as Hangar estimates, "
        f"{total['monthly_list_price_usd']} USD by Fly's list price for machines that run all month"
    )


class _RateColumn(ProgressColumn):
    """Users a minute."""

    def render(self, task: Task) -> Text:
        return Text(f"{task.speed * 60:.0f}/min" if task.speed else "-/min")


@contextmanager
def show_progress(console: Console, total: int) -> Iterator[OnResult]:
    """A bar with rate and time left on a terminal, with the failures above it; elsewhere one plain line for each user."""
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

        def tell(result: Result) -> None:
            if result.outcome != "active":
                progress.console.print(f"{result.candidate.name}: {result.outcome}, {escape(result.detail)}")
            progress.advance(task)

        yield tell


def _print_lines(console: Console, total: int) -> OnResult:
    width, count = len(str(total)), 0

    def tell(result: Result) -> None:
        nonlocal count
        count += 1
        what = result.app_name if result.outcome == "active" else result.detail
        line = f"[{count:>{width}}/{total}] {result.candidate.name}  {result.outcome}  {what or ''}  {result.seconds:.1f} s"
        console.print(line, markup=False, highlight=False, soft_wrap=True)

    return tell


def print_outcome(console: Console, run: Migration) -> None:
    """Counts, the failed ones with what to do, and how to go on."""
    counts = Counter(result.outcome for result in run.results)
    words = ", ".join(
        f"{counts[word]} {word}" for word in ("active", "failed", "unfinished", "skipped") if counts[word]
    )
    console.print(words or "nobody was worked on", highlight=False)
    failed = [result for result in run.results if result.outcome == "failed"]
    if failed:
        rows = [
            {
                "user": each.candidate.name,
                "app": each.app_name,
                "code": each.error_code,
                "what happened": each.detail,
                "what to do": each.advice or "read the message, mend what it names, then run this again",
            }
            for each in failed[:SHOWN]
        ]
        print_failures(console, rows, ("user", "app", "code"))
        if len(failed) > SHOWN:
            console.print(f"and {len(failed) - SHOWN} more (all of them: --report FILE)")
    if counts["unfinished"]:
        console.print(
            f"{counts['unfinished']} unfinished: Hangar goes on with them by itself; run this again to see how they end"
        )
    if run.admitted_only:
        console.print(
            f"{len(run.admitted_only)} admitted and not begun here: the next drain takes them up, within a minute"
        )
    if run.untouched:
        console.print(f"{len(run.untouched)} not begun: nothing has changed for them")
    if run.ending != "done":
        console.print("To go on, run the same command again: who is active is skipped, who is under way is waited for")


def write_report(path: Path, report: dict[str, Any]) -> None:
    """Whole or not at all, for its owner alone: it holds e-mail addresses."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        json.dump(report, file, indent=2)
        file.write("\n")
    partial.replace(path)
