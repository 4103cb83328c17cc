"""What the host's own UPDATE costs with and without Hangar: from one row to many thousands, in one statement."""

import statistics
import time
from dataclasses import asdict, dataclass
from typing import Any
from uuid import UUID

import psycopg

from bench.cloud import Cloud
from bench.fleet import change_tier, follow_host, sign_up
from bench.sizes import Sizes

_TRIGGER = "alter table public.user_subscriptions {} trigger hangar_mark_update"
MOST_RATIO = 2.0
MOST_MS_A_ROW = 0.01
# In a small statement the one wake-up call is a large part of the time.
BOUND_FROM_ROWS = 10_000


@dataclass(frozen=True)
class Statement:
    """One UPDATE of `rows` rows, median of several rounds that were rolled back, with and without our trigger."""

    rows: int
    with_hangar_s: float
    without_s: float

    @property
    def ratio(self) -> float:
        return self.with_hangar_s / self.without_s

    @property
    def extra_ms_a_row(self) -> float:
        return 1000 * (self.with_hangar_s - self.without_s) / self.rows


def measure_statements(cloud: Cloud, sizes: Sizes) -> list[dict[str, Any]]:
    """Measure an upgrade of 1, 1,000, … rows. The users are on the free tier and stay there."""
    users = sign_up(cloud.host, max(sizes.statement_rows), "statement")
    follow_host(cloud.host)
    cloud.host.execute("vacuum analyze public.user_subscriptions, hangar.marks")
    found = [measure_statement(cloud.host, users[:rows], sizes.statement_rounds) for rows in sizes.statement_rows]
    return [asdict(each) | {"ratio": each.ratio, "extra_ms_a_row": each.extra_ms_a_row} for each in found]


def measure_statement(host: psycopg.Connection, users: list[UUID], rounds: int) -> Statement:
    """Alternate between both, so that a slow moment of the machine affects both."""
    taken: dict[str, list[float]] = {"enable": [], "disable": []}
    for number in range(rounds + 1):
        for word, seconds in taken.items():
            host.execute(_TRIGGER.format(word).encode())
            with host.transaction(force_rollback=True):
                started = time.perf_counter()
                change_tier(host, users, "pro")
                if number:  # the first round plans and warms up
                    seconds.append(time.perf_counter() - started)
            host.execute("vacuum public.user_subscriptions, hangar.marks")
    host.execute(_TRIGGER.format("enable").encode())
    return Statement(len(users), statistics.median(taken["enable"]), statistics.median(taken["disable"]))


def format_statements(found: list[dict[str, Any]]) -> list[str]:
    """The figures as a table; the bound is for statements over many rows."""
    lines = [
        "",
        "one UPDATE of the host's subscriptions",
        f"  {'rows':>8} {'with Hangar':>12} {'without':>10} {'ratio':>8} {'extra per row':>14}   2x and 0.01 ms per row",
    ]
    for one in found:
        kept = one["ratio"] <= MOST_RATIO and one["extra_ms_a_row"] <= MOST_MS_A_ROW
        verdict = "" if one["rows"] < BOUND_FROM_ROWS else "kept" if kept else "BROKEN"
        lines.append(
            f"  {one['rows']:>8,} {1000 * one['with_hangar_s']:>9.2f} ms {1000 * one['without_s']:>7.2f} ms"
            f" {one['ratio']:>6.1f} x {one['extra_ms_a_row']:>11.4f} ms   {verdict}"
        )
    return lines
