"""Check results as a Machine shows them: those of a real process, or those of a virtual machine."""

from typing import Any

from local.fly.configs import checks_of
from local.fly.state.model import Machine
from local.fly.state.state import World
from local.fly.state.virtual_checks import find_result
from local.fly.times import to_rfc3339

STATUSES = ("passing", "warning", "critical")
NO_RESULT = "none"
"""The check is configured and has no result, however long the machine runs."""


def show_checks(world: World, machine: Machine) -> list[dict[str, Any]]:
    """The `checks` of a Machine. Empty until the first result, as on Fly: a missing result is not "passing"."""
    checks = checks_of(machine.config)
    names = list(checks)
    if not names or machine.run == 0 or machine.state in ("created", "starting"):
        return []
    if machine.state != "started":
        return [_item(name, "warning", "the machine hasn't started", machine.updated_at) for name in names]
    forced = machine.forced_checks
    shown = {name: force for name, force in forced.items() if name in names and force.status != NO_RESULT}
    if machine.real:
        results = {result.name: result for result in world.runner.checks(machine.id)}
        found = [_item(r.name, r.status, r.output, r.at) for r in results.values() if r.name not in forced]
    else:
        now = world.now()
        asked = ((name, find_result(machine, checks, name, now)) for name in names if name not in forced)
        found = [_item(name, *result) for name, result in asked if result is not None]
    return found + [_item(name, force.status, force.output, machine.updated_at) for name, force in shown.items()]


def _item(name: str, status: str, output: str, at: float) -> dict[str, Any]:
    return {"name": name, "status": status, "output": output, "updated_at": to_rfc3339(at)}
