"""Children of the local cloud: they die with us, whatever kills us, and a Ctrl-C in the terminal reaches only us.

On Linux the kernel signals a child when the *thread* that started it ends (prctl(2), PR_SET_PDEATHSIG), so every child
is started by one thread that lives as long as this process. The signal is armed by a tiny trampoline that then turns
into the command: running Python between fork and exec is unsafe in a process with threads. Elsewhere than on Linux
children are started plainly and end by `stop` only.
"""

import contextlib
import os
import queue
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import IO

_Start = Callable[[], "subprocess.Popen[bytes]"]

_TRAMPOLINE = """
import ctypes, os, sys
parent, death_signal, file, *command = sys.argv[1:]
ctypes.CDLL(None, use_errno=True).prctl(1, int(death_signal), 0, 0, 0)
if os.getppid() != int(parent):
    sys.exit("the parent was gone before the child began")
os.execv(file, command)
"""


def spawn(
    command: Sequence[str | Path],
    *,
    env: Mapping[str, str] | None = None,
    log: Path | IO[bytes] | None = None,
    cwd: Path | None = None,
    die_with_parent: bool = True,
    death_signal: signal.Signals = signal.SIGKILL,
) -> "subprocess.Popen[bytes]":
    """Start a command in its own session, its output appended to `log` (dropped when None).

    The child gets exactly `env` (ours when None) and, on Linux, `death_signal` the moment this process ends.
    Raises FileNotFoundError when there is no such command.
    """
    words = [str(word) for word in command]
    is_path = os.sep in words[0]
    found = words[0] if is_path else shutil.which(words[0], path=(env or os.environ).get("PATH"))
    if found is None or not (cwd or Path.cwd()).joinpath(found).exists():
        raise FileNotFoundError(f"no such command: {words[0]}")
    if die_with_parent and sys.platform == "linux":
        # -I -S: no site, no PYTHON* variables; the interpreter is here for 15 ms only.
        words = [sys.executable, "-I", "-S", "-c", _TRAMPOLINE, str(os.getpid()), str(int(death_signal)), found, *words]

    def start() -> "subprocess.Popen[bytes]":
        with contextlib.ExitStack() as files:
            output = files.enter_context(log.open("ab")) if isinstance(log, Path) else log
            return subprocess.Popen(
                words,
                env=None if env is None else dict(env),
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=output or subprocess.DEVNULL,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    return _starter().run(start) if die_with_parent else start()


def stop(process: "subprocess.Popen[bytes]", grace_s: float = 10.0, ask: signal.Signals = signal.SIGTERM) -> int:
    """Ask the child to end, wait `grace_s`, then kill its whole process group; returns its exit code."""
    if process.poll() is None:
        process.send_signal(ask)
        try:
            process.wait(timeout=grace_s)
        except subprocess.TimeoutExpired:
            kill(process)
    return process.wait()


def kill(process: "subprocess.Popen[bytes]") -> None:
    """Kill the child and whatever it started in its own session, at once, and reap it."""
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def free_port() -> int:
    """A loopback TCP port nobody listens on now. Somebody may take it before you do: be ready to ask again."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class _Starter:
    """The one thread that forks, alive until the process ends (a daemon: it never holds the exit up)."""

    def __init__(self) -> None:
        self._work: queue.SimpleQueue[tuple[_Start, Future[subprocess.Popen[bytes]]]] = queue.SimpleQueue()
        self.thread = threading.Thread(target=self._serve, name="process-starter", daemon=True)
        self.thread.start()

    def run(self, start: _Start) -> "subprocess.Popen[bytes]":
        future: Future[subprocess.Popen[bytes]] = Future()
        self._work.put((start, future))
        return future.result()

    def _serve(self) -> None:
        while True:
            start, future = self._work.get()
            try:
                future.set_result(start())
            except BaseException as error:  # noqa: BLE001  it is raised where the child was asked for
                future.set_exception(error)


_lock = threading.Lock()
_current: _Starter | None = None


def _starter() -> _Starter:
    global _current  # noqa: PLW0603  one thread per process is the point
    with _lock:
        if _current is None or not _current.thread.is_alive():  # not alive: we are a fork of the process that had it
            _current = _Starter()
        return _current
