"""The simulator's controls (`/_sim/…`): show the world, set faults, move time. No authorisation, loopback only."""

import json
from collections.abc import Callable
from typing import Any

from local.fly.api.regions import CODES
from local.fly.errors import FlyError, answer
from local.fly.faults.faults import parse_faults
from local.fly.state import machine_lifecycle as lifecycle
from local.fly.state.health import NO_RESULT, STATUSES
from local.fly.state.latency_profiles import PROFILES
from local.fly.state.model import App, ForcedCheck, Machine
from local.fly.state.state import RegionState, World
from local.fly.times import to_rfc3339
from local.http_server import Request, Response

HOST_STATUSES = ("ok", "unknown", "unreachable")
MAX_SKEW_S = 7 * 86_400
FORCED_STATES = ("failed", "created", "starting", "stopping", "restarting", "replacing")


def control(world: World, request: Request) -> Response:
    """Answer a `/_sim` request: 400 for wrong input, 404 and 405 for an unknown control or method."""
    parts = request.path.rstrip("/").split("/")[2:]
    match parts:
        case ["machines", machine_id, "crash"]:
            return _only(request, "POST", lambda: _crash(world, machine_id))
        case ["machines", machine_id, "logs"]:
            return _only(request, "POST", lambda: _add_logs(world, machine_id, _json(request)))
        case ["machines", machine_id]:
            return _only(request, "PUT", lambda: _break_machine(world, machine_id, _json(request)))
        case ["regions", code]:
            return _only(request, "PUT", lambda: _set_region(world, code, _json(request)))
        case [name] if name in _CONTROLS:
            methods = _CONTROLS[name]
            if request.method not in methods:
                raise FlyError(405, f"/_sim/{name} answers {', '.join(methods)}")
            return methods[request.method](world, request)
        case _:
            raise FlyError(404, f"no such control; there are {', '.join(sorted(_CONTROLS))}, machines, regions")


def _only(request: Request, method: str, run: Callable[[], Response]) -> Response:
    if request.method != method:
        raise FlyError(405, f"{request.path} answers {method}")
    return run()


def _json(request: Request) -> Any:
    try:
        return json.loads(request.body or b"null")
    except ValueError as error:
        raise FlyError(400, f"the body is not JSON: {error}") from error


def _object(request: Request, *names: str) -> dict[str, Any]:
    body = _json(request)
    return _checked_object(body, names)


def _checked_object(body: Any, names: tuple[str, ...]) -> dict[str, Any]:
    if not isinstance(body, dict):
        raise FlyError(400, f"expected a JSON object with {', '.join(names)}")
    if unknown := set(body) - set(names):
        raise FlyError(400, f"unknown field {min(unknown)!r}; known are {', '.join(names)}")
    return body


def show_world(world: World, _request: Request) -> Response:
    """Everything that exists, without the lag of listings; secrets by name only."""
    now = world.now()
    return answer(
        {
            "apps": [_show_app(app, now) for app in world.apps.values()],
            "requests": dict(sorted(world.requests.items())),
            "destroyed": world.destroyed,
            "deleted_apps": world.gone_apps,
            "foreign_apps": sorted(world.foreign),
            "held_names": sorted(world.held_names),
            "images": world.images.shown(),
            "regions": {code: vars(state) for code, state in sorted(world.regions.items())},
            "now": to_rfc3339(now),
            "profile": world.profile,
            "unkind": world.unkind,
        }
    )


def _show_app(app: App, now: float) -> dict[str, Any]:
    return {
        "name": app.name,
        "org_slug": app.org_slug,
        "network": app.network,
        "deleting": app.deleting,
        "secrets": sorted(app.secrets),
        "addresses": [{"ip": address.ip, "type": address.kind} for address in app.addresses],
        "machines": [_show_machine(machine, now) for machine in app.live_machines()],
    }


def _show_machine(machine: Machine, now: float) -> dict[str, Any]:
    return {
        "id": machine.id,
        "name": machine.name,
        "state": machine.state,
        "region": machine.region,
        "version": machine.version,
        "host_status": machine.host_status,
        "process": machine.real,
        "started_s": round(machine.billed_s(now), 3),
        "image_digest": machine.image_digest,
        "behaviour": machine.image.behaviour.name,
        "config": machine.config,
    }


def _get_faults(world: World, _request: Request) -> Response:
    return answer([fault.shown() for fault in world.faults])


def _put_faults(world: World, request: Request) -> Response:
    try:
        world.faults = parse_faults(_json(request))
    except ValueError as error:
        raise FlyError(400, str(error)) from error
    return _get_faults(world, request)


def _put_latency(world: World, request: Request) -> Response:
    profile = _object(request, "profile").get("profile")
    if profile not in PROFILES:
        raise FlyError(400, f"profile must be one of {', '.join(PROFILES)}")
    world.use_profile(profile)
    return answer({"profile": profile})


def _names(request: Request, what: str) -> set[str]:
    names = _json(request)
    if not isinstance(names, list) or not all(isinstance(name, str) and name for name in names):
        raise FlyError(400, f"expected a list of {what}")
    return set(names)


def _put_bad_images(world: World, request: Request) -> Response:
    world.bad_images = _names(request, "images")
    return answer(sorted(world.bad_images))


def _get_images(world: World, _request: Request) -> Response:
    return answer(world.images.shown())


def _put_images(world: World, request: Request) -> Response:
    """What images are from now on, as after a push. Machines keep the image that they were created or updated with."""
    try:
        world.images.register(_json(request))
    except ValueError as error:
        raise FlyError(400, str(error)) from error
    return _get_images(world, request)


def _put_foreign_apps(world: World, request: Request) -> Response:
    names = _names(request, "app names")
    if ours := sorted(names & set(world.apps)):
        raise FlyError(400, f"{ours[0]} is an app of ours")
    world.foreign = names
    return answer(sorted(world.foreign))


def _set_region(world: World, code: str, raw: Any) -> Response:
    body = _checked_object(raw, ("error", "full", "quota_mb"))
    if code not in CODES:
        raise FlyError(400, f"unknown region {code!r}; known are {', '.join(CODES)}")
    for name in ("error", "full"):
        if not isinstance(body.get(name, False), bool):
            raise FlyError(400, f"{name} must be true or false")
    quota_mb = body.get("quota_mb")
    if quota_mb is not None and (isinstance(quota_mb, bool) or not isinstance(quota_mb, int) or quota_mb < 0):
        raise FlyError(400, "quota_mb must be an integer, 0 or more, or null")
    state = RegionState(**body)
    world.regions.pop(code, None)
    if state != RegionState():
        world.regions[code] = state
    return answer({"region": code, **vars(state)})


def _post_clock(world: World, request: Request) -> Response:
    seconds = _object(request, "advance_s").get("advance_s")
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 <= seconds < 1e10:
        raise FlyError(400, "advance_s must be a number of seconds, 0 or more")
    world.offset_s += seconds
    world.settle()
    return _get_clock(world, request)


def _put_clock(world: World, request: Request) -> Response:
    """How wrong the time is that answers show."""
    seconds = _object(request, "skew_s").get("skew_s")
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not abs(seconds) <= MAX_SKEW_S:
        raise FlyError(400, f"skew_s must be a number of seconds from -{MAX_SKEW_S} to {MAX_SKEW_S}")
    world.skew_s = float(seconds)
    return _get_clock(world, request)


def _get_clock(world: World, _request: Request) -> Response:
    return answer({"now": to_rfc3339(world.now()), "offset_s": world.offset_s, "skew_s": world.skew_s})


def _post_reset(world: World, request: Request) -> Response:
    seed = _checked_object(_json(request) or {}, ("seed",)).get("seed")
    if seed is not None and (isinstance(seed, bool) or not isinstance(seed, int)):
        raise FlyError(400, "seed must be an integer")
    for machine in world.machines.values():
        if machine.real:
            machine.real = False
            world.runner.kill(machine.id)
    world.reset(seed)
    return answer({"ok": True})


def _find(world: World, machine_id: str) -> Machine:
    machine = world.machines.get(machine_id)
    if machine is None or machine.state in ("destroyed", "destroying"):
        raise FlyError(404, f"no live machine {machine_id}")
    return machine


def _crash(world: World, machine_id: str) -> Response:
    machine = _find(world, machine_id)
    if machine.state != "started":
        raise FlyError(400, f"machine {machine_id} is {machine.state}, only a started one can crash")
    lifecycle.crash(world, machine, world.now())
    return answer({"id": machine.id, "state": machine.state})


def _add_logs(world: World, machine_id: str, raw: Any) -> Response:
    """Let a machine log these lines now."""
    machine = _find(world, machine_id)
    body = _checked_object(raw, ("lines", "level"))
    lines, level = body.get("lines"), body.get("level", "info")
    if not isinstance(lines, list) or not all(isinstance(line, str) for line in lines) or not isinstance(level, str):
        raise FlyError(400, "lines must be a list of texts, and level a word")
    for line in lines:
        world.logs.add(machine, line, world.now(), level)
    return answer({"id": machine.id, "lines": len(lines)})


def _break_machine(world: World, machine_id: str, raw: Any) -> Response:
    """Make a machine look broken: its state, its host or its checks."""
    machine = _find(world, machine_id)
    body = _checked_object(raw, ("state", "reported_state", "host_status", "checks"))
    checks = _read_checks(body["checks"]) if "checks" in body else machine.forced_checks
    reported = body.get("reported_state", machine.reported_state)
    if not isinstance(reported, str | None):
        raise FlyError(400, "reported_state must be a word, or null to end the override")
    if body.get("host_status", "ok") not in HOST_STATUSES:
        raise FlyError(400, f"host_status must be one of {', '.join(HOST_STATUSES)}")
    if body.get("state", "failed") not in FORCED_STATES:
        raise FlyError(400, f"state must be one of {', '.join(FORCED_STATES)}; the API leads to the other states")
    machine.forced_checks = checks
    machine.reported_state = reported or None
    machine.host_status = body.get("host_status", machine.host_status)
    if "state" in body:
        lifecycle.force(world, machine, body["state"], world.now())
    return answer(_show_machine(machine, world.now()))


def _read_checks(raw: Any) -> dict[str, ForcedCheck]:
    """Checks by name: a status, or `{"status", "output"}`."""
    statuses, checks = (*STATUSES, NO_RESULT), {}
    for name, value in raw.items() if isinstance(raw, dict) else [("", raw)]:
        told = value if isinstance(value, dict) else {"status": value}
        output = told.get("output", ForcedCheck.output)
        if told.get("status") not in statuses or not isinstance(output, str) or set(told) - {"status", "output"}:
            raise FlyError(
                400,
                f"checks must map names to {', '.join(statuses)}, or to an object with status and output; {{}} ends the override",
            )
        checks[name] = ForcedCheck(told["status"], output)
    return checks


_CONTROLS: dict[str, dict[str, Callable[[World, Request], Response]]] = {
    "world": {"GET": show_world},
    "faults": {"GET": _get_faults, "PUT": _put_faults},
    "latency": {"PUT": _put_latency},
    "foreign-apps": {"PUT": _put_foreign_apps},
    "bad-images": {"PUT": _put_bad_images},
    "images": {"GET": _get_images, "PUT": _put_images},
    "clock": {"GET": _get_clock, "POST": _post_clock, "PUT": _put_clock},
    "reset": {"POST": _post_reset},
}
