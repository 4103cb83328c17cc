"""Actions on a machine: start, stop, suspend, restart, signal, cordon, wait."""

import json
from typing import Any

from local.fly.api.calls import Call, Wait, find_live_machine, find_machine
from local.fly.configs import STOP_SIGNALS
from local.fly.errors import FlyError, answer
from local.fly.state import machine_lifecycle as lifecycle
from local.fly.state.model import LASTING, Machine
from local.fly.state.state import World
from local.fly.times import parse_duration
from local.http_server import Response

SIGNALS = (*STOP_SIGNALS, "SIGABRT", "SIGALRM", "SIGFPE", "SIGILL", "SIGPIPE", "SIGSEGV", "SIGTRAP")
WAITABLE = ("started", "stopped", "suspended", "destroyed", "failed", "settled")
BAD_TIMEOUT = "invalid_argument: invalid WaitMachineRequest.Timeout: value must be inside range [1s, 1m0s]"
SUSPEND_LIMIT_MB = 2048


def start_machine(world: World, call: Call) -> Response:
    """`POST …/start`: 412 from a passing state, and for a moment after a stop."""
    machine = find_live_machine(world, call)
    before = machine.state
    if before == "replacing":
        raise FlyError(412, "failed_precondition: machine getting replaced, refusing to start")
    if before == "starting":
        raise FlyError(412, "failed_precondition: machine still attempting to start")
    if before not in ("started", "stopped", "suspended"):
        raise FlyError(412, f"failed_precondition: unable to start machine from current state: '{before}'")
    if before == "stopped" and call.now < machine.rest_until:
        raise FlyError(412, "failed_precondition: machine still active, refusing to start")
    if before != "started":
        lifecycle.start(world, machine, call.now)
    return answer({"previous_state": before, "migrated": False, "new_host": ""})


def stop_machine(world: World, call: Call) -> Response:
    """`POST …/stop`: 200 also for a machine that is stopped or stopping."""
    machine = find_live_machine(world, call)
    signal, timeout = _stop_options(call.body())
    if machine.state in ("stopped", "stopping"):
        return answer({"ok": True})
    _require(machine, "stop", ("started", "starting", "suspended", "restarting"))
    lifecycle.stop(world, machine, call.now, signal, timeout)
    return answer({"ok": True})


def suspend_machine(world: World, call: Call) -> Response:
    """`POST …/suspend`: machines of at most 2 GB without a schedule."""
    machine = find_live_machine(world, call)
    if machine.state in ("suspended", "suspending"):
        return answer({"ok": True})
    _require(machine, "suspend", ("started",))
    if machine.config["guest"]["memory_mb"] > SUSPEND_LIMIT_MB or machine.config.get("schedule"):
        raise FlyError(400, "invalid_argument: machine cannot be suspended: more than 2 GB of memory, or a schedule")
    lifecycle.suspend(world, machine, call.now)
    return answer({"ok": True})


def restart_machine(world: World, call: Call) -> Response:
    """`POST …/restart`, with `timeout` and `signal` in the query."""
    machine = find_live_machine(world, call)
    _require(machine, "restart", ("started",))
    options = {"timeout": call.param("timeout"), "signal": call.param("signal"), **call.body()}
    signal, timeout = _stop_options(options)
    lifecycle.restart(world, machine, call.now, signal, timeout)
    return answer({"ok": True})


def signal_machine(world: World, call: Call) -> Response:
    """`POST …/signal`: goes to the process of a real machine. SIGKILL and SIGTERM end a virtual one."""
    machine = find_live_machine(world, call)
    signal = call.body(required=True).get("signal")
    signal = "SIGKILL" if signal == 9 else signal  # fly-go sends the number for this one
    if signal not in SIGNALS:
        raise FlyError(400, f"invalid_argument: unknown signal {json.dumps(signal)}")
    _require(machine, "signal", ("started",))
    if machine.real:
        world.runner.signal(machine.id, signal)
    elif signal in ("SIGKILL", "SIGTERM"):
        lifecycle.die(world, machine, call.now, signal)
    return answer({"ok": True})


def cordon_machine(world: World, call: Call) -> Response:
    """`POST …/cordon`: take the machine out of Fly's proxy."""
    find_live_machine(world, call).cordoned = True
    return answer({"ok": True})


def uncordon_machine(world: World, call: Call) -> Response:
    """`POST …/uncordon`."""
    find_live_machine(world, call).cordoned = False
    return answer({"ok": True})


def wait_for_machine(world: World, call: Call) -> Wait:
    """`GET …/wait`: 200 when the machine reaches a wanted state, 408 when the timeout comes first."""
    states = call.values("state") or ["started"]
    for state in states:
        if state not in WAITABLE:
            raise FlyError(400, f"invalid_argument: unknown state '{state}'")
    text = call.param("timeout")
    try:
        timeout_s = 60 if text in (None, "") else int(str(text).removesuffix("s"))
    except ValueError as error:
        raise FlyError(400, BAD_TIMEOUT) from error
    if not 1 <= timeout_s <= 60:
        raise FlyError(400, BAD_TIMEOUT)
    version = call.param("version") or call.param("instance_id")
    machine = find_machine(world, call)
    wanted = {each for state in states for each in (LASTING if state == "settled" else (state,))}

    def check(_now: float) -> Response | None:
        present = machine.app.machines.get(machine.id)
        if present is None:
            raise FlyError(404, "not_found: machine not found")
        if version and version != machine.version:
            if version not in dict(machine.versions):
                raise FlyError(404, "not_found: machine version not found")
            raise FlyError(409, f"aborted: machine version {version} is currently replaced by {machine.version}")
        if machine.state not in wanted:
            return None
        event_id = machine.events[0]["id"]
        return answer({"ok": True, "state": machine.state, "event_id": event_id, "version": machine.version})

    def expired() -> FlyError:
        return FlyError(
            408,
            f"deadline_exceeded: machine failed to reach desired state, {', '.join(states)}, currently {machine.state}",
        )

    return Wait(check, call.now + timeout_s, expired)


def _require(machine: Machine, verb: str, states: tuple[str, ...]) -> None:
    if machine.state not in states:
        raise FlyError(412, f"failed_precondition: unable to {verb} machine from current state: '{machine.state}'")


def _stop_options(body: dict[str, Any]) -> tuple[str | None, float | None]:
    """The signal and the timeout in seconds, None for the machine's own; 400 for an unknown one."""
    signal = body.get("signal") or None
    if signal is not None and signal not in STOP_SIGNALS:
        raise FlyError(400, f"invalid_argument: unknown signal {json.dumps(signal)}")
    timeout = body.get("timeout") or None
    try:
        return signal, None if timeout is None else parse_duration(timeout, 0.0)
    except ValueError as error:
        raise FlyError(400, f"invalid_argument: {error}") from error
