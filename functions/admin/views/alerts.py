"""Alerts as people read them: a title, users and apps by name with links, and pages in place of commands. Pure."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from functions.admin.views.commands import replace_commands
from functions.admin.views.releases import end_sentence
from shared.domain.moments import format_moment

MOST_LISTED = 1000  # that fly_list_alerts gives
MOST_LINKS = 5
# The most urgent first, as `hangar.alert_rank` orders them: what concerns the installation, then single apps.
# Alerts of other kinds follow, titled by their kind.
TITLES = {
    "installation": "Installation mismatch",
    "fly_unreachable": "Fly cannot be reached",
    "host_loss": "Many users would lose their apps at once",
    "host_binding": "The host's tables need attention",
    "fly_refused": "Fly refuses the organisation",
    "log_unwritable": "The audit log could not be written",
    "sweep_unfinished": "Sweeps do not come to their end",
    "incident": "Many apps are unhealthy at once",
    "clock_skew": "The clocks of Fly and the database differ",
    "wrong_organisation": "The Fly token belongs to another organisation",
    "unlisted": "Fly's lists do not show every app",
    "nudges": "Webhook calls are not arriving",
    "max_apps": "The app limit is reached",
    "max_cost": "The cost limit is reached",
    "unknown_tier": "A tier is not in the plans table",
    "unknown_status": "A subscription status has no rule",
    "unreadable_end": "The end of a subscription cannot be read",
    "unknown_user": "Subscriptions belong to unknown users",
    "orphans": "Orphans need attention",
    "legacy_unpaid": "Apps of the original system without a paying user",
    "provisioning_slow": "Provisioning is slow",
    "alert_delivery": "Alerts are not being delivered",
    "drift": "Machines differ from what should run",
    "release_failed": "A release has paused itself",
    "renewal_failed": "The renewal of tokens has stopped",
    "signing_key": "The project refuses tokens of machines",
    "token_lapses": "Tokens of machines are about to end",
    "user_secrets_missing": "Secrets of users are missing on Fly",
    "provision_failed": "Apps cannot be provisioned",
    "deprovision_failed": "Apps cannot be removed",
    "crash_loop": "An app keeps crashing",
    "unhealthy": "An app is unhealthy",
    "unknown_health": "An app cannot be judged",
    "orphan_look": "An orphan cannot be checked",
}
_UUID = re.compile(r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b")


@dataclass(frozen=True)
class Link:
    """A page of the dashboard, relative to its first page, and its name."""

    where: str
    text: str


@dataclass(frozen=True)
class ShownAlert:
    """An alert without commands and ids. `links` lead to the users, apps or release that it is about.

    `state` is "acknowledged", "snoozed" or empty, and `handled` says who did that, until when and why.
    """

    title: str
    text: str
    links: tuple[Link, ...]
    more: int = 0
    state: str = ""
    handled: str = ""


def describe_alert(alert: Mapping[str, Any]) -> ShownAlert:
    """An alert of fly_overview or fly_admin_frame as a page shows it."""
    title = name_kind(alert["kind"])
    names = {name["id"]: name for name in alert.get("names", [])}
    links = list(dict.fromkeys(Link(f"users/{name['user_id']}", _name_user(name)) for name in names.values()))
    key = str(alert["key"])
    if alert["kind"] == "release_failed" and key.isascii() and key.isdecimal():
        links.insert(0, Link(f"releases/{key}", f"Release {key}"))
    if alert["kind"] in ("provision_failed", "deprovision_failed") and len(links) != 1:
        links.insert(0, Link("failures", "Failures"))
    text = end_sentence(_UUID.sub(lambda found: _replace_id(names.get(found[0])), replace_commands(alert["message"])))
    handling = alert.get("handling") or {}
    return ShownAlert(
        title,
        text,
        tuple(links[:MOST_LINKS]),
        max(0, len(links) - MOST_LINKS),
        handling.get("state", ""),
        describe_handling(handling),
    )


def name_kind(kind: str) -> str:
    """The title of the alerts of one kind."""
    return TITLES.get(kind, kind.replace("_", " ").capitalize())


def describe_handling(handling: Mapping[str, Any]) -> str:
    """Who has acknowledged or snoozed an alert, until when and why. Empty if nobody has."""
    if not handling:
        return ""
    until = f" until {format_moment(handling['until'])}" if handling["until"] else ""
    why = f": “{handling['reason']}”" if handling["reason"] else ""
    return f"{handling['state'].capitalize()}{until} by {handling['actor']}{why}"


def describe_counts(open_alerts: int, shown: int, handled: Mapping[str, int]) -> str:
    """How many alerts are open, and how many of them are handled or not shown. Empty if none is open."""
    if not open_alerts:
        return ""
    parts = [f"{handled[state]:,} {state}" for state in ("acknowledged", "snoozed") if handled.get(state)]
    parts += [f"the {shown:,} most urgent are shown"] if shown < open_alerts else []
    return f"{open_alerts:,} open" + "".join(f", {part}" for part in parts)


def _name_user(name: Mapping[str, Any]) -> str:
    return " · ".join(part for part in (name["email"], name["app"]) if part) or "the user's page"


def _replace_id(name: Mapping[str, Any] | None) -> str:
    """What a sentence says in place of an id."""
    if name is None:
        return "a user whom the host does not list"
    return str(name["email"] or name["app"] or "a user without an e-mail address")
