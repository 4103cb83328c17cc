"""What `decide()` may decide: the calls that change Fly, and the other next steps."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from shared.domain.observation import ObservedMachine


class ActionKind(StrEnum):
    """The calls that change Fly."""

    CREATE_APP = "create_app"
    SET_SECRETS = "set_secrets"
    CREATE_MACHINE = "create_machine"
    UPDATE_MACHINE = "update_machine"
    START_MACHINE = "start_machine"
    STOP_MACHINE = "stop_machine"
    DESTROY_MACHINE = "destroy_machine"
    DELETE_APP = "delete_app"
    RESTART_MACHINE = "restart_machine"
    ASSIGN_ADDRESS = "assign_address"
    RELEASE_ADDRESS = "release_address"


@dataclass(frozen=True)
class Action:
    """Make this one call. `purpose` says why, which the database checks before anything is destroyed.

    `region` is where a machine is created: one word of the row's list, chosen when the call is made. `name` is its name, if
    it is not the usual one. `address` is the kind of the address to assign, or the ip of the one to release.
    """

    kind: ActionKind
    machine: ObservedMachine | None = None
    purpose: Literal[
        "provision",
        "repair",
        "update",
        "deprovision",
        "replace",
        "stray",
        "restart",
        "unhealthy",
        "drift",
        "secrets",
        "move",
    ] = "provision"
    region: str | None = None
    name: str | None = None
    address: str | None = None


@dataclass(frozen=True)
class Adopt:
    """The machine exists and the row does not know it yet: save its id before anything else."""

    machine: ObservedMachine


@dataclass(frozen=True)
class Assign:
    """Save which machine is the app's and which one is its spare, before anything is done to either."""

    machine: ObservedMachine
    spare: ObservedMachine


@dataclass(frozen=True)
class Rename:
    """The name belongs to someone else on Fly: take the user's next one."""

    reason: str


@dataclass(frozen=True)
class Wait:
    """Nothing to do until Fly has changed. With `until`, wait for the machine to reach that state."""

    seconds: float
    reason: str
    machine: ObservedMachine | None = None
    until: Literal["started", "stopped"] | None = None


@dataclass(frozen=True)
class Done:
    """Nothing is left to do now. `status` is what the row becomes.

    `lost_name` says why an operator's decision closes a row whose app somebody else's app has replaced.
    """

    status: Literal["active", "deprovisioning", "deleted"]
    machine: ObservedMachine | None = None
    lost_name: str | None = None


@dataclass(frozen=True)
class GiveUp:
    """Hangar can do nothing now: `message` says what happened, `advice` what an operator can do. `passes`: it may end alone."""

    code: str
    message: str
    advice: str
    passes: bool = False


def start_as_it_was(refused: Action, power: str) -> Action | None:
    """The start of a machine that a cap does not let become larger: it runs with the size it has. None: nothing to start."""
    machine = refused.machine
    if refused.kind is not ActionKind.UPDATE_MACHINE or machine is None or power != "always_on":
        return None
    return Action(ActionKind.START_MACHINE, machine, "repair") if machine.state in ("stopped", "suspended") else None


Decision = Action | Adopt | Assign | Rename | Wait | Done | GiveUp
