"""One user, with or without an app: what is wanted, what is there, what happens next; and finding a user."""

from datetime import datetime
from typing import Any
from uuid import UUID

from functions.admin.action_views import offer_actions
from functions.admin.pages import events
from functions.admin.request_context import Page, RequestContext
from functions.admin.views.charts import draw_costs, draw_health
from functions.admin.views.render import pick
from shared.domain.remediation import format_next_step

_MOST_FOUND = 50
# Why somebody is entitled or not, by the words of hangar.entitlements.
_WHY = {
    "override_deny": "an operator denied it",
    "override_grant": "an operator granted it",
    "user_deleted": "the user is deleted",
    "no_subscription": "there is no subscription",
    "unknown_tier": "the tier is not in fly_plans",
    "plan_not_dedicated": "the plan has no app of its own",
    "active": "the subscription is active",
    "expired": "the subscription has expired",
    "cancelled": "the subscription is cancelled",
    "cancelled_until": "cancelled, but paid for a while yet",
    "past_due": "the payment is past due",
    "past_due_until": "the payment is past due, but it runs a while yet",
}


def search_users(visit: RequestContext) -> Page:
    """Users by what was typed; exactly one leads straight to that user's page."""
    query = visit.ask("q")[:200]
    found: dict[str, Any] = (
        visit.desk.database.rpc("fly_admin_search", query=query, limit=_MOST_FOUND)
        if query
        else {"users": [], "more": False}
    )
    if len(found["users"]) == 1 and not found["more"]:
        return Page(to=f"users/{found['users'][0]['user_id']}")
    return visit.show("search.html", query=query, found=found)


def show_user(visit: RequestContext, user_id: UUID) -> Page:
    """Everything about one user; 404 for one that nothing is known of."""
    told = read_user(visit, user_id)
    if not told["known"]:
        return visit.show("unknown_user.html", 404, user_id=user_id)
    values = events.read_values(visit)
    now = datetime.fromisoformat(told["now"])
    return visit.show(
        "user.html",
        told=told,
        app=told["row"] or told["last"],
        why=_WHY.get(told["why"], str(told["why"]).replace("_", " ")),
        next_words=format_next_step(told, told["settings"], now),
        actions=offer_actions(told),
        costs=draw_costs(told["days"]),
        health=draw_health(told, now),
        values=values,
        log=events.read_events(visit, values, str(user_id), limit=25),
        types=events.TYPES,
        statuses=events.STATUSES,
        pick=pick,
        user_id=user_id,
    )


def read_user(visit: RequestContext, user_id: UUID) -> dict[str, Any]:
    """All that `fly_admin_user` tells of one user."""
    told: dict[str, Any] = visit.desk.database.rpc("fly_admin_user", user=str(user_id))
    return told
