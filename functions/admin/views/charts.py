"""Charts as numbers for SVG: no style attribute, no script. Pure. The templates put a table beside each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

WIDTH, HEIGHT = 600, 120


@dataclass(frozen=True)
class Bar:
    """One bar of a chart, in the chart's own units."""

    x: float
    y: float
    width: float
    height: float
    tone: str
    label: str


def draw_costs(days: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """A bar for each day, its height the day's dollars by list price."""
    amounts = [Decimal(day["usd"]) for day in days]
    most = max(amounts, default=Decimal(0))
    step = WIDTH / max(len(days), 1)
    bars = [
        Bar(
            round(place * step + 1, 2),
            round(HEIGHT - (height := float(amount / most) * (HEIGHT - 4) if most else 0.0), 2),
            round(step - 2, 2),
            round(height, 2),
            "plain",
            f"{day['day']}: ${amount:.2f}",
        )
        for place, (day, amount) in enumerate(zip(days, amounts, strict=True))
    ]
    return {"bars": bars, "most": most, "total": sum(amounts, Decimal(0)), "width": WIDTH, "height": HEIGHT}


def draw_health(told: Mapping[str, Any], now: datetime) -> dict[str, Any]:
    """A strip of health from `health_from` until now. The present moves in steps, so that it does not change at every look."""
    begun = datetime.fromisoformat(told["health_from"])
    turns, row = told["health"], told["row"] or told["last"]
    marks = (
        [(begun, turns[0]["from"] or "unknown")] if turns else [(begun, (row or {}).get("health_status") or "unknown")]
    )
    if row is not None and (made := datetime.fromisoformat(row["created_at"])) > begun:
        marks = [(begun, "none"), (made, marks[0][1])]
    now = max(now.replace(minute=now.minute // 10 * 10, second=0, microsecond=0), begun)
    marks += [(datetime.fromisoformat(turn["at"]), turn["to"]) for turn in turns]
    ends = [at for at, _ in marks[1:]] + [now]
    whole_s = max((now - begun).total_seconds(), 1.0)
    spans = []
    for (at, word), until in zip(marks, ends, strict=True):
        x = max((at - begun).total_seconds(), 0.0) / whole_s * WIDTH
        width = max((until - at).total_seconds(), 0.0) / whole_s * WIDTH
        spans.append(
            Bar(round(x, 2), 0, round(width, 2), 28, word, f"{word} from {at:%b %d %H:%M} to {until:%b %d %H:%M} UTC")
        )
    return {"spans": spans, "width": WIDTH, "height": 28}
