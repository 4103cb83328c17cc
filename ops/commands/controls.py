"""Commands that make Hangar act: run a sweep, retry one user, pause and resume."""

import sys

import click
import httpx

from ops.cli_support import (
    get_actor,
    json_option,
    make_console,
    open_installation,
    print_json,
    reason_option,
    report_errors,
    stop,
)
from ops.exit_codes import EXIT_REFUSED, EXIT_SOME_FAILED, EXIT_USAGE
from ops.tables import print_sweep
from shared.domain.status_text import format_paused


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
@click.argument("user")
@json_option
@report_errors
def retry(user: str, as_json: bool) -> None:
    """Process one USER (uuid or e-mail) now.

    It does not wait for the next scheduled attempt. A failed app takes the image and size that its
    plan and the settings name today.
    """
    installation = open_installation()
    user_id = installation.find_user(user)
    if not installation.database.read_user_status(user_id).is_known:
        stop(EXIT_USAGE, f"no user {user} in this installation")
    if installation.database.read_overview().is_paused:
        stop(EXIT_REFUSED, f"Hangar is paused, so {user} was not retried; run `hangar resume` first")
    installation.database.retry(user_id, actor=get_actor())
    status, response = installation.call_function("health", {"user_id": str(user_id)})
    row = installation.database.read_user_status(user_id).row or {}
    failed = (row.get("status") == "error" and row["lease_expires_at"] is None) or status >= httpx.codes.BAD_REQUEST
    if as_json:
        print_json({"http_status": status, **response, "status": row.get("status", response.get("status"))})
    elif not failed:
        name = f" {response['app_name']}" if response.get("app_name") else ""
        click.echo(f"{user}:{name} {response.get('status') or 'no app'}, {response.get('detail')}")
    if failed:
        reason = row.get("error_message") or response.get("detail", response)
        stop(EXIT_SOME_FAILED, f"{user}: {reason}. `hangar status {user}` shows what happens next")


@click.command()
@reason_option
@report_errors
def pause(reason: str | None) -> None:
    """Stop every change on Fly at once. Changes in the database are still recorded."""
    _set_paused(paused=True, reason=reason)


@click.command()
@reason_option
@report_errors
def resume(reason: str | None) -> None:
    """Allow changes on Fly again. Apps that waited during the pause are due at once."""
    _set_paused(paused=False, reason=reason)


def _set_paused(*, paused: bool, reason: str | None) -> None:
    changed = open_installation().database.set_paused(paused=paused, actor=get_actor(), reason=reason)
    click.echo(format_paused(paused=paused, changed=changed))
