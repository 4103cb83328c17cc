"""What runs for a started machine: nothing (a virtual machine), or what a MachineRunner starts."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True)
class Launch:
    """A machine to run. The repr shows no environment, which holds secrets."""

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
    """How a process ended: its code, or the number of the signal that killed it, and Fly's words about it."""

    code: int
    signal: int = 0
    oom_killed: bool = False
    error: str = ""


@dataclass(frozen=True)
class Executed:
    """The result of a command in a machine."""

    stdout: str
    stderr: str
    exit_code: int
    exit_signal: int = 0


@dataclass(frozen=True)
class Checked:
    """The latest result of one health check: `passing`, `warning` or `critical`, and since when."""

    name: str
    status: str
    output: str
    at: float


class MachineRunner(Protocol):
    """Runs real machines. All calls but `execute` return at once; `on_exit` is called from another thread."""

    def start(self, launch: Launch, on_exit: Callable[[Exit], None]) -> bool:
        """True when a process runs; False leaves the machine virtual. OSError when it cannot be started."""

    def stop(self, machine_id: str, signal: str, timeout_s: float) -> None:
        """Send a signal, and kill it after the timeout."""

    def kill(self, machine_id: str) -> None:
        """End it now."""

    def signal(self, machine_id: str, signal: str) -> None:
        """Send a signal, such as SIGUSR1."""

    def execute(self, machine_id: str, command: list[str], stdin: str, timeout_s: float) -> Executed:
        """Run a command in the machine's environment; TimeoutError when it takes too long."""

    def read_output(self, machine_id: str, start: int) -> bytes:
        """What its processes have written from this byte on; nothing for a virtual machine."""

    def checks(self, machine_id: str) -> list[Checked]:
        """Results so far; empty before the first."""

    def close(self) -> None:
        """End everything."""


class VirtualRunner:
    """Runs nothing: machines start and stop by the simulator's timers alone."""

    def start(self, launch: Launch, on_exit: Callable[[Exit], None]) -> bool:  # noqa: ARG002  the protocol's signature
        return False

    def stop(self, machine_id: str, signal: str, timeout_s: float) -> None:
        """Nothing runs."""

    def kill(self, machine_id: str) -> None:
        """Nothing runs."""

    def signal(self, machine_id: str, signal: str) -> None:
        """Nothing runs."""

    def read_output(self, machine_id: str, start: int) -> bytes:  # noqa: ARG002
        return b""

    def execute(self, machine_id: str, command: list[str], stdin: str, timeout_s: float) -> Executed:  # noqa: ARG002
        raise LookupError(machine_id)

    def checks(self, machine_id: str) -> list[Checked]:  # noqa: ARG002  the protocol's signature
        return []

    def close(self) -> None:
        """Nothing runs."""
