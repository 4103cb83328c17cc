"""Fly's restart policies: whether a process is restarted, and after how long."""

from typing import Any

from local.fly.runtime.runner import Exit
from local.fly.state.model import Machine

DEFAULT_RETRIES = 10
RETRY_WINDOW_S = 300.0
"""A run this long resets the count of restarts (Fly: ten retries in five minutes)."""

PAUSE_CAP_S = 10.0


def should_restart(machine: Machine, ended: Exit) -> bool:
    """Fly's policies: `always` without limit, `on-failure` up to max_retries, `no` never."""
    policy = _restart_config(machine).get("policy") or "on-failure"
    if policy == "always":
        return True
    failed = ended.code != 0 or ended.signal != 0
    return bool(policy == "on-failure" and failed and machine.restarts < retries_allowed(machine))


def retries_allowed(machine: Machine) -> int:
    """How many restarts `on-failure` allows."""
    return int(_restart_config(machine).get("max_retries") or DEFAULT_RETRIES)


def _restart_config(machine: Machine) -> dict[str, Any]:
    return machine.config.get("restart") or {}


def pause_s(first_s: float, restarts: int) -> float:
    """Seconds before the next restart. They double, so that a crash loop does not use all CPU."""
    return min(max(first_s, PAUSE_CAP_S), first_s * 2.0 ** min(restarts, 16))
