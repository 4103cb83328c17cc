"""Sentences about the archive, from `archive` of fly_overview. Pure."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from shared.domain.moments import format_day
from shared.domain.remediation import format_time

_ROWS = {"events": "events", "samples": "cost intervals", "closed_rows": "resolved alerts"}


def describe_archive(archive: Mapping[str, Mapping[str, Any]], now: datetime) -> list[str]:
    """One sentence for each kind of rows that has a retention; none has by default."""
    return [
        _describe(source, archive[source], now) for source in _ROWS if archive[source]["retention_days"] is not None
    ]


def _describe(source: str, known: Mapping[str, Any], now: datetime) -> str:
    rows, days = _ROWS[source], known["retention_days"]
    said = f"{rows} are kept for {days} days"
    batch = known["open"]
    if batch and batch["problem"]:
        return (
            f"{said}, but the last run ended early, {format_time(batch['problem_at'], now)}: {batch['problem']}. "
            "The rows stay in the database until a run succeeds"
        )
    if known["last_deleted_at"] is None and known["overdue"]:
        return (
            f"{said}, but this has no effect: nothing was ever archived, and rows are deleted only once they are in a "
            f"bucket. The oldest is from {format_day(known['overdue'])}"
        )
    if known["last_deleted_at"] is None:
        return f"{said}; none is older yet"
    last = f"{known['deleted_rows']} are archived, the last {format_time(known['last_deleted_at'], now)}"
    if known["overdue"]:
        return f"{said}; {last}. Older ones wait for a run, the oldest from {format_day(known['overdue'])}"
    return f"{said}; {last}"
