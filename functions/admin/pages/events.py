"""The audit log of the whole fleet, and the part of it that a user's page shows."""

import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import flask
from werkzeug.exceptions import BadRequest

from functions.admin.pages.filters import Filter, quote, read_filter
from functions.admin.pagination import read_cursor, write_cursor
from functions.admin.request_context import get_context, read_arg, show
from functions.admin.views.render import pick
from shared.adapters.procedures_dashboard import FoundUsers
from shared.domain.event_types import EVENT_STATUSES, EVENT_TYPES
from shared.domain.models import Json

blueprint = flask.Blueprint("events", __name__)
PAGE_ROWS = 50
SPANS = {
    "1h": ("the last hour", 1),
    "24h": ("the last day", 24),
    "7d": ("the last week", 168),
    "30d": ("the last 30 days", 720),
}
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)


@blueprint.get("/events")
def show_events() -> flask.Response:
    """One page of the log, newest first. 400 without events if the address names an unknown filter or word."""
    found = read_values(free={"user": 200})
    values, problem, user_id = found.values, "", None
    if user := values.get("user"):
        user_id, problem = _find_user(user)
    empty: dict[str, Any] = {"events": [], "more": None, "is_first": True}
    page = empty if problem or found.problems else read_events(values, user_id)
    return show(
        "events.html",
        400 if found.problems else 200,
        values=values,
        problem=problem,
        problems=found.problems,
        **page,
        types=EVENT_TYPES,
        statuses=EVENT_STATUSES,
        spans=SPANS,
        pick=pick,
    )


def read_values(free: Mapping[str, int] | None = None) -> Filter:
    """The filter from the address."""
    choices: Mapping[str, Any] = {"type": EVENT_TYPES, "status": EVENT_STATUSES, "span": SPANS}
    found = read_filter(choices, {**(free or {}), "day": 20}, others=("after",))
    day = found.values.get("day")
    if day is not None and "span" in found.values:
        problem = "Choose a time or a day, not both: the day alone says which events are meant."
        return replace(found, problems=(*found.problems, problem))
    if day is None or (_DAY.fullmatch(day) and _read_day(day)):
        return found
    problem = f"There is no day {quote(day)}. A day is written like 2026-11-30."
    return replace(found, values=found.without("day"), problems=(*found.problems, problem))


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
    found = get_context().database.search_users(typed, 20)
    if user := pick_user(found, typed):
        return str(user["user_id"]), ""
    return None, "several users match this text, so type more of it" if found.users else "no user matches this text"


def pick_user(found: FoundUsers, typed: str) -> Json | None:
    """The one user that a text means: the only match, or the only one whose e-mail address or app it is."""
    text = typed.lower()
    exact = [user for user in found.users if text in ((user["email"] or "").lower(), user["fly_app_name"])]
    matches = exact or ([] if found.more else found.users)
    return matches[0] if len(matches) == 1 else None
