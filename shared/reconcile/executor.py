"""Carries out one action on Fly and returns its effects. It decides nothing and handles no error."""

from dataclasses import dataclass, field
from datetime import date
from typing import TYPE_CHECKING

from shared.domain.actions import Action, ActionKind
from shared.domain.cost import list_price_usd_per_s
from shared.domain.decide import PUBLIC_ADDRESSES, find_main
from shared.domain.machine_config import STOP_SIGNAL, STOP_TIMEOUT_S, build_config
from shared.domain.models import Json, Row
from shared.domain.naming import machine_name
from shared.domain.observation import Observation, ObservedMachine
from shared.reconcile.observer import AppObserver, to_observation

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from shared.fly.client import FlyClient
    from shared.reconcile.worker import MachineInputs


@dataclass(frozen=True)
class Effects:
    """What a call did: the action, the patch that the row remembers, and the machine that was created, if one was."""

    kind: ActionKind
    patch: Json = field(default_factory=dict)
    created: ObservedMachine | None = None

    def apply_to(self, observer: AppObserver) -> None:
        """Report to the observer what has changed on Fly."""
        match self.kind:
            case ActionKind.CREATE_APP:
                observer.app_created()
            case ActionKind.DELETE_APP:
                observer.app_deleted()
            case ActionKind.CREATE_MACHINE if self.created:
                observer.machine_created(self.created)
            case ActionKind.DESTROY_MACHINE:
                observer.machine_destroyed()
            case ActionKind.ASSIGN_ADDRESS | ActionKind.RELEASE_ADDRESS:
                observer.addresses_changed()
            case ActionKind.SET_SECRETS:
                pass  # machines read secrets only when they are created or updated
            case _:
                observer.machine_changed()


def execute(
    action: Action,
    row: Row,
    *,
    fly: "FlyClient",
    inputs: "MachineInputs",
    time: "Callable[[], datetime]",
    budget_s: float,
) -> Effects:
    """Make the call within `budget_s` seconds; `time` is the database's. Raises what the client raises."""
    kind, app = action.kind, row.fly_app_name
    match kind:
        case ActionKind.CREATE_APP:
            key = f"{row.id}-{row.name_seq}"
            fly.create_app(app, network=row.network, idempotency_key=key, budget_s=budget_s)
            return Effects(kind)
        case ActionKind.SET_SECRETS:
            version = fly.set_secrets(app, inputs.secrets(row), budget_s=budget_s)
            return Effects(kind, {"secrets_version": version})
        case ActionKind.CREATE_MACHINE:
            machine = fly.create_machine(
                app,
                machine_name(app),
                region=action.region or row.region,
                config=_config(row, inputs),
                min_secrets_version=row.secrets_version,
                budget_s=budget_s,
            )
            created = to_observation(machine, fly.lead_over(time()))
            return Effects(kind, patch_from_machine(row, created, time().date()), created)
        case ActionKind.DELETE_APP:
            fly.delete_app(app, force=True, budget_s=budget_s)
            return Effects(kind)
        case ActionKind.ASSIGN_ADDRESS:
            fly.assign_address(app, "v6" if action.address == "v6" else "shared_v4", budget_s=budget_s)
            return Effects(kind)
        case ActionKind.RELEASE_ADDRESS:
            fly.release_address(app, action.address or "", budget_s=budget_s)
            return Effects(kind)
    if action.machine is None:
        raise TypeError(f"{kind} names no machine")
    return _execute_on_machine(kind, row, action.machine, fly, inputs, budget_s)


def _execute_on_machine(
    kind: ActionKind,
    row: Row,
    machine: ObservedMachine,
    fly: "FlyClient",
    inputs: "MachineInputs",
    budget_s: float,
) -> Effects:
    app = row.fly_app_name
    match kind:
        case ActionKind.UPDATE_MACHINE:
            config = _config(row, inputs)
            fly.update_machine(app, machine.id, config, current_version=machine.version, budget_s=budget_s)
        case ActionKind.START_MACHINE:
            fly.start_machine(app, machine.id, budget_s=budget_s)
        case ActionKind.RESTART_MACHINE:
            fly.restart_machine(app, machine.id, signal=STOP_SIGNAL, timeout_s=STOP_TIMEOUT_S, budget_s=budget_s)
        case ActionKind.STOP_MACHINE:
            fly.stop_machine(app, machine.id, signal=STOP_SIGNAL, timeout_s=STOP_TIMEOUT_S, budget_s=budget_s)
        case ActionKind.DESTROY_MACHINE:
            fly.destroy_machine(app, machine.id, force=True, budget_s=budget_s)
            if machine.id == row.machine_id:  # a stray's destruction leaves the main machine as it is
                return Effects(kind, {"machine_id": None, "machine_state": "absent"})
        case _:
            raise TypeError(f"{kind} is not an action on a machine")
    return Effects(kind)


def patch_from_machine(row: Row, machine: ObservedMachine, today: date) -> Json:
    """The patch that remembers a machine: its id, state, region, and what a second of it costs there."""
    size = machine.size or (row.cpu_kind, row.cpu_count, row.memory_mb)
    price = list_price_usd_per_s(*size, machine.region, today)
    return {
        "machine_id": machine.id,
        "machine_state": machine.state,
        "machine_region": machine.region,
        "price_usd_per_s": f"{price:.12f}",
    }


def patch_from_observation(row: Row, observation: Observation, today: date) -> Json:
    """The patch that remembers what was read directly of the app's one machine and of its addresses."""
    machine, addresses = find_main(row, observation), _patch_addresses(row, observation)
    if machine is None:
        return {"machine_state": "absent", **addresses}
    if machine.id == row.machine_id and machine.size:
        return patch_from_machine(row, machine, today) | addresses
    return {"machine_state": machine.state, "machine_region": machine.region, **addresses}


def _patch_addresses(row: Row, observation: Observation) -> Json:
    """What the row remembers of its addresses: for a public app a list, also an empty one.

    It is saved with the intent to assign one, so that another worker looks for what the call may have left.
    """
    if observation.addresses is None:
        return {}
    found = [{"ip": each.ip, "kind": each.kind} for each in observation.addresses if each.kind in PUBLIC_ADDRESSES]
    return {"addresses": found if found or row.public_service else None}


def _config(row: Row, inputs: "MachineInputs") -> Json:
    return build_config(row, installation_id=inputs.installation_id, env=inputs.env(row))
