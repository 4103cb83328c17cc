"""Starts children that die with this process, however it dies."""

import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path

_SHIM = str(Path(__file__).with_name("shim.py"))


@dataclass(frozen=True)
class Order:
    """A child to start in a session of its own. `log` None discards its output; `piped` gives pipes instead."""

    command: list[str]
    env: Mapping[str, str]
    cwd: Path
    log: Path | None = None
    piped: bool = False


class Spawner:
    """Starts every child from one thread that lives as long as the process.

    The kernel sends the parent-death signal when the *thread* that made the child ends (prctl(2), PR_SET_PDEATHSIG),
    so a request's thread must not be the one.
    """

    def __init__(self) -> None:
        self._orders: queue.SimpleQueue[tuple[Order, Future[subprocess.Popen[bytes]]]] = queue.SimpleQueue()
        threading.Thread(target=self._work, daemon=True, name="fly-spawner").start()

    def spawn(self, order: Order) -> subprocess.Popen[bytes]:
        """The started child; OSError when it cannot be started."""
        done: Future[subprocess.Popen[bytes]] = Future()
        self._orders.put((order, done))
        return done.result(timeout=30)

    def _work(self) -> None:
        while True:
            order, done = self._orders.get()
            try:
                done.set_result(_start(order))
            except Exception as error:  # noqa: BLE001  whoever ordered the child must hear of it
                done.set_exception(error)


def _start(order: Order) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-I", "-S", _SHIM, str(os.getpid()), order.env.get("LC_CTYPE", ""), *order.command]
    common = {"cwd": order.cwd, "env": dict(order.env), "start_new_session": True}
    if order.piped:
        pipe = subprocess.PIPE
        return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, **common)  # type: ignore[call-overload,no-any-return]  # mypy cannot look into **common
    if order.log is None:
        return subprocess.Popen(  # type: ignore[call-overload,no-any-return]  # as above
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **common
        )
    with order.log.open("ab") as log:
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, **common)  # type: ignore[call-overload,no-any-return]  # as above


def signal_group(process: subprocess.Popen[bytes], name: str) -> None:
    """Send a signal to a child and what it has started; one that has ended is left alone."""
    if process.poll() is not None:
        return
    try:
        os.killpg(process.pid, signal.Signals[name])
    except (ProcessLookupError, PermissionError):
        return  # it ended in between (macOS says "not permitted" of a zombie)
