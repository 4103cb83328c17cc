"""Tables for people: the fleet, one user, one sweep."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

_COLOURS = {
    "active": "green",
    "healthy": "green",
    "succeeded": "green",
    "error": "red",
    "unhealthy": "red",
    "failed": "red",
    "unknown": "yellow",
    "provisioning": "cyan",
    "deprovisioning": "magenta",
}


def make_table(title: str, rows: Sequence[Mapping[str, Any]], columns: Sequence[str] | None = None) -> Table:
    """Rows as a table, status words in colour; an empty one says so in its caption."""
    names = list(columns or (rows[0].keys() if rows else ()))
    table = Table(title=title, title_justify="left", caption=None if rows else "none", caption_justify="left")
    for name in names:
        table.add_column(name.replace("_", " "), overflow="fold")
    for row in rows:
        table.add_row(*(_cell(row.get(name)) for name in names))
    return table


def _cell(value: Any) -> str:
    text = "-" if value is None else str(value)
    colour = _COLOURS.get(text)
    return f"[{colour}]{text}[/{colour}]" if colour else text.replace("[", r"\[")


def print_sweep(console: Console, answer: Mapping[str, Any]) -> None:
    """One sweep's counts on two lines."""
    words = ("apps", "healthy", "unhealthy", "unknown", "provisioned", "deprovisioned", "repaired", "failed", "orphans")
    console.print(" · ".join(f"{word} {answer.get(word, 0)}" for word in words))
    ending = "complete" if answer.get("complete") else f"not complete: {answer.get('detail')}"
    console.print(f"{answer.get('fly_calls')} Fly calls in {answer.get('seconds')} s, {ending}")


def print_fleet(console: Console, fleet: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    """The monitoring views, one table each."""
    console.print(make_table("Fleet", fleet["fleet_summary"]))
    console.print(make_table("Health", fleet["health_summary"]))
    console.print(make_table("Failures: what needs a look", fleet["failures"]))
    console.print(make_table("Events of the last 24 hours", fleet["recent_events"]))


def print_user(console: Console, told: Mapping[str, Any]) -> None:
    """One user: entitled or not and why, the app, the newest events."""
    console.print(f"Entitled: {told['entitled']} ({told['why']})")
    row = told["row"] or told["last"]
    if row:
        columns = (
            "fly_app_name", "status", "health_status", "desired_state", "generation", "observed_generation", "machine_id",
            "region", "monthly_cost_estimate_usd", "next_attempt_at", "retry_count", "error_message",
        )  # fmt: skip
        table = Table(title="App" if told["row"] else "Last app (deleted)", show_header=False, title_justify="left")
        for name in columns:
            table.add_row(name.replace("_", " "), _cell(row.get(name)))
        console.print(table)
    event_columns = ("created_at", "event_type", "status", "metadata", "error_details")
    console.print(make_table("Events", told["events"][:20], event_columns))
