"""`hangar events`: the audit log, filtered, and as it grows."""

import json
import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import click

from ops.cli_support import EXIT_USAGE, explained, json_option, make_console, open_installation, print_json, stop
from ops.client import Installation
from ops.connection import TargetError
from ops.tables import make_table, print_event_lines
from ops.users import find_user, read_emails
from shared.domain.remediation import format_event

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_POLL_S = 1.0
# An event is dated when it is written and seen when its transaction commits, at most a statement time-out (8 s) later.
_OVERLAP = timedelta(seconds=30)
_AT_ONCE = 1000  # PostgREST gives no more


@click.command()
@click.option("--user", metavar="USER", help="Of this user (uuid or e-mail).")
@click.option("--app", metavar="NAME", help="Of this Fly app.")
@click.option("--type", "types", multiple=True, metavar="T", help="Of this type; may be repeated.")
@click.option("--status", help="With this status: intent, succeeded, failed, unknown, info.")
@click.option("--since", metavar="SPAN", help="Not older than 90s, 15m, 24h, 7d, or an ISO time.")
@click.option(
    "--limit", type=click.IntRange(1, _AT_ONCE), default=50, show_default=True, help="At most so many, the newest."
)
@click.option("--follow", is_flag=True, help="Go on with what comes, until Ctrl-C.")
@json_option
@explained
def events(
    *,
    user: str | None,
    app: str | None,
    types: tuple[str, ...],
    status: str | None,
    since: str | None,
    limit: int,
    follow: bool,
    as_json: bool,
) -> None:
    """Show the audit log, oldest first: every change that was wanted, tried and made."""
    installation = open_installation()
    filters = _make_filters(installation, user, app, types, status)
    if since:
        filters["created_at"] = f"gte.{read_since(since, datetime.now(UTC)).isoformat()}"
    found = installation.read_rows("user_fly_app_events", order="created_at.desc,seq.desc", limit=limit, **filters)
    found = _name(installation, found[::-1])
    if not follow:
        if as_json:
            print_json(found)
        else:
            make_console().print(make_table("Events", [_shorten(each) for each in found]))
        return
    _print_lines(found, as_json=as_json)
    for more in _follow(installation, filters, found):
        _print_lines(more, as_json=as_json)


def read_since(text: str, now: datetime) -> datetime:
    """The moment that `24h` or an ISO time means. Raises TargetError when it is neither."""
    if (span := re.fullmatch(r"(\d+)([smhdw])", text)) and len(span[1]) < 6:
        return now - timedelta(**{_UNITS[span[2]]: int(span[1])})
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise TargetError(f"--since {text!r} is neither a span such as 90s, 15m, 24h, 7d nor an ISO time") from None
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def _make_filters(
    installation: Installation, user: str | None, app: str | None, types: tuple[str, ...], status: str | None
) -> dict[str, str]:
    filters = {}
    if user:
        filters["user_id"] = f"eq.{find_user(installation, user)}"
    if app:
        rows = installation.read_rows("user_fly_apps", fly_app_name=f"eq.{app}", limit=1)
        # An orphan has no row: its events name it in their metadata.
        key, value = ("fly_app_id", rows[0]["id"]) if rows else ("metadata->>app", app)
        filters[key] = f"eq.{value}"
    words = [word for each in types for word in each.split(",") if word]
    if any(not re.fullmatch(r"[a-z_]+", word) for word in (*words, *([status] if status else []))):
        stop(EXIT_USAGE, "types and statuses are lower-case words such as action or provision_failed")
    if words:
        filters["event_type"] = f"in.({','.join(words)})"
    if status:
        filters["status"] = f"eq.{status}"
    return filters


def _follow(
    installation: Installation, filters: dict[str, str], shown: list[dict[str, Any]]
) -> Iterator[list[dict[str, Any]]]:
    """What is new, second by second. Asked a little back in time, and each event given out once."""
    begun = _when(shown[0]) if shown else datetime.fromisoformat(installation.database.rpc("fly_overview")["now"])
    seen, at = {each["id"] for each in shown}, _when(shown[-1]) if shown else begun
    while True:
        time.sleep(_POLL_S)
        asked = filters | {"created_at": f"gte.{max(begun, at - _OVERLAP).isoformat()}"}
        fresh = [row for row in _read_all(installation, asked) if row["id"] not in seen]
        if fresh:
            at = max(at, _when(fresh[-1]))
            seen.update(row["id"] for row in fresh)
            yield _name(installation, fresh)


def _read_all(installation: Installation, filters: dict[str, str]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    while True:
        at = {**filters, "order": "created_at.asc,seq.asc", "offset": str(len(rows))}
        page = installation.read_rows("user_fly_app_events", limit=_AT_ONCE, **at)
        rows += page
        if len(page) < _AT_ONCE:
            return rows


def _when(event: dict[str, Any]) -> datetime:
    return datetime.fromisoformat(event["created_at"])


def _name(installation: Installation, found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The events with the e-mail of their user."""
    emails = read_emails(installation, (each["user_id"] for each in found))
    return [each | {"email": emails.get(each["user_id"] or "")} for each in found]


def _shorten(event: dict[str, Any]) -> dict[str, Any]:
    return {
        "at": event["created_at"][:19].replace("T", " "),
        "user": event["email"] or event["user_id"],
        "event": event["event_type"],
        "status": event["status"],
        "what": format_event(event),
    }


def _print_lines(found: list[dict[str, Any]], *, as_json: bool) -> None:
    if as_json:
        for each in found:
            click.echo(json.dumps(each))
    else:
        print_event_lines(make_console(), [_shorten(each) for each in found])
