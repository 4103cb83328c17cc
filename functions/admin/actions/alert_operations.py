"""Actions about one open alert: acknowledge it, snooze it, or take that back. The procedures are those of `hangar alerts`."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any
from uuid import UUID

from functions.admin.actions.function_client import ActionOutcome
from functions.admin.actions.request import ActionRequest
from functions.admin.views.alerts import MOST_LISTED, describe_alert, describe_handling
from shared.adapters.operator_database import OperatorDatabase
from shared.domain.models import Json

# How long a snooze may last, by the words of the address. The database allows at most 30 days.
SPANS = {
    "1h": ("1 hour", timedelta(hours=1)),
    "4h": ("4 hours", timedelta(hours=4)),
    "1d": ("1 day", timedelta(days=1)),
    "3d": ("3 days", timedelta(days=3)),
    "7d": ("7 days", timedelta(days=7)),
    "30d": ("30 days", timedelta(days=30)),
}
NOT_OPEN = (
    "Nothing was done: this alert is not among the 1,000 most urgent open alerts any more. Its cause is probably gone."
)


def read_alert(database: OperatorDatabase, alert_id: UUID) -> Json:
    """The open alert, as the Controls page lists it; without names if others have pushed it off that list. {} if it is gone."""
    listed: list[Json] = database.read_overview().document["alerts"]
    shown = next((alert for alert in listed if alert["id"] == str(alert_id)), None)
    if shown is not None:
        return shown
    rest: list[Json] = database.list_alerts(MOST_LISTED)["alerts"]
    return next((alert for alert in rest if alert["id"] == str(alert_id)), {})


def mark_handling(alert: Mapping[str, Any]) -> str:
    """What a form remembers of how the alert was handled."""
    handling = alert["handling"]
    return f"{handling['state']} {handling['at']}" if handling else "open"


def explain_stale_alert(name: str, alert: Mapping[str, Any], seen: str | None) -> str:
    """Why the action does nothing now. Empty if it can be done. `seen` is None before the form is sent."""
    if not alert:
        return NOT_OPEN
    if seen is not None and seen != mark_handling(alert):
        handled = describe_handling(alert["handling"] or {})
        return f"Nothing was done: meanwhile somebody has handled this alert. {handled or 'It was woken'}."
    if name == "wake-alert" and not alert["handling"]:
        return "Nothing was done: this alert is neither acknowledged nor snoozed."
    if name == "acknowledge-alert" and (alert["handling"] or {}).get("state") == "acknowledged":
        return f"Nothing was done. {describe_handling(alert['handling'])}."
    return ""


def acknowledge(action: ActionRequest) -> ActionOutcome:
    """Record that the operator takes care of the alert."""
    action.database.acknowledge_alert(UUID(action.details["id"]), actor=action.actor, reason=action.reason)
    return _say(action, "is acknowledged. It ends when its cause is gone.")


def snooze(action: ActionRequest) -> ActionOutcome:
    """Put the alert off until a time."""
    ends_at = action.context.now + SPANS[action.form["span"]][1]
    action.database.snooze_alert(UUID(action.details["id"]), ends_at, actor=action.actor, reason=action.reason)
    return _say(action, f"is snoozed until {ends_at:%Y-%m-%d %H:%M} UTC. If it is open then, it is sent again.")


def wake(action: ActionRequest) -> ActionOutcome:
    """Take back that the alert was acknowledged or snoozed."""
    action.database.wake_alert(UUID(action.details["id"]), actor=action.actor, reason=action.reason)
    return _say(action, "is open as before. It is not sent again.")


def _say(action: ActionRequest, what: str) -> ActionOutcome:
    return ActionOutcome("good", f"“{describe_alert(action.details).title}” {what}", page="controls#alerts")
