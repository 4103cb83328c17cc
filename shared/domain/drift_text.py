"""Drift in words, the same for the command line and the dashboard. Pure."""

from collections.abc import Mapping
from typing import Any

from shared.domain.drift import NOT_REPAIRABLE

# As hangar.most_drift_repairs() has it; a test compares both.
MOST_REPAIRS = 3
_HELD = {
    "paused": "Hangar is paused",
    "off": "the setting drift_share is 0",
    "incident": "many apps are broken at once",
    "fly_unreachable": "Fly cannot be listed",
    "brake": "the brake was on",
    "installation": "the database belongs to another installation",
    "last_repair": "an app that was repaired within the last hour is unhealthy or failed",
}


def list_drift(row: Mapping[str, Any]) -> list[str]:
    """One line for each kind of drift of a row: what runs and what should run."""
    return [f"{kind}: {text}" for kind, text in sorted((row.get("drift") or {}).items())]


def is_repairable(row: Mapping[str, Any]) -> bool:
    """Whether an update of the machine can end some of the row's drift."""
    return bool(set(row.get("drift") or {}) - NOT_REPAIRABLE)


def format_next_repair(row: Mapping[str, Any], held: str | None, repair: str) -> str:
    """What runs, what should run, and what happens next. `repair` tells the reader how to repair this one app at once."""
    return (
        f"the machine differs from what it should be ({'; '.join(list_drift(row))}). {_format_step(row, held, repair)}"
    )


def _format_step(row: Mapping[str, Any], held: str | None, repair: str) -> str:
    if not is_repairable(row):
        return (
            "Only a release moves a machine to another region: plan one for the apps that differ from their plan, or add the "
            "region to the plan"
        )
    last = f" The last repair failed: {row['drift_error']}." if row.get("drift_error") else ""
    if row.get("drift_repair"):
        return f"The next drain updates it.{last}"
    if int(row.get("drift_repairs") or 0) >= MOST_REPAIRS:
        times = f"It was repaired {MOST_REPAIRS} times and differs again or still"
        return f"{times}, so it waits for an operator.{last} To try again, {repair}"
    if held:
        return f"Hangar repairs no drift now, because {_HELD.get(held, held)}.{last} To repair it now, {repair}"
    return f"A coming sweep updates it in place, a few apps at a time.{last} To repair it now, {repair}"


def format_fleet_drift(drift: Mapping[str, Any]) -> str | None:
    """How many apps drift, by kind, from `drift` of fly_overview. None if there are none."""
    apps = int(drift["apps"])
    if not apps:
        return None
    kinds = ", ".join(
        f"{kind} {count}" for kind, count in sorted(drift["kinds"].items(), key=lambda each: (-each[1], each[0]))
    )
    noun = "app differs" if apps == 1 else "apps differ"
    held = f"; none is repaired now, because {_HELD.get(drift['held'], drift['held'])}" if drift["held"] else ""
    return f"{apps} {noun} from what should run ({kinds}){held}"
