"""Carries out one action on Fly and says what it taught us. No decision is made here, and no error is swallowed."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING
from uuid import UUID

from shared.domain.actions import Action, ActionKind
from shared.domain.cost import list_price_usd_per_s
from shared.domain.decide import find_main
from shared.domain.machine_config import STOP_SIGNAL, STOP_TIMEOUT_S, build_config
from shared.domain.models import Json, Row
from shared.domain.naming import machine_name
from shared.domain.observation import AppPresence, Observation, ObservedMachine
from shared.reconcile.observer import LOOKS_FOR_A_NEW_MACHINE, AppObserver, view

if TYPE_CHECKING:
    from shared.fly.client import FlyClient
    from shared.fly.retry import AttemptLog


@dataclass(frozen=True)
class MachineInputs:
    """What a row's machine is given beyond its spec: plain environment, and secrets made when they are needed."""

    installation_id: UUID
    env: Callable[[Row], Mapping[str, str]]
    secrets: Callable[[Row], Mapping[str, str]]


def patch_from_machine(row: Row, machine: ObservedMachine, today: date) -> Json:
    """The patch that remembers a machine: its id, state, where it landed and what a second of it costs there."""
    size = machine.size or (row.cpu_kind, row.cpu_count, row.memory_mb)
    price = list_price_usd_per_s(*size, machine.region, today)
    return {
        "machine_id": machine.id,
        "machine_state": machine.state,
        "machine_region": machine.region,
        "price_usd_per_s": f"{price:.12f}",
    }


def patch_from_observation(row: Row, seen: Observation, today: date) -> Json:
    """The patch that remembers what a direct look showed of the app's one machine."""
    machine = find_main(row, seen)
    if machine is None:
        return {"machine_state": "absent"}
    if machine.id == row.machine_id and machine.size:
        return patch_from_machine(row, machine, today)
    return {"machine_state": machine.state, "machine_region": machine.region}


def act(
    action: Action,
    row: Row,
    look: AppObserver,
    *,
    fly: "FlyClient",
    provisions: MachineInputs,
    today: date,
    on_attempt: "AttemptLog",
    budget_s: float,
) -> Json:
    """Make the call, tell `look` what it changed, and return the patch of ids it taught. Raises what the client raises."""
    app, machine = row.fly_app_name, action.machine
    match action.kind:
        case ActionKind.CREATE_APP:
            key = f"{row.id}-{row.name_seq}"
            fly.create_app(app, network=row.network, idempotency_key=key, attempts=on_attempt, budget_s=budget_s)
            look.app, look.machines = AppPresence.OURS, ()
            look.just_created, look.just_deleted = True, False
            return {}
        case ActionKind.SET_SECRETS:
            version = fly.set_secrets(app, provisions.secrets(row), attempts=on_attempt, budget_s=budget_s)
            return {"secrets_version": version}
        case ActionKind.CREATE_MACHINE:
            created = fly.create_machine(
                app,
                machine_name(app),
                region=row.region,
                config=_config(row, provisions),
                min_secrets_version=row.secrets_version,
                attempts=on_attempt,
                budget_s=budget_s,
            )
            look.machines, look.new_machine_looks = (view(created),), LOOKS_FOR_A_NEW_MACHINE
            return patch_from_machine(row, view(created), today)
        case ActionKind.UPDATE_MACHINE:
            assert machine is not None  # noqa: S101  decide() names the machine of every machine action
            fly.update_machine(
                app,
                machine.id,
                _config(row, provisions),
                current_version=machine.version,
                attempts=on_attempt,
                budget_s=budget_s,
            )
        case ActionKind.START_MACHINE:
            assert machine is not None  # noqa: S101  as above
            fly.start_machine(app, machine.id, attempts=on_attempt, budget_s=budget_s)
        case ActionKind.RESTART_MACHINE:
            assert machine is not None  # noqa: S101  as above
            fly.restart_machine(
                app, machine.id, signal=STOP_SIGNAL, timeout_s=STOP_TIMEOUT_S, attempts=on_attempt, budget_s=budget_s
            )
        case ActionKind.STOP_MACHINE:
            assert machine is not None  # noqa: S101  as above
            fly.stop_machine(
                app, machine.id, signal=STOP_SIGNAL, timeout_s=STOP_TIMEOUT_S, attempts=on_attempt, budget_s=budget_s
            )
        case ActionKind.DESTROY_MACHINE:
            assert machine is not None  # noqa: S101  as above
            fly.destroy_machine(app, machine.id, force=True, attempts=on_attempt, budget_s=budget_s)
            look.machines, look.listed, look.new_machine_looks = None, False, 0
            return {"machine_id": None, "machine_state": "absent"} if machine.id == row.machine_id else {}
        case ActionKind.DELETE_APP:
            fly.delete_app(app, force=True, attempts=on_attempt, budget_s=budget_s)
            look.app, look.just_created, look.just_deleted = None, False, True
            return {}
    look.machines = None
    return {}


def _config(row: Row, provisions: MachineInputs) -> Json:
    return build_config(row, installation_id=provisions.installation_id, env=provisions.env(row))
