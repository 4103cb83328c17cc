"""`hangar alerts`: the open alerts, and saying that somebody takes care of one, or when it shall be sent again."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

import click

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
)
from ops.client import Installation
from ops.connection import TargetError
from ops.release_options import read_moment
from ops.tables import count_shown, make_list
from shared.domain.remediation import format_time

_MOST_LISTED = 1000
_SHORTEST_ID = 4
_SHOWN_ID = 8
_COLUMNS = ("id", "opened", "kind", "about", "times", "handled", "message")


@click.group(invoke_without_command=True)
@json_option
@click.pass_context
def alerts(context: click.Context, as_json: bool) -> None:
    """Show the open alerts; acknowledge, snooze or wake one."""
    if context.invoked_subcommand is None:
        context.invoke(list_alerts, as_json=as_json)


@alerts.command("list")
@click.option(
    "--limit", type=click.IntRange(1, _MOST_LISTED), default=100, show_default=True, help="The N most urgent."
)
@json_option
@report_errors
def list_alerts(limit: int = 100, as_json: bool = False) -> None:
    """Show the open alerts, the most urgent first, with who has acknowledged or snoozed them."""
    installation = open_installation()
    found = installation.database.list_alerts(limit)
    if as_json:
        print_json(found)
        return
    now = installation.database.read_overview().now
    rows = [_summarise(alert, now) for alert in found["alerts"]]
    make_console().print(
        make_list(f"Open alerts ({count_shown(len(rows), found['open'], 'most urgent')})", rows, _COLUMNS)
    )


def _summarise(alert: Mapping[str, Any], now: datetime) -> dict[str, Any]:
    return {
        "id": alert["id"][:_SHOWN_ID],
        "opened": format_time(alert["opened_at"], now),
        "kind": alert["kind"],
        "about": alert["email"] or alert["app"] or alert["key"],
        "times": alert["times"],
        "handled": _format_handling(alert["handling"], now),
        "message": alert["message"],
    }


def _format_handling(handling: Mapping[str, Any] | None, now: datetime) -> str | None:
    if handling is None:
        return None
    until = f" until {format_time(handling['until'], now)}" if handling["until"] else ""
    return f"{handling['state']}{until} by {handling['actor']}: {handling['reason'] or 'no reason given'}"


@alerts.command("ack")
@click.argument("alert", metavar="ID")
@reason_option
@json_option
@report_errors
def acknowledge(alert: str, reason: str | None, as_json: bool) -> None:
    """Record that you take care of alert ID, as `hangar alerts` shows it.

    The alert stays open and ends when its cause is gone.
    """
    installation = open_installation()
    found = _find(installation, alert)
    reason = ask_reason(reason, is_required=False)
    done = installation.database.acknowledge_alert(UUID(found["id"]), actor=get_actor(), reason=reason)
    _print(done, "is acknowledged. It ends when its cause is gone", as_json=as_json)


@alerts.command("snooze")
@click.argument("alert", metavar="ID")
@click.option("--until", required=True, metavar="DATE", help="A date, an ISO time (UTC), or a span like 4h or 7d.")
@reason_option
@json_option
@report_errors
def snooze(alert: str, until: str, reason: str | None, as_json: bool) -> None:
    """Put alert ID off until a time, at most 30 days ahead. If it is still open then, the next sweep sends it again."""
    installation = open_installation()
    found = _find(installation, alert)
    ends_at = read_moment("--until", until, installation.database.read_overview().now)
    reason = ask_reason(reason, is_required=False)
    done = installation.database.snooze_alert(UUID(found["id"]), ends_at, actor=get_actor(), reason=reason)
    _print(
        done, f"is snoozed until {ends_at:%Y-%m-%d %H:%M} UTC. If it is open then, it is sent again", as_json=as_json
    )


@alerts.command("wake")
@click.argument("alert", metavar="ID")
@reason_option
@json_option
@report_errors
def wake(alert: str, reason: str | None, as_json: bool) -> None:
    """Undo the acknowledgement or the snooze of alert ID: nobody takes care of it."""
    installation = open_installation()
    found = _find(installation, alert)
    reason = ask_reason(reason, is_required=False)
    done = installation.database.wake_alert(UUID(found["id"]), actor=get_actor(), reason=reason)
    _print(done, "is neither acknowledged nor snoozed", as_json=as_json)


def _print(done: Mapping[str, Any], sentence: str, *, as_json: bool) -> None:
    if as_json:
        print_json(done)
    else:
        echo(f"{done['kind']} ({done['id'][:_SHOWN_ID]}) {sentence}")


def _find(installation: Installation, typed: str) -> Mapping[str, Any]:
    """The open alert whose id is this or begins so. Raises TargetError that names the open ones."""
    wanted = typed.strip().lower()
    found = installation.database.list_alerts(_MOST_LISTED)["alerts"]
    chosen = [alert for alert in found if len(wanted) >= _SHORTEST_ID and alert["id"].startswith(wanted)]
    if len(chosen) == 1:
        return chosen[0]  # type: ignore[no-any-return]  # JSON
    known = ", ".join(f"{alert['id'][:_SHOWN_ID]} ({alert['kind']})" for alert in found[:20]) or "none"
    problem = "several open alerts have ids that begin with" if chosen else "no open alert has the id"
    raise TargetError(f"{problem} {typed!r}; the open alerts are: {known}")
