"""What stands behind a started machine: nothing (virtual), or whatever a MachineRunner starts."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True)
class Launch:
    """A machine to run: its config and everything its process may know. The repr shows no environment."""

    machine_id: str
    app_name: str
    region: str
    image: str
    config: Mapping[str, Any]
    env: Mapping[str, str]

    def __repr__(self) -> str:
        return f"Launch({self.app_name}/{self.machine_id})"


@dataclass(frozen=True)
class Exit:
    """How a process ended: its code, or the number of the signal that killed it."""

    code: int
    signal: int = 0


@dataclass(frozen=True)
class Executed:
    """What a command run inside a machine gave."""

    stdout: str
    stderr: str
    exit_code: int
    exit_signal: int = 0


@dataclass(frozen=True)
class Checked:
    """The last word of one health check: status `passing`, `warning` or `critical`; `at` is its last change."""

    name: str
    status: str
    output: str
    at: float


class MachineRunner(Protocol):
    """Runs machines for real. Calls return at once except `execute`; exits are told to `on_exit` from another thread."""

    def start(self, launch: Launch, on_exit: Callable[[Exit], None]) -> bool:
        """True when something real now runs; False leaves the machine virtual. OSError when it cannot be started."""

    def stop(self, machine_id: str, signal: str, timeout_s: float) -> None:
        """Ask it to end; it is killed after the time-out."""

    def kill(self, machine_id: str) -> None:
        """End it now."""

    def signal(self, machine_id: str, signal: str) -> None:
        """Send a signal, such as SIGUSR1."""

    def execute(self, machine_id: str, command: list[str], stdin: str, timeout_s: float) -> Executed:
        """Run a command in the machine's environment; TimeoutError when it takes too long."""

    def checks(self, machine_id: str) -> list[Checked]:
        """Results so far; empty before the first."""

    def close(self) -> None:
        """End everything."""


class VirtualRunner:
    """Runs nothing: machines start and stop by the simulator's timers alone."""

    def start(self, launch: Launch, on_exit: Callable[[Exit], None]) -> bool:  # noqa: ARG002  the seam's signature
        return False

    def stop(self, machine_id: str, signal: str, timeout_s: float) -> None:
        """Nothing runs."""

    def kill(self, machine_id: str) -> None:
        """Nothing runs."""

    def signal(self, machine_id: str, signal: str) -> None:
        """Nothing runs."""

    def execute(self, machine_id: str, command: list[str], stdin: str, timeout_s: float) -> Executed:  # noqa: ARG002
        raise LookupError(machine_id)

    def checks(self, machine_id: str) -> list[Checked]:  # noqa: ARG002  the seam's signature
        return []

    def close(self) -> None:
        """Nothing runs."""
