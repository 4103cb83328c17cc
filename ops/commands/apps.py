"""`hangar apps` lists the fleet; `hangar app` shows everything about one user's app."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import click
from rich.console import Console

from ops.cli_support import echo, json_option, make_console, open_installation, print_json, report_errors
from ops.client import Installation
from ops.commands.user_status import print_user
from ops.fleet_filters import SORTS, filter_options, read_apps, read_filters, read_place, write_place
from ops.tables import make_facts, make_list, make_table
from shared.domain.cost import format_size_of
from shared.domain.remediation import format_next_step, format_time

_MOST_ROWS = 100_000
_COLUMNS = ("app", "user", "tier", "status", "health", "region", "size", "USD a month", "checked", "what is wrong")


@click.command()
@filter_options
@click.option("--sort", type=click.Choice(list(SORTS)), default="created", show_default=True, help="The order.")
@click.option(
    "--limit", type=click.IntRange(1, _MOST_ROWS), default=50, show_default=True, help="At most N apps.", metavar="N"
)
@click.option("--after", metavar="WORD", help="The next page: the word that the page before printed.")
@json_option
@report_errors
def apps(*, sort: str, limit: int, after: str | None, as_json: bool, **given: str | None) -> None:
    """List apps. An unknown value of a filter is an error that names the allowed ones."""
    installation = open_installation()
    filters, place = read_filters(installation, given), read_place(after)
    rows: list[Mapping[str, Any]] = []
    more, is_cut = None, False
    for page in read_apps(installation, filters, sort, limit, place):
        rows += page.rows
        more, is_cut = write_place(page.next), is_cut or page.search_cut
    if as_json:
        print_json({"apps": rows, "next": more})
        return
    now = installation.database.read_overview().now
    make_console().print(make_list("Apps", [_summarise(row, now) for row in rows], _COLUMNS))
    if is_cut:
        echo("hangar: --search matches too many users; only apps of the first ones are listed", err=True)
    if more:
        echo(f"hangar: there are more apps; the next page: --after {more}", err=True)


def _summarise(row: Mapping[str, Any], now: datetime) -> dict[str, Any]:
    return {
        "app": row["fly_app_name"],
        "user": row["email"] or row["user_id"],
        "tier": row["tier"],
        "status": f"legacy ({row['status']})" if row["desired_state"] == "legacy" else row["status"],
        "health": row["health_status"],
        "region": row["region"],
        "size": format_size_of(row),
        "USD a month": row["monthly_cost_estimate_usd"],
        "checked": format_time(row["last_health_check"], now),
        "what is wrong": row["error_message"] or row["health_detail"],
    }


@click.command()
@click.argument("user")
@json_option
@report_errors
def app(user: str, as_json: bool) -> None:
    """Show everything about one USER (uuid, e-mail or app name): app, machine, cost, earlier apps, alerts, newest events."""
    installation = open_installation()
    report, now = read_app(installation, user)
    if as_json:
        print_json(report)
    else:
        _print_app(make_console(), report, now)


def read_app(installation: Installation, user: str) -> tuple[dict[str, Any], datetime]:
    """Everything about one user, and the database's time. Raises TargetError for an unknown one."""
    user_id, status = installation.find_known_user(user)
    overview = installation.database.read_overview()
    page = installation.database.read_user(user_id) or {}
    shown = ("email", "cost", "lives")
    report = {
        "user_id": str(user_id),
        **status.document,
        **{key: page.get(key) for key in shown},
        "alerts": _list_alerts(overview.document["alerts"], status.document["row"]),
        "next": format_next_step(status.document, overview.settings, overview.now),
    }
    return report, overview.now


def _list_alerts(alerts: list[dict[str, Any]], row: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """The open alerts about this app alone."""
    return [alert for alert in alerts if row and alert["key"] in (row["id"], row["fly_app_name"])]


def _print_app(console: Console, report: Mapping[str, Any], now: datetime) -> None:
    names = {"user id": report["user_id"], "e-mail": report["email"]}
    console.print(make_facts("Account", names))
    print_user(console, report, now)
    if cost := report["cost"]:
        facts = {
            "so far, USD": f"{float(cost['to_date_usd']):.4f}",
            "running seconds": round(float(cost["running_seconds"])),
            "since": cost["since"],
        }
        console.print(make_facts("Cost by Fly's list price", facts))
    if report["alerts"]:
        console.print(make_table("Open alerts", report["alerts"], ("kind", "opened_at", "times", "message")))
    if report["lives"]:
        console.print(make_table("Earlier apps", report["lives"], ("fly_app_name", "created_at", "deleted_at")))
