"""A named child process of the local cloud, with its own log, a wait for readiness and a report of its failure."""

import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from local import process

if TYPE_CHECKING:
    import subprocess

ROOT = Path(__file__).resolve().parents[2]
BACKEND = ROOT / "examples" / "backend" / "backend.py"
"""The program of the machines."""

READY_S = 60.0  # far more than any child needs, because a loaded computer is slow
TAIL_LINES = 15
INHERITED = ("PATH", "HOME", "LANG", "TMPDIR", "VIRTUAL_ENV")  # and no other variable of the user's shell

Found = TypeVar("Found")


class DevError(RuntimeError):
    """The local cloud did not start or lost a part; the message names the part, the reason and the log."""


class CancelledError(DevError):
    """The cloud was asked to stop while it was starting."""


class Child:
    """One part of the cloud. `start` may be called again after `stop`."""

    def __init__(self, name: str, command: Sequence[str | Path], log: Path, env: Mapping[str, str]) -> None:
        self.name = name
        self.log = log
        self._command = list(command)
        self._env = {**{key: os.environ[key] for key in INHERITED if key in os.environ}, **env}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """The process id between `start` and `stop`."""
        return self._process.pid if self._process else None

    def start(self) -> None:
        self._process = process.spawn(self._command, env=self._env, log=self.log, cwd=ROOT)

    def failure(self) -> str | None:
        """How it ended, with the last lines of its log; None while it runs and before its start."""
        code = self._process.poll() if self._process else None
        return None if code is None else self._report(f"the {self.name} ended with code {code}")

    def wait_until(self, look: Callable[[], Found | None], cancelled: threading.Event) -> Found:
        """Call `look` until it finds something; DevError when the child ends or takes too long."""
        deadline = time.monotonic() + READY_S
        while True:
            if (found := look()) is not None:
                return found
            if failure := self.failure():
                raise DevError(failure)
            if time.monotonic() > deadline:
                raise DevError(self._report(f"the {self.name} was not ready within {READY_S:.0f} s"))
            if cancelled.wait(0.02):
                raise CancelledError(f"stopped while waiting for the {self.name}")

    def ask_to_stop(self) -> None:
        """Send SIGTERM and do not wait, so that several children can end at the same time."""
        if self._process and self._process.poll() is None:
            self._process.terminate()

    def stop(self, grace_s: float) -> None:
        """Send SIGTERM, wait, then kill it and everything it started."""
        if self._process:
            process.stop(self._process, grace_s=grace_s)
            self._process = None

    def _report(self, event: str) -> str:
        try:
            lines = self.log.read_text(errors="replace").splitlines()[-TAIL_LINES:]
        except OSError:
            lines = []
        shown = "\n".join(f"    {line}" for line in lines) or "    (it wrote nothing)"
        return f"{event}. The end of {self.log}:\n{shown}"
