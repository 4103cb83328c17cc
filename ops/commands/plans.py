"""`hangar plans`: what each tier includes, and changing it with an entry in the audit log."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import click

from ops.cli_support import (
    ask_reason,
    collect_changes,
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
from ops.release_options import check_env_name, read_env
from ops.tables import format_value, make_list
from shared.domain.cost import format_size_of, to_cents

_COLUMNS = (
    "tier", "dedicated", "size", "region", "image", "power", "public", "grace, s", "price, USD", "rank", "if unhealthy",
)  # fmt: skip
_NONE = ("none", "null")
_YES_OR_NO = ("dedicated", "public_service")
_WORDS = {
    "yes": "true",
    "on": "true",
    "no": "false",
    "off": "false",
}  # as the list shows them, and as settings take them
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
        "size": format_size_of(plan),
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
@click.argument("changes", nargs=-1, metavar="[KEY=VALUE…]")
@click.option("--env", multiple=True, metavar="NAME=VALUE", help="A variable of the plan's machines. May be repeated.")
@click.option("--unset-env", multiple=True, metavar="NAME", help="Remove this variable. May be repeated.")
@click.option("--create", is_flag=True, help="Add the plan TIER. It must not exist.")
@reason_option
@json_option
@report_errors
def set_plan(
    *,
    tier: str,
    changes: tuple[str, ...],
    env: tuple[str, ...],
    unset_env: tuple[str, ...],
    create: bool,
    reason: str | None,
    as_json: bool,
) -> None:
    """Change values of the plan TIER, all of them or none.

    For example memory_mb=1024, region=sin,nrt or docker_image=none. Apps that exist keep their machine until a release gives
    it to them: hangar release create --drift. Values of variables are never shown.
    """
    values: dict[str, Any] = collect_changes(_read_change(change) for change in changes)
    variables = _read_variables(env, unset_env)
    if not values and not variables and not create:
        stop(EXIT_USAGE, "nothing to change: give KEY=VALUE, --env NAME=VALUE or --unset-env NAME")
    values |= {"env": variables} if variables else {}
    installation = open_installation()
    reason = ask_reason(reason, is_required=False)
    change = installation.database.set_plan(tier, values, actor=get_actor(), reason=reason, create=create)
    if as_json:
        print_json(change)
        return
    if create:
        plan = change["plan"]
        echo(f"{tier} is added: {f'an app of {format_size_of(plan)}' if plan['dedicated'] else 'no app'}")
    if variables:
        when = "now" if "env" in change["changed"] else "already"
        echo(f"{tier}: the variables are {when} {', '.join(change['env']) or 'none'} (values are not shown)")
    for key in values.keys() - {"env"}:
        when = "now" if key in change["changed"] else "already"
        echo(f"{tier}: {key} is {when} {format_value(change['plan'][key])}")
    _show_drift(change)


def _show_drift(change: Mapping[str, Any]) -> None:
    """How many apps run something else than the plan says now, and how they get it."""
    apps, drift = change["apps"], change["drift"]
    if drift["apps"]:
        more = ", …" if drift["apps"] > len(drift["examples"]) else ""
        echo(
            f"{drift['apps']} of {apps} apps with this plan differ from it now: {', '.join(drift['examples'])}{more}. They "
            "keep what they run; to give them what the plan says: hangar release create --drift"
        )
    elif apps:
        echo(f"No app differs from the plan; {apps} have it")


def _read_variables(env: tuple[str, ...], unset: tuple[str, ...]) -> dict[str, str | None]:
    """Variables to set, and those to remove as None."""
    found: dict[str, str | None] = {**read_env(env)}
    for name in unset:
        check_env_name("--unset-env", name)
        if name in found:
            stop(EXIT_USAGE, f"{name} is given to --env and to --unset-env, or twice")
        found[name] = None
    return found


def _read_change(change: str) -> tuple[str, str | None]:
    """A key and its value as text, which the database parses by the column's type."""
    key, equals, value = change.partition("=")
    if not equals or not key.strip():
        stop(EXIT_USAGE, f"{change!r} does not have the form KEY=VALUE")
    if key.strip() == "env":
        stop(EXIT_USAGE, "variables have options of their own: --env NAME=VALUE and --unset-env NAME")
    key, value = key.strip(), value.strip()
    if key in _YES_OR_NO:
        return key, _WORDS.get(value.lower(), value)
    return key, None if value.lower() in _NONE else value
