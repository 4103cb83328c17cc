"""Fly's list of the whole organisation, and what follows from it: which apps to probe, never that an app is gone."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from shared.adapters.procedures_sweep import AppReport, ListedApp
from shared.domain.drift import LISTED, find_listed_drift
from shared.domain.machine_states import GONE_STATES
from shared.domain.models import Row
from shared.domain.naming import installation_mark, read_proof
from shared.fly.models import OrgMachine

if TYPE_CHECKING:
    from uuid import UUID

    from shared.fly.client import FlyClient

PAGE_BUDGET_S = 40.0
# Above LOOK_AT_ALL_UP_TO apps, each app has its turn within LOOK_EVERY. There is one share less than sweeps fit into that
# time, so that an app which missed its turn in a killed sweep is still probed in time by the next one.
LOOK_AT_ALL_UP_TO = 1000
LOOK_EVERY = timedelta(minutes=30)
SWEEP_EVERY = timedelta(minutes=5)
SHARES = LOOK_EVERY // SWEEP_EVERY - 1


@dataclass
class Inventory:
    """Machines by app, every app's network, and the regions that could not be read.

    `lists_ours`: Fly's lists show at least one app of this installation.
    """

    machines: dict[str, list[OrgMachine]] = field(default_factory=dict)
    networks: dict[str, str] = field(default_factory=dict)
    error_regions: set[str] = field(default_factory=set)
    lists_ours: bool = True

    def list_ours(self, installation_id: "UUID") -> list[ListedApp]:
        """The apps whose network carries the proof of this installation."""
        mark = installation_mark(installation_id)
        proofs = ((app, network, read_proof(network)) for app, network in self.networks.items())
        return [ListedApp(app, network) for app, network, proof in proofs if proof and proof.installation == mark]


def read_machines(fly: "FlyClient") -> Inventory:
    """Every machine of the organisation that is not destroyed. Raises what the client raises."""
    inventory = Inventory()
    for page in fly.list_org_machines(budget_s=PAGE_BUDGET_S):
        inventory.error_regions.update(page.error_regions)
        for machine in page.machines:
            if machine.state not in GONE_STATES:
                inventory.machines.setdefault(machine.app_name, []).append(machine)
    return inventory


def read_networks(fly: "FlyClient") -> dict[str, str]:
    """Every app of the organisation with its network, also those without a machine. Raises what the client raises."""
    return {app.name: app.network for page in fly.list_apps(budget_s=PAGE_BUDGET_S) for app in page.apps}


def has_second_machine(row: Row, inventory: Inventory) -> bool:
    """Whether the listing shows a machine that should not be: the spare of a move is one when it runs, or is left over."""
    others = [each for each in inventory.machines.get(row.fly_app_name, []) if each.id != row.machine_id]
    return any(each.id != row.spare_machine_id or each.state == "started" or not row.keeps_spare for each in others)


def is_suspect(row: Row, inventory: Inventory) -> bool:
    """Whether the listing or the last probe gives reason to doubt the app. Absence from the listing is only a reason to probe."""
    machines = inventory.machines.get(row.fly_app_name, [])
    machine = next((each for each in machines if each.id == row.machine_id), None)
    if (
        machine is None
        or has_second_machine(row, inventory)
        or row.health_status != "healthy"
        or row.status != "active"
    ):
        return True
    if machine.state != "started" and row.power == "always_on":
        return True
    # The listing shows image, size and region. A difference is probed when it appears and when it is gone.
    guest = {"cpu_kind": machine.cpu_kind, "cpus": machine.cpus, "memory_mb": machine.memory_mb}
    listed = find_listed_drift(row, machine.image, guest, machine.region)
    return bool(listed) != bool(row.drift.keys() & LISTED)


def has_running_spare(row: Row, inventory: Inventory) -> bool:
    """Whether the listing shows the second machine of a move running."""
    return row.spare_machine_id is not None and _runs(row, row.spare_machine_id, inventory)


def runs_in_grace(row: Row, inventory: Inventory, now: datetime) -> bool:
    """Whether the listing shows a machine running that is stopped for the grace: a person or a request has started it."""
    if row.status != "deprovisioning":
        return False
    if row.hold_until is not None and now < row.hold_until:
        return has_running_spare(row, inventory)  # the removal hold: the app's own machine is meant to run
    if row.delete_after is None or row.delete_after <= now:
        return False
    return has_running_spare(row, inventory) or _runs(row, row.machine_id, inventory)


def _runs(row: Row, machine_id: str | None, inventory: Inventory) -> bool:
    machines = inventory.machines.get(row.fly_app_name, [])
    return any(machine.id == machine_id and machine.state == "started" for machine in machines)


def is_its_turn(row: Row, now: datetime) -> bool:
    """A rotating share by the row's id; an app that missed its turn is probed as soon as its time is up."""
    if row.observed_at is None or now - row.observed_at > SHARES * SWEEP_EVERY:
        return True
    turn = int(now.timestamp() // SWEEP_EVERY.total_seconds()) % SHARES
    return row.id.int % SHARES == turn and now - row.observed_at > SWEEP_EVERY


def observe_listed(row: Row, inventory: Inventory) -> AppReport | None:
    """What the listing alone allows to write: nothing, or `unknown` where the app's region could not be read."""
    if row.machine_region in inventory.error_regions:
        return AppReport(row.id, health="unknown", reason=f"Fly could not read region {row.machine_region}")
    return None
