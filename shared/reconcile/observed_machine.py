"""A machine as Fly shows it, turned into what the domain judges. Pure."""

from datetime import timedelta
from typing import Literal

from shared.domain.cost import CpuKind
from shared.domain.drift import Difference
from shared.domain.observation import ObservedMachine
from shared.fly.models import FlyMachine
from shared.reconcile.symptom_finder import backend_checks, find_symptom, missing_checks


def judge_health(machine: FlyMachine) -> Literal["healthy", "bad", "unknown"]:
    """What Fly's checks report. No result yet, an unreachable host or a warning is unknown, never bad."""
    if machine.host_status != "ok" or machine.incomplete or machine.state == "unknown":
        return "unknown"
    if machine.state != "started":
        return "bad" if machine.state in ("stopped", "suspended", "failed") else "unknown"
    results = {check.status for check in backend_checks(machine)}
    if not results or ("critical" not in results and missing_checks(machine)):
        return "unknown"
    if results == {"passing"}:
        return "healthy"
    return "bad" if "critical" in results else "unknown"


def to_observation(machine: FlyMachine, lead: timedelta | None, drift: tuple[Difference, ...] = ()) -> ObservedMachine:
    """Fly's machine as the domain sees it, with times by the database's clock: `lead` is how far Fly's is ahead of it.

    With a lead of None nothing is known about a time, so that the machine is never taken for old. `drift` is how the machine
    differs from its row.
    """
    changed_at = machine.updated_at or machine.created_at
    return ObservedMachine(
        id=machine.id,
        name=machine.name,
        state=machine.state,
        region=machine.region,
        version=machine.version,
        drift=drift,
        host_ok=machine.host_status == "ok" and not machine.incomplete,
        changed_at=None if changed_at is None or lead is None else changed_at - lead,
        health=judge_health(machine),
        size=_read_size(machine),
        image=machine.image,
        image_digest=machine.image_digest,
        symptom=find_symptom(machine),
        crashes=() if lead is None else tuple(at - lead for at in machine.crashes),
    )


def _read_size(machine: FlyMachine) -> tuple[CpuKind, int, int] | None:
    """The size that runs, independent of what the row asks for."""
    if machine.cpus <= 0 or machine.memory_mb <= 0:
        return None
    match machine.cpu_kind:
        case "shared" | "performance":
            return machine.cpu_kind, machine.cpus, machine.memory_mb
    return None
