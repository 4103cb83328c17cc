"""Fly's apps and machines as plain frozen values; `shared.fly.parsing` reads them from Fly's JSON."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime


@dataclass(frozen=True, slots=True)
class SecretsChange:
    """The version of an app's secrets after a change, and Fly's digest of each value that was set."""

    version: int
    digests: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class FlyApp:
    """One app. `status` is Fly's deployment word (pending, deployed, suspended), not a health value.

    `id` is Fly's own: an app that is created later under the same name has another.
    """

    name: str
    org_slug: str
    network: str
    machine_count: int
    status: str
    id: str = ""


@dataclass(frozen=True, slots=True)
class Check:
    """One health check result: passing, warning, critical or unknown, with what the check answered.

    `changed_at` is when the status last changed, not when the check last ran (Fly docs "Health checks").
    """

    name: str
    status: str
    output: str = ""
    changed_at: datetime | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class MachineEvent:
    """The newest event of a machine, in Fly's words."""

    type: str
    status: str
    source: str
    at: datetime | None


@dataclass(frozen=True, slots=True)
class MachineExit:
    """How the machine's main process last ended; `requested` when someone asked it to stop."""

    code: int | None
    signal: int | None
    oom_killed: bool
    requested: bool
    restarting: bool
    error: str
    at: datetime | None


@dataclass(frozen=True, slots=True)
class FlyMachine:
    """One machine as a direct GET (or create, update) shows it.

    No `checks` means "no result yet", not "all passing". `incomplete` = its host could not be asked, so size, image and
    metadata may be missing: never judge ownership or drift from it. `raw_state` is Fly's own word, `config` Fly's own
    description of the machine. `crashes` are the times of the newest events in which the process failed.
    """

    id: str
    name: str
    state: str
    region: str
    version: str
    image: str
    image_digest: str
    cpus: int
    memory_mb: int
    cpu_kind: str
    metadata: Mapping[str, str] = field(hash=False)
    checks: tuple[Check, ...]
    host_status: str
    created_at: datetime | None
    updated_at: datetime | None
    last_event: MachineEvent | None
    last_exit: MachineExit | None
    incomplete: bool
    config: Mapping[str, Any] = field(hash=False, repr=False)
    configured_checks: tuple[str, ...] = ()
    raw_state: str = ""
    crashes: tuple[datetime, ...] = ()

    def list_checks(self) -> tuple[Check, ...]:
        """Every result, and each configured check that has none yet with the status "no result"."""
        known = {check.name for check in self.checks}
        missing = [Check(name, "no result") for name in self.configured_checks if name not in known]
        return (*self.checks, *missing)


@dataclass(frozen=True, slots=True)
class OrgMachine:
    """One machine as the organisation's listing shows it: no checks, no events, no host status, and it may lag."""

    id: str
    name: str
    app_name: str
    state: str
    region: str
    version: str
    image: str
    cpus: int
    memory_mb: int
    cpu_kind: str
    metadata: Mapping[str, str] = field(hash=False)
    created_at: datetime | None
    updated_at: datetime | None


@dataclass(frozen=True, slots=True)
class OrgPage:
    """A page of the organisation's machines; machines of `error_regions` are unknown, not gone. It may be empty."""

    machines: tuple[OrgMachine, ...]
    error_regions: tuple[str, ...]
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class AppPage:
    """A page of the organisation's apps. `total` is how many Fly counts in all pages, if it says so."""

    apps: tuple[FlyApp, ...]
    next_cursor: str | None
    total: int | None = None


@dataclass(frozen=True, slots=True)
class ExecResult:
    """What a command inside a machine answered; Fly says 200 even when `exit_code` is not 0."""

    stdout: str
    stderr: str
    exit_code: int
