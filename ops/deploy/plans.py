"""The plans of a new installation: how `hangar init` is told them, and how `hangar.toml` holds them."""

import json
import re
from collections.abc import Mapping
from typing import Any

from ops.deploy.settings import SettingsError
from shared.domain.cost import explain_refused_size

FORM = "TIER=SIZE:MEMORY_MB, like pro=shared-cpu-2x:1024 or pro=shared-cpu-2x:1024:29 with a price, or free=none"
_PLAN = re.compile(
    r"(?P<tier>[^=,\s](?:[^=,]{0,98}[^=,\s])?)=(?:(?P<none>none)"
    r"|(?P<kind>shared|performance)-cpu-(?P<count>\d{1,3})x:(?P<memory>\d{1,7})(?::(?P<price>\d{1,8}(?:\.\d{1,2})?))?)",
    re.ASCII,
)
# The form of each value in hangar.toml, and how a message names it.
_FORMS = {
    "dedicated": ("true|false", "true or false"),
    "cpu_kind": ("shared|performance", "shared or performance"),
    "cpu_count": (r"\d{1,3}", "a whole number"),
    "memory_mb": (r"\d{1,7}", "a number of MB"),
    "price_usd": (r"\d{1,8}(\.\d{1,2})?", "an amount in USD like 29 or 29.50"),
}


def parse_plans(text: str) -> dict[str, dict[str, str]]:
    """The plans that a text with commas names, by tier. Raises SettingsError, which names the part and the form."""
    plans: dict[str, dict[str, str]] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        found = _PLAN.fullmatch(part)
        if found is None:
            raise SettingsError(f"--plan is {part!r}: expected {FORM}")
        if found["tier"] in plans:
            raise SettingsError(f"--plan names the tier {found['tier']} twice")
        if found["none"]:
            plans[found["tier"]] = {"dedicated": "false"}
            continue
        if refused := explain_refused_size(found["kind"], int(found["count"]), int(found["memory"])):
            raise SettingsError(f"--plan {found['tier']}: {refused}")
        values = {"cpu_kind": found["kind"], "cpu_count": found["count"], "memory_mb": found["memory"]}
        plans[found["tier"]] = values | ({"price_usd": found["price"]} if found["price"] else {})
    return plans


def format_plans(plans: Mapping[str, Mapping[str, str]]) -> str:
    """The tables of `hangar.toml`."""
    tables = (
        "\n".join([f"[plans.{_quote(tier)}]", *(f"{key} = {_quote(value)}" for key, value in values.items())])
        for tier, values in plans.items()
    )
    return "".join(f"\n{table}\n" for table in tables)


def _quote(text: str) -> str:
    """A text in TOML. JSON would write a character outside the first plane as two halves, which TOML refuses."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def read_plans(project: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """The plans of `hangar.toml`. Raises SettingsError for what is no plan."""
    table = project.get("plans", {})
    if not isinstance(table, Mapping) or not all(isinstance(plan, Mapping) for plan in table.values()):
        raise SettingsError('hangar.toml: each plan must be a table like [plans."pro"]')
    for tier, plan in table.items():
        if unknown := sorted(set(plan) - set(_FORMS)):
            raise SettingsError(
                f"hangar.toml: the plan {tier} has {unknown[0]}; it may have {', '.join(_FORMS)}. "
                "Set the rest later with `hangar plans set`"
            )
        if not all(isinstance(value, str) for value in plan.values()):
            raise SettingsError(f"hangar.toml: the values of the plan {tier} must be texts in quotes")
        _check_plan(tier, plan)
    return {tier: dict(plan) for tier, plan in table.items()}


def _check_plan(tier: str, plan: Mapping[str, str]) -> None:
    """What the database would refuse only in the middle of a deployment."""
    if not 1 <= len(tier) <= 100 or tier != tier.strip():
        raise SettingsError(f"hangar.toml: {tier[:100]!r} is no tier: 1 to 100 characters without space around them")
    for key, value in plan.items():
        form, expected = _FORMS[key]
        if not re.fullmatch(form, value, re.ASCII):
            raise SettingsError(f"hangar.toml: {key} of the plan {tier} must be {expected}, not {value!r}")
    if {"cpu_kind", "cpu_count", "memory_mb"} <= set(plan) and (
        refused := explain_refused_size(plan["cpu_kind"], int(plan["cpu_count"]), int(plan["memory_mb"]))
    ):
        raise SettingsError(f"hangar.toml: the plan {tier}: {refused}")
