"""Sentences about the state of an installation that the command line and the dashboard both show. Pure.

No sentence names a command or a button: the caller adds what its reader can do next.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from math import ceil
from typing import Any, Literal

from shared.domain.remediation import format_duration, format_time

# The scheduler runs a sweep every 5 minutes. After two missed ones an operator should look.
SWEEP_LATE_AFTER_S = 600

PAUSED = "No change is made on Fly until an operator resumes"
DELETES_PAUSED = "Machines of users who left are still stopped, but no app or machine is destroyed"
NOT_LIVE = "Only admitted users get apps"
# Shown when Fly has apps whose rows this database never had (`lost_apps` of fly_brake_status).
UNKNOWN_APPS_ADVICE = (
    "Fly has apps that this database has no record of. Was the database emptied or restored from an older copy, or does a "
    "second Hangar run with the same HANGAR_INSTALLATION_ID? First bring user_subscriptions up to date: every entitled user "
    "then gets their app back. Release the brake when the apps that remain may be removed."
)


def describe_legacy(legacy: int) -> str:
    """How many apps of the original system no operator has decided about. Empty for none."""
    if not legacy:
        return ""
    noun = "app of the original system waits" if legacy == 1 else "apps of the original system wait"
    return f"{legacy} {noun} for a decision; Hangar does nothing with them"


SweepState = Literal["none", "incomplete", "late", "ok"]


@dataclass(frozen=True)
class SweepStatus:
    """`late` = the last complete sweep is older than SWEEP_LATE_AFTER_S and none is running now."""

    state: SweepState
    running: bool
    text: str


def describe_sweep(sweep: Mapping[str, Any] | None, now: datetime) -> SweepStatus:
    """The state of the fleet sweep, from `sweep` of fly_overview or fly_admin_frame."""
    if sweep is None:
        return SweepStatus("none", running=False, text="No sweep has run yet. Check that the scheduler is set up")
    running = bool(sweep["under_way"])
    if sweep["completed_at"] is None:
        text = "No sweep has covered the whole fleet yet. The next one continues where the last one stopped"
        return SweepStatus("incomplete", running, text)
    age_s = (now - datetime.fromisoformat(sweep["completed_at"])).total_seconds()
    text = f"The last complete sweep ended {format_duration(age_s)} ago"
    if age_s <= SWEEP_LATE_AFTER_S or running:
        return SweepStatus("ok", running, text)
    return SweepStatus("late", running, f"{text}. Check that the scheduler calls the health function every 5 minutes")


def describe_deliveries(deliveries: Mapping[str, Any], now: datetime) -> str:
    """Whether alerts reach their destinations, from `alert_deliveries` of fly_overview: what waits, since when, and why."""
    found = [_describe_destination(each, now) for each in deliveries["destinations"] if int(each["waiting"])]
    if not deliveries["destinations"]:
        found.append("Alerts are not sent anywhere, because no function has named a webhook (HANGAR_ALERT_WEBHOOK_URL)")
    elif not found:
        found.append(
            f"Every message was delivered to {', '.join(each['destination'] for each in deliveries['destinations'])}"
        )
    if given_up := int(deliveries["given_up"]):
        noun = "message was" if given_up == 1 else "messages were"
        found.append(f"{given_up} {noun} given up in the last 7 days, because the alert had been over for three days")
    return "; ".join(found)


def _describe_destination(destination: Mapping[str, Any], now: datetime) -> str:
    waiting = int(destination["waiting"])
    noun = "message waits" if waiting == 1 else "messages wait"
    text = f"{waiting} {noun} for {destination['destination']}, the oldest for {_format_age(destination['since'], now)}"
    if not destination["last_error"]:
        return text
    next_at = destination["next_attempt_at"]
    when = format_time(next_at, now) if next_at and datetime.fromisoformat(next_at) > now else "within a minute"
    return f"{text} (the last error: {destination['last_error']}; the next attempt: {when})"


def _format_age(at: str, now: datetime) -> str:
    return format_duration(max(0.0, (now - datetime.fromisoformat(at)).total_seconds()))


def format_brake_count(brake: Mapping[str, Any]) -> str:
    """How many apps were stopped or destroyed, and how many may be, from fly_brake_status. A release starts the count at zero."""
    destroyed, since = int(brake["destroyed_last_hour"]), brake.get("counted_since")
    noun = "app was" if destroyed == 1 else "apps were"
    when = (
        f"since the release at {datetime.fromisoformat(since).astimezone(UTC):%H:%M} UTC"
        if since
        else "in the last hour"
    )
    return f"{destroyed} {noun} stopped or destroyed {when}; the limit is {brake_limit(brake)}"


def brake_limit(brake: Mapping[str, Any]) -> int:
    """The most apps that the brake lets go in an hour. A share of the fleet counts up to the next whole app."""
    return ceil(Decimal(str(brake["most"])))


def format_brake_release(brake: Mapping[str, Any]) -> str:
    """What a release of the brake lets Hangar remove, from fly_brake_status."""
    waiting, lost = int(brake["waiting_apps"]), int(brake["lost_apps"])
    parts = [f"{_count_apps(waiting)} of users who are no longer entitled"] if waiting else []
    parts += [f"{_count_apps(lost)} that this database has no record of"] if lost else []
    if not parts:
        return "No app waits for the brake now"
    return f"A release lets Hangar remove {' and '.join(parts)}, at most {brake_limit(brake)} in the next hour"


def _count_apps(count: int) -> str:
    return f"{count} app" if count == 1 else f"{count} apps"


def format_host_loss(loss: Mapping[str, Any]) -> str:
    """A mass loss of entitlement that waits for an operator, from `host_loss` of fly_brake_status."""
    return (
        f"{loss['losing']} of {loss['present']} apps would lose their entitlement at once. They keep running until each of "
        "these users is entitled again or somebody releases the brake"
    )


def describe_host(overview: Mapping[str, Any], now: datetime) -> str:
    """Where the subscriptions come from, and how many changes of them wait, from fly_overview."""
    if overview["binding"] is None:
        return "NOT BOUND: Hangar does not know where the subscriptions are and changes no user (docs/host-binding.md)"
    waiting, source = overview["changes_waiting"], overview["binding"]["source"]
    if not waiting["users"]:
        return f"Subscriptions: {source}; no change waits"
    age_s = (now - datetime.fromisoformat(waiting["oldest"])).total_seconds()
    noun = "change waits" if waiting["users"] == 1 else "changes wait"
    return f"Subscriptions: {source}; {waiting['users']} {noun}, the oldest for {format_duration(max(age_s, 0))}"


def format_paused(*, paused: bool, changed: bool) -> str:
    """The answer to pause or resume."""
    when = "now" if changed else "already"
    return f"Hangar is {when} paused: no change is made on Fly" if paused else f"Hangar is {when} running"


def format_unrecorded(error: str) -> str:
    """What a stop says that took effect while the audit log could not be written."""
    return (
        f"It is in force, but the audit log could not be written: {error}. While the alert log_unwritable is open, Hangar adds "
        "who did it and why with the next sweep that can write the log; without the alert, note it yourself"
    )


def format_deletes_paused(*, paused: bool, changed: bool) -> str:
    """The answer to pausing or allowing deletions."""
    return f"Deletions are {'now' if changed else 'already'} {'paused' if paused else 'allowed'}"
