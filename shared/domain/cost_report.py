"""The cost of the fleet by tier, region and size, margins, projections, and potential savings. The CLI and the dashboard show it.

Every line has two figures. The estimate is the product's own formula, max(5.00, vCPU x 2.50 + GB x 2.00). The list price is
Fly's, by size and region, for a machine that runs all month. All amounts are Decimal, rounded half-up to cents.
"""

from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from shared.domain.cost import (
    estimate_fleet_monthly_usd,
    estimate_monthly_usd,
    explain_refused_size,
    format_size,
    format_size_of,
    list_price_monthly_usd,
    to_cents,
)

_ZERO = Decimal("0.00")
_HOURS_ASLEEP = 8


def make_cost_report(usage: Mapping[str, Any], counts: list[int]) -> dict[str, Any]:
    """Price the result of `fly_cost_report` by the list of that day; `counts` are the users to project. Amounts are text."""
    on = datetime.fromisoformat(usage["now"]).date()
    groups = [_price(group, on) for group in usage["groups"]]
    spent = usage["to_date"]
    return {
        "at": usage["now"],
        "total": _total(groups),
        "by_tier": _group_by(groups, "tier"),
        "by_region": _group_by(groups, "region"),
        "by_size": _group_by(groups, "size"),
        "margins": find_margins(groups, usage["plans"]),
        "users": [{**user, "to_date_usd": str(to_cents(Decimal(user["to_date_usd"])))} for user in usage["users"]],
        "month_to_date": {
            "since": usage["month_start"],
            "list_price_usd": str(to_cents(Decimal(spent["usd"]))),
            "running_hours": str(to_cents(Decimal(spent["running_seconds"]) / 3600)),
            "hours_without_price": str(to_cents(Decimal(spent["unpriced_seconds"]) / 3600)),
            "users": spent["users"],
        },
        "projections": project(usage["plans"], counts, on),
        "savings": find_savings(usage["groups"], on),
    }


def _price(group: Mapping[str, Any], on: date) -> dict[str, Any]:
    listed = list_price_monthly_usd(group["cpu_kind"], group["cpu_count"], group["memory_mb"], group["region"], on)
    return {
        **group,
        "size": format_size_of(group),
        "estimate": Decimal(group["monthly_cost_estimate_usd"] or 0),
        "listed": listed * group["apps"],
    }


def _total(groups: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    priced = list(groups)
    return {
        "apps": sum(group["apps"] for group in priced),
        "running": sum(group["running"] for group in priced),
        "monthly_cost_estimate_usd": str(to_cents(sum((group["estimate"] for group in priced), _ZERO))),
        "monthly_list_price_usd": str(to_cents(sum((group["listed"] for group in priced), _ZERO))),
    }


def _group_by(groups: list[dict[str, Any]], key: str) -> list[dict[str, Any]]:
    values = sorted({group[key] for group in groups}, key=str)
    return [{key: value, **_total(group for group in groups if group[key] == value)} for value in values]


def find_margins(groups: Iterable[Mapping[str, Any]], plans: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What each tier brings a month: its price for every user who pays, less Fly's list price for all of its apps.

    Apps of users who were granted the plan, or who are about to lose the app, cost money and bring none. A tier without a price,
    and one that no plan sells any more, has no income and no margin (None). `groups` have their list price (`listed`).
    """
    prices = {plan["tier"]: plan.get("price_usd") for plan in plans}
    priced = list(groups)
    return [
        _find_margin(tier, prices.get(tier), [group for group in priced if group["tier"] == tier])
        for tier in sorted({group["tier"] for group in priced}, key=str)
    ]


def _find_margin(tier: str, price: str | None, groups: list[Mapping[str, Any]]) -> dict[str, Any]:
    listed = sum((group["listed"] for group in groups), _ZERO)
    # A database that is older than this code does not count them.
    paying = None if any("paying" not in group for group in groups) else sum(group["paying"] for group in groups)
    income = None if price is None or paying is None else Decimal(price) * paying
    return {
        "tier": tier,
        "price_usd": price,
        "apps": sum(group["apps"] for group in groups),
        "paying": paying,
        "monthly_income_usd": None if income is None else str(to_cents(income)),
        "monthly_list_price_usd": str(to_cents(listed)),
        "monthly_margin_usd": None if income is None else str(to_cents(income - listed)),
    }


def project(plans: Iterable[Mapping[str, Any]], counts: list[int], on: date) -> list[dict[str, Any]]:
    """The monthly cost of each count of users for every plan. Plans of one size and region share a line."""
    sizes: dict[tuple[Any, ...], list[str]] = {}
    for plan in plans:
        key = (plan["cpu_kind"], plan["cpu_count"], plan["memory_mb"], plan["region"])
        sizes.setdefault(key, []).append(plan["tier"])
    return [
        {
            "users": users,
            "tiers": ", ".join(tiers),
            "size": format_size(kind, cpus, memory),
            "region": region,
            "monthly_cost_estimate_usd": str(estimate_fleet_monthly_usd(users, cpus, memory)),
            "monthly_list_price_usd": str(to_cents(users * list_price_monthly_usd(kind, cpus, memory, region, on))),
        }
        for (kind, cpus, memory, region), tiers in sorted(sizes.items())
        for users in counts
    ]


def find_savings(groups: Iterable[Mapping[str, Any]], on: date) -> list[dict[str, Any]]:
    """What each change would save a month on the current machines, where Fly accepts the smaller size."""
    current = list(groups)
    return [
        _try_size(current, on, "1 vCPU, memory as it is", lambda size: (1, size["memory_mb"])),
        _try_size(current, on, "256 MB, vCPUs as they are", lambda size: (size["cpu_count"], 256)),
        _try_size(current, on, "1 vCPU and 256 MB", lambda _: (1, 256)),
        _try_sleep(current, on),
    ]


def _try_size(
    groups: list[Mapping[str, Any]], on: date, name: str, smaller: Callable[[Mapping[str, Any]], tuple[int, int]]
) -> dict[str, Any]:
    apps, estimate, listed, refusals = 0, _ZERO, _ZERO, set()
    for group in groups:
        now, then = (group["cpu_count"], group["memory_mb"]), smaller(group)
        if then == now or then[0] > now[0] or then[1] > now[1]:
            continue
        if refused := explain_refused_size(group["cpu_kind"], *then):
            refusals.add(refused)
            continue
        apps += group["apps"]
        estimate += group["apps"] * (estimate_monthly_usd(*now) - estimate_monthly_usd(*then))
        kind, region = group["cpu_kind"], group["region"]
        listed += group["apps"] * (
            list_price_monthly_usd(kind, *now, region, on) - list_price_monthly_usd(kind, *then, region, on)
        )
    note = "; ".join(sorted(refusals)) or "check first that the backend fits"
    return _saving(name, apps, estimate, listed, note)


def _try_sleep(groups: list[Mapping[str, Any]], on: date) -> dict[str, Any]:
    always = [group for group in groups if group["power"] == "always_on"]
    listed = sum((_price(group, on)["listed"] for group in always), _ZERO) * _HOURS_ASLEEP / 24
    note = (
        "an assumption, not a measurement; only for backends that may stop while idle; Fly still charges 0.15 USD per GB and "
        "month of disk; the estimate does not depend on running time"
    )
    name = f"asleep {_HOURS_ASLEEP} h a day when idle (power on_demand)"
    return _saving(name, sum(group["apps"] for group in always), _ZERO, listed, note)


def _saving(name: str, apps: int, estimate: Decimal, listed: Decimal, note: str) -> dict[str, Any]:
    return {
        "change": name,
        "apps": apps,
        "saves_estimate_usd": str(to_cents(estimate)),
        "saves_list_price_usd": str(to_cents(listed)),
        "note": note,
    }
