"""What runs for a started machine: nothing (a virtual machine), or what a MachineRunner starts."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any


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


class MachineRunner:
    """Runs nothing: machines start and stop by the simulator's timers alone. A subclass may run real processes.

    All calls but `execute` return at once; `on_exit` is called from another thread.
    """

    def start(
        self,
        machine_id: str,  # noqa: ARG002  for subclasses, like all arguments here
        config: Mapping[str, Any],  # noqa: ARG002
        env: Mapping[str, str],  # noqa: ARG002
        on_exit: Callable[[Exit], None],  # noqa: ARG002
    ) -> bool:
        """True when a process runs; False leaves the machine virtual. OSError when it cannot be started."""
        return False

    def stop(self, machine_id: str, signal: str, timeout_s: float) -> None:
        """Send a signal, and kill the process after the timeout."""

    def kill(self, machine_id: str) -> None:
        """End the process now."""

    def signal(self, machine_id: str, signal: str) -> None:
        """Send a signal, such as SIGUSR1."""

    def execute(self, machine_id: str, command: list[str], stdin: str, timeout_s: float) -> Executed:  # noqa: ARG002
        """Run a command in the machine's environment; TimeoutError when it takes too long, LookupError without a process."""
        raise LookupError(machine_id)

    def read_output(self, machine_id: str, start: int) -> bytes:  # noqa: ARG002
        """What its processes have written from this byte on; nothing for a virtual machine."""
        return b""

    def checks(self, machine_id: str) -> list[Checked]:  # noqa: ARG002
        """Results so far; empty before the first."""
        return []

    def close(self) -> None:
        """End everything."""
