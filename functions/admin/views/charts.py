"""Charts as numbers for SVG, without style attributes or scripts. Each chart has a table beside it in its template. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from shared.domain.moments import read_moment

WIDTH, HEIGHT = 600, 120


@dataclass(frozen=True)
class Bar:
    """One bar of a chart, in the units of the chart."""

    x: float
    y: float
    width: float
    height: float
    tone: str
    label: str


def draw_costs(days: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """A bar for each day. Its height is the cost of that day at list price."""
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


def draw_health(user: Mapping[str, Any], now: datetime) -> dict[str, Any]:
    """A strip of health from `health_from` until now. Now advances in steps of 10 minutes, so that most refreshes are equal."""
    starts_at = read_moment(user["health_from"])
    now = max(now.astimezone(UTC).replace(minute=now.minute // 10 * 10, second=0, microsecond=0), starts_at)
    changes = _list_health_changes(user, starts_at)
    ends = [at for at, _ in changes[1:]] + [now]
    total_s = max((now - starts_at).total_seconds(), 1.0)
    spans = []
    for (at, health), until in zip(changes, ends, strict=True):
        x = max((at - starts_at).total_seconds(), 0.0) / total_s * WIDTH
        width = max((until - at).total_seconds(), 0.0) / total_s * WIDTH
        label = f"{'no app' if health == 'none' else health} from {at:%b %d %H:%M} to {until:%b %d %H:%M} UTC"
        spans.append(Bar(round(x, 2), 0, round(width, 2), 28, health, label))
    return {"spans": spans, "width": WIDTH, "height": 28}


def _list_health_changes(user: Mapping[str, Any], starts_at: datetime) -> list[tuple[datetime, str]]:
    """When the health changed, and to what. Begins with the state at `starts_at`; "none" while there was no app."""
    recorded, row = user["health"], user["row"] or user["last"]
    first = (recorded[0]["from"] if recorded else (row or {}).get("health_status")) or "unknown"
    changes = [(starts_at, first)]
    if row is not None and (created_at := read_moment(row["created_at"])) > starts_at:
        changes = [(starts_at, "none"), (created_at, first)]
    changes += [(read_moment(each["at"]), each["to"]) for each in recorded]
    if row is None or row.get("deleted_at") is None:
        return changes
    gone_at = read_moment(row["deleted_at"])
    return [change for change in changes if change[0] < gone_at] + [(max(gone_at, starts_at), "none")]
