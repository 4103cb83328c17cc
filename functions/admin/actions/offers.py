"""Which actions a user's page offers, and how each is worded for this user. Pure."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from functions.admin.actions.registry import ACTIONS, ActionSpec
from shared.domain.drift_text import is_repairable

_REPLACING = ("provision", "deprovision", "remove-override", "keep")


def offer_actions(user: Mapping[str, Any]) -> list[ActionSpec]:
    """The actions that make sense for a user in this state, the likeliest first."""
    row, override = user["row"], user["override"]
    names = []
    if is_legacy(row):
        return [specialise(ACTIONS["remove-override"], user)] if override else []
    if row is None or row["desired_state"] == "absent":
        names.append("keep" if row else "provision")
    if row is not None:
        is_left = (user.get("symptom") or {}).get("next") == "person"  # an unhealthy app that waits for a person
        waits = row["status"] == "error" or is_left or is_repairable(row)
        names += ["retry"] if waits and not _is_leased(user) and not _is_paused(user) else []
        names += ["new-name"] if _is_not_ours(user) and not _is_leased(user) and not _is_paused(user) else []
        names += ["check"]
        names += ["restart"] if _can_restart(user) else []
        names += ["deprovision"] if row["desired_state"] == "present" else []
    names += ["remove-override"] if override else []
    return [specialise(ACTIONS[name], user) for name in names]


def explain_stale_action(spec: ActionSpec, user: Mapping[str, Any]) -> str:
    """Why this action does nothing now. Empty if it can be done.

    A form may be old: the browser's Back button shows it again after it was sent, or somebody else has done the same.
    """
    row, override = user["row"], (user["override"] or {}).get("override")
    app = row["fly_app_name"] if row else ""
    if is_legacy(row) and spec.name != "remove-override":
        return f"Nothing was done: the app {app} is of the original system, and Hangar does nothing with it until it is adopted."
    if spec.name == "provision" and row is not None and row["desired_state"] == "present":
        return f"Nothing was done: this user already has the app {app}."
    if spec.name == "keep" and row is None:
        # To make a new app is not what "Keep this app" says.
        return "The app no longer exists, so it cannot be kept. Provision creates a new app."
    if spec.name == "keep" and row["desired_state"] == "present":
        return f"Nothing was done: the app {app} is kept already."
    if spec.name == "deprovision" and override == "deny" and (row is None or row["desired_state"] == "absent"):
        return (
            f"Nothing was done: the app {app} is being removed already."
            if row
            else "Nothing was done: an app is denied already, and there is none."
        )
    if spec.name == "remove-override" and not override:
        return "Nothing was done: there is no override any more."
    if spec.name == "new-name":
        return _explain_stale_new_name(user)
    if spec.name in ("retry", "restart") and row is None:
        return f"Nothing was done: the user has no app to {spec.name}."
    if spec.name in ("retry", "restart") and _is_paused(user):
        return f"Nothing was done: Hangar is paused. Resume it on the Controls page before you {spec.name} an app."
    if spec.name == "restart" and not _can_restart(user):
        state = row["machine_state"] or "not there"
        return f"Nothing was done: the machine is {state}, so it cannot be restarted."
    return ""


def mark_override(spec: ActionSpec, user: Mapping[str, Any]) -> str:
    """What the form of an action that replaces the override remembers of it. Empty for other actions."""
    if spec.name not in _REPLACING:
        return ""
    now = user["override"]
    return f"{now['override']} {now['created_at']}" if now else "none"


def explain_changed_override(spec: ActionSpec, user: Mapping[str, Any], seen: str | None, actor: str) -> str:
    """Why the form has to be confirmed again: another operator has decided about this user since it was opened."""
    now = user["override"]
    if not seen or seen == mark_override(spec, user) or (now and now["actor"] == actor):
        return ""
    if not now:
        return "Nothing was done yet: the override was removed since you opened the form. Check it and confirm again."
    what = "granted this user an app" if now["override"] == "grant" else "denied this user an app"
    why = f" (“{now['reason']}”)" if now["reason"] else ""
    return f"Nothing was done yet: {now['actor']} has {what} since you opened the form{why}. Confirm again to replace that."


def _explain_stale_new_name(user: Mapping[str, Any]) -> str:
    if user["row"] is None:
        return "Nothing was done: the user has no app whose name could be given up."
    if not _is_not_ours(user):
        return f"Nothing was done: nothing says that somebody else has the name {user['row']['fly_app_name']} now."
    if _is_paused(user):
        return "Nothing was done: Hangar is paused. Resume it on the Controls page before you take a new name."
    return ""


def is_legacy(row: Mapping[str, Any] | None) -> bool:
    """Whether this is an app of the original system that no operator has adopted yet."""
    return row is not None and row["desired_state"] == "legacy"


def _can_restart(user: Mapping[str, Any]) -> bool:
    row = user["row"]
    return row["machine_state"] == "started" and row["desired_state"] == "present" and not _is_paused(user)


def _is_not_ours(user: Mapping[str, Any]) -> bool:
    """Whether Fly says that the app under this name is not ours."""
    return user["row"].get("error_code") == "not_owned" or (user.get("symptom") or {}).get("code") == "denied"


def _is_paused(user: Mapping[str, Any]) -> bool:
    return bool(user.get("settings", {}).get("paused"))


def _is_leased(user: Mapping[str, Any]) -> bool:
    """Whether a worker is working on this user's app. It continues with its own attempt."""
    until = user["row"].get("lease_expires_at")
    return until is not None and datetime.fromisoformat(until) > datetime.fromisoformat(user["now"])


def specialise(spec: ActionSpec, user: Mapping[str, Any]) -> ActionSpec:
    """The action for this user: if it may destroy an app it says so and asks for the name, and it asks for a missing plan."""
    row = user.get("row")
    if row is None:
        return spec
    if spec.name == "remove-override" and (user["override"] or {}).get("override") == "grant":
        subscription, app = user["subscription"], row["fly_app_name"]
        if subscription and subscription["tier"] in user["plans"]:
            warning = (
                f"The subscription ({subscription['tier']}, {subscription['status']}) decides again. "
                f"If it does not entitle the user to an app, the app {app} and all its data are destroyed."
            )
        else:
            warning = (
                f"The subscription does not entitle the user to an app: the app {app} and all its data are destroyed."
            )
        return replace(spec, warning=warning, tone="bad", asks=("type_name",))
    if spec.name == "keep" and row["tier"] not in user["plans"]:
        return replace(spec, asks=("plan",))
    return spec
