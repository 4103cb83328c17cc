"""One run of a machine's process: its environment, the event of its end, and when Fly restarts it."""

from typing import Any

from local.fly.runtime.runner import Exit
from local.fly.state.model import Machine
from local.fly.state.state import World
from local.fly.times import to_rfc3339

DEFAULT_RETRIES = 10
RETRY_WINDOW_S = 300.0
"""A run this long resets the count of restarts (Fly: ten retries in five minutes)."""

PAUSE_CAP_S = 10.0


def environment_of(machine: Machine) -> dict[str, str]:
    """The environment in the machine: Fly's variables, the image's version, the config's env, the machine's secrets."""
    return {
        "FLY_APP_NAME": machine.app.name,
        "FLY_MACHINE_ID": machine.id,
        "FLY_ALLOC_ID": machine.id,
        "FLY_MACHINE_VERSION": machine.version,
        "FLY_REGION": machine.region,
        "PRIMARY_REGION": machine.region,
        "FLY_IMAGE_REF": str(machine.config.get("image", "")),
        "FLY_PRIVATE_IP": machine.private_ip,
        "FLY_VM_MEMORY_MB": str((machine.config.get("guest") or {}).get("memory_mb", 256)),
        "VERSION": machine.image.version,
        **(machine.config.get("env") or {}),
        **machine.secrets,
    }


def should_restart(machine: Machine, ended: Exit) -> bool:
    """Fly's policies: `always` without limit, `on-failure` up to max_retries, `no` never.

    With `always`, an image that always exits is also restarted only max_retries times, unless it defies the limit.
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
