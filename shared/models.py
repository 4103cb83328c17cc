"""The words of the domain as types: the row, the settings, what Fly was seen to hold, and what may be decided.

Pydantic stands at the edge to the database (`Row`, `Settings`); what only the code passes around is plain and frozen.
"""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict

from shared.cost import CpuKind

Status = Literal["provisioning", "active", "error", "deprovisioning", "deleted"]
Health = Literal["healthy", "unhealthy", "unknown"]


class _FromDatabase(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Row(_FromDatabase):
    """One app: a row of `user_fly_apps` as the procedures return it (docs/database.md)."""

    id: UUID
    user_id: UUID
    fly_app_name: str
    fly_org_slug: str
    network: str
    status: Status
    tier: str | None = None
    desired_state: Literal["present", "absent"]
    generation: int
    observed_generation: int | None = None
    region: str
    docker_image: str
    cpu_kind: Literal["shared", "performance"]
    cpu_count: int
    memory_mb: int
    power: Literal["always_on", "on_demand"] = "always_on"
    public_service: bool = False
    machine_id: str | None = None
    machine_state: str | None = None
    machine_region: str | None = None
    secrets_version: int | None = None
    health_status: Health | None = None
    retry_count: int = 0
    error_code: str | None = None
    error_message: str | None = None
    next_attempt_at: datetime | None = None
    delete_after: datetime | None = None
    create_unknown_at: datetime | None = None
    lease_token: UUID | None = None
    lease_expires_at: datetime | None = None
    name_seq: int = 0
    monthly_cost_estimate_usd: Decimal | None = None
    observed_at: datetime | None = None
    deployed_at: datetime | None = None
    deleted_at: datetime | None = None
    updated_at: datetime | None = None


class Settings(_FromDatabase):
    """The one row of `hangar.settings` that the code acts on."""

    installation_id: UUID
    live: bool = False
    paused: bool = False
    deletes_paused: bool = False
    fly_org_slug: str
    retry_base_s: float = 300
    retry_cap_s: float = 1800
    lease_s: float = 120
    incident_floor: int = 10
    incident_share: Decimal = Decimal("0.2")
    incident_open: bool = False


class AppSeen(StrEnum):
    """What a direct look said of the app's name on Fly."""

    ABSENT = "absent"  # a direct 404
    OURS = "ours"  # its network carries this row's proof
    FOREIGN = "foreign"  # held by someone else, or without our proof


@dataclass(frozen=True)
class MachineSeen:
    """One machine as a direct look showed it. `spec` is the fingerprint its metadata carries, `size` kind, CPUs and MB."""

    id: str
    name: str
    state: str
    region: str
    version: str
    spec: str | None
    host_ok: bool
    changed_at: datetime | None
    health: Literal["healthy", "bad", "unknown"]
    size: tuple[CpuKind, int, int] | None = None


@dataclass(frozen=True)
class Seen:
    """Everything one look found, and what this worker itself did moments ago, because Fly's reads lag its writes.

    `absences` counts the direct 404s in a row; `denied_once` says that the app is foreign by one 403 so far, and no other word;
    `machine_made` says that Fly has named us a machine which no look shows yet.
    """

    app: AppSeen
    machines: tuple[MachineSeen, ...] = ()
    just_created: bool = False
    just_deleted: bool = False
    name_was_taken: bool = False
    absences: int = 0
    denied_once: bool = False
    machine_made: bool = False


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


@dataclass(frozen=True)
class Action:
    """Do this one call. `purpose` says on whose behalf something is destroyed: deprovision or replace."""

    kind: ActionKind
    machine: MachineSeen | None = None
    purpose: Literal["provision", "repair", "update", "deprovision", "replace", "stray", "restart"] = "provision"


@dataclass(frozen=True)
class Adopt:
    """The machine exists and the row does not know it yet: save its id before anything else."""

    machine: MachineSeen


@dataclass(frozen=True)
class Rename:
    """The name belongs to someone else on Fly: take the user's next one."""

    reason: str


@dataclass(frozen=True)
class Wait:
    """Nothing to do until Fly has moved. With `until` the machine is waited for to reach that state."""

    seconds: float
    reason: str
    machine: MachineSeen | None = None
    until: Literal["started", "stopped"] | None = None


@dataclass(frozen=True)
class Done:
    """The row is as true as it can be now. `status` is what it becomes."""

    status: Literal["active", "deprovisioning", "deleted"]
    machine: MachineSeen | None = None


@dataclass(frozen=True)
class GiveUp:
    """Only a person can help: `message` says what happened, `advice` what to do."""

    code: str
    message: str
    advice: str


@dataclass(frozen=True)
class Asked:
    """What an operator wants of one app: who, for the audit log, and what for."""

    actor: str
    what: Literal["provision", "deprovision", "check", "restart"]


Decision = Action | Adopt | Rename | Wait | Done | GiveUp

Json = dict[str, Any]
