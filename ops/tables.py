"""Tables for people: one maker for all commands, the fleet, one sweep."""

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
    """Rows as a table, status words in colour; without rows it says "none"."""
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
    """A value as rich markup: status words in colour, nothing as a dash."""
    text = "-" if value is None else str(value)
    colour = _COLOURS.get(text)
    return f"[{colour}]{text}[/{colour}]" if colour else escape(text)


def make_facts(title: str, facts: Mapping[str, Any]) -> Table:
    """Names and values, one below the other."""
    table = Table(title=title, show_header=False, title_justify="left", min_width=len(title))
    for name, value in facts.items():
        table.add_row(name, make_cell(value))
    return table


def print_sweep(console: Console, answer: Mapping[str, Any]) -> None:
    """One sweep's counts on two lines."""
    words = ("apps", "healthy", "unhealthy", "unknown", "provisioned", "deprovisioned", "repaired", "failed", "orphans")
    console.print(" · ".join(f"{word} {answer.get(word, 0)}" for word in words))
    ending = "complete" if answer.get("complete") else f"not complete: {answer.get('detail')}"
    console.print(f"{answer.get('fly_calls')} Fly calls in {answer.get('seconds')} s, {ending}")


def print_event_lines(console: Console, events: Sequence[Mapping[str, Any]]) -> None:
    """One line for each event, for a log that grows."""
    for each in events:
        console.print(
            f"{each['at']}  {make_cell(each['user'])}  {each['event']}  {make_cell(each['status'])}  {escape(each['what'])}",
            highlight=False,
            soft_wrap=True,
        )


def print_failures(console: Console, failures: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> None:
    """A table of `columns`, then for each what happened and what to do, each on one line that can be searched and copied."""
    console.print(make_table("Failures", failures, columns))
    for each in failures:
        for text in (f"{each['user']}: {each['what happened']}", f"    to do: {each['what to do']}"):
            console.print(text, markup=False, highlight=False, soft_wrap=True)
