"""What is wrong with one app, what Hangar does next and what a person can do, in one line. Pure."""

from collections.abc import Mapping
from typing import Any, Literal

Surface = Literal["cli", "dashboard"]

# What a person can do, by symptom (shared/domain/symptom.py). Others: look at Fly.
_LOOK_AT_APP = "read what the app says{log}"
_ADVICE = {
    "check_critical": _LOOK_AT_APP,
    "check_warning": _LOOK_AT_APP,
    "check_missing": _LOOK_AT_APP,
    "crashes": _LOOK_AT_APP,
    "not_running": _LOOK_AT_APP,
    "not_ready": _LOOK_AT_APP,
    "missing": "find out who removed the machine at Fly",
    "host_unreachable": "look at Fly's status page: only Fly can bring the host back",
    "denied": "check that FLY_API_TOKEN belongs to the organisation that owns the app; if the app was deleted and somebody else "
    "has its name now, {new_name}",
    "wrong_organisation": "set FLY_API_TOKEN of the functions to a token of the organisation that owns the apps",
    "unreadable": "look at Fly's status page",
    "unknown_state": "look at the machine at Fly; if the state is normal, Hangar has to learn it",
    "contradiction": "look at the machine at Fly",
    "unlisted": "look at Fly's status page",
}


def explain_symptom(
    symptom: Mapping[str, Any] | None, row: Mapping[str, Any], since: str, surface: Surface
) -> str | None:
    """What is wrong, since when (`since`: "12 min ago"), what happens next, and what to do. None when nothing is wrong.

    `symptom` is that of fly_user_status.
    """
    if symptom is None or row["status"] not in ("active", "provisioning"):
        return None
    what = "is unhealthy" if symptom["judged"] else "cannot be judged"
    known = f"the app {what} (first seen {since}): {symptom['detail']}"
    if symptom["next"] == "watch" and symptom["samples"] < symptom["needed"]:
        left = symptom["needed"] - symptom["samples"]
        sweeps = "the next sweep" if left == 1 else f"the next {left} sweeps"
        return f"{known}. If {sweeps} {'finds' if left == 1 else 'find'} the same, Hangar raises an alert"
    if symptom["incident"]:
        return (
            f"{known}. Many apps are like this at once, which is one incident: Hangar repairs none of them one by one"
        )
    says = str(symptom["says"]).rstrip(".")
    return f"{known}. {says}. What you can do: {_advise(symptom, row, surface)}"


def name_new_name(user: object, surface: Surface) -> str:
    """How an operator gives a user another name."""
    return f'run `hangar retry {user} --new-name --reason "…"`' if surface == "cli" else "press Take a new name"


def _advise(symptom: Mapping[str, Any], row: Mapping[str, Any], surface: Surface) -> str:
    log = f" (`hangar logs {row['user_id']}`)" if surface == "cli" else " at Fly"
    advice = _ADVICE.get(symptom["code"], "look at the app at Fly").format(
        log=log, new_name=name_new_name(row["user_id"], surface)
    )
    if symptom["next"] != "person":
        return advice
    retry = f"`hangar retry {row['user_id']}`" if surface == "cli" else "Retry now"
    return f"{advice}, correct the cause, and let Hangar try again with {retry}"


def format_unhealthy(unhealthy: Mapping[str, Any]) -> str | None:
    """One line about the fleet, from `unhealthy` of fly_overview; None when every app is well."""
    if not unhealthy["apps"]:
        return None
    by_symptom = ", ".join(
        f"{apps} {symptom.replace('_', ' ')}" for symptom, apps in sorted(unhealthy["symptoms"].items())
    )
    noun = "app is" if unhealthy["apps"] == 1 else "apps are"
    return f"{unhealthy['apps']} {noun} unhealthy or cannot be judged: {by_symptom}"
