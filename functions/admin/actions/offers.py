"""Which actions a user's page offers, and how each is worded for this user. Pure."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from functions.admin.actions.registry import ACTIONS, ActionSpec
from shared.domain.drift_text import is_repairable


def offer_actions(user: Mapping[str, Any]) -> list[ActionSpec]:
    """The actions that make sense for a user in this state, the likeliest first."""
    row, override = user["row"], user["override"]
    names = []
    if row is None or row["desired_state"] == "absent":
        names.append("keep" if row else "provision")
    if row is not None:
        is_left = (user.get("symptom") or {}).get("next") == "person"  # an unhealthy app that waits for a person
        waits = row["status"] == "error" or is_left or is_repairable(row)
        names += ["retry"] if waits and not _is_leased(user) else []
        names += ["check"]
        names += ["restart"] if row["machine_state"] == "started" and row["desired_state"] == "present" else []
        names += ["deprovision"] if row["desired_state"] == "present" else []
    names += ["remove-override"] if override else []
    return [specialise(ACTIONS[name], user) for name in names]


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
