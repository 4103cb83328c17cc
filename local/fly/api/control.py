"""The simulator's controls (`/_sim/…`): show the world, set faults, move time. No authorisation, loopback only."""

import json
from collections.abc import Callable, Mapping
from typing import Any

from local.fly.api.apps import take_name
from local.fly.api.regions import CODES
from local.fly.errors import FlyError, answer
from local.fly.faults import parse_faults
from local.fly.forms import FLAG, TEXT, Form, integer, is_text, list_of, number, one_of, read_fields
from local.fly.state import machine_lifecycle as lifecycle
from local.fly.state.checks import NO_RESULT, STATUSES
from local.fly.state.latency_profiles import PROFILES
from local.fly.state.model import App, ForcedCheck, Machine
from local.fly.state.state import RegionState, World
from local.fly.times import to_rfc3339
from local.http_server import Request, Response

HOST_STATUSES = ("ok", "unknown", "unreachable")
MAX_SKEW_S = 7 * 86_400
FORCED_STATES = ("failed", "created", "starting", "stopping", "restarting", "replacing")

Methods = Mapping[str, Callable[..., Any]]
"""A control by method. It takes the world, the names in its path and the JSON body, and returns the JSON of the answer."""


def control(world: World, request: Request) -> Response:
    """Answer a `/_sim` request: 400 for wrong input, 404 and 405 for an unknown control or method."""
    kind, *names = request.path.rstrip("/").split("/")[2:] or [""]
    methods = _CONTROLS_OF_ONE.get((kind, *names[1:])) if names else _CONTROLS.get(kind)
    if methods is None:
        raise FlyError(404, f"no such control; there are {', '.join(sorted(_CONTROLS))}, apps, machines, regions")
    if request.method not in methods:
        raise FlyError(405, f"{request.path} answers {', '.join(methods)}")
    try:
        body = None if request.method == "GET" else json.loads(request.body or b"null")
        return answer(methods[request.method](world, *names[:1], body))
    except json.JSONDecodeError as error:
        raise FlyError(400, f"the body is not JSON: {error}") from error
    except ValueError as error:
        raise FlyError(400, str(error)) from error


def _show_world(world: World, _body: None) -> dict[str, Any]:
    """Everything that exists, without the lag of listings; secrets by name only."""
    now = world.now()
    return {
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


def _show_faults(world: World, _body: None) -> list[dict[str, Any]]:
    return [fault.shown() for fault in world.faults]


def _put_faults(world: World, body: Any) -> list[dict[str, Any]]:
    world.faults = parse_faults(body)
    return _show_faults(world, None)


def _put_latency(world: World, body: Any) -> dict[str, Any]:
    profile = read_fields(body, {"profile": one_of(PROFILES)}, required=["profile"])["profile"]
    world.use_profile(profile)
    return {"profile": profile}


def _read_names(body: Any, what: str) -> set[str]:
    names = list_of(lambda name: is_text(name) and name != "", what)
    if not names.fits(body):
        raise ValueError(f"expected {names.words}")
    return set(body)


def _put_bad_images(world: World, body: Any) -> list[str]:
    world.bad_images = _read_names(body, "images")
    return sorted(world.bad_images)


def _show_images(world: World, _body: None) -> dict[str, Any]:
    return world.images.shown()


def _put_images(world: World, body: Any) -> dict[str, Any]:
    """What images are from now on, as after a push. Machines keep the image that they were created or updated with."""
    world.images.register(body)
    return world.images.shown()


def _put_read_only_tokens(world: World, body: Any) -> int:
    world.read_only_tokens = _read_names(body, "tokens")
    return len(world.read_only_tokens)


def _put_foreign_apps(world: World, body: Any) -> list[str]:
    names = _read_names(body, "app names")
    if ours := sorted(names & set(world.apps)):
        raise ValueError(f"{ours[0]} is an app of ours")
    world.foreign = names
    return sorted(world.foreign)


def _take_name(world: World, name: str, _body: Any) -> list[str]:
    app = world.apps.get(name)
    if app is None:
        raise FlyError(404, f"no app is called {name}")
    take_name(world, app)
    return sorted(world.foreign)


_QUOTA = integer(0, words="an integer, 0 or more").or_null()


def _put_region(world: World, code: str, body: Any) -> dict[str, Any]:
    state = RegionState(**read_fields(body, {"error": FLAG, "full": FLAG, "quota_mb": _QUOTA}))
    if code not in CODES:
        raise ValueError(f"unknown region {code!r}; known are {', '.join(CODES)}")
    world.regions.pop(code, None)
    if state != RegionState():
        world.regions[code] = state
    return {"region": code, **vars(state)}


_ADVANCE = number(0, 1e10, "a number of seconds, 0 or more")
_SKEW = number(-MAX_SKEW_S, MAX_SKEW_S, f"a number of seconds from -{MAX_SKEW_S} to {MAX_SKEW_S}")


def _advance_clock(world: World, body: Any) -> dict[str, Any]:
    world.offset_s += read_fields(body, {"advance_s": _ADVANCE}, required=["advance_s"])["advance_s"]
    world.settle()
    return _show_clock(world, None)


def _skew_clock(world: World, body: Any) -> dict[str, Any]:
    """Shift every time in an answer. Timers are not affected."""
    world.skew_s = float(read_fields(body, {"skew_s": _SKEW}, required=["skew_s"])["skew_s"])
    return _show_clock(world, None)


def _show_clock(world: World, _body: None) -> dict[str, Any]:
    return {"now": to_rfc3339(world.now()), "offset_s": world.offset_s, "skew_s": world.skew_s}


def _reset(world: World, body: Any) -> dict[str, Any]:
    seed = read_fields(body or {}, {"seed": integer().or_null()}).get("seed")
    for machine in world.machines.values():
        if machine.real:
            machine.real = False
            world.runner.kill(machine.id)
    world.reset(seed)
    return {"ok": True}


def _find(world: World, machine_id: str) -> Machine:
    machine = world.machines.get(machine_id)
    if machine is None or machine.state in ("destroyed", "destroying"):
        raise FlyError(404, f"no live machine {machine_id}")
    return machine


def _crash(world: World, machine_id: str, _body: Any) -> dict[str, Any]:
    machine = _find(world, machine_id)
    if machine.state != "started":
        raise ValueError(f"machine {machine_id} is {machine.state}, only a started one can crash")
    lifecycle.crash(world, machine, world.now())
    return {"id": machine.id, "state": machine.state}


def _add_logs(world: World, machine_id: str, body: Any) -> dict[str, Any]:
    """Let a machine log these lines now."""
    machine = _find(world, machine_id)
    fields = read_fields(body, {"lines": list_of(is_text, "texts"), "level": TEXT}, required=["lines"])
    for line in fields["lines"]:
        world.logs.add(machine, line, world.now(), fields.get("level", "info"))
    return {"id": machine.id, "lines": len(fields["lines"])}


def _is_check(value: Any) -> bool:
    found = value if isinstance(value, dict) else {"status": value}
    is_known = found.get("status") in (*STATUSES, NO_RESULT) and set(found) <= {"status", "output"}
    return is_known and is_text(found.get("output", ""))


_BREAKS = {
    "state": Form(f"one of {', '.join(FORCED_STATES)}; the API leads to the other states", one_of(FORCED_STATES).fits),
    "reported_state": Form("a word, or null to end the override", TEXT.or_null().fits),
    "host_status": one_of(HOST_STATUSES),
    "checks": Form(
        f"an object of names to {', '.join((*STATUSES, NO_RESULT))}, or to an object with status and output; "
        "{} ends the override",
        lambda value: isinstance(value, dict) and all(map(_is_check, value.values())),
    ),
}


def _break_machine(world: World, machine_id: str, body: Any) -> dict[str, Any]:
    """Make a machine look broken: its state, its host or its checks."""
    machine = _find(world, machine_id)
    fields = read_fields(body, _BREAKS)
    if "checks" in fields:
        checks = {name: each if isinstance(each, dict) else {"status": each} for name, each in fields["checks"].items()}
        machine.forced_checks = {name: ForcedCheck(**check) for name, check in checks.items()}
    machine.reported_state = fields.get("reported_state", machine.reported_state) or None
    machine.host_status = fields.get("host_status", machine.host_status)
    if "state" in fields:
        lifecycle.force(world, machine, fields["state"], world.now())
    return _show_machine(machine, world.now())


_CONTROLS: Mapping[str, Methods] = {
    "world": {"GET": _show_world},
    "faults": {"GET": _show_faults, "PUT": _put_faults},
    "latency": {"PUT": _put_latency},
    "foreign-apps": {"PUT": _put_foreign_apps},
    "read-only-tokens": {"PUT": _put_read_only_tokens},
    "bad-images": {"PUT": _put_bad_images},
    "images": {"GET": _show_images, "PUT": _put_images},
    "clock": {"GET": _show_clock, "POST": _advance_clock, "PUT": _skew_clock},
    "reset": {"POST": _reset},
}
_CONTROLS_OF_ONE: Mapping[tuple[str, ...], Methods] = {
    ("apps", "take"): {"POST": _take_name},
    ("regions",): {"PUT": _put_region},
    ("machines",): {"PUT": _break_machine},
    ("machines", "crash"): {"POST": _crash},
    ("machines", "logs"): {"POST": _add_logs},
}
"""`/_sim/{kind}/{name}` and `/_sim/{kind}/{name}/{verb}`, by kind and verb."""
