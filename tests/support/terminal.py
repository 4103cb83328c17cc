"""A command at a real terminal: it can ask, hide what is typed, and be interrupted."""

import os
import pty
import re
import select
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

_WAIT_S = 30.0
_PRESS_AGAIN_S = 5.0  # on a busy machine a command needs a while to say that it ends
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Terminal:
    """One process whose input, output and errors are a terminal. End it by leaving the `with` block."""

    def __init__(self, command: Sequence[str], env: Mapping[str, str], folder: Path) -> None:
        self._terminal, inner = pty.openpty()
        self.process = subprocess.Popen(
            command, cwd=folder, env=dict(env), stdin=inner, stdout=inner, stderr=inner, start_new_session=True
        )
        os.close(inner)
        self.shown = ""
        self._read_to = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self._terminal)

    def expect(self, text: str) -> None:
        """Return when `text` has appeared since the last one that was expected."""
        deadline = time.monotonic() + _WAIT_S
        while (found := self.shown.find(text, self._read_to)) < 0:
            is_over = time.monotonic() > deadline or not self._read()
            assert not is_over, f"{text!r} did not appear:\n{self.shown[-2000:]}"
        self._read_to = found + len(text)

    def type(self, line: str) -> None:
        """Type a line and press Enter."""
        os.write(self._terminal, line.encode() + b"\n")

    def end_input(self) -> None:
        """Press Ctrl-D at the beginning of a line."""
        os.write(self._terminal, b"\x04")

    def interrupt(self) -> None:
        """Press Ctrl-C until the command has noticed: Python misses one that comes just before it begins to wait for a line."""
        deadline = time.monotonic() + _WAIT_S
        while time.monotonic() < deadline:
            os.killpg(self.process.pid, signal.SIGINT)
            press_again_at = time.monotonic() + _PRESS_AGAIN_S
            while time.monotonic() < press_again_at:
                is_over = not self._read(_PRESS_AGAIN_S)
                if "interrupted" in self.shown or self.process.poll() is not None:
                    return
                if is_over:
                    break

    def wait(self) -> int:
        """Read to the end. The exit code."""
        while self._read():
            pass
        return self.process.wait(timeout=_WAIT_S)

    def _read(self, wait_s: float = _WAIT_S) -> bool:
        """Read what is there, or wait for it. False at the end, and when nothing came."""
        ready, _, _ = select.select([self._terminal], [], [], wait_s)
        try:
            new = os.read(self._terminal, 65536) if ready else b""
        except OSError:  # Linux: the last process of the terminal has ended
            return False
        self.shown += _ESCAPES.sub("", new.decode(errors="replace")).replace("\r\n", "\n")
        return bool(new)
