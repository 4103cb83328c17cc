"""What one worker works with, as a plain value that the loop, the sweep and the orphan finder receive."""

import random
import socket
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from os import getpid
from typing import TYPE_CHECKING
from uuid import UUID

if TYPE_CHECKING:
    from shared.adapters.notifications import Notifier
    from shared.adapters.procedures import Database
    from shared.fly.client import FlyClient
    from shared.reconcile.executor import MachineInputs


def make_holder(function: str) -> str:
    """Who holds a lease, for people who read the table: function, host, process."""
    return f"{function}@{socket.gethostname()}:{getpid()}"


@dataclass
class Worker:
    """Everything one worker needs. Clock, sleep, randomness and ids come in, so that a test owns time and chance."""

    database: "Database"
    fly: "FlyClient"
    provisions: "MachineInputs"
    alerts: "Notifier"
    holder: str = "worker"
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    new_id: Callable[[], UUID] = uuid.uuid4
    chance: Callable[[], float] = random.random
