"""What is wrong with one app as a sweep sees it: the direct look at its machine, compared with Fly's list. Pure."""

from datetime import datetime, timedelta

import httpx

from shared.domain.decide import is_asleep
from shared.domain.errors import HangarError, NotFound
from shared.domain.machine_states import GONE_STATES
from shared.domain.models import Row
from shared.domain.observation import ObservedMachine
from shared.domain.symptom import Symptom, SymptomCode
from shared.fleet.inventory import Inventory
from shared.fly.models import OrgMachine

# What a list says of an always-on machine that runs, although it says so again and again: more than its usual lag of seconds.
_RESTING = frozenset({"stopped", "suspended", "failed"})


# Fly remembers the newest 20 events of a machine: at least six crashes.
CRASHES_A_DAY = 5
_DAY = timedelta(days=1)
# Faster crashes are a crash loop, which has its own alert while it lasts. Here they count as one.
_APART = timedelta(minutes=15)
_OVER = timedelta(hours=6)


def explain_failure(row: Row, failure: HangarError, inventory: Inventory) -> Symptom:
    """The symptom of an app that could not be looked at."""
    if isinstance(failure, NotFound):
        if _find_listed(row, inventory) is not None:
            detail = f"Fly's list shows the machine, and a direct look answers {failure.status or 'not found'}"
            return Symptom(SymptomCode.CONTRADICTION, detail)
        return Symptom(SymptomCode.MISSING, "Fly has no such machine")
    if failure.status == httpx.codes.FORBIDDEN:
        code = SymptomCode.DENIED if inventory.lists_ours else SymptomCode.WRONG_ORGANISATION
        return Symptom(code, f"Fly answers 403 for this app: {failure.message}")
    return Symptom(SymptomCode.UNREADABLE, f"Fly does not answer about this app: {failure.message}")


def explain_machine(row: Row, machine: ObservedMachine, inventory: Inventory) -> Symptom | None:
    """The symptom of an app whose machine was read; None when the app is well or asleep."""
    if machine.state in GONE_STATES:
        return Symptom(SymptomCode.MISSING, f"the machine is {machine.state}")
    if machine.symptom is not None:
        return None if is_asleep(row, machine) else machine.symptom
    return _compare_with_list(row, machine, inventory)


def explain_crashes(machine: ObservedMachine, now: datetime) -> Symptom | None:
    """The symptom of an app that is well at each look and fails between them: its user notices each failure."""
    recent: list[datetime] = []
    for at in sorted(at for at in machine.crashes if now - at < _DAY):
        if not recent or at - recent[-1] >= _APART:
            recent.append(at)
    if machine.state != "started" or len(recent) < CRASHES_A_DAY or now - recent[-1] > _OVER:
        return None
    detail = f"its program has failed {len(recent)} times within a day, last at {recent[-1]:%Y-%m-%d %H:%M} UTC"
    return Symptom(SymptomCode.CRASHES, detail)


def _compare_with_list(row: Row, machine: ObservedMachine, inventory: Inventory) -> Symptom | None:
    if machine.region in inventory.error_regions:
        return None
    listed = _find_listed(row, inventory)
    if listed is None:
        detail = f"the machine is {machine.state}, and Fly's list of the organisation does not show it"
        return Symptom(SymptomCode.UNLISTED, detail)
    if row.power == "always_on" and listed.state in _RESTING:
        detail = f"the machine is {machine.state}, and Fly's list of the organisation calls it {listed.state}"
        return Symptom(SymptomCode.CONTRADICTION, detail)
    return None


def _find_listed(row: Row, inventory: Inventory) -> OrgMachine | None:
    machines = inventory.machines.get(row.fly_app_name, [])
    return next((machine for machine in machines if machine.id == row.machine_id), None)
