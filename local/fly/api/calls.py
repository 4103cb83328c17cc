"""A routed request, and the three kinds of answer that a handler gives."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from local.fly.errors import FlyError, is_true, read_object
from local.fly.state.model import App, Machine
from local.fly.state.state import World
from local.fly.times import to_rfc3339
from local.http_server import Request, Response


@dataclass(frozen=True)
class Call:
    """A routed request. `params` are those of the path, `owner` is the caller's name in leases."""

    request: Request
    params: Mapping[str, str]
    owner: str
    now: float

    def param(self, name: str) -> str | None:
        return self.request.param(name)

    def flag(self, name: str) -> bool:
        return is_true(self.request.param(name))

    def values(self, name: str) -> list[str]:
        """All values of a query parameter, repeated or comma-separated."""
        given = [value for key, value in self.request.query if key == name]
        return [part.strip() for value in given for part in value.split(",") if part.strip()]

    def body(self, *, required: bool = False) -> dict[str, Any]:
        return read_object(self.request, required=required)


@dataclass(frozen=True)
class Wait:
    """A response that comes later: `check(now)` is called again until it gives one. The lock is free in between."""

    check: Callable[[float], Response | None]
    deadline: float
    expired: Callable[[], FlyError]


@dataclass(frozen=True)
class Deferred:
    """A response that takes real work, which `run` does without the lock."""

    run: Callable[[], Response]


Handler = Callable[[World, Call], Response | Wait | Deferred]


def find_app(world: World, call: Call) -> App:
    """The app of the path: 403 for a foreign app, 404 when it does not exist or is not visible yet."""
    name = call.params["app_name"]
    if name in world.foreign:
        raise FlyError(403, "unauthorized")
    app = world.apps.get(name)
    if app is None or app.visible_at > call.now:
        raise FlyError(404, "app not found")
    return app


def find_machine(world: World, call: Call) -> Machine:
    """The machine of the path. A destroyed machine is found for a while longer."""
    app = find_app(world, call)
    wanted = call.params["machine_id"]
    machine = app.machines.get(wanted)
    if machine is None or machine.visible_at > call.now:
        if len(wanted) != 14 or not wanted.isalnum():
            raise FlyError(404, f"invalid machine ID, '{wanted}'")
        raise FlyError(404, "not_found: machine not found")
    gone_at = machine.destroyed_at
    if gone_at is not None and call.now >= gone_at + world.timing.destroyed_visible_s:
        raise FlyError(404, "not_found: machine not found")
    return machine


def find_live_machine(world: World, call: Call) -> Machine:
    """The machine of the path, for a change: 404 when it is destroyed, 409 while another caller holds its lease."""
    machine = find_machine(world, call)
    if machine.state == "destroyed":
        raise FlyError(404, "not_found: machine not found")
    lease = machine.live_lease(call.now)
    if lease is not None and call.request.headers.get("fly-machine-lease-nonce") != lease.nonce:
        raise held(machine, lease.owner, lease.expires_at)
    return machine


def held(machine: Machine, owner: str, expires_at: float) -> FlyError:
    """The 409 for a lease that another caller holds, in Fly's words."""
    return FlyError(
        409,
        f"machine ID {machine.id} lease currently held by {owner}@tokens.fly.io, expires at {to_rfc3339(expires_at)}",
    )
