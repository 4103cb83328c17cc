"""What goes wrong on Fly: every kind of failure that is known of its API, for every call that Hangar makes."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from random import Random

import httpx

from local.fly.transport import open_client
from tests.support.worker import ORG

REGION = "iad"
_MACHINE = "/v1/apps/*/machines/*"
_EVERY_CALL = (
    ("GET", "/v1/apps/*"),
    ("POST", "/v1/apps"),
    ("DELETE", "/v1/apps/*"),
    ("POST", "/v1/apps/*/secrets"),
    ("GET", "/v1/apps/*/machines"),
    ("POST", "/v1/apps/*/machines"),
    ("GET", _MACHINE),
    ("POST", _MACHINE),
    ("DELETE", _MACHINE),
    ("POST", f"{_MACHINE}/start"),
    ("POST", f"{_MACHINE}/stop"),
    ("GET", f"{_MACHINE}/wait"),
    ("GET", f"/v1/orgs/{ORG}/machines"),
    ("GET", "/v1/apps"),
)
_FAILURES = (
    {"status": 500, "body": {"error": "internal: something broke"}},
    {"status": 502},
    {"status": 503, "text": "<html>upstream unavailable</html>"},
    {"status": 504},
    {"status": 408, "body": {"error": "deadline_exceeded: timed out"}},
    {"status": 408},
    {"status": 429, "body": {"error": "rate limit exceeded"}, "headers": {"Retry-After": "3"}},
    {"status": 429},
    {"status": 401, "body": {"error": "unauthorized"}},
    {"disconnect": True},
    {"delay_s": 90.0, "disconnect": True},
    {"delay_s": 20.0},
    {"status": 404, "body": {"error": "not found"}},
    {"status": 403, "body": {"error": "unauthorized"}},
)
_HURTS = (
    *("crash", "failed", "starting", "stopping", "unreachable", "critical", "without a result", "in an unknown state"),
    *("machine deleted by hand", "app deleted by hand", "stopped by hand", "doubled by hand"),
)
_REFUSALS = {
    "POST /v1/apps": (
        {"status": 422, "body": {"error": "Validation failed: Name has already been taken", "status": "name_taken"}},
        {"status": 403, "body": {"error": "unauthorized"}},
    ),
    "POST /v1/apps/*/machines": (
        {
            "status": 422,
            "body": {"error": "could not find a candidate host", "status": "insufficient_capacity"},
        },
        {"status": 403, "body": {"error": 'organization "x" is over the allowed quota. please consider other regions'}},
        {"status": 409, "body": {"error": "already_exists: unique machine name violation"}},
    ),
    f"POST {_MACHINE}/start": (
        {"status": 412, "body": {"error": "failed_precondition: machine still active, refusing to start"}},
    ),
    f"POST {_MACHINE}/stop": (
        {"status": 409, "body": {"error": "machine ID 1 lease currently held by a@tokens.fly.io, expires at 2026"}},
    ),
    f"POST {_MACHINE}": (
        {"status": 409, "body": {"error": "aborted: machine update failed due to concurrent update"}},
        {"status": 412, "body": {"error": "failed_precondition: unable to create machine, no capacity"}},
    ),
}


# What Fly says to a whole organisation, on every call that changes something.
_BAD_DAYS = (
    {"status": 403, "body": {"error": "organization is suspended: pay the open invoice"}},
    {
        "status": 422,
        "body": {"error": "Your organization has reached its machine limit. Please contact billing@fly.io"},
    },
    {"status": 403, "body": {"error": "Your Fly.io account has been marked as high risk. Please verify your account."}},
    {"status": 401, "body": {"error": "Authenticate: token validation error"}},
    {"status": 403, "body": {"error": "no"}},
)


def draw_bad_day(chance: Random) -> list[dict]:
    """Fly refuses every change, for one cause, until its faults are replaced."""
    refusal = chance.choice(_BAD_DAYS)
    changes = [(method, path) for method, path in _EVERY_CALL if method != "GET"]
    return [{"method": method, "path": path, "when": "before", **refusal} for method, path in changes]


def draw_faults(chance: Random) -> list[dict]:
    """Up to four rules for `/_sim/faults`: which call fails, how, before or after its effect, and how often."""
    rules = []
    for _ in range(chance.randint(1, 4)):
        method, path = chance.choice(_EVERY_CALL)
        failure = chance.choice(_FAILURES)
        if chance.random() < 0.3:
            failure = chance.choice(_REFUSALS.get(f"{method} {path}", (failure,)))
        refuses = failure.get("status") in (401, 403, 404, 409, 412, 422, 429)
        when = chance.choice(("before", "before", "before", "after") if refuses else ("before", "after"))
        rules.append({"method": method, "path": path, "when": when, "times": chance.randint(1, 6), **failure})
    return rules


@contextmanager
def by_hand(world) -> Iterator[httpx.Client]:
    """Another client of the same organisation, whose calls do not meet the injected faults."""
    fly = world.sim.world
    faults, unkindness = fly.faults, fly.unkindness
    fly.faults, fly.unkindness = [], replace(unkindness, lost_answers=0.0)
    try:
        with open_client(world.sim) as client:
            yield client
    finally:
        fly.faults, fly.unkindness = faults, unkindness


def hurt_machine(world, chance: Random) -> str | None:
    """Break one running machine of Hangar's. Returns a description of how."""
    machines = [m for m in world.sim.machines() if m.app.name not in world.strangers and m.state == "started"]
    if not machines:
        return None
    machine, how = chance.choice(machines), chance.choice(_HURTS)
    world.faults[machine.app.name] += 1
    path = f"/v1/apps/{machine.app.name}/machines"
    with by_hand(world) as fly:
        match how:
            case "crash":
                world.control("POST", f"machines/{machine.id}/crash", {})
            case "unreachable":
                world.control("PUT", f"machines/{machine.id}", {"host_status": "unreachable"})
            case "critical":
                world.control("PUT", f"machines/{machine.id}", {"checks": {"alive": "critical"}})
            case "without a result":
                world.control("PUT", f"machines/{machine.id}", {"checks": {"ready": "none"}})
            case "in an unknown state":
                world.control("PUT", f"machines/{machine.id}", {"reported_state": "hibernating"})
            case "machine deleted by hand":
                fly.request("DELETE", f"{path}/{machine.id}", params={"force": "true"})
            case "app deleted by hand":
                fly.request("DELETE", f"/v1/apps/{machine.app.name}", params={"force": "true"})
            case "stopped by hand":
                fly.post(f"{path}/{machine.id}/stop")
            case "doubled by hand":
                fly.post(path, json={"name": f"by-hand-{chance.getrandbits(32):x}", "config": machine.config})
            case state:
                world.control("PUT", f"machines/{machine.id}", {"state": state})
    return f"{machine.app.name}: machine {machine.id} {how}"
