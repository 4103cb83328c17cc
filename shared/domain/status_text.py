"""Sentences about the state of an installation that the command line and the dashboard both show. Pure.

No sentence names a command or a button: the caller adds what its reader can do next.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from math import ceil
from typing import Any, Literal

from shared.domain.remediation import format_duration

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


def format_brake_count(brake: Mapping[str, Any]) -> str:
    """How many apps were destroyed and how many may be, from fly_brake_status. A release starts the count at zero."""
    destroyed, since = int(brake["destroyed_last_hour"]), brake.get("counted_since")
    noun = "app was" if destroyed == 1 else "apps were"
    when = (
        f"since the release at {datetime.fromisoformat(since).astimezone(UTC):%H:%M} UTC"
        if since
        else "in the last hour"
    )
    return f"{destroyed} {noun} destroyed {when}; the limit is {brake_limit(brake)}"


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


def format_paused(*, paused: bool, changed: bool) -> str:
    """The answer to pause or resume."""
    when = "now" if changed else "already"
    return f"Hangar is {when} paused: no change is made on Fly" if paused else f"Hangar is {when} running"


def format_deletes_paused(*, paused: bool, changed: bool) -> str:
    """The answer to pausing or allowing deletions."""
    return f"Deletions are {'now' if changed else 'already'} {'paused' if paused else 'allowed'}"
