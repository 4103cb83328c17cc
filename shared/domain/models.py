"""The domain's records as the database returns them: the app's row, the settings, an operator's request."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

Status = Literal["provisioning", "active", "error", "deprovisioning", "deleted"]
Health = Literal["healthy", "unhealthy", "unknown"]
Json = dict[str, Any]


class _FromDatabase(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class FullRegion(_FromDatabase):
    """A region, or an alias, that had no room for this kind of size; it is skipped until `until`."""

    region: str
    full_since: datetime
    until: datetime


class NewNameRequest(_FromDatabase):
    """An operator's decision to give up the name of an app that is lost; `others` is how many other apps ran at that time."""

    asked_at: datetime
    actor: str
    reason: str
    others: int = 0


class Row(_FromDatabase):
    """One app: a row of `user_fly_apps` as the procedures return it (docs/database.md)."""

    id: UUID
    user_id: UUID
    fly_app_name: str
    fly_org_slug: str
    network: str
    adopted_app_id: str | None = None  # Fly's own id of an adopted app, whose network is not ours
    status: Status
    tier: str | None = None
    desired_state: Literal["present", "absent", "legacy"]
    generation: int
    observed_generation: int | None = None
    region: str  # a list in order of preference (shared/domain/regions.py)
    docker_image: str
    cpu_kind: Literal["shared", "performance"]
    cpu_count: int
    memory_mb: int
    power: Literal["always_on", "on_demand"] = "always_on"
    public_service: bool = False
    machine_id: str | None = None
    machine_state: str | None = None
    machine_region: str | None = None
    # The release that may move the machine to another region, and the stopped machine of a move: the next one or the former one.
    move_release_id: int | None = None
    spare_machine_id: str | None = None
    keeps_spare: bool = True  # the move may still have to go back
    home_region: str | None = None  # where a move that goes back came from, if the list allows it
    image_digest: str | None = None
    env_digest: str | None = None
    env_version: str | None = None
    env_version_deployed: str | None = None
    # What plan, release and pin add. Only the worker that holds the lease is told; None: unknown, unless `env_version` is None.
    extra_env: dict[str, str] | None = Field(default=None, repr=False)
    drift: dict[str, str] = Field(default_factory=dict)
    drift_repair: Literal["sweep", "operator"] | None = None
    secrets_version: int | None = None
    # The token in Fly's secrets, and since when a newer one is wanted.
    token_issued_at: datetime | None = None
    token_expires_at: datetime | None = None
    token_wanted_at: datetime | None = None
    own_secrets: tuple[str, ...] = ()  # names that an operator has set for this user alone
    addresses: tuple[Json, ...] | None = None  # null: never had one of ours
    health_status: Health | None = None
    retry_count: int = 0
    error_code: str | None = None
    error_message: str | None = None
    next_attempt_at: datetime | None = None
    hold_until: datetime | None = None
    delete_after: datetime | None = None
    create_unknown_at: datetime | None = None
    lease_token: UUID | None = None
    lease_expires_at: datetime | None = None
    name_seq: int = 0
    monthly_cost_estimate_usd: Decimal | None = None
    observed_at: datetime | None = None
    health_step: Literal["restart", "replace"] | None = None
    deployed_at: datetime | None = None
    deleted_at: datetime | None = None
    updated_at: datetime | None = None
    full_regions: tuple[FullRegion, ...] = ()
    new_name_request: NewNameRequest | None = None


class Settings(_FromDatabase):
    """The columns of `hangar.settings` that the code acts on."""

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


@dataclass(frozen=True)
class OperatorRequest:
    """What an operator wants of one app, and who asks, for the audit log. Without `what` the request records itself."""

    actor: str
    what: Literal["provision", "deprovision", "check", "restart"] | None = None
