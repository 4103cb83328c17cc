"""One user, with or without an app: desired state, observed state, next step. And the search for a user."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

import flask

from functions.admin.actions.offers import offer_actions
from functions.admin.pages import events
from functions.admin.request_context import get_context, read_arg, redirect_to, show
from functions.admin.views.charts import draw_costs, draw_health
from functions.admin.views.releases import describe_pin, describe_target, name_running_image
from functions.admin.views.render import pick
from shared.adapters.procedures_dashboard import FoundUsers
from shared.domain.credential_text import format_secrets, format_token
from shared.domain.event_types import EVENT_STATUSES, EVENT_TYPES
from shared.domain.moments import read_moment
from shared.domain.remediation import format_next_step

blueprint = flask.Blueprint("users", __name__)
_MOST_FOUND = 50
# Why a user is entitled or not, by the reasons of the database.
_WHY = {
    "override_deny": "an operator denied an app",
    "override_grant": "an operator granted an app",
    "user_deleted": "the user is deleted",
    "no_subscription": "there is no subscription",
    "unknown_tier": "the plans table does not list the tier",
    "plan_not_dedicated": "the plan has no app of its own",
    "active": "the subscription is active",
    "expired": "the subscription has expired",
    "cancelled": "the subscription is cancelled",
    "cancelled_until": "the subscription is cancelled, but paid until its end",
    "past_due": "the payment is past due",
    "past_due_until": "the payment is past due, but the subscription has not ended yet",
}


@blueprint.get("/search")
def search_users() -> flask.Response:
    """Users who match the typed text. A single match, or a whole address or app name, leads straight to the user."""
    query = read_arg("q")[:200]
    found = FoundUsers(users=[], more=False)
    if query:
        found = get_context().database.search_users(query, _MOST_FOUND)
    if user := events.pick_user(found, query):
        return redirect_to(f"users/{user['user_id']}")
    return show("search.html", query=query, found=found)


@blueprint.get("/users/<uuid:user_id>")
def show_user(user_id: UUID) -> flask.Response:
    """Everything about one user. 404 if nothing is known of the user."""
    user = get_context().database.read_user(user_id)
    if user is None:
        return show("unknown_user.html", 404, user_id=user_id)
    found = events.read_values()
    log = events.read_events(found.values, str(user_id), limit=25)
    now = datetime.fromisoformat(user["now"])
    return show(
        "user.html",
        400 if found.problems else 200,
        user=user,
        app=user["row"] or user["last"],
        why=_WHY.get(user["why"], str(user["why"]).replace("_", " ")),
        next_step=format_next_step(user, user["settings"], now, surface="dashboard"),
        actions=offer_actions(user),
        running=name_running_image(user["row"] or {}),
        override_is_over=_is_over(user["override"], now),
        release_step=describe_target(user["release"]) if user["release"] else "",
        pin=describe_pin(user["pin"]) if user["pin"] else "",
        secrets=format_secrets(user["secrets"]),
        token=format_token(user, now),
        costs=draw_costs(user["days"]),
        health=draw_health(user, now),
        values=found.values,
        problems=found.problems,
        log={**log, "events": []} if found.problems else log,
        types=EVENT_TYPES,
        statuses=EVENT_STATUSES,
        pick=pick,
        user_id=user_id,
    )


def _is_over(override: Mapping[str, Any] | None, now: datetime) -> bool:
    """Whether the override has ended. Its row stays until an operator sets or removes one."""
    return override is not None and override["ends_at"] is not None and read_moment(override["ends_at"]) <= now
