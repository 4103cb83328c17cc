"""What one worker works with, as a plain value that the loop, the sweep and the orphan finder receive."""

import random
import socket
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from os import getpid
from typing import TYPE_CHECKING
from uuid import UUID

from shared.domain.drift import Difference, RunningSpec, find_drift, pin_image
from shared.domain.machine_config import build_config
from shared.domain.models import Json, Row
from shared.fly.models import FlyMachine

if TYPE_CHECKING:
    from shared.adapters.notifications import Notifier
    from shared.adapters.procedures import Database
    from shared.adapters.signing_keys import SigningKeys
    from shared.fly.client import FlyClient


@dataclass(frozen=True)
class MachineInputs:
    """What a machine receives beyond its spec: plain environment, and secrets that are made when they are needed."""

    installation_id: UUID
    env: Callable[[Row], Mapping[str, str]]
    secrets: Callable[[Row, datetime], Mapping[str, str]]  # with a token that is issued for this moment
    signing_key_id: Callable[[], str | None] = lambda: None  # of the key that signs these tokens

    def config(self, row: Row, *, pinned: bool = False) -> Json:
        """The whole config of the row's machine; `pinned`: with the image that Hangar deployed, wherever its tag points now."""
        image = pin_image(row) if pinned else None
        return build_config(row, installation_id=self.installation_id, env=self.env(row), image=image)

    def find_drift(self, row: Row, machine: FlyMachine) -> tuple[Difference, ...]:
        """How the machine that Fly describes differs from the row. Nothing is known of a machine whose host is out of reach."""
        if machine.incomplete or machine.host_status != "ok":
            return ()
        running = RunningSpec(machine.region, machine.image_digest, machine.config)
        return find_drift(row, self.config(row), running)


@dataclass
class Worker:
    """The dependencies of one worker. Clock, sleep, randomness and ids come in, so that a test controls time and chance."""

    database: "Database"
    fly: "FlyClient"
    inputs: MachineInputs
    notifier: "Notifier"
    holder: str = "worker"
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    new_id: Callable[[], UUID] = uuid.uuid4
    chance: Callable[[], float] = random.random
    read_signing_keys: "Callable[[], SigningKeys] | None" = None


def make_holder(function: str) -> str:
    """The lease holder's name for people who read the table: function, host, process."""
    return f"{function}@{socket.gethostname()}:{getpid()}"
