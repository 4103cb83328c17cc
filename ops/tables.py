"""Output for people: tables, key-value lists, event lines, failures and the report of a sweep."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
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
    """Rows as a table with coloured status words. Without rows the table says "none"."""
    if not rows:
        empty = Table(title=title, show_header=False, title_justify="left", min_width=len(title))
        empty.add_row("none")
        return empty
    names = list(columns or rows[0].keys())
    table = Table(title=title, title_justify="left", min_width=len(title))
    for name in names:
        table.add_column(name.replace("_", " "), overflow="fold")
    for row in rows:
        table.add_row(*(make_cell(row.get(name)) for name in names))
    return table


def make_cell(value: Any) -> str:
    """A value as Rich markup: status words are coloured, None is a dash."""
    text = "-" if value is None else str(value)
    colour = _COLOURS.get(text)
    return f"[{colour}]{text}[/{colour}]" if colour else escape(text)


def make_facts(title: str, facts: Mapping[str, Any]) -> Table:
    """Names and values, one pair on each line."""
    table = Table(title=title, show_header=False, title_justify="left", min_width=len(title))
    for name, value in facts.items():
        table.add_row(name, make_cell(value))
    return table


def print_sweep(console: Console, report: Mapping[str, Any]) -> None:
    """The counts of one sweep on two lines."""
    counts = (
        "apps",
        "healthy",
        "unhealthy",
        "unknown",
        "provisioned",
        "deprovisioned",
        "repaired",
        "failed",
        "orphans",
    )
    console.print(" · ".join(f"{name} {report.get(name, 0)}" for name in counts))
    end = "complete" if report.get("complete") else f"not complete: {report.get('detail')}"
    console.print(f"{report.get('fly_calls')} Fly calls in {report.get('seconds')} s, {end}")


def print_event_lines(console: Console, events: Sequence[Mapping[str, Any]]) -> None:
    """One line for each event."""
    for event in events:
        user, status = make_cell(event["user"]), make_cell(event["status"])
        console.print(
            f"{event['at']}  {user}  {event['event']}  {status}  {escape(event['what'])}",
            highlight=False,
            soft_wrap=True,
        )


def print_failures(console: Console, failures: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> None:
    """A table of `columns`, then two unfolded lines for each failure: what happened, and what to do."""
    console.print(make_table("Failures", failures, columns))
    for failure in failures:
        for text in (f"{failure['user']}: {failure['what happened']}", f"    to do: {failure['what to do']}"):
            console.print(text, markup=False, highlight=False, soft_wrap=True)
