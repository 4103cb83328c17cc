"""What was observed of one app on Fly, as plain frozen values."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Literal

from shared.domain.cost import CpuKind
from shared.domain.drift import Difference
from shared.domain.symptom import Symptom


class AppPresence(StrEnum):
    """What a direct read says about the app's name on Fly."""

    ABSENT = "absent"  # a direct 404
    OURS = "ours"  # its network carries this row's proof, or its id is that of the app that was adopted
    FOREIGN = "foreign"  # held by someone else, or without our proof


@dataclass(frozen=True)
class ObservedMachine:
    """One machine as a direct read shows it, by Fly's own answer.

    `drift` is how it differs from the row, `size` is CPU kind, CPUs and MB. `symptom` is what is wrong with the machine, if
    anything is. `crashes` are when its process failed, as far as Fly remembers.
    """

    id: str
    name: str
    state: str
    region: str
    version: str
    drift: tuple[Difference, ...]
    host_ok: bool
    changed_at: datetime | None
    health: Literal["healthy", "bad", "unknown"]
    size: tuple[CpuKind, int, int] | None = None
    image: str = ""
    image_digest: str = ""
    symptom: Symptom | None = None
    crashes: tuple[datetime, ...] = ()


@dataclass(frozen=True)
class AppAddress:
    """One address of an app. "private" is any that the public proxy does not answer on."""

    ip: str
    kind: Literal["shared_v4", "v4", "v6", "private"]


@dataclass(frozen=True)
class OrgListing:
    """What Fly's lists of our whole organisation show beside one app which a direct read says is not ours.

    `refused`: Fly's words when it does not let our token list. `shows_name`: an app or a machine of an app with this name is
    listed, `shows_ours`: as this row's. `ours` counts the other apps that carry the proof of this installation, `unread_apps`
    those that Fly counts and did not send; machines of `error_regions` are unknown.
    """

    refused: str = ""
    shows_name: bool = False
    shows_ours: bool = False
    ours: int = 0
    unread_apps: int = 0
    error_regions: tuple[str, ...] = ()


@dataclass(frozen=True)
class Observation:
    """Everything observed of one app, and what this worker did moments ago, because Fly's reads lag its writes.

    `absences` counts the direct 404s in a row; `denied_once` says that the app is foreign by one 403 so far, and no other word;
    `machine_made` means that Fly returned the id of a machine which no read shows yet. `listed_as_ours` means that the
    organisation's lists show the app as this row's, although a direct read denies it. `addresses` is None when they were not
    read, because the row has nothing to do with any. `config_sent` is the generation for which this worker has sent the whole
    machine config to Fly, if it has. `listing` is read only when an operator has decided to give up the name.
    """

    app: AppPresence
    machines: tuple[ObservedMachine, ...] = ()
    just_created: bool = False
    just_deleted: bool = False
    name_was_taken: bool = False
    absences: int = 0
    denied_once: bool = False
    machine_made: bool = False
    listed_as_ours: bool = False
    addresses: tuple[AppAddress, ...] | None = None
    config_sent: int | None = None
    listing: OrgListing | None = None
