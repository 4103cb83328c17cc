"""Commands that make Hangar act: one sweep, one user again, stop everything, go on."""

import sys
from typing import Any

import click
import httpx

from ops import tables as show
from ops.cli_support import (
    EXIT_REFUSED,
    EXIT_SOME_FAILED,
    EXIT_USAGE,
    explained,
    get_actor,
    json_option,
    make_console,
    open_installation,
    print_json,
    reason_option,
    stop,
)
from ops.client import Installation
from ops.users import find_user


@click.command()
@click.option("--drain", is_flag=True, help="Only work off what is due.")
@json_option
@explained
def sweep(drain: bool, as_json: bool) -> None:
    """Run one sweep now, by the health function."""
    status, answer = open_installation().call_function("health", {"drain_only": True} if drain else {})
    if as_json:
        print_json(answer)
    elif status == httpx.codes.OK:
        show.print_sweep(make_console(), answer)
    if status != httpx.codes.OK:
        stop(EXIT_SOME_FAILED, f"the sweep answered {status}: {answer.get('detail', answer)}")
    if answer.get("failed"):
        sys.exit(EXIT_SOME_FAILED)


@click.command()
@click.argument("user")
@json_option
@explained
def retry(user: str, as_json: bool) -> None:
    """Work on one USER (uuid or e-mail) now, also while a failed attempt makes the app wait.

    A failed app asks for the image and size that plan and settings name today, so that what was mended there counts.
    """
    installation = open_installation()
    user_id = find_user(installation, user)
    told = installation.database.rpc("fly_user_status", user=str(user_id))
    if not told["known"]:
        stop(EXIT_USAGE, f"no user {user} in this installation")
    if _is_paused(installation):
        stop(EXIT_REFUSED, f"Hangar is paused, so nothing was tried for {user}; `hangar resume` first")
    installation.database.rpc("fly_retry", user=str(user_id), actor=get_actor())
    status, answer = installation.call_function("health", {"user_id": str(user_id)})
    row = installation.database.rpc("fly_user_status", user=str(user_id))["row"] or {}
    failed = (row.get("status") == "error" and row["lease_expires_at"] is None) or status >= httpx.codes.BAD_REQUEST
    if as_json:
        print_json({"http_status": status, **answer, "status": row.get("status", answer.get("status"))})
    elif not failed:
        name = f" {answer['app_name']}" if answer.get("app_name") else ""
        click.echo(f"{user}:{name} {answer.get('status') or 'no app'}, {answer.get('detail')}")
    if failed:
        what = row.get("error_message") or answer.get("detail", answer)
        stop(EXIT_SOME_FAILED, f"{user}: {what}. See `hangar status {user}` for what happens next")


def _is_paused(installation: Installation) -> bool:
    return bool(installation.database.rpc("fly_overview")["settings"]["paused"])


@click.command()
@reason_option
@explained
def pause(reason: str | None) -> None:
    """Stop every change on Fly at once; the database goes on recording what is wanted."""
    _set_paused(paused=True, reason=reason)


@click.command()
@reason_option
@explained
def resume(reason: str | None) -> None:
    """Let changes on Fly go on; what gathered meanwhile is due at once."""
    _set_paused(paused=False, reason=reason)


def _set_paused(*, paused: bool, reason: str | None) -> None:
    answer: dict[str, Any] = open_installation().database.rpc(
        "fly_set_paused", paused=paused, actor=get_actor(), reason=reason
    )
    word = "paused: no change is made on Fly" if paused else "running"
    click.echo(f"Hangar is {'now' if answer['changed'] else 'already'} {word}")
