"""`hangar status`: how Hangar and the fleet stand, or everything about one user."""

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

import click
from rich.console import Console

from ops.cli_support import EXIT_SOME_FAILED, explained, json_option, make_console, open_installation, print_json, stop
from ops.client import Installation
from ops.commands.orphans import format_brake
from ops.tables import make_facts, make_table, print_failures
from ops.users import find_user
from shared.domain.cost import to_cents
from shared.domain.remediation import advise, format_duration, format_event, format_next_step, format_time

# pg_cron sweeps every 5 minutes; after twice that somebody should look why.
_SWEEP_IS_LATE_S = 600
_VIEWS = (
    ("fly_fleet_summary", None),
    ("fly_health_summary", None),
    ("fly_failures", "created_at"),
    ("fly_recent_events", "latest"),
)
_SHOWN_EVENTS = 20


@click.command()
@click.argument("user", required=False)
@json_option
@explained
def status(user: str | None, as_json: bool) -> None:
    """Show the fleet, or one USER (uuid or e-mail): what is wanted, what is there, what happens next and why."""
    installation, console = open_installation(), make_console()
    if user is None:
        told = read_fleet(installation)
        print_json(told) if as_json else print_fleet(console, told)
        return
    told, now = read_user(installation, user)
    print_json(told) if as_json else print_user(console, told, now)
    _stop_if_unknown(told, user)


@click.command()
@click.argument("user")
@explained
def explain(user: str) -> None:
    """Say what happens next to one USER (uuid or e-mail), when and why, in one sentence, as the dashboard does."""
    told, _ = read_user(open_installation(), user)
    _stop_if_unknown(told, user)
    click.echo(f"{user}: {told['next']}")


def read_user(installation: Installation, user: str) -> tuple[dict[str, Any], datetime]:
    """What `fly_user_status` tells of a user (uuid or e-mail), with `next` in words; and the database's time."""
    told = installation.database.rpc("fly_user_status", user=str(find_user(installation, user)))
    overview = installation.database.rpc("fly_overview")
    now = datetime.fromisoformat(overview["now"])
    return told | {"next": format_next_step(told, overview["settings"], now)}, now


def _stop_if_unknown(told: Mapping[str, Any], user: str) -> None:
    if not told["known"]:
        stop(EXIT_SOME_FAILED, f"no user {user} in this installation")


def read_fleet(installation: Installation) -> dict[str, Any]:
    """The monitoring views, the brake, and how Hangar itself stands. Money as text."""
    fleet: dict[str, Any] = {name.removeprefix("fly_"): installation.read_view(name, order) for name, order in _VIEWS}
    for row in fleet["fleet_summary"]:
        for name in ("monthly_cost_estimate_usd", "monthly_list_price_usd"):
            row[name] = str(to_cents(Decimal(str(row[name]))))
    for failure in fleet["failures"]:
        goes_on = failure["next_attempt_at"] is not None
        failure["advice"] = advise(failure["error_code"], failure["email"] or failure["user_id"], goes_on=goes_on)
    fleet["brake"] = installation.database.rpc("fly_brake_status")
    fleet |= installation.database.rpc("fly_overview")
    return fleet


def print_fleet(console: Console, told: Mapping[str, Any]) -> None:
    """State in a few lines, then one table each."""
    now = datetime.fromisoformat(told["now"])
    for line in _format_state(told, now):
        console.print(line, highlight=False, soft_wrap=True)
    console.print(make_table("Fleet", [_format_status(row, now) for row in told["fleet_summary"]]))
    health = [
        {
            "health": row["health_status"],
            "apps": row["apps"],
            "oldest check": format_time(row["oldest_check"], now),
            "newest check": format_time(row["newest_check"], now),
        }
        for row in told["health_summary"]
    ]
    console.print(make_table("Health", health))
    alerts = [
        {
            "opened": format_time(alert["opened_at"], now),
            "kind": alert["kind"],
            "times": alert["times"],
            "what": alert["message"],
        }
        for alert in told["alerts"]
    ]
    console.print(make_table(f"Open alerts ({told['alerts_open']})", alerts))
    failures = [
        {
            "user": row["email"] or row["user_id"],
            "app": row["fly_app_name"],
            "code": row["error_code"],
            "what happened": row["error_message"],
            "tries": row["retry_count"],
            "next try": format_time(row["next_attempt_at"], now),
            "what to do": row["advice"],
        }
        for row in told["failures"]
    ]
    print_failures(console, failures, ("user", "app", "code", "tries", "next try"))
    events = [
        {
            "event": row["event_type"],
            "status": row["status"],
            "times": row["events"],
            "latest": format_time(row["latest"], now),
        }
        for row in told["recent_events"]
    ]
    console.print(make_table("Events of the last 24 hours (one by one: hangar events)", events))


def _format_status(row: Mapping[str, Any], now: datetime) -> dict[str, Any]:
    return {
        "status": row["status"],
        "apps": row["apps"],
        "estimate, USD a month": row["monthly_cost_estimate_usd"],
        "running now by Fly's list": row["monthly_list_price_usd"],
        "due": row["due"],
        "next attempt": format_time(row["next_attempt_at"], now),
        "last change": format_time(row["last_change"], now),
    }


def _format_state(told: Mapping[str, Any], now: datetime) -> list[str]:
    settings, sweep, due = told["settings"], told["sweep"], told["due"]
    live = "live" if settings["live"] else "NOT LIVE (only admitted users get apps: hangar migrate-users)"
    paused = "PAUSED: no change is made on Fly until `hangar resume`" if settings["paused"] else "running"
    deletes = ", deletions PAUSED (deletes_paused)" if settings["deletes_paused"] else ""
    estimate = sum((Decimal(row["monthly_cost_estimate_usd"]) for row in told["fleet_summary"]), Decimal("0.00"))
    running = sum((Decimal(row["monthly_list_price_usd"]) for row in told["fleet_summary"]), Decimal("0.00"))
    late = f", the oldest {format_time(due['oldest'], now)}" if due["apps"] else ""
    return [
        f"Hangar is {live}, {paused}{deletes}",
        format_brake(told["brake"]),
        _format_sweep(sweep, now),
        f"Due: {due['apps']} apps{late}; being worked on: {told['working']}",
        f"Cost: {estimate} USD a month as estimated, {running} by Fly's list price for what runs now (more: hangar cost)",
    ]


def _format_sweep(sweep: Mapping[str, Any] | None, now: datetime) -> str:
    if sweep is None:
        return "Sweep: NONE YET; is the scheduler set up? `hangar sweep` runs one now"
    under_way = ", one is under way" if sweep["under_way"] else ""
    if sweep["completed_at"] is None:
        return f"Sweep: none has covered the whole fleet yet{under_way}"
    age = (now - datetime.fromisoformat(sweep["completed_at"])).total_seconds()
    late = "; LATE: does the scheduler call health every 5 minutes?" if age > _SWEEP_IS_LATE_S and not under_way else ""
    return f"Sweep: the last whole one ended {format_duration(age)} ago{under_way}{late}"


def print_user(console: Console, told: Mapping[str, Any], now: datetime) -> None:
    """Wanted, there, next; then the newest events."""
    row, paid = told["row"] or told["last"], told["subscription"]
    entitled = {True: "yes", False: "no", None: "unknown"}[told["entitled"]]
    facts: dict[str, Any] = {"entitled": f"{entitled} ({told['why']})"}
    if paid:
        until = f", until {paid['expires_at'][:19]}" if paid["expires_at"] else ""
        facts["subscription"] = f"{paid['tier']}, {paid['status']}{until}"
    if told["override"]:
        over = told["override"]
        facts["override"] = f"{over['override']} by {over['actor']}: {over['reason'] or 'no reason given'}"
    if row:
        size = f"{row['cpu_count']} {row['cpu_kind']} vCPU, {row['memory_mb']} MB in {row['region']}, {row['power']}"
        true = _format_generation(row["generation"], row["observed_generation"])
        facts["app"] = (
            row["fly_app_name"]
            if told["row"]
            else f"{row['fly_app_name']} (deleted {format_time(row['deleted_at'], now)})"
        )
        facts["desired"] = f"{row['desired_state']}: {size} ({true})"
        facts["image"] = row["docker_image"]
        seen = f", looked at {format_time(row['observed_at'], now)}" if row["observed_at"] else ""
        facts["observed"] = f"machine {row['machine_id'] or 'none'} {row['machine_state'] or 'not looked at yet'}{seen}"
        facts["status"] = row["status"]
        facts["health"] = row["health_status"]
        facts["cost"] = f"{row['monthly_cost_estimate_usd']} USD a month as estimated"
        if row["error_code"]:
            facts["failure"] = f"{row['error_code']} after {row['retry_count']} failed tries: {row['error_message']}"
    facts["next"] = told["next"]
    console.print(make_facts("User", facts))
    events = [
        {
            "at": format_time(each["created_at"], now),
            "event": each["event_type"],
            "status": each["status"],
            "what": format_event(each),
        }
        for each in told["events"][:_SHOWN_EVENTS]
    ]
    console.print(make_table("Newest events", events))


def _format_generation(wanted: str, observed: str | None) -> str:
    if observed == wanted:
        return f"generation {wanted}, made true"
    return f"generation {wanted}, {'never' if observed is None else f'only {observed}'} made true yet"
