"""Carries out one action on Fly and returns its effects. It decides nothing and handles no error."""

from dataclasses import dataclass, field
from datetime import date
from typing import TYPE_CHECKING

from shared.domain.actions import Action, ActionKind
from shared.domain.cost import list_price_usd_per_s
from shared.domain.credentials import TOKEN_TTL, issue_moment
from shared.domain.decide import PUBLIC_ADDRESSES, find_main
from shared.domain.drift import IMAGE, SECRETS, UNRESOLVED, digest_env
from shared.domain.machine_config import STOP_SIGNAL, STOP_TIMEOUT_S
from shared.domain.models import Json, Row
from shared.domain.naming import machine_name
from shared.domain.observation import Observation, ObservedMachine
from shared.domain.region_move import find_spare
from shared.fly.models import FlyMachine
from shared.reconcile.observed_machine import to_observation
from shared.reconcile.observer import AppObserver

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
    created: FlyMachine | None = None

    def apply_to(self, observer: AppObserver) -> None:
        """Report to the observer what has changed on Fly."""
        match self.kind:
            case ActionKind.CREATE_APP:
                observer.app_created()
            case ActionKind.DELETE_APP:
                observer.app_deleted()
            case ActionKind.CREATE_MACHINE if "spare_machine_id" in self.patch:
                observer.machine_named()
                observer.machine_changed()
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
            issued_at = issue_moment(row, time())
            version = fly.set_secrets(app, inputs.secrets(row, issued_at), budget_s=budget_s)
            expires_at = issued_at + TOKEN_TTL
            token = {"token_issued_at": issued_at.isoformat(), "token_expires_at": expires_at.isoformat()}
            return Effects(kind, {"secrets_version": version, "token_key_id": inputs.signing_key_id(), **token})
        case ActionKind.CREATE_MACHINE:
            is_spare = action.purpose == "move"
            created = fly.create_machine(
                app,
                action.name or machine_name(app),
                region=action.region or row.region,
                config=inputs.config(row, pinned=not _resolves_tag(action, row)),
                min_secrets_version=row.secrets_version,
                skip_launch=is_spare,  # while the other one runs
                budget_s=budget_s,
            )
            if is_spare:
                return Effects(kind, {"spare_machine_id": created.id}, created)
            now = time()
            patch = patch_from_machine(row, to_observation(created, fly.lead_over(now)), now.date())
            return Effects(kind, patch, created)
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
    return _execute_on_machine(action, row, action.machine, fly, inputs, budget_s)


def _execute_on_machine(
    action: Action,
    row: Row,
    machine: ObservedMachine,
    fly: "FlyClient",
    inputs: "MachineInputs",
    budget_s: float,
) -> Effects:
    app, kind = row.fly_app_name, action.kind
    match kind:
        case ActionKind.UPDATE_MACHINE:
            config = inputs.config(row, pinned=not _resolves_tag(action, row))
            fly.update_machine(
                app,
                machine.id,
                config,
                current_version=machine.version,
                min_secrets_version=row.secrets_version,
                budget_s=budget_s,
            )
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
            if machine.id == row.spare_machine_id:
                return Effects(kind, {"spare_machine_id": None})
        case _:
            raise TypeError(f"{kind} is not an action on a machine")
    return Effects(kind)


def patch_from_machine(row: Row, machine: ObservedMachine, today: date) -> Json:
    """The patch that remembers a machine as Fly describes it: id, state, region, spec, and what a second of it costs there."""
    size = machine.size or (row.cpu_kind, row.cpu_count, row.memory_mb)
    price = list_price_usd_per_s(*size, machine.region, today)
    return {
        "machine_id": machine.id,
        "machine_state": machine.state,
        "machine_region": machine.region,
        "price_usd_per_s": f"{price:.12f}",
        **({"observed_spec": describe_spec(machine)} if machine.size else {}),
    }


def describe_spec(machine: ObservedMachine) -> Json | None:
    """What runs, for the row: image, resolved digest, size and region. None if Fly does not say which size it has."""
    if machine.size is None:
        return None
    kind, cpus, memory_mb = machine.size
    return {
        "image": machine.image,
        "image_digest": machine.image_digest or None,
        "cpu_kind": kind,
        "cpu_count": cpus,
        "memory_mb": memory_mb,
        "region": machine.region,
    }


# What an earlier app of this name had went with it. The row must say so before the new app can exist.
GONE_WITH_THE_APP: Json = {
    "secrets_version": None,
    "machine_id": None,
    "machine_state": "absent",
    "spare_machine_id": None,
    "addresses": None,
}


def patch_before_deploying(action: Action, row: Row, inputs: "MachineInputs") -> Json:
    """What the row must say before Hangar sends a machine config: its environment, and whether its tag is resolved again.

    The database keeps it only with the intent.
    """
    if action.kind not in (ActionKind.CREATE_MACHINE, ActionKind.UPDATE_MACHINE):
        return {}
    return {"deploying": {"env_digest": digest_env(inputs.env(row)), "resolves_tag": _resolves_tag(action, row)}}


def _resolves_tag(action: Action, row: Row) -> bool:
    """Whether Fly looks the tag up again.

    For an existing machine only if the row desires another image than before, or the same tag was released again: another
    size, environment or region brings no other image, and neither does a repair.
    """
    if action.kind is ActionKind.CREATE_MACHINE and action.purpose != "move":
        return True
    return action.purpose in ("update", "move") and row.image_digest in (None, UNRESOLVED)


def patch_from_observation(row: Row, observation: Observation, today: date) -> Json:
    """The patch that remembers what was read directly of the app's one machine and of its addresses."""
    machine, addresses = find_main(row, observation), _patch_addresses(row, observation)
    if row.spare_machine_id and not observation.machine_made and not find_spare(row, observation, machine):
        addresses = {**addresses, "spare_machine_id": None}
    if machine is None:
        return {"machine_state": "absent", **addresses}
    reach = {} if machine.host_ok else {"host_ok": False}
    if machine.id == row.machine_id and machine.size:
        return {**patch_from_machine(row, machine, today), **_patch_drift(row, machine), **addresses, **reach}
    return {"machine_state": machine.state, "machine_region": machine.region, **addresses, **reach}


def _patch_addresses(row: Row, observation: Observation) -> Json:
    """What the row remembers of its addresses: for a public app a list, also an empty one.

    It is saved with the intent to assign one, so that another worker looks for what the call may have left.
    """
    if observation.addresses is None:
        return {}
    found = [{"ip": each.ip, "kind": each.kind} for each in observation.addresses if each.kind in PUBLIC_ADDRESSES]
    return {"addresses": found if found or row.public_service else None}


def _patch_drift(row: Row, machine: ObservedMachine) -> Json:
    """Drift counts once the row's generation was reached: until then a difference is work in progress."""
    if not machine.host_ok:
        return {}
    kinds = {each.kind for each in machine.drift}
    patch: Json = {}
    if row.image_digest is None and machine.image_digest and IMAGE not in kinds:
        patch["image_digest"] = machine.image_digest
    if row.secrets_version is not None and SECRETS not in kinds:
        patch["secrets_running"] = row.secrets_version
    if row.observed_generation == row.generation:
        patch["drift"] = {each.kind: each.text for each in machine.drift}
    return patch
