"""One user as tables: entitlement, desired and observed state, what happens next, the newest events."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from rich.console import Console

from ops.tables import make_facts, make_table
from shared.domain.cost import format_size_of
from shared.domain.credential_text import format_secrets, format_token
from shared.domain.drift_text import list_drift
from shared.domain.moments import format_moment
from shared.domain.release_text import format_pin, format_user_release
from shared.domain.remediation import format_event, format_time

_SHOWN_EVENTS = 20


def print_user(console: Console, report: Mapping[str, Any], now: datetime) -> None:
    """Print the answer of `fly_user_status` with `next` as a sentence."""
    entitled = {True: "yes", False: "no", None: "unknown"}[report["entitled"]]
    facts: dict[str, Any] = {"entitled": f"{entitled} ({report['why']})"}
    if subscription := report["subscription"]:
        until = f", until {format_moment(subscription['expires_at'])}" if subscription["expires_at"] else ""
        facts["subscription"] = f"{subscription['tier']}, {subscription['status']}{until}"
    if override := report["override"]:
        end = f" until {format_moment(override['ends_at'])}" if override["ends_at"] else ""
        why = override["reason"] or "no reason given"
        facts["override"] = f"{override['override']}{end} by {override['actor']}: {why}"
    if row := report["row"] or report["last"]:
        facts |= _describe_app(row, now, live=report["row"] is not None)
    if release := format_user_release(report["release"]):
        facts["release"] = release
    if pin := format_pin(report["pin"], now):
        facts["pin"] = pin
    if secrets := format_secrets(report["secrets"]):
        facts["secrets"] = secrets
    if token := format_token(report, now):
        facts["token"] = token
    if symptom := report["symptom"]:
        facts["wrong"] = f"{symptom['code']}, first seen {format_time(symptom['since'], now)}: {symptom['detail']}"
    facts["next"] = report["next"]
    console.print(make_facts("User", facts))
    events = [
        {
            "at": format_time(event["created_at"], now),
            "event": event["event_type"],
            "status": event["status"],
            "details": format_event(event),
        }
        for event in report["events"][:_SHOWN_EVENTS]
    ]
    console.print(make_table("Newest events", events))


def list_release_lines(report: Mapping[str, Any], now: datetime) -> list[str]:
    """Release, pin, secrets and revoked token of one user, from `fly_user_status`, as lines. Empty without any."""
    pin = format_pin(report["pin"], now)
    secrets = format_secrets(report["secrets"])
    revoked = format_token(report, now) if report["revocation"] else None
    found = (
        format_user_release(report["release"]),
        f"pin: {pin}" if pin else None,
        f"secrets: {secrets}" if secrets else None,
        f"token: {revoked}" if revoked else None,
    )
    return [line for line in found if line]


def _describe_app(row: Mapping[str, Any], now: datetime, *, live: bool) -> dict[str, Any]:
    size = f"{format_size_of(row)} in {row['region']}, {row['power']}"
    progress = _format_generation(row["generation"], row["observed_generation"])
    deleted = "" if live else f" (deleted {format_time(row['deleted_at'], now)})"
    seen = f", checked {format_time(row['observed_at'], now)}" if row["observed_at"] else ""
    where = f" in {row['machine_region']}" if row["machine_id"] and row["machine_region"] else ""
    facts = {
        "app": f"{row['fly_app_name']}{deleted}",
        "desired": f"{row['desired_state']}: {size} ({progress})",
        "image": row["docker_image"],
        "observed": f"machine {row['machine_id'] or 'none'} {row['machine_state'] or 'not checked yet'}{where}{seen}",
        "status": row["status"],
        "health": row["health_status"],
        "cost": f"{row['monthly_cost_estimate_usd']} USD a month as estimated",
    }
    if row.get("addresses"):
        facts["addresses"] = ", ".join(each["ip"] for each in row["addresses"])
    if drift := list_drift(row):
        facts["drift"] = f"since {format_time(row['drift_since'], now)}: {'; '.join(drift)}"
    if row["error_code"]:
        attempts = f"{row['retry_count']} failed attempt{'' if row['retry_count'] == 1 else 's'}"
        facts["failure"] = f"{row['error_code']} after {attempts}: {row['error_message']}"
    return facts


def _format_generation(desired: str, observed: str | None) -> str:
    if observed == desired:
        return f"generation {desired}, reached"
    return f"generation {desired}, not reached yet; last reached: {'none' if observed is None else observed}"
