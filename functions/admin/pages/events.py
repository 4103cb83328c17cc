"""The log of the whole fleet, and the part of it that a user's page shows."""

import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from werkzeug.exceptions import BadRequest

from functions.admin.pagination import read_cursor, write_cursor
from functions.admin.request_context import Page, RequestContext
from functions.admin.views.render import pick

PAGE_ROWS = 50
TYPES = (
    "action", "alert_raised", "brake_tripped", "deprovision_completed", "deprovision_failed", "deprovision_requested",
    "deprovision_started", "desired_changed", "error_occurred", "health_check_failed", "health_check_passed", "orphan_found",
    "orphan_removed", "override_set", "provision_completed", "provision_failed", "provision_requested", "provision_started",
    "recovery_attempted", "settings_changed",
)  # fmt: skip
STATUSES = ("intent", "succeeded", "failed", "unknown", "info")
SPANS = {
    "1h": ("the last hour", 1),
    "24h": ("the last day", 24),
    "7d": ("the last week", 168),
    "30d": ("the last 30 days", 720),
}
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)


def show_events(visit: RequestContext) -> Page:
    """One page of the log, newest first."""
    values = read_values(visit)
    problem, user_id = "", None
    if user := visit.ask("user"):
        values["user"] = user
        user_id, problem = _find_user(visit, user)
    nothing: dict[str, Any] = {"events": [], "more": None, "is_first": True}
    told = nothing if problem else read_events(visit, values, user_id)
    return visit.show(
        "events.html", values=values, problem=problem, **told, types=TYPES, statuses=STATUSES, spans=SPANS, pick=pick
    )


def read_values(visit: RequestContext) -> dict[str, str]:
    """The filter from the address; what is not known there counts as not given."""
    known: Mapping[str, Any] = {"type": TYPES, "status": STATUSES, "span": SPANS}
    values = {name: visit.ask(name) for name, words in known.items() if visit.ask(name) in words}
    if _DAY.fullmatch(visit.ask("day")):
        values["day"] = visit.ask("day")
    return values


def read_events(
    visit: RequestContext, values: Mapping[str, str], user_id: str | None, limit: int = PAGE_ROWS
) -> dict[str, Any]:
    """Events and the cursor of the next page, as the templates take them."""
    asked = {name: values[name] for name in ("type", "status") if name in values}
    if user_id is not None:
        asked["user"] = user_id
    if span := SPANS.get(values.get("span", "")):
        asked["since"] = (visit.now - timedelta(hours=span[1])).isoformat()
    if day := _read_day(values.get("day", "")):
        asked |= {"since": day.isoformat(), "until": _next_day(day).isoformat()}
    told = visit.desk.database.rpc("fly_admin_events", filter=asked, after=read_cursor(visit.ask("after")), limit=limit)
    return {"events": told["events"], "more": write_cursor(told["next"]), "is_first": not visit.ask("after")}


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


def _find_user(visit: RequestContext, typed: str) -> tuple[str | None, str]:
    """The one user that an id, e-mail or app name means, or why there is none."""
    try:
        return str(UUID(typed)), ""
    except ValueError:
        pass
    users = visit.desk.database.rpc("fly_admin_search", query=typed, limit=2)["users"]
    exact = [user for user in users if (user["email"] or "").lower() == typed.lower()]
    if len(exact or users) == 1:
        return str((exact or users)[0]["user_id"]), ""
    return None, "several users begin like this; type more" if users else "no user begins like this"
