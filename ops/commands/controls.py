"""Commands that make Hangar act: run a sweep, pause and resume."""

import sys

import click
import httpx

from ops.cli_support import (
    ask_reason,
    echo,
    get_actor,
    json_option,
    make_console,
    open_installation,
    print_json,
    reason_option,
    report_errors,
    stop,
)
from ops.exit_codes import EXIT_SOME_FAILED
from ops.tables import print_sweep
from shared.domain.status_text import format_paused, format_unrecorded


@click.command()
@click.option("--drain", is_flag=True, help="Only process the apps that are due.")
@json_option
@report_errors
def sweep(drain: bool, as_json: bool) -> None:
    """Run one sweep of the whole fleet now."""
    status, report = open_installation().call_function("health", {"drain_only": True} if drain else {})
    if as_json:
        print_json(report)
    elif status == httpx.codes.OK:
        print_sweep(make_console(), report)
    if status != httpx.codes.OK:
        stop(EXIT_SOME_FAILED, f"the health function answered {status}: {report.get('detail', report)}")
    if report.get("failed"):
        sys.exit(EXIT_SOME_FAILED)


@click.command()
@reason_option
@json_option
@report_errors
def pause(reason: str | None, as_json: bool) -> None:
    """Stop every change on Fly at once. Changes in the database are still recorded."""
    _set_paused(paused=True, reason=ask_reason(reason, is_required=False), as_json=as_json)


@click.command()
@reason_option
@json_option
@report_errors
def resume(reason: str | None, as_json: bool) -> None:
    """Allow changes on Fly again. Apps that waited during the pause are due at once."""
    _set_paused(paused=False, reason=reason, as_json=as_json)


def _set_paused(*, paused: bool, reason: str | None, as_json: bool) -> None:
    change = open_installation().database.set_paused(paused=paused, actor=get_actor(), reason=reason)
    if as_json:
        print_json({"paused": paused, "changed": change.changed, "unrecorded": change.unrecorded})
    else:
        echo(format_paused(paused=paused, changed=change.changed))
    if change.unrecorded:
        stop(EXIT_SOME_FAILED, format_unrecorded(change.unrecorded))
