"""`hangar status` and `hangar explain`: the state of the fleet, or everything about one user."""

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

import click
from rich.console import Console

from ops.cli_support import echo, json_option, make_console, open_installation, print_json, report_errors, stop
from ops.client import Installation
from ops.commands.brake import format_brake
from ops.commands.user_status import list_release_lines, print_user
from ops.exit_codes import EXIT_USAGE
from ops.release_tables import format_fleet_releases, format_plan_differences
from ops.tables import count_shown, make_table, print_failures
from shared.domain.archive_text import describe_archive
from shared.domain.cost import to_cents
from shared.domain.drift_text import format_fleet_drift
from shared.domain.health_text import format_unhealthy
from shared.domain.remediation import advise, format_next_step, format_time
from shared.domain.status_text import (
    NOT_LIVE,
    PAUSED,
    describe_deliveries,
    describe_host,
    describe_legacy,
    describe_sweep,
)

_RELEASES = 20
_VIEWS = (
    ("fly_fleet_summary", None),
    ("fly_health_summary", None),
    ("fly_failures", "created_at"),
    ("fly_recent_events", "latest"),
)


@click.command()
@click.argument("user", required=False)
@json_option
@report_errors
def status(user: str | None, as_json: bool) -> None:
    """Show the fleet, or one USER (uuid, e-mail or app name).

    For a user it shows the desired state, the observed state, what happens next and why.
    """
    installation, console = open_installation(), make_console()
    if user is None:
        fleet = read_fleet(installation)
        print_json(fleet) if as_json else print_fleet(console, fleet)
        return
    report, now = read_user(installation, user)
    if as_json:
        print_json(report)
    _stop_if_unknown(report, user)
    if not as_json:
        print_user(console, report, now)


@click.command()
@click.argument("user")
@json_option
@report_errors
def explain(user: str, as_json: bool) -> None:
    """Explain what happens next to one USER (uuid, e-mail or app name).

    One sentence with the time and the reason. The dashboard shows the same sentence. A release that moves the app and a
    pin are named below it.
    """
    report, now = read_user(open_installation(), user)
    _stop_if_unknown(report, user)
    if as_json:
        print_json({"user_id": report["user_id"], "next": report["next"], "releases": list_release_lines(report, now)})
        return
    echo(f"{user}: {report['next']}")
    for line in list_release_lines(report, now):
        echo(f"    {line}")


def read_user(installation: Installation, user: str) -> tuple[dict[str, Any], datetime]:
    """What `read_user_status` says of a user, with `user_id` and `next` as a sentence, and the database's time."""
    user_id = installation.find_user(user)
    report = installation.database.read_user_status(user_id).document
    overview = installation.database.read_overview()
    return report | {
        "user_id": str(user_id),
        "next": format_next_step(report, overview.settings, overview.now),
    }, overview.now


def _stop_if_unknown(report: Mapping[str, Any], user: str) -> None:
    if not report["known"]:
        stop(EXIT_USAGE, f"no user {user} in this installation")


def read_fleet(installation: Installation) -> dict[str, Any]:
    """The monitoring views, the brake and the overview. Money is text."""
    fleet: dict[str, Any] = {name.removeprefix("fly_"): installation.read_view(name, order) for name, order in _VIEWS}
    for row in fleet["fleet_summary"]:
        for name in ("monthly_cost_estimate_usd", "monthly_list_price_usd"):
            row[name] = str(to_cents(Decimal(str(row[name]))))
    for failure in fleet["failures"]:
        scheduled = failure["next_attempt_at"] is not None
        failure["advice"] = advise(failure["error_code"], failure["email"] or failure["user_id"], goes_on=scheduled)
    causes = installation.database.read_failures(None, 1)
    fleet["failure_causes"] = {each["cause"]: each["apps"] for each in causes}
    fleet["brake"] = installation.database.read_brake()
    fleet |= installation.database.list_releases(_RELEASES)
    fleet |= installation.database.read_overview().document
    return fleet


def print_fleet(console: Console, fleet: Mapping[str, Any]) -> None:
    """The state in six lines, then one table for each view."""
    now = datetime.fromisoformat(fleet["now"])
    for line in _format_state(fleet, now):
        console.print(line)
    console.print(make_table("Fleet", [_format_status(row, now) for row in fleet["fleet_summary"]]))
    health = [
        {
            "health": row["health_status"],
            "apps": row["apps"],
            "oldest check": format_time(row["oldest_check"], now),
            "newest check": format_time(row["newest_check"], now),
        }
        for row in fleet["health_summary"]
    ]
    console.print(make_table("Health", health))
    alerts = [
        {
            "opened": format_time(alert["opened_at"], now),
            "kind": alert["kind"],
            "times": alert["times"],
            "message": alert["message"],
        }
        for alert in fleet["alerts"]
    ]
    console.print(make_table(f"Open alerts ({count_shown(len(alerts), fleet['alerts_open'], 'most urgent')})", alerts))
    failures = [
        {
            "user": row["email"] or row["user_id"],
            "app": row["fly_app_name"],
            "code": row["error_code"],
            "what happened": row["error_message"],
            "attempts": row["retry_count"],
            "next attempt": format_time(row["next_attempt_at"], now),
            "what to do": row["advice"],
        }
        for row in fleet["failures"]
    ]
    causes = fleet["failure_causes"]
    total = max(sum(causes.values()), len(failures))
    title = f"Failures ({count_shown(len(failures), total)})" if failures else "Failures"
    print_failures(console, failures, ("user", "app", "code", "attempts", "next attempt"), title)
    if total > len(failures):
        by_cause = ", ".join(f"{cause} {apps:,}" for cause, apps in causes.items())
        echo(f"By cause: {by_cause}. All of them: hangar apps --status error")
    events = [
        {
            "event": row["event_type"],
            "status": row["status"],
            "times": row["events"],
            "latest": format_time(row["latest"], now),
        }
        for row in fleet["recent_events"]
    ]
    console.print(make_table("Events of the last 24 hours by type (each one: hangar events)", events))


def _format_status(row: Mapping[str, Any], now: datetime) -> dict[str, Any]:
    return {
        "status": row["status"],
        "apps": row["apps"],
        "estimate, USD a month": row["monthly_cost_estimate_usd"],
        "list price of running, USD a month": row["monthly_list_price_usd"],
        "due": row["due"],
        "next attempt": format_time(row["next_attempt_at"], now),
        "last change": format_time(row["last_change"], now),
    }


def _format_state(fleet: Mapping[str, Any], now: datetime) -> list[str]:
    settings, due = fleet["settings"], fleet["due"]
    live = "live" if settings["live"] else f"NOT LIVE: {NOT_LIVE[0].lower()}{NOT_LIVE[1:]} (hangar migrate-users)"
    paused = f"PAUSED: {PAUSED[0].lower()}{PAUSED[1:]} (hangar resume)" if settings["paused"] else "running"
    deletes = "; deletions PAUSED (deletes_paused)" if settings["deletes_paused"] else ""
    estimate = sum((Decimal(row["monthly_cost_estimate_usd"]) for row in fleet["fleet_summary"]), Decimal("0.00"))
    running = sum((Decimal(row["monthly_list_price_usd"]) for row in fleet["fleet_summary"]), Decimal("0.00"))
    oldest = f", the oldest {format_time(due['oldest'], now)}" if due["apps"] else ""
    return [
        f"Hangar is {live}; {paused}{deletes}",
        describe_host(fleet, now),
        format_brake(fleet["brake"]),
        _format_sweep(fleet["sweep"], now),
        *([f"Health: {wrong} (hangar explain USER)"] if (wrong := format_unhealthy(fleet["unhealthy"])) else []),
        *([f"Legacy: {waiting} (hangar adopt)"] if (waiting := describe_legacy(fleet["legacy"])) else []),
        f"Due: {due['apps']} apps{oldest}; in progress: {fleet['working']}",
        *([f"Drift: {drift} (one app: hangar explain USER)"] if (drift := format_fleet_drift(fleet["drift"])) else []),
        *[f"{line} (hangar release status)" for line in format_fleet_releases(fleet)],
        *([f"Plans: {differing}"] if (differing := format_plan_differences(fleet["differ"])) else []),
        f"Alerts: {describe_deliveries(fleet['alert_deliveries'], now)}",
        *[f"Archive: {line} (hangar archive run)" for line in describe_archive(fleet["archive"], now)],
        f"Cost: {estimate} USD a month as estimated, {running} USD by Fly's list price for what runs now (more: hangar cost)",
    ]


def _format_sweep(sweep: Mapping[str, Any] | None, now: datetime) -> str:
    found = describe_sweep(sweep, now)
    warning = {"none": "NONE YET: ", "late": "LATE: "}.get(found.state, "")
    running = "; one is running" if found.running else ""
    hint = "; `hangar sweep` runs one now" if found.state in ("none", "late") else ""
    return f"Sweep: {warning}{found.text}{running}{hint}"
