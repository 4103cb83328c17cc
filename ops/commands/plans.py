"""`hangar plans`: what each tier includes, and changing it with an entry in the audit log."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import click

from ops.cli_support import (
    ask_reason,
    echo,
    get_actor,
    json_option,
    make_console,
    open_installation,
    print_json,
    reason_option,
    report_errors,
    stop,
)
from ops.exit_codes import EXIT_USAGE
from ops.tables import format_value, make_list
from shared.domain.cost import to_cents

_COLUMNS = (
    "tier", "dedicated", "size", "region", "image", "power", "public", "grace, s", "price, USD", "rank", "if unhealthy",
)  # fmt: skip
_NONE = ("none", "null")
_MOST_PLANS = 1000


@click.group()
def plans() -> None:
    """Show or change the plans: what each tier includes."""


@plans.command("list")
@json_option
@report_errors
def list_plans(as_json: bool) -> None:
    """Show every plan. A dash for region or image means that of the settings."""
    found = open_installation().read_rows("fly_plans", order="tier", limit=_MOST_PLANS)
    for plan in found:
        plan["env"] = sorted(plan["env"])  # the values may be secrets
        plan["price_usd"] = None if plan["price_usd"] is None else str(to_cents(Decimal(str(plan["price_usd"]))))
    if as_json:
        print_json(found)
    else:
        make_console().print(make_list("Plans", [_summarise(plan) for plan in found], _COLUMNS))


def _summarise(plan: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "tier": plan["tier"],
        "dedicated": plan["dedicated"],
        "size": f"{plan['cpu_count']} {plan['cpu_kind']} vCPU, {plan['memory_mb']} MB",
        "region": plan["region"],
        "image": plan["docker_image"],
        "power": plan["power"],
        "public": plan["public_service"],
        "grace, s": plan["grace_s"],
        "price, USD": plan["price_usd"],
        "rank": plan["rank"],
        "if unhealthy": plan["on_unhealthy"],
    }


@plans.command("set")
@click.argument("tier")
@click.argument("changes", nargs=-1, required=True, metavar="KEY=VALUE…")
@click.option("--create", is_flag=True, help="Add the plan TIER. It must not exist.")
@reason_option
@json_option
@report_errors
def set_plan(tier: str, changes: tuple[str, ...], create: bool, reason: str | None, as_json: bool) -> None:
    """Change values of the plan TIER, all of them or none.

    For example memory_mb=1024, region=sin,nrt or docker_image=none. Apps that exist keep their machine until a release gives
    it to them: hangar release create --drift.
    """
    values = dict(_read_change(change) for change in changes)
    installation = open_installation()
    reason = ask_reason(reason, is_required=False)
    change = installation.database.set_plan(tier, values, actor=get_actor(), reason=reason, create=create)
    if as_json:
        print_json(change)
        return
    for key in values:
        when = "now" if key in change["changed"] else "already"
        echo(f"{tier}: {key} is {when} {format_value(change['plan'][key])}")
    if change["changed"] and change["apps"]:
        echo(
            f"{change['apps']} apps have this plan. They keep what they run; to give them what the plan says now: "
            "hangar release create --drift"
        )


def _read_change(change: str) -> tuple[str, str | None]:
    """A key and its value as text, which the database parses by the column's type."""
    key, equals, value = change.partition("=")
    if not equals or not key.strip():
        stop(EXIT_USAGE, f"{change!r} does not have the form KEY=VALUE")
    return key.strip(), None if value.strip().lower() in _NONE else value.strip()
