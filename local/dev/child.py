"""A named child process of the local cloud: started with a log of its own, waited for, and able to say how it failed."""

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
READY_S = 60.0  # far above what any child needs; a loaded machine is slow, not broken
TAIL_LINES = 15
INHERITED = ("PATH", "HOME", "LANG", "TMPDIR", "VIRTUAL_ENV")  # nothing else: a setting of the user's shell is not ours

Found = TypeVar("Found")


class DevError(RuntimeError):
    """The local cloud did not come up or lost a part; the message says which, why, and where its log is."""


class CancelledError(DevError):
    """Somebody asked us to stop while the cloud was starting."""


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
        """The process id while it was started and not stopped."""
        return self._process.pid if self._process else None

    def start(self) -> None:
        self._process = process.spawn(self._command, env=self._env, log=self.log, cwd=ROOT)

    def failure(self) -> str | None:
        """How it ended, with the last lines of its log; None while it runs or when it was never started."""
        code = self._process.poll() if self._process else None
        return None if code is None else self._tell(f"the {self.name} ended with code {code}")

    def wait_until(self, look: Callable[[], Found | None], cancelled: threading.Event) -> Found:
        """What `look` finds, asked until it finds something; DevError when the child ends or takes too long."""
        deadline = time.monotonic() + READY_S
        while True:
            if (found := look()) is not None:
                return found
            if failure := self.failure():
                raise DevError(failure)
            if time.monotonic() > deadline:
                raise DevError(self._tell(f"the {self.name} was not ready within {READY_S:.0f} s"))
            if cancelled.wait(0.02):
                raise CancelledError(f"stopped while waiting for the {self.name}")

    def ask_to_stop(self) -> None:
        """Send SIGTERM and do not wait, so that several can end at the same time."""
        if self._process and self._process.poll() is None:
            self._process.terminate()

    def stop(self, grace_s: float) -> None:
        """Ask, wait, then kill it and what it started."""
        if self._process:
            process.stop(self._process, grace_s=grace_s)
            self._process = None

    def _tell(self, what: str) -> str:
        try:
            lines = self.log.read_text(errors="replace").splitlines()[-TAIL_LINES:]
        except OSError:
            lines = []
        shown = "\n".join(f"    {line}" for line in lines) or "    (it wrote nothing)"
        return f"{what}. The end of {self.log}:\n{shown}"
