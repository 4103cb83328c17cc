"""`hangar retry`: one user, or every app that fails for one cause."""

import sys
from collections.abc import Iterator, Mapping
from typing import Any
from uuid import UUID

import click
import httpx

from ops.cli_support import (
    ask_reason,
    confirm,
    echo,
    get_actor,
    json_option,
    make_console,
    open_installation,
    print_json,
    reason_option,
    report_errors,
    stop,
    yes_option,
)
from ops.client import Installation
from ops.commands.new_name import refuse_while_paused, take_new_name
from ops.exit_codes import EXIT_SOME_FAILED, EXIT_USAGE
from ops.tables import make_list
from shared.domain.errors import HangarError
from shared.domain.models import Json
from shared.domain.paging import Paging

_PAGE = 500
_SHOWN_APPS = 20


@click.command()
@click.argument("user", required=False)
@click.option("--cause", metavar="CODE", help="Every app that fails with this error code now.")
@click.option(
    "--new-name",
    is_flag=True,
    help="Give up the app's name, which somebody else on Fly has now, if Fly's lists prove it.",
)
@reason_option
@yes_option
@json_option
@report_errors
def retry(*, user: str | None, cause: str | None, new_name: bool, reason: str | None, yes: bool, as_json: bool) -> None:
    """Process one USER (uuid, e-mail or app name) now, or with --cause every app that fails for one cause.

    It does not wait for the next scheduled attempt. A failed app takes the image and size that its
    plan and the settings name today. With --cause it shows the apps first, asks for a reason
    and for confirmation; without a terminal it needs --yes.

    --new-name is for an app that was deleted outside Hangar and whose name another organisation on Fly
    has taken. It needs a reason. Hangar reads Fly's lists of your organisation to the end. Only if they
    show other apps and not this one, it closes the row: a user who pays then gets an app with the next
    name, and for one who does not, nothing is left. Otherwise nothing changes, and the command says what
    was seen (exit code 1).
    """
    if (user is None) == (cause is None):
        stop(EXIT_USAGE, "retry needs a USER or --cause CODE, and not both")
    if new_name and user is None:
        stop(EXIT_USAGE, "--new-name is a decision about one USER; it does not go with --cause")
    if new_name and user is not None:
        take_new_name(open_installation(), user, reason, as_json=as_json)
    elif cause is not None:
        _retry_cause(open_installation(), cause, reason, yes=yes, as_json=as_json)
    elif user is not None:
        _retry_user(open_installation(), user, reason, as_json=as_json)


def _retry_user(installation: Installation, user: str, reason: str | None, *, as_json: bool) -> None:
    reason = None if reason is None else ask_reason(reason, is_required=False)
    user_id, _ = installation.find_known_user(user)
    refuse_while_paused(installation, user)
    installation.database.retry(user_id, actor=get_actor(), reason=reason)
    status, response = installation.call_function("health", {"user_id": str(user_id)})
    row = installation.database.read_user_status(user_id).row or {}
    failed = (row.get("status") == "error" and row["lease_expires_at"] is None) or status >= httpx.codes.BAD_REQUEST
    if as_json:
        print_json({"http_status": status, **response, "status": row.get("status", response.get("status"))})
    elif not failed:
        name = f" {response['app_name']}" if response.get("app_name") else ""
        echo(f"{user}:{name} {response.get('status') or 'no app'}, {response.get('detail')}")
    if failed:
        reason = row.get("error_message") or response.get("detail", response)
        stop(EXIT_SOME_FAILED, f"{user}: {reason}. `hangar status {user}` shows what happens next")


def _retry_cause(installation: Installation, cause: str, reason: str | None, *, yes: bool, as_json: bool) -> None:
    chosen = list(_list_failing(installation, cause))
    if not chosen:
        known = installation.database.read_failures(None, 1)
        causes = ", ".join(f"{each['cause']} ({each['apps']})" for each in known) or "none, because no app fails"
        stop(EXIT_USAGE, f"no app fails with the cause {cause!r} now; the causes are: {causes}")
    refuse_while_paused(installation, f"nothing with the cause {cause}")
    _show_chosen(chosen, cause, to_stderr=as_json)
    confirm(f"Retry {_count(chosen)} now?", yes=yes)
    reason = ask_reason(reason, is_required=False)
    failed = []
    for row in chosen:
        try:
            installation.database.retry(UUID(row["user_id"]), actor=get_actor(), reason=reason)
        except HangarError as error:
            failed.append({"user_id": row["user_id"], "reason": str(error)})
    started = _start_drain(installation)
    if as_json:
        print_json({"cause": cause, "due": len(chosen) - len(failed), "drained": started, "not_retried": failed})
    else:
        when = "a drain has worked on them" if started else "the next drain begins with them, within a minute"
        echo(f"{_count(chosen[len(failed) :])} due now; {when}. `hangar apps --status error` lists what still fails")
        for each in failed:
            echo(f"hangar: {each['user_id']} was not retried: {each['reason']}", err=True)
    sys.exit(EXIT_SOME_FAILED if failed else 0)


def _list_failing(installation: Installation, cause: str) -> Iterator[Json]:
    after, paging = None, Paging(f"list apps that fail with {cause}")
    while True:
        page = installation.database.read_fleet({"cause": cause}, "created", after, _PAGE, descending=True)
        yield from page.rows
        if page.next is None:
            return
        after = page.next
        paging.advance(str(after))


def _show_chosen(chosen: list[Json], cause: str, *, to_stderr: bool) -> None:
    rows: list[Mapping[str, Any]] = [
        {"user": row["email"] or row["user_id"], "app": row["fly_app_name"], "what happened": row["error_message"]}
        for row in chosen[:_SHOWN_APPS]
    ]
    more = f", the first {_SHOWN_APPS}" if len(chosen) > _SHOWN_APPS else ""
    title = f"{_count(chosen)} with the cause {cause}{more}"
    make_console(to_stderr=to_stderr).print(make_list(title, rows, ("user", "app", "what happened")))


def _count(apps: list[Json]) -> str:
    return "1 app" if len(apps) == 1 else f"{len(apps)} apps"


def _start_drain(installation: Installation) -> bool:
    """Whether a drain ran. Without one the scheduled drain, at most a minute later, does the same."""
    if not installation.target.functions.get("health") or not installation.target.webhook_secret:
        return False
    try:
        status, _ = installation.call_function("health", {"drain_only": True})
    except httpx.HTTPError:
        return False
    return status == httpx.codes.OK
