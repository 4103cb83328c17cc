"""Machines as real child processes: a started machine is `command`, run with the machine's environment."""

import os
import subprocess
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from signal import Signals
from typing import Any

from local.fly.configs import checks_of
from local.fly.runtime.probes import Prober
from local.fly.runtime.runner import Checked, Executed, Exit, MachineRunner
from local.process import free_port, signal_group, spawn

DEFAULT_LIMIT = 40
_MOST_OUTPUT_BYTES = 1_000_000


@dataclass
class _Running:
    process: subprocess.Popen[bytes]
    env: Mapping[str, str]
    prober: Prober


class ProcessRunner(MachineRunner):
    """Runs up to `limit` machines as children of this process; further ones stay virtual.

    A child sees the machine's Fly variables, env and secrets, HOST=127.0.0.1, a free PORT to listen on, and
    of our own environment PATH only. Its output goes to `<log_dir>/<machine id>.log`, or is dropped. Children die with
    this process, also when it is killed (on Linux).
    """

    def __init__(
        self,
        command: list[str],
        limit: int = DEFAULT_LIMIT,
        *,
        log_dir: Path | None = None,
    ) -> None:
        self._command = list(command)
        self._limit = limit
        self._log_dir = log_dir
        self._running: dict[str, _Running] = {}
        self._waiters: set[threading.Thread] = set()
        self._lock = threading.Lock()
        self._closed = False
        if log_dir is not None:
            log_dir.mkdir(parents=True, exist_ok=True)

    def start(
        self, machine_id: str, config: Mapping[str, Any], env: Mapping[str, str], on_exit: Callable[[Exit], None]
    ) -> bool:
        """False when the limit is reached and the machine stays virtual. OSError when the child cannot be started."""
        with self._lock:
            if self._closed or len(self._running) >= self._limit:
                return False
        port = free_port()  # another program may take it first; the machine then exits and is restarted
        env = {
            **env,
            "PORT": str(port),
            "HOST": "127.0.0.1",
            "PATH": os.environ.get("PATH", os.defpath),
        }
        log = self._log_dir / f"{machine_id}.log" if self._log_dir is not None else None
        process = spawn(self._command, env=env, log=log)
        running = _Running(process, env, Prober(checks_of(config), port))
        arguments = (machine_id, running, on_exit)
        waiter = threading.Thread(target=self._await, args=arguments, daemon=True, name="fly-waiter")
        with self._lock:
            self._running[machine_id] = running
            self._waiters.add(waiter)
            if self._closed:  # closed while we were starting it
                signal_group(process, Signals.SIGKILL)
        waiter.start()
        return True

    def _await(self, machine_id: str, running: _Running, on_exit: Callable[[Exit], None]) -> None:
        code = running.process.wait()
        running.prober.stop()
        with self._lock:
            if self._running.get(machine_id) is running:
                del self._running[machine_id]
            self._waiters.discard(threading.current_thread())
            closed = self._closed
        if not closed:
            on_exit(Exit(code) if code >= 0 else Exit(0, -code))

    def stop(self, machine_id: str, signal: str, timeout_s: float) -> None:
        running = self._find(machine_id)
        if running is None:
            return
        signal_group(running.process, Signals[signal])

        def kill_late() -> None:
            signal_group(running.process, Signals.SIGKILL)

        timer = threading.Timer(timeout_s, kill_late)
        timer.daemon = True
        timer.start()

    def kill(self, machine_id: str) -> None:
        with self._lock:
            running = self._running.pop(machine_id, None)
        if running is not None:
            running.prober.stop()
            signal_group(running.process, Signals.SIGKILL)

    def signal(self, machine_id: str, signal: str) -> None:
        running = self._find(machine_id)
        if running is not None:
            signal_group(running.process, Signals[signal])

    def execute(self, machine_id: str, command: list[str], stdin: str, timeout_s: float) -> Executed:
        """Run a command in the environment of the machine's process; LookupError when that process has ended."""
        running = self._find(machine_id)
        if running is None:
            raise LookupError(machine_id)
        try:
            child = spawn(command, env=running.env, piped=True)
        except FileNotFoundError as error:
            return Executed("", f"{error}\n", 127)
        try:
            out, err = child.communicate(stdin.encode(), timeout=timeout_s)
        except subprocess.TimeoutExpired as error:
            signal_group(child, Signals.SIGKILL)
            child.communicate()
            raise TimeoutError(f"the command took longer than {timeout_s:g} s") from error
        code = child.returncode
        return Executed(
            stdout=out.decode("utf-8", "replace"),
            stderr=err.decode("utf-8", "replace"),
            exit_code=max(code, 0),
            exit_signal=max(-code, 0),
        )

    def read_output(self, machine_id: str, start: int) -> bytes:
        """At most a megabyte of the log file, which all processes of the machine have written one after the other."""
        if self._log_dir is None:
            return b""
        try:
            with (self._log_dir / f"{machine_id}.log").open("rb") as file:
                file.seek(start)
                return file.read(_MOST_OUTPUT_BYTES)
        except FileNotFoundError:
            return b""

    def checks(self, machine_id: str) -> list[Checked]:
        running = self._find(machine_id)
        return running.prober.results() if running is not None else []

    def pid(self, machine_id: str) -> int | None:
        """The process id behind a machine; None for a virtual one."""
        running = self._find(machine_id)
        return running.process.pid if running is not None else None

    def close(self) -> None:
        """Kill every child and wait until all have ended."""
        with self._lock:
            self._closed = True
            running, waiters = list(self._running.values()), list(self._waiters)
        for each in running:
            each.prober.stop()
            signal_group(each.process, Signals.SIGKILL)
        for waiter in waiters:
            waiter.join(timeout=5)

    def _find(self, machine_id: str) -> _Running | None:
        with self._lock:
            return self._running.get(machine_id)
