"""The audit log of the whole fleet, and the part of it that a user's page shows."""

import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import flask
from werkzeug.exceptions import BadRequest

from functions.admin.pagination import read_cursor, write_cursor
from functions.admin.request_context import get_context, read_arg, show
from functions.admin.views.render import pick

blueprint = flask.Blueprint("events", __name__)
PAGE_ROWS = 50
TYPES = (
    "action", "alert_raised", "brake_tripped", "deprovision_completed", "deprovision_failed", "deprovision_requested",
    "deprovision_started", "desired_changed", "drift_ended", "drift_found", "error_occurred", "health_check_failed",
    "health_check_passed", "orphan_found", "orphan_removed", "override_set", "provision_completed", "provision_failed",
    "provision_requested", "provision_started", "recovery_attempted", "settings_changed",
)  # fmt: skip
STATUSES = ("intent", "succeeded", "failed", "unknown", "info")
SPANS = {
    "1h": ("the last hour", 1),
    "24h": ("the last day", 24),
    "7d": ("the last week", 168),
    "30d": ("the last 30 days", 720),
}
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)


@blueprint.get("/events")
def show_events() -> flask.Response:
    """One page of the log, newest first."""
    values = read_values()
    problem, user_id = "", None
    if user := read_arg("user"):
        values["user"] = user
        user_id, problem = _find_user(user)
    empty: dict[str, Any] = {"events": [], "more": None, "is_first": True}
    page = empty if problem else read_events(values, user_id)
    return show(
        "events.html", values=values, problem=problem, **page, types=TYPES, statuses=STATUSES, spans=SPANS, pick=pick
    )


def read_values() -> dict[str, str]:
    """The filter from the address. Unknown words are ignored."""
    known: Mapping[str, Any] = {"type": TYPES, "status": STATUSES, "span": SPANS}
    values = {name: read_arg(name) for name, words in known.items() if read_arg(name) in words}
    if _DAY.fullmatch(read_arg("day")):
        values["day"] = read_arg("day")
    return values


def read_events(values: Mapping[str, str], user_id: str | None, limit: int = PAGE_ROWS) -> dict[str, Any]:
    """Events and the cursor of the next page, as the templates take them."""
    context = get_context()
    chosen = {name: values[name] for name in ("type", "status") if name in values}
    if user_id is not None:
        chosen["user"] = user_id
    if span := SPANS.get(values.get("span", "")):
        chosen["since"] = (context.now - timedelta(hours=span[1])).isoformat()
    if day := _read_day(values.get("day", "")):
        chosen |= {"since": day.isoformat(), "until": _next_day(day).isoformat()}
    page = context.database.read_events(chosen, read_cursor(read_arg("after")), limit)
    return {"events": page.events, "more": write_cursor(page.next), "is_first": not read_arg("after")}


def _read_day(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(f"{text}T00:00:00+00:00")
    except ValueError:
        return None


def _next_day(day: datetime) -> datetime:
    try:
        return day + timedelta(days=1)
    except OverflowError as error:  # the last day of the calendar
        raise BadRequest from error


def _find_user(typed: str) -> tuple[str | None, str]:
    """The one user that an id, e-mail address or app name means, or what is wrong with it."""
    try:
        return str(UUID(typed)), ""
    except ValueError:
        pass
    users = get_context().database.search_users(typed, 2).users
    exact = [user for user in users if (user["email"] or "").lower() == typed.lower()]
    if len(exact or users) == 1:
        return str((exact or users)[0]["user_id"]), ""
    return None, "several users begin with this text, so type more of it" if users else "no user begins with this text"
