"""What a release that moves apps to another region costs: Fly's list price in the regions before and after."""

from collections.abc import Mapping, Sequence
from datetime import date
from decimal import Decimal
from typing import Any

from shared.domain.cost import list_price_monthly_usd, to_cents


def price_moves(moves: Sequence[Mapping[str, Any]], on: date) -> list[dict[str, Any]]:
    """Each group of the dry run's `moves` with `before_usd` and `after_usd`: list prices a month of all its apps, as text."""
    return [
        {
            **move,
            "before_usd": str(_price(move, "", move["region"], on)),
            "after_usd": str(_price(move, "to_", move["to_region"], on)),
        }
        for move in moves
    ]


def _price(move: Mapping[str, Any], prefix: str, region: str, on: date) -> Decimal:
    size = (move[f"{prefix}cpu_kind"], move[f"{prefix}cpu_count"], move[f"{prefix}memory_mb"])
    return to_cents(move["apps"] * list_price_monthly_usd(*size, region, on))


def make_region_rows(priced: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One row for each way from one region to another, the most apps first."""
    ways: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for each in priced:
        ways.setdefault((each["region"], each["to_region"]), []).append(each)
    rows = [
        {
            "from": region,
            "to": to_region if to_region != region else "stays",
            "apps": sum(each["apps"] for each in groups),
            "USD a month before": _add(groups, "before_usd"),
            "after": _add(groups, "after_usd"),
        }
        for (region, to_region), groups in ways.items()
    ]
    return sorted(rows, key=lambda row: -row["apps"])


def _add(groups: Sequence[Mapping[str, Any]], key: str) -> str:
    return str(sum((Decimal(each[key]) for each in groups), Decimal(0)))
