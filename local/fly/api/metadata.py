"""A machine's metadata, events and versions, and commands that run in it."""

import shlex
from dataclasses import asdict
from typing import Any

from local.fly.api.calls import Call, Deferred, find_live_machine, find_machine
from local.fly.errors import FlyError, answer, read_int
from local.fly.runtime.runner import Executed
from local.fly.state.model import MAX_EVENTS, Machine, show_config
from local.fly.state.runs import environment_of
from local.fly.state.state import World
from local.http_server import Response

DEFAULT_EXEC_S = 30


def get_metadata(world: World, call: Call) -> Response:
    """`GET …/metadata`."""
    return answer(find_machine(world, call).metadata)


def patch_metadata(world: World, call: Call) -> Response:
    """`PATCH …/metadata` (and its deprecated alias PUT): merges; null or "" removes. 412 for an old `machine_version`."""
    machine = find_live_machine(world, call)
    body = call.body(required=True)
    changes = body.get("metadata")
    if not isinstance(changes, dict) or not all(isinstance(value, str | None) for value in changes.values()):
        raise FlyError(400, "invalid_argument: metadata must map strings to strings")
    guard = body.get("machine_version")
    if guard and guard != machine.version:
        raise FlyError(412, "failed_precondition: machine version mismatch")
    _merge(world, machine, changes, call.now)
    return Response(204)


def _merge(world: World, machine: Machine, changes: dict[str, str | None], moment: float) -> None:
    merged = {key: value for key, value in {**machine.metadata, **changes}.items() if value}
    # A new dict each time: lagging listings still hold the old one.
    machine.config = {**machine.config, "metadata": merged}
    machine.versions[-1] = (machine.version, machine.config)
    world.touch(machine, moment)


def get_metadata_key(world: World, call: Call) -> Response:
    """`GET …/metadata/{key}`."""
    value = find_machine(world, call).metadata.get(call.params["key"])
    if value is None:
        raise FlyError(404, "not_found: metadata key not found")
    return answer({"value": value})


def set_metadata_key(world: World, call: Call) -> Response:
    """`POST …/metadata/{key}`."""
    machine = find_live_machine(world, call)
    value = call.body(required=True).get("value")
    if not isinstance(value, str):
        raise FlyError(400, "invalid_argument: value must be a string")
    _merge(world, machine, {call.params["key"]: value}, call.now)
    return Response(204)


def delete_metadata_key(world: World, call: Call) -> Response:
    """`DELETE …/metadata/{key}`: 204 also for a missing key."""
    _merge(world, find_live_machine(world, call), {call.params["key"]: None}, call.now)
    return Response(204)


def list_events(world: World, call: Call) -> Response:
    """`GET …/events`: newest first; `limit` is 20 by default and at most 50."""
    machine = find_machine(world, call)
    limit = read_int(call.param("limit") or "20", "limit", 1, MAX_EVENTS)
    return answer(machine.events[:limit])


def list_versions(world: World, call: Call) -> Response:
    """`GET …/versions`: newest first."""
    machine = find_machine(world, call)
    return answer(
        [{"version": version, "user_config": show_config(config)} for version, config in reversed(machine.versions)]
    )


def execute(world: World, call: Call) -> Response | Deferred:
    """`POST …/exec`: runs a command in a real machine; a virtual one knows `printenv NAME` and `env` only."""
    machine = find_live_machine(world, call)
    body = call.body(required=True)
    command = _command(body)
    stdin = body.get("stdin") or ""
    timeout_s = read_int(str(body.get("timeout") or DEFAULT_EXEC_S), "timeout", 1, 3600)
    if machine.state != "started":
        raise FlyError(412, f"failed_precondition: machine is not started, it is {machine.state}")
    if not machine.real:
        return answer(asdict(_execute_virtually(machine, command)))

    def run() -> Response:
        try:
            return answer(asdict(world.runner.execute(machine.id, command, str(stdin), timeout_s)))
        except TimeoutError as error:
            raise FlyError(408, "deadline_exceeded: command timed out") from error
        except LookupError as error:
            raise FlyError(412, "failed_precondition: the process of the machine has ended") from error

    return Deferred(run)


def _command(body: dict[str, Any]) -> list[str]:
    command = body.get("command")
    if command is None and isinstance(body.get("cmd"), str):
        command = shlex.split(body["cmd"])
    if not isinstance(command, list) or not command or not all(isinstance(part, str) for part in command):
        raise FlyError(400, "invalid_argument: command must be a list of strings (the deprecated cmd is one string)")
    return command


def _execute_virtually(machine: Machine, command: list[str]) -> Executed:
    env = environment_of(machine)
    if command in (["env"], ["printenv"]):
        return Executed("".join(f"{name}={value}\n" for name, value in sorted(env.items())), "", 0)
    if command[0] == "printenv" and len(command) == 2:
        value = env.get(command[1])
        return Executed("", "", 1) if value is None else Executed(f"{value}\n", "", 0)
    raise FlyError(
        400, f"unknown: this machine is virtual and runs only `printenv NAME` and `env`, not {shlex.join(command)!r}"
    )
