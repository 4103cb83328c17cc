"""The end of a process: the event, and Fly's restart policies: whether it is restarted, and after how long."""

from typing import Any

from local.fly.runtime.runner import Exit
from local.fly.state.model import Machine
from local.fly.state.state import World
from local.fly.times import to_rfc3339

DEFAULT_RETRIES = 10
RETRY_WINDOW_S = 300.0
"""A run this long resets the count of restarts (Fly: ten retries in five minutes)."""

PAUSE_CAP_S = 10.0


def should_restart(machine: Machine, ended: Exit) -> bool:
    """Fly's policies: `always` without limit, `on-failure` up to max_retries, `no` never.

    An image that always exits is given up after max_retries also with `always`, unless it defies the limit.
    """
    policy = _restart_config(machine).get("policy") or "on-failure"
    behaviour = machine.image.behaviour
    may_retry = machine.restarts < retries_allowed(machine)
    if policy == "always":
        return may_retry or behaviour.exits_after_s is None or behaviour.defies_limit
    failed = ended.code != 0 or ended.signal != 0
    return bool(policy == "on-failure" and failed and may_retry)


def retries_allowed(machine: Machine) -> int:
    """How many restarts `on-failure` allows."""
    return int(_restart_config(machine).get("max_retries") or DEFAULT_RETRIES)


def _restart_config(machine: Machine) -> dict[str, Any]:
    return machine.config.get("restart") or {}


def pause_s(first_s: float, restarts: int) -> float:
    """Seconds before the next restart. They double, so that a crash loop does not use all CPU."""
    return min(max(first_s, PAUSE_CAP_S), first_s * 2.0 ** min(restarts, 16))


def record_exit(
    world: World, machine: Machine, ended: Exit, moment: float, *, requested: bool, restarting: bool
) -> None:
    """Add the exit event of a process to its machine."""
    exit_event = {
        "exit_code": 128 + ended.signal if ended.signal else ended.code,
        "guest_exit_code": ended.code,
        "guest_signal": ended.signal or -1,
        "signal": ended.signal or -1,
        "oom_killed": ended.oom_killed,
        "requested_stop": requested,
        "restarting": restarting,
        "exited_at": to_rfc3339(moment),
        "error": ended.error,
    }
    request = {"exit_event": exit_event, "restart_count": machine.restarts}
    world.record(machine, "exit", "stopped", "flyd", moment, request=request)
