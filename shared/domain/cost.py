"""Costs of machines: the product's estimate and Fly's list price. Decimal only, rounded half-up to cents.

`estimate_monthly_usd` is the formula that the product has always shown. List prices come from a table with dates
(data/fly_prices.json), because Fly's prices change and differ by region. Reports show both figures.
"""

import json
from collections.abc import Mapping
from datetime import date
from decimal import ROUND_HALF_UP, Decimal
from functools import lru_cache
from importlib.resources import files
from typing import Any, Literal

from shared.domain.regions import expand, split_preference

CpuKind = Literal["shared", "performance"]

SECONDS_PER_MONTH = 2_592_000  # Fly counts a month as 30 days
_CENT = Decimal("0.01")
_SHARED_CPUS = (1, 2, 4, 6, 8)
_PERFORMANCE_CPUS = (1, *range(2, 17, 2))
_MB_PER_CPU: dict[str, tuple[int, int]] = {"shared": (256, 2048), "performance": (2048, 8192)}


def to_cents(amount: Decimal) -> Decimal:
    """Round half-up to cents."""
    return amount.quantize(_CENT, rounding=ROUND_HALF_UP)


def estimate_monthly_usd(cpu_count: int, memory_mb: int) -> Decimal:
    """max(5.00, vCPU x 2.50 + GB x 2.00) a month: 2 vCPU with 512 MB is 6.00."""
    gigabytes = Decimal(memory_mb) / 1024
    return to_cents(max(Decimal("5.00"), cpu_count * Decimal("2.50") + gigabytes * Decimal("2.00")))


def estimate_fleet_monthly_usd(users: int, cpu_count: int = 2, memory_mb: int = 512) -> Decimal:
    """The estimate for `users` apps of one size."""
    return users * estimate_monthly_usd(cpu_count, memory_mb)


def format_size(cpu_kind: object, cpu_count: object, memory_mb: object) -> str:
    """A machine's size for people: "2 shared vCPU, 512 MB". What is None is left out."""
    cpu = " ".join(str(part) for part in (cpu_count, cpu_kind) if part is not None)
    memory = f"{memory_mb} MB" if memory_mb is not None else ""
    return ", ".join(part for part in (f"{cpu} vCPU" if cpu else "", memory) if part)


def format_size_of(columns: Mapping[str, Any]) -> str:
    """The same of a row, plan, pin or release, by its columns; empty if it names no size."""
    return format_size(columns.get("cpu_kind"), columns.get("cpu_count"), columns.get("memory_mb"))


def explain_refused_size(cpu_kind: str, cpu_count: int, memory_mb: int) -> str | None:
    """Why Fly would refuse this machine size, with the nearest size that works. None if Fly accepts it.

    The limits are those of fly-go's machine_types.go and Fly's machine sizing page. SQL has the same texts; a test compares.
    """
    if cpu_kind not in _MB_PER_CPU:
        return f"cpu kind {cpu_kind!r} does not exist on Fly: use shared or performance"
    cpus = _SHARED_CPUS if cpu_kind == "shared" else _PERFORMANCE_CPUS
    if cpu_count not in cpus:
        return f"{cpu_count} {cpu_kind} vCPU does not exist on Fly: use one of {', '.join(map(str, cpus))}"
    least, most = (limit * cpu_count for limit in _MB_PER_CPU[cpu_kind])
    if memory_mb < least:
        return (
            f"{cpu_count} {cpu_kind} vCPU with {memory_mb} MB is refused by Fly: "
            f"{cpu_count} {cpu_kind} vCPU need at least {least} MB"
        )
    if memory_mb > most:
        return f"{cpu_count} {cpu_kind} vCPU with {memory_mb} MB is refused by Fly: {most} MB is the most for that size"
    if memory_mb % 256:
        return f"{memory_mb} MB is refused by Fly: memory comes in steps of 256 MB"
    return None


@lru_cache(maxsize=1)
def _price_table() -> dict[str, Any]:
    table: dict[str, Any] = json.loads(files("shared.domain").joinpath("data/fly_prices.json").read_text())
    return table


def newest_price_list(on: date) -> date | None:
    """The day from which the price list in force `on` that day counts; None before the first list."""
    days = [date.fromisoformat(entry["from"]) for entry in _price_table()["lists"]]
    return max((day for day in days if day <= on), default=None)


def list_price_usd_per_s(cpu_kind: CpuKind, cpu_count: int, memory_mb: int, region: str, on: date) -> Decimal:
    """Fly's list price for one second in the state `started`, by the price list in force `on` that day.

    `region` may be a list of preference, of which the first word counts: an alias costs as much as its most expensive
    region. An unknown region has the price of the most expensive known region, so that a cost is never understated. Raises
    ValueError for a day before the first list.
    """
    table = _price_table()
    lists = [entry for entry in table["lists"] if date.fromisoformat(entry["from"]) <= on]
    if not lists:
        raise ValueError(f"no Fly price list covers {on}: the first one starts {table['lists'][-1]['from']}")
    prices = max(lists, key=lambda entry: entry["from"])
    kind = prices[cpu_kind]
    extra_gb = Decimal(memory_mb) / 1024 - cpu_count * Decimal(kind["included_gb_per_cpu"])
    base = cpu_count * Decimal(kind["usd_per_cpu_s"]) + max(extra_gb, Decimal(0)) * Decimal(prices["usd_per_gb_s"])
    factors = {code: Decimal(factor) for code, factor in table["region_factors"].items()}
    return base * max(factors.get(each, max(factors.values())) for each in expand(split_preference(region)[0]))


def list_price_monthly_usd(cpu_kind: CpuKind, cpu_count: int, memory_mb: int, region: str, on: date) -> Decimal:
    """The list price of a machine that runs all month (30 days), not rounded: Fly rounds sums, not single machines."""
    return list_price_usd_per_s(cpu_kind, cpu_count, memory_mb, region, on) * SECONDS_PER_MONTH
