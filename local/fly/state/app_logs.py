"""The log lines of an app's machines: Fly's own lines about their events, the output of real processes, and a test's lines.

They are collected when a client reads the log, which most tests never do.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

from local.fly.runtime.runner import MachineRunner
from local.fly.state.model import App, Machine

KEPT_S = 7 * 86_400.0
_MS, _NS = 1_000, 1_000_000_000
_AFTER_EVENTS_NS = 1_000
_EVENT_TEXTS = {
    "created": "Machine created",
    "starting": "Starting machine",
    "started": "Machine started",
    "stopping": "Sending signal SIGTERM to main child process",
    "suspended": "Machine suspended",
    "restarting": "Restarting machine",
    "replacing": "Updating machine",
    "destroying": "Destroying machine",
}


@dataclass(frozen=True)
class LogLine:
    """One line. `at_ns` is its time and its place in the log: no two lines of a machine have the same."""

    at_ns: int
    machine_id: str
    region: str
    message: str
    level: str = "info"


@dataclass
class AppLogs:
    """The lines that were read from processes or set by `/_sim`, by machine."""

    lines: dict[str, list[LogLine]] = field(default_factory=lambda: defaultdict(list))
    read_bytes: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    last_ns: int = 0

    def add(self, machine: Machine, message: str, now: float, level: str = "info") -> None:
        """One more line of a machine, now."""
        # After the events of the same millisecond, which is how exact Fly's events are.
        self.last_ns = max(self.last_ns + 1, int(now * _MS) * (_NS // _MS) + _AFTER_EVENTS_NS)
        self.lines[machine.id].append(LogLine(self.last_ns, machine.id, machine.region, message, level))

    def read(self, app: App, runner: MachineRunner, now: float) -> list[LogLine]:
        """Every line of the app that Fly still has, the oldest first."""
        found: list[LogLine] = []
        for machine in app.machines.values():
            self._read_process(machine, runner, now)
            found += _list_events(machine)
            found += self.lines.get(machine.id, ())
        oldest_ns = int((now - KEPT_S) * _NS)
        return sorted((line for line in found if line.at_ns >= oldest_ns), key=lambda line: line.at_ns)

    def _read_process(self, machine: Machine, runner: MachineRunner, now: float) -> None:
        """The whole lines that its process has written since the last time. They have the time of this reading."""
        output = runner.read_output(machine.id, self.read_bytes[machine.id])
        whole, end, _ = output.rpartition(b"\n")
        if not end:
            return
        self.read_bytes[machine.id] += len(whole) + 1
        for line in whole.split(b"\n"):
            self.add(machine, line.decode("utf-8", "replace"), now)


def _list_events(machine: Machine) -> Iterator[LogLine]:
    for number, event in enumerate(reversed(machine.events)):
        message, level = _EVENT_TEXTS.get(event["status"], f"Machine {event['status']}"), "info"
        ended = event.get("request", {}).get("exit_event")
        if ended is not None:
            code = ended.get("exit_code", 0)
            level = "error" if code or ended.get("oom_killed") else "info"
            message = f"Main child exited with code: {code}" + (" (out of memory)" if ended.get("oom_killed") else "")
        at_ns = event["timestamp"] * (_NS // _MS) + number
        yield LogLine(at_ns, machine.id, machine.region, message, level)
