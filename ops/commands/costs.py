"""`hangar cost`: the estimate, Fly's list price, the month so far, margins, projections and potential savings."""

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import click
from rich.console import Console

from ops.cli_support import json_option, make_console, open_installation, print_json, report_errors, stop
from ops.exit_codes import EXIT_USAGE
from ops.tables import make_table
from shared.domain.cost_report import make_cost_report

_MOST_USERS = 10_000_000
_COUNT = re.compile(r"\d{1,8}", re.ASCII)


@click.command()
@click.option(
    "--projection", default="10,50,100,500", show_default=True, metavar="N,N", help="Numbers of users to project."
)
@click.option("--top", type=click.IntRange(1, 100), default=10, show_default=True, help="How many users to list.")
@json_option
@report_errors
def cost(projection: str, top: int, as_json: bool) -> None:
    """Show cost, margins, projections and potential savings.

    The cost is given as an estimate for a month, by Fly's list price, and for this month so far.
    """
    counts = [_read_count(word) for word in projection.split(",")]
    report = make_cost_report(open_installation().database.read_cost_report(top), counts)
    if as_json:
        print_json(report)
    else:
        print_cost(make_console(), report)


def _read_count(word: str) -> int:
    if not _COUNT.fullmatch(word.strip()) or not 0 < int(word) <= _MOST_USERS:
        stop(
            EXIT_USAGE,
            f"--projection takes numbers of users from 1 to {_MOST_USERS} such as 10,50,100,500; {word!r} is not one",
        )
    return int(word)


def _name_margin(margin: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "tier": margin["tier"],
        "price": margin["price_usd"],
        "users who pay": margin["paying"],
        "income": margin["monthly_income_usd"],
        "list price of all apps": margin["monthly_list_price_usd"],
        "margin": margin["monthly_margin_usd"],
    }


def print_cost(console: Console, report: Mapping[str, Any]) -> None:
    """The report as tables."""
    total, spent = report["total"], report["month_to_date"]
    console.print(
        f"{total['apps']} apps: {total['monthly_cost_estimate_usd']} USD a month as estimated; "
        f"{total['monthly_list_price_usd']} USD by Fly's list price if all of them run all month ({total['running']} run now)",
    )
    unpriced = (
        f", {spent['hours_without_price']} h of them without a price" if Decimal(spent["hours_without_price"]) else ""
    )
    console.print(
        f"This month so far: {spent['list_price_usd']} USD by Fly's list price for {spent['running_hours']} machine hours"
        f"{unpriced} (machines only, without disk, traffic and addresses)",
    )
    for title, key in (("By tier", "by_tier"), ("By region", "by_region"), ("By size", "by_size")):
        console.print(make_table(title, report[key]))
    console.print(make_table("Margin by tier, USD a month", [_name_margin(margin) for margin in report["margins"]]))
    users = [
        {
            "user": user["email"] or user["user_id"],
            "app": user["fly_app_name"] or "deleted",
            "tier": user["tier"],
            "estimate a month": user["monthly_cost_estimate_usd"],
            "this month so far": user["to_date_usd"],
        }
        for user in report["users"]
    ]
    console.print(make_table("Most expensive users", users))
    console.print(make_table("Projection, USD a month", report["projections"]))
    console.print(make_table("Potential savings, USD a month", report["savings"]))
