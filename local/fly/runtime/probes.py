"""Health checks of a real process, performed by its machine's config."""

import http.client
import socket
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from local.fly.runtime.runner import Checked
from local.fly.times import parse_duration

_EAGER_S = 0.5
"""Until its first success a check runs this often, so that a boot does not take a whole interval."""

_OUTPUT_CHARS = 400


@dataclass
class _Check:
    name: str
    spec: Mapping[str, Any]
    interval_s: float
    timeout_s: float
    grace_s: float
    due_at: float
    passed: bool = False


class Prober:
    """Performs a machine's checks against a port until stopped, in one background thread.

    Every check uses the machine's one port and not the port in its config. A failure within the grace period is not reported.
    """

    def __init__(self, checks: Mapping[str, Mapping[str, Any]], port: int) -> None:
        self._port = port
        self._born_at = time.monotonic()
        self._checks = [_read(name, spec, self._born_at) for name, spec in checks.items()]
        self._results: dict[str, Checked] = {}
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        if self._checks:
            threading.Thread(target=self._work, daemon=True, name="fly-prober").start()

    def results(self) -> list[Checked]:
        with self._lock:
            return list(self._results.values())

    def stop(self) -> None:
        self._stopped.set()

    def _work(self) -> None:
        while True:
            check = min(self._checks, key=lambda each: each.due_at)
            if self._stopped.wait(max(0.0, check.due_at - time.monotonic())):
                return
            passing, output = _probe(check, self._port)
            self._store_result(check, passing=passing, output=output)

    def _store_result(self, check: _Check, *, passing: bool, output: str) -> None:
        now = time.monotonic()
        check.passed = check.passed or passing
        check.due_at = now + (check.interval_s if check.passed else min(check.interval_s, _EAGER_S))
        if not passing and now - self._born_at < check.grace_s:
            return
        status = "passing" if passing else "critical"
        with self._lock:
            before = self._results.get(check.name)
            at = before.at if before is not None and before.status == status else time.time()
            self._results[check.name] = Checked(check.name, status, output[:_OUTPUT_CHARS], at)


def _read(name: str, spec: Mapping[str, Any], now: float) -> _Check:
    return _Check(
        name=name,
        spec=spec,
        interval_s=max(0.05, parse_duration(spec.get("interval"), 15.0)),
        timeout_s=max(0.05, parse_duration(spec.get("timeout"), 2.0)),
        grace_s=parse_duration(spec.get("grace_period"), 1.0),
        due_at=now + 0.1,
    )


def _probe(check: _Check, port: int) -> tuple[bool, str]:
    """Whether the check passes, and its output."""
    spec = check.spec
    if spec.get("type") == "tcp":
        try:
            socket.create_connection(("127.0.0.1", port), check.timeout_s).close()
        except OSError as error:
            return False, str(error)
        return True, "Success"
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=check.timeout_s)
    try:
        headers = {item["name"]: ", ".join(item.get("values", [])) for item in spec.get("headers") or []}
        connection.request(str(spec.get("method") or "GET").upper(), str(spec.get("path") or "/"), headers=headers)
        answer = connection.getresponse()
        body = answer.read(_OUTPUT_CHARS).decode("utf-8", "replace")
    except (OSError, http.client.HTTPException) as error:
        return False, str(error) or type(error).__name__
    finally:
        connection.close()
    return 200 <= answer.status < 300, body or str(answer.status)
