"""`hangar doctor`: every check of the installation, and what to do about each problem. docs/doctor.md."""

import contextlib
import logging
import os
import sys
from collections.abc import Iterator, Sequence

import click
from rich.console import Console
from rich.markup import escape

from ops.cli_support import json_option, make_console, print_json, report_errors
from ops.doctor.schema import check_schema
from ops.doctor.surroundings import read_surroundings
from ops.exit_codes import EXIT_SOME_FAILED
from ops.plain_text import one_line
from ops.tables import DataTable
from shared.doctor.checks import DATABASE, OUTSIDE, Check, count_states, guard
from shared.doctor.examine import examine

_COLOURS = {"ok": "green", "warning": "yellow", "wrong": "red"}
_ORDER = (*OUTSIDE, *DATABASE)


@click.command()
@json_option
@report_errors
def doctor(as_json: bool) -> None:
    """Check the whole installation: settings, secrets, rights, host, schedule, functions, Fly. Changes nothing.

    Each check is ok, a warning or wrong, with what was found and what to do. Exits with 1 if one is wrong.
    """
    with _quiet_fly_log():
        checks, facts = examine(read_surroundings(os.environ))
    checks += guard(["schema"], lambda: [check_schema(facts["schema"] if facts else None)])
    checks.sort(key=lambda check: _ORDER.index(check.name))
    counts = count_states(checks)
    if as_json:
        print_json({"checks": [check.as_json() for check in checks], **counts})
    else:
        print_checks(make_console(), checks)
    if counts["wrong"]:
        sys.exit(EXIT_SOME_FAILED)


@contextlib.contextmanager
def _quiet_fly_log() -> Iterator[None]:
    """Without the log lines about refusals of Fly: the checks name them."""
    log = logging.getLogger("hangar.fly")
    before = log.level
    log.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        log.setLevel(before)


def print_checks(console: Console, checks: Sequence[Check]) -> None:
    """For people: a line for each check, one for its remedy, and the counts. In a pipe: one tab-separated line for each check."""
    if not console.is_terminal:
        rows = [(check.name, check.state, check.found, check.remedy or "") for check in checks]
        console.print(DataTable("Checks", ("check", "state", "found", "remedy"), rows, is_only=True))
        return
    width = max(len(check.name) for check in checks)
    for check in checks:
        state = f"[{_COLOURS[check.state]}]{check.state:<7}[/]"
        found = escape(one_line(check.found))
        console.print(f"{state}  {check.name:<{width}}  {found}", highlight=False, soft_wrap=True, markup=True)
        if check.remedy and check.state != "ok":
            remedy = one_line(check.remedy)
            console.print(f"{'':<{width + 11}}do: {remedy}", highlight=False, soft_wrap=True, markup=False)
    counts = count_states(checks)
    console.print(f"{counts['ok']} ok, {counts['warning']} warning, {counts['wrong']} wrong", highlight=False)
