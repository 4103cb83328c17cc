"""The simulator's records: apps, machines, secrets, and their form on the wire."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from local.fly.state.images import Image
from local.fly.times import to_rfc3339

LASTING = ("started", "stopped", "suspended", "failed", "destroyed")
"""Stable states, for which `wait?state=settled` waits."""

MAX_EVENTS = 50


@dataclass
class Secret:
    """One secret of an app. Responses show its digest, the value only on request."""

    value: str
    digest: str
    created_at: float
    updated_at: float


@dataclass
class Address:
    """One IP address of an app."""

    ip: str
    kind: str
    region: str
    network: str | None
    service_name: str
    created_at: float


@dataclass
class App:
    """One Fly app of our organisation."""

    id: str
    number: int
    name: str
    org_slug: str
    network: str
    created_at: float
    visible_at: float
    listed_at: float
    key: str | None = None
    deployed: bool = False
    deleting: bool = False
    unlisted_at: float | None = None
    """Set when the app is gone: listings may show it until then."""
    machines: dict[str, "Machine"] = field(default_factory=dict)
    secrets: dict[str, Secret] = field(default_factory=dict, repr=False)
    secrets_version: int = 0
    addresses: list[Address] = field(default_factory=list)

    def live_machines(self) -> list["Machine"]:
        return [machine for machine in self.machines.values() if machine.state != "destroyed"]

    def shown(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "internal_numeric_id": self.number,
            "name": self.name,
            "organization": {
                "name": self.org_slug,
                "slug": self.org_slug,
                "internal_numeric_id": sum(self.org_slug.encode()),
            },
            "status": "deployed" if self.deployed else "pending",
            "machine_count": len(self.live_machines()),
            "volume_count": 0,
            "network": self.network,
            "network_cidr": f"fdaa:{self.number % 0xFFFF:x}::/48",
        }


@dataclass
class Lease:
    """The right of one caller to change a machine until it expires."""

    nonce: str
    owner: str
    description: str
    expires_at: float

    def stripped(self) -> dict[str, Any]:
        return {"description": self.description, "expires_at": int(self.expires_at), "owner": self.owner}


@dataclass(frozen=True)
class ForcedCheck:
    """What `/_sim` makes a check report instead of its own result."""

    status: str
    output: str = "set by /_sim"


@dataclass(frozen=True)
class Listing:
    """A machine as listings show it: its state at one time."""

    visible_at: float
    state: str
    version: str
    updated_at: float
    config: Mapping[str, Any]


@dataclass(frozen=True)
class Deployment:
    """What a machine ran before its last update. `boots` counts those of this version."""

    config: dict[str, Any]
    version: str
    image: Image
    secrets: dict[str, str] = field(repr=False)
    boots: int


@dataclass
class Machine:
    """One machine. `epoch` rises with every new plan and cancels older timers; `run` rises with every boot."""

    id: str
    app: App
    name: str
    region: str
    config: dict[str, Any]
    image: Image
    """The image that the reference named when the machine was created or last updated."""
    version: str
    private_ip: str
    created_at: float
    updated_at: float
    state: str = "created"
    versions: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)
    listings: list[Listing] = field(default_factory=list)
    secrets: dict[str, str] = field(default_factory=dict, repr=False)
    cordoned: bool = False
    previous: Deployment | None = None
    """What the last update replaced."""
    boots: int = 0
    """How many times the present version has booted."""
    host_status: str = "ok"
    lease: Lease | None = None
    forced_checks: dict[str, ForcedCheck] = field(default_factory=dict)
    reported_state: str | None = None
    """Reads and lists show this word instead of the state. The machine itself does not change."""
    epoch: int = 0
    run: int = 0
    restarts: int = 0
    real: bool = False
    """Whether a child process runs for it now."""
    after_exit: "Step | None" = None
    started_at: float | None = None
    started_s: float = 0.0
    """Billed seconds in `started`, without the current period."""
    rest_until: float = 0.0
    """A start is refused until then because the stopped machine is "still active"."""
    first_check_at: float = 0.0
    destroyed_at: float | None = None
    visible_at: float = 0.0
    """Direct calls do not find the new machine until then."""

    @property
    def image_digest(self) -> str:
        return self.image.running_digest

    def deploy(self, config: dict[str, Any], version: str, image: Image, secrets: dict[str, str]) -> None:
        """Take another version, and remember the present one."""
        self.previous = Deployment(self.config, self.version, self.image, self.secrets, self.boots)
        self.config, self.version, self.image, self.secrets, self.boots = config, version, image, secrets, 0
        self.versions.append((version, config))

    def revert(self, before: Deployment) -> None:
        """Go back to the version before, as Fly does when it cannot pull the new image."""
        self.config, self.version, self.image = before.config, before.version, before.image
        self.secrets, self.boots, self.previous = before.secrets, before.boots, None

    def billed_s(self, now: float) -> float:
        return self.started_s + (max(0.0, now - self.started_at) if self.started_at is not None else 0.0)

    def listing(self, now: float) -> Listing | None:
        """The newest visible state, None before the first one. Forgets older states."""
        for index in range(len(self.listings) - 1, -1, -1):
            if self.listings[index].visible_at <= now:
                del self.listings[:index]
                return self.listings[0]
        return None

    def live_lease(self, now: float) -> Lease | None:
        return self.lease if self.lease is not None and self.lease.expires_at > now else None

    @property
    def metadata(self) -> dict[str, str]:
        metadata: dict[str, str] = self.config.setdefault("metadata", {})
        return metadata


Step = Callable[[Machine, float], None]
"""A state change of a machine at a time."""


def show_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """A config in a response."""
    return {"init": {}, "restart": {"policy": "on-failure"}, **config}


def show_machine(machine: Machine, checks: list[dict[str, Any]], lease: Lease | None = None) -> dict[str, Any]:
    """A whole Machine; with an unreachable host it has `incomplete_config` instead of `config`, as on Fly."""
    config_key = "config" if machine.host_status == "ok" else "incomplete_config"
    shown = {
        **show_summary(machine, machine),
        config_key: show_config(machine.config),
        "image_ref": show_image(str(machine.config.get("image", "")), machine.image_digest),
        "events": machine.events[:20],
        "checks": checks,
        "host_status": machine.host_status,
        "cordoned": machine.cordoned,
    }
    if lease is not None:
        shown["lease"] = lease.stripped()
    return shown


def show_summary(machine: Machine, seen: "Machine | Listing") -> dict[str, Any]:
    """A Machine with `summary=true`, as it is or as listings see it: no config, checks, events or host_status."""
    return {**_show_head(machine, seen), "instance_id": seen.version}


def show_org_machine(machine: Machine, seen: Listing, *, summary: bool) -> dict[str, Any]:
    """An OrgMachine: no checks, no events, no env; a summary has no `config`."""
    shown = {**_show_head(machine, seen), "app_name": machine.app.name}
    if not summary:
        shown["config"] = {key: seen.config[key] for key in ("image", "guest", "metadata") if key in seen.config}
    return shown


def _show_head(machine: Machine, seen: Machine | Listing) -> dict[str, Any]:
    return {
        "id": machine.id,
        "name": machine.name,
        "region": machine.region,
        "private_ip": machine.private_ip,
        "created_at": to_rfc3339(machine.created_at),
        "state": machine.reported_state or seen.state,
        "version": seen.version,
        "updated_at": to_rfc3339(seen.updated_at),
    }


def show_image(image: str, resolved: str = "") -> dict[str, Any]:
    """An ImageRef from an image string such as `registry.fly.io/app:tag@sha256:…`; `resolved` is the digest that runs."""
    rest, _, digest = image.partition("@")
    digest = resolved or digest
    first, slash, path = rest.partition("/")
    hosted = bool(slash) and ("." in first or ":" in first or first == "localhost")
    registry, repository = (first, path) if hosted else ("registry-1.docker.io", rest)
    repository, _, tag = repository.partition(":")
    if not hosted and "/" not in repository:
        repository = f"library/{repository}"
    shown: dict[str, Any] = {"registry": registry, "repository": repository, "tag": tag or "latest", "labels": {}}
    return shown | ({"digest": digest} if digest else {})
