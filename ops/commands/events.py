"""`hangar events`: the audit log, with filters, and as new events arrive."""

import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import click

from ops.cli_support import (
    json_option,
    make_console,
    open_installation,
    print_json,
    print_json_line,
    report_errors,
    stop,
)
from ops.client import Installation
from ops.connection import TargetError
from ops.exit_codes import EXIT_USAGE
from ops.release_options import read_iso_time
from ops.tables import make_list, print_event_lines
from shared.domain.event_types import EVENT_STATUSES, EVENT_TYPES
from shared.domain.moments import format_second
from shared.domain.paging import Paging
from shared.domain.remediation import format_event

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_SPAN = re.compile(r"(\d{1,5})([smhdw])", re.ASCII)
_POLL_S = 1.0
# An event has the time of its writing and becomes visible at the commit, at most one statement time-out (8 s) later.
_OVERLAP = timedelta(seconds=30)
_SHOWN = ("at", "user", "event", "status", "what")
_PAGE = 1000  # PostgREST returns no more rows at once


@click.command()
@click.option("--user", metavar="USER", help="Only this user (uuid, e-mail or app name).")
@click.option("--app", metavar="NAME", help="Only this Fly app.")
@click.option("--type", "types", multiple=True, metavar="T", help="Only this type. May be repeated.")
@click.option("--status", help="Only this status: intent, succeeded, failed, unknown or info.")
@click.option("--since", metavar="SPAN", help="Only events since then: 90s, 15m, 24h, 7d, or an ISO time.")
@click.option("--limit", type=click.IntRange(1, _PAGE), default=50, show_default=True, help="Only the newest N.")
@click.option("--follow", is_flag=True, help="Keep printing new events until Ctrl-C.")
@json_option
@report_errors
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
    """Show the audit log, oldest first.

    It holds every change that was requested, attempted and made.
    """
    installation = open_installation()
    filters = _make_filters(installation, user, app, types, status)
    if since:
        filters["created_at"] = f"gte.{read_since(since, datetime.now(UTC)).isoformat()}"
    found = installation.read_rows("user_fly_app_events", order="created_at.desc,seq.desc", limit=limit, **filters)
    found = _add_emails(installation, found[::-1])
    if not follow:
        if as_json:
            print_json(found)
        else:
            make_console().print(make_list("Events", [_summarise(event) for event in found], _SHOWN))
        return
    _print_lines(found, as_json=as_json)
    for new in _follow(installation, filters, found):
        _print_lines(new, as_json=as_json)


def read_since(text: str, now: datetime) -> datetime:
    """The time that `24h` or an ISO time means. Raises TargetError for anything else."""
    if span := _SPAN.fullmatch(text.strip()):
        return now - timedelta(**{_UNITS[span[2]]: int(span[1])})
    try:
        at = read_iso_time(text)
    except ValueError:
        raise TargetError(f"--since {text!r} is neither a span such as 90s, 15m, 24h, 7d nor an ISO time") from None
    if at > now:
        raise TargetError(f"--since must be in the past; {text!r} is {at:%Y-%m-%d %H:%M} UTC")
    return at


def _make_filters(
    installation: Installation, user: str | None, app: str | None, types: tuple[str, ...], status: str | None
) -> dict[str, str]:
    filters = {}
    if user:
        filters["user_id"] = f"eq.{installation.find_user(user)}"
    if app:
        key, value = _find_app(installation, app.strip().lower())
        filters[key] = f"eq.{value}"
    names = [name.strip().lower() for option in types for name in option.split(",")]
    if unknown := [name for name in names if name not in EVENT_TYPES]:
        stop(EXIT_USAGE, f"there is no event type {unknown[0]!r}; the types are: {', '.join(EVENT_TYPES)}")
    status = status and status.strip().lower()
    if status and status not in EVENT_STATUSES:
        stop(EXIT_USAGE, f"there is no event status {status!r}; the statuses are: {', '.join(EVENT_STATUSES)}")
    if names:
        filters["event_type"] = f"in.({','.join(names)})"
    if status:
        filters["status"] = f"eq.{status}"
    return filters


def _find_app(installation: Installation, app: str) -> tuple[str, str]:
    """The column and value of the events of this app. Raises TargetError for a name that no row and no event has."""
    rows = installation.read_rows("user_fly_apps", fly_app_name=f"eq.{app}", limit=1)
    if rows:
        return "fly_app_id", str(rows[0]["id"])
    # An orphan has no row, so its events name the app in their metadata.
    in_metadata = "metadata->>app"
    if any(orphan["app"] == app for orphan in installation.database.read_orphans()) or installation.read_rows(
        "user_fly_app_events", limit=1, **{in_metadata: f"eq.{app}"}
    ):
        return in_metadata, app
    raise TargetError(
        f"--app {app!r}: no app and no event of this installation has this name; `hangar apps` and `hangar orphans` list them"
    )


def _follow(
    installation: Installation, filters: dict[str, str], shown: list[dict[str, Any]]
) -> Iterator[list[dict[str, Any]]]:
    """New events, once a second and each one once. Every query overlaps the one before."""
    started_at = _when(shown[0]) if shown else installation.database.read_overview().now
    seen, at = {event["id"] for event in shown}, _when(shown[-1]) if shown else started_at
    while True:
        time.sleep(_POLL_S)
        query = filters | {"created_at": f"gte.{max(started_at, at - _OVERLAP).isoformat()}"}
        new = [row for row in _read_all(installation, query) if row["id"] not in seen]
        if new:
            at = max(at, _when(new[-1]))
            seen.update(row["id"] for row in new)
            yield _add_emails(installation, new)


def _read_all(installation: Installation, filters: dict[str, str]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    paging = Paging("read events")
    while True:
        paging.advance(len(rows))
        query = {**filters, "order": "created_at.asc,seq.asc", "offset": str(len(rows))}
        page = installation.read_rows("user_fly_app_events", limit=_PAGE, **query)
        rows += page
        if len(page) < _PAGE:
            return rows


def _when(event: dict[str, Any]) -> datetime:
    return datetime.fromisoformat(event["created_at"])


def _add_emails(installation: Installation, found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The events with the e-mail address of their user."""
    emails = installation.read_emails(event["user_id"] for event in found)
    return [event | {"email": emails.get(event["user_id"] or "")} for event in found]


def _summarise(event: dict[str, Any]) -> dict[str, Any]:
    return {
        "at": format_second(event["created_at"]),
        "user": event["email"] or event["user_id"],
        "event": event["event_type"],
        "status": event["status"],
        "what": format_event(event),
    }


def _print_lines(found: list[dict[str, Any]], *, as_json: bool) -> None:
    if as_json:
        for event in found:
            print_json_line(event)
    else:
        print_event_lines(make_console(), [_summarise(event) for event in found])
