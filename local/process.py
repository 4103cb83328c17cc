"""Child processes of the local cloud. They end when we end, also when we are killed; Ctrl-C in the terminal reaches only us.

On Linux the kernel signals a child when the *thread* that started it ends (prctl(2), PR_SET_PDEATHSIG). One thread that
lives as long as this process therefore starts every child. A small trampoline arms the signal and then becomes the
command: running Python between fork and exec is unsafe in a process with threads. On other systems no signal is armed,
and children end by `stop` only.
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

# A shell that starts us in the background makes us ignore SIGINT, and a child would inherit that. Python's own start puts
# LC_CTYPE into the environment (PEP 538), which the command must not see either.
_TRAMPOLINE = """
import os, signal, sys
parent, death_signal, lc_ctype, file, *command = sys.argv[1:]
if sys.platform == "linux":
    import ctypes
    ctypes.CDLL(None, use_errno=True).prctl(1, int(death_signal), 0, 0, 0)
if os.getppid() != int(parent):
    sys.exit("the parent ended before the child began")
if not lc_ctype:
    os.environ.pop("LC_CTYPE", None)
for each in (signal.SIGINT, signal.SIGTERM):
    signal.signal(each, signal.SIG_DFL)
os.execv(file, command)
"""


def spawn(
    command: Sequence[str | Path],
    *,
    env: Mapping[str, str] | None = None,
    log: Path | IO[bytes] | None = None,
    cwd: Path | None = None,
    piped: bool = False,
    death_signal: signal.Signals = signal.SIGKILL,
) -> "subprocess.Popen[bytes]":
    """Start a command in its own session, its output appended to `log` (dropped when None), or with pipes.

    The child gets exactly `env` (ours when None) and, on Linux, `death_signal` the moment this process ends.
    Raises FileNotFoundError when there is no such command.
    """
    words = [str(word) for word in command]
    given = os.environ if env is None else env
    found = words[0] if os.sep in words[0] else shutil.which(words[0], path=given.get("PATH"))
    if found is None or not (cwd or Path.cwd()).joinpath(found).exists():
        raise FileNotFoundError(f"no such command: {words[0]}")
    parent = [str(os.getpid()), str(int(death_signal)), given.get("LC_CTYPE", "")]
    # -I -S: no site, no PYTHON* variables; the interpreter is here for 15 ms only.
    trampoline = [sys.executable, "-I", "-S", "-c", _TRAMPOLINE, *parent, found, *words]

    def start() -> "subprocess.Popen[bytes]":
        with contextlib.ExitStack() as files:
            output = files.enter_context(log.open("ab")) if isinstance(log, Path) else log
            return subprocess.Popen(
                trampoline,
                env=dict(given),
                cwd=cwd,
                stdin=subprocess.PIPE if piped else subprocess.DEVNULL,
                stdout=subprocess.PIPE if piped else output or subprocess.DEVNULL,
                stderr=subprocess.PIPE if piped else subprocess.STDOUT,
                start_new_session=True,
            )

    return _starter().run(start)


def stop(process: "subprocess.Popen[bytes]", grace_s: float = 10.0, ask: signal.Signals = signal.SIGTERM) -> int:
    """Ask the child to end, wait `grace_s`, then kill its whole process group. Returns its exit code."""
    if process.poll() is None:
        process.send_signal(ask)
        try:
            process.wait(timeout=grace_s)
        except subprocess.TimeoutExpired:
            kill(process)
    return process.wait()


def kill(process: "subprocess.Popen[bytes]") -> None:
    """Kill the child and everything in its session at once, and reap it."""
    if process.poll() is None:
        signal_group(process, signal.SIGKILL)
        process.wait()


def signal_group(process: "subprocess.Popen[bytes]", number: signal.Signals) -> None:
    """Send a signal to the child and everything in its session; does nothing when the child has ended."""
    if process.poll() is None:
        # The child may end in between; macOS answers "not permitted" for a zombie.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, number)


def free_port() -> int:
    """A loopback TCP port that is free now. Another program may take it first: be ready to ask again."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class _Starter:
    """The one thread that starts children. A daemon, so that it never delays the exit."""

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
            except BaseException as error:  # noqa: BLE001  raised again in the thread that asked for the child
                future.set_exception(error)


_lock = threading.Lock()
_current: _Starter | None = None


def _starter() -> _Starter:
    global _current  # noqa: PLW0603  one thread per process is the point
    with _lock:
        if _current is None or not _current.thread.is_alive():  # not alive: this is a fork of the process that had it
            _current = _Starter()
        return _current
