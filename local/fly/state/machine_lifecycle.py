"""A machine's state changes: boot, stop, exit, restart, replacement, destruction.

    create ──▶ created ─▶ starting ─▶ started ─▶ stopping ─▶ stopped ─▶ destroying ─▶ destroyed
                  └ skip_launch ─▶ stopped      └▶ suspending ─▶ suspended
    update ──▶ replacing ─▶ created … (or stopped, when it was not running)

Each function takes the world, whose lock the caller holds, and the time of the change.
"""

from signal import Signals

from local.fly.runtime.runner import Exit
from local.fly.state.model import Machine, Step
from local.fly.state.runs import RETRY_WINDOW_S, environment_of, pause_s, record_exit, retries_allowed, should_restart
from local.fly.state.state import World
from local.fly.times import parse_duration, to_rfc3339

LAUNCH_FAILED_S = 5.0
"""How long a machine that is about to vanish shows `launch_failed`."""


def change(world: World, machine: Machine, state: str, moment: float) -> None:
    """Put a machine into a state; the billing clock runs in `started` only."""
    if machine.started_at is not None and state != "started":
        machine.started_s += max(0.0, moment - machine.started_at)
        machine.started_at = None
    elif machine.started_at is None and state == "started":
        machine.started_at = moment
    machine.state = state
    world.touch(machine, moment)


def launch(world: World, machine: Machine, moment: float) -> None:
    """Boot from `created`. Most of the time passes in that state, while the host prepares the image."""
    machine.epoch += 1
    timing = world.timing
    cold = timing.cold_share > 0 and world.times.random() < timing.cold_share
    boot_s = world.draw(timing.cold_boot_s if cold else timing.boot_s)
    _pull(world, machine, moment + 0.8 * boot_s, lambda m, at: _boot(world, m, at, 0.2 * boot_s))


def prepare(world: World, machine: Machine, moment: float) -> None:
    """The path of `skip_launch`: `created` while the host prepares the image, then `stopped`."""
    machine.epoch += 1
    _pull(world, machine, moment + 0.5 * world.draw(world.timing.boot_s), lambda m, at: _stopped(world, m, at))


def _pull(world: World, machine: Machine, moment: float, then: Step) -> None:
    """Let the host pull the image until the moment, or longer; `then` what follows with the image or with the old version."""

    def pulled(machine: Machine, at: float) -> None:
        pull, before = machine.image.behaviour.pull, machine.previous
        if pull == "works":
            then(machine, at)
        elif pull == "reverts" and before is not None:
            machine.revert(before)
            then(machine, at)
        elif pull == "vanishes":
            _failed(world, machine, at, "not enough space to unpack image", vanishes=before is None)
        else:
            _failed(world, machine, at, "failed to pull image: not found")

    world.plan(machine, moment + machine.image.behaviour.pull_s, pulled)


def start(world: World, machine: Machine, moment: float) -> None:
    """Boot a machine that is stopped, or wake one that is suspended."""
    machine.restarts = 0
    if machine.state == "suspended" and machine.real:
        world.runner.signal(machine.id, "SIGCONT")
        change(world, machine, "started", moment)
        return
    machine.epoch += 1
    _boot(world, machine, moment, 0.3 * world.draw(world.timing.boot_s), source="user")


def stop(world: World, machine: Machine, moment: float, signal: str | None, timeout_s: float | None) -> None:
    """Begin to stop a running machine; None takes the signal and the timeout of its config."""
    if timeout_s is None:
        timeout_s = parse_duration((machine.config.get("stop_config") or {}).get("timeout"), 5.0)
    world.record(machine, "stop", "stopping", "user", moment)
    _end_run(
        world, machine, moment, "stopping", lambda m, at: _stopped(world, m, at), signal=signal, timeout_s=timeout_s
    )


def suspend(world: World, machine: Machine, moment: float) -> None:
    """Begin to suspend a running machine."""
    machine.epoch += 1
    change(world, machine, "suspending", moment)
    if machine.real:
        world.runner.signal(machine.id, "SIGSTOP")

    def suspended(machine: Machine, at: float) -> None:
        world.record(machine, "suspend", "suspended", "flyd", at)
        change(world, machine, "suspended", at)

    world.plan(machine, moment + 0.3 * world.draw(world.timing.stop_s), suspended)


def restart(world: World, machine: Machine, moment: float, signal: str | None, timeout_s: float | None) -> None:
    """Stop and boot again in place."""
    timeout_s = 5.0 if timeout_s is None else timeout_s
    world.record(machine, "restart", "restarting", "user", moment)
    _end_run(
        world, machine, moment, "restarting", lambda m, at: _boot(world, m, at, 0.0), signal=signal, timeout_s=timeout_s
    )


def replace(world: World, machine: Machine, moment: float, *, launch_after: bool) -> None:
    """After an update: end the old version and, with `launch_after`, boot the new one."""
    world.record(machine, "update", "replacing", "user", moment)

    def replaced(machine: Machine, at: float) -> None:
        change(world, machine, "created", at)
        world.record(machine, "launch", "created", "user", at)
        (launch if launch_after else prepare)(world, machine, at)

    _end_run(world, machine, moment, "replacing", replaced)


def destroy(world: World, machine: Machine, moment: float) -> None:
    """Begin to destroy a machine, running or not."""
    world.record(machine, "destroy", "destroying", "user", moment)
    machine.epoch += 1
    change(world, machine, "destroying", moment)
    _drop_process(world, machine)
    world.plan(machine, moment + world.draw(world.timing.destroy_s), lambda m, at: _destroyed(world, m, at))


def crash(world: World, machine: Machine, moment: float) -> None:
    """End a machine as if its restarts were exhausted: `stopped`, with an exit event."""
    machine.epoch += 1
    _drop_process(world, machine)
    machine.restarts = retries_allowed(machine)
    record_exit(world, machine, Exit(1), moment, requested=False, restarting=False)
    _stopped(world, machine, moment)


def die(world: World, machine: Machine, moment: float, signal: str) -> None:
    """End the process of a virtual machine by a signal; its restart policy decides what follows."""
    _exited(world, machine, Exit(0, int(Signals[signal])), moment)


def force(world: World, machine: Machine, state: str, moment: float) -> None:
    """Put a machine into a state and keep it there: `failed`, or stuck in a passing state."""
    machine.epoch += 1
    _drop_process(world, machine)
    world.record(machine, "exit", state, "flyd", moment)
    change(world, machine, state, moment)


def _boot(world: World, machine: Machine, moment: float, boot_s: float, source: str = "flyd") -> None:
    world.record(machine, "start", "starting", source, moment)
    change(world, machine, "starting", moment)
    world.plan(machine, moment + boot_s, lambda m, at: _started(world, m, at))


def _started(world: World, machine: Machine, moment: float) -> None:
    behaviour = machine.image.behaviour
    if machine.config.get("image") in world.bad_images:
        _failed(world, machine, moment, "failed to pull image: not found")
        return
    if not behaviour.boots:
        _failed(world, machine, moment, "entrypoint: no such file or directory", vanishes=machine.previous is None)
        return
    machine.run += 1
    run = machine.run

    def on_exit(ended: Exit) -> None:
        with world.lock:
            world.settle()
            if machine.run == run and machine.real:
                _exited(world, machine, ended, world.now())

    try:
        machine.real = not behaviour.is_virtual and world.runner.start(
            machine.id, machine.config, environment_of(machine), on_exit
        )
    except OSError as error:
        _failed(world, machine, moment, str(error))
        return
    machine.first_check_at = moment + world.draw(world.timing.first_check_s)
    machine.boots += 1
    world.record(machine, "start", "started", "flyd", moment)
    change(world, machine, "started", moment)
    if behaviour.exits_after_s is not None:
        world.plan(machine, moment + behaviour.exits_after_s, lambda m, at: _exited(world, m, behaviour.ended, at))


def _failed(world: World, machine: Machine, moment: float, error: str, *, vanishes: bool = False) -> None:
    """The boot failed and is not retried. A machine that never ran may vanish: `launch_failed`, then `destroyed`."""
    state = "launch_failed" if vanishes else "failed"
    event = {"exit_code": -1, "error": error, "restarting": False, "requested_stop": False}
    world.record(machine, "exit", state, "flyd", moment, request={"exit_event": event})
    change(world, machine, state, moment)
    if vanishes:
        world.plan(machine, moment + LAUNCH_FAILED_S, lambda m, at: _destroyed(world, m, at))


def _end_run(
    world: World,
    machine: Machine,
    moment: float,
    state: str,
    then: Step,
    *,
    signal: str | None = None,
    timeout_s: float = 5.0,
) -> None:
    """Leave `started` through `state`: a real process gets a signal, a virtual one ends by a timer."""
    machine.epoch += 1
    running = machine.started_at is not None
    change(world, machine, state, moment)
    if machine.real:
        machine.after_exit = then
        configured = (machine.config.get("stop_config") or {}).get("signal")
        world.runner.signal(machine.id, "SIGCONT")
        world.runner.stop(machine.id, signal or configured or "SIGINT", timeout_s)
        return

    def ended(machine: Machine, at: float) -> None:
        if running:
            record_exit(world, machine, Exit(0), at, requested=True, restarting=False)
        then(machine, at)

    world.plan(machine, moment + (world.draw(world.timing.stop_s) if running else 0.0), ended)


def _exited(world: World, machine: Machine, ended: Exit, moment: float) -> None:
    """Handle the end of a process, requested or not."""
    machine.real = False
    then, machine.after_exit = machine.after_exit, None
    if then is not None:
        record_exit(world, machine, ended, moment, requested=True, restarting=False)
        then(machine, moment)
        return
    if machine.started_at is not None and moment - machine.started_at > RETRY_WINDOW_S:
        machine.restarts = 0
    again = should_restart(machine, ended)
    record_exit(world, machine, ended, moment, requested=False, restarting=again)
    machine.epoch += 1
    if again:
        wait_s = pause_s(world.draw(world.timing.restart_s), machine.restarts)
        machine.restarts += 1
        change(world, machine, "restarting", moment)
        world.record(machine, "restart", "restarting", "flyd", moment)
        world.plan(machine, moment + wait_s, lambda m, at: _boot(world, m, at, 0.0))
    else:
        _stopped(world, machine, moment)


def _stopped(world: World, machine: Machine, moment: float) -> None:
    ran = machine.run > 0 and machine.state != "created"
    machine.rest_until = moment + world.draw(world.timing.settle_after_stop_s) if ran else 0.0
    change(world, machine, "stopped", moment)
    if ran and machine.config.get("auto_destroy"):
        destroy(world, machine, moment)


def _drop_process(world: World, machine: Machine) -> None:
    """Kill the process and ignore its exit."""
    machine.after_exit = None
    if machine.real:
        machine.real = False
        world.runner.kill(machine.id)


def _destroyed(world: World, machine: Machine, moment: float) -> None:
    change(world, machine, "destroyed", moment)
    world.record(machine, "destroy", "destroyed", "flyd", moment)
    machine.destroyed_at = moment
    world.destroyed.append(
        {
            "app": machine.app.name,
            "machine_id": machine.id,
            "at": to_rfc3339(moment),
            "started_s": round(machine.billed_s(moment), 3),
        }
    )

    def forget(_: float) -> None:
        machine.app.machines.pop(machine.id, None)
        world.machines.pop(machine.id, None)

    linger_s = max(world.timing.destroyed_visible_s, world.unkindness.list_lag_s[1])
    world.at(moment + linger_s, forget)
