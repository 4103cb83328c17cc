"""Check results as a Machine shows them: those of a real process, or those that its image gives a virtual machine."""

import json
from collections.abc import Mapping
from typing import Any
from uuid import NAMESPACE_OID, uuid5

from local.fly.configs import checks_of
from local.fly.state.model import Machine
from local.fly.state.state import World
from local.fly.times import parse_duration, to_rfc3339

STATUSES = ("passing", "warning", "critical")
NO_RESULT = "none"
"""The check is configured and has no result, however long the machine runs."""

VIRTUAL_OUTPUT = "ok (virtual machine)"
OUTPUT_CHARS = 400
SLOW_START_S = 90.0
FLAP_S = 20.0
"""A check that flaps passes for so long, then fails for so long."""

_SHORT_CHARS = 40
Checks = Mapping[str, Mapping[str, Any]]
Result = tuple[str, str, float]
"""Status, output, and since when."""


def show_checks(world: World, machine: Machine) -> list[dict[str, Any]]:
    """The `checks` of a Machine. Empty until the first result, as on Fly: a missing result is not "passing"."""
    checks = checks_of(machine.config)
    if not checks or machine.run == 0 or machine.state in ("created", "starting"):
        return []
    if machine.state != "started":
        return [_show(name, "warning", "the machine hasn't started", machine.updated_at) for name in checks]
    forced = machine.forced_checks
    if machine.real:
        results = {result.name: (result.status, result.output, result.at) for result in world.runner.checks(machine.id)}
    else:
        found = ((name, _find_result(machine, checks, name, world.now())) for name in checks if name not in forced)
        results = {name: result for name, result in found if result is not None}
    shown = [_show(name, *result) for name, result in results.items() if name not in forced]
    return shown + [
        _show(name, force.status, force.output, machine.updated_at)
        for name, force in forced.items()
        if name in checks and force.status != NO_RESULT
    ]


def _show(name: str, status: str, output: str, at: float) -> dict[str, Any]:
    return {"name": name, "status": status, "output": output, "updated_at": to_rfc3339(at)}


def _find_result(machine: Machine, checks: Checks, name: str, now: float) -> Result | None:
    """The result of one of the checks of a running virtual machine; None while it has none."""
    kind, since = machine.image.behaviour.checks, machine.first_check_at
    if kind == "none" or now < since:
        return None
    check = checks[name]
    fails = False
    if kind == "unreachable":
        fails = True
    elif kind == "slow":
        ready_at = (machine.started_at or since) + SLOW_START_S
        fails, since = (True, since) if now < ready_at else (False, max(since, ready_at))
    elif kind != "pass" and _is_target(checks, name):
        turns = int((now - since) // FLAP_S) if kind == "flap" else 0
        fails = {"flap": turns % 2 == 1, "not_ready_again": machine.boots > 1}.get(kind, True)
        since += turns * FLAP_S
    if not fails:
        return "passing", _passing_output(machine, name, check), since
    if kind != "flap":
        since += parse_duration(check.get("grace_period"), 1.0)  # a failure within the grace period is not reported
    return ("critical", _failing_output(machine, name, check), since) if now >= since else None


def _is_target(checks: Checks, name: str) -> bool:
    """Whether the check asks for readiness; in a config without such a check every check does."""
    return _is_ready_check(name, checks[name]) or not any(_is_ready_check(*each) for each in checks.items())


def _is_ready_check(name: str, check: Mapping[str, Any]) -> bool:
    return name == "ready" or str(check.get("path") or "").rstrip("/").endswith("/ready")


def _passing_output(machine: Machine, name: str, check: Mapping[str, Any]) -> str:
    if check.get("type") == "tcp":
        return "Success"
    return ready_page(machine) if _is_ready_check(name, check) else VIRTUAL_OUTPUT


def _failing_output(machine: Machine, name: str, check: Mapping[str, Any]) -> str:
    if check.get("type") == "tcp" or machine.image.behaviour.checks in ("unreachable", "slow"):
        return "connect: connection refused"
    return ready_page(machine, "no authenticated read has succeeded yet") if _is_ready_check(name, check) else "503"


def ready_page(machine: Machine, reason: str | None = None) -> str:
    """What `/ready` answers, in the form of the reference backend and at most `OUTPUT_CHARS` long."""
    env, image, version = machine.config.get("env") or {}, str(machine.config["image"]), machine.image.version
    user_id, version = env.get("USER_ID"), env.get("VERSION") or version
    reports, before = machine.image.behaviour.reports, machine.previous
    if reports == "other_user":
        user_id = str(uuid5(NAMESPACE_OID, f"not {user_id}"))
    elif reports == "previous" and before is not None:
        version = (before.config.get("env") or {}).get("VERSION") or before.image.version
        image = str(before.config["image"])
    elif reports == "previous":
        image, version = f"{image.partition('@')[0]}-previous", "previous"
    body = {
        "status": "not_ready" if reason else "ready",
        "reason": reason,
        "run_mode": _cut(env.get("RUN_MODE")),
        "user_id": _cut(user_id),
        "loaded": 0,
        "expected": 0,
        "image": image,
        "version": _cut(version),
    }
    excess = len(json.dumps(body)) - OUTPUT_CHARS
    if excess > 0:  # the end of a long reference is its digest
        body["image"] = f"...{image[excess + 3 :]}"
    return json.dumps(body)


def _cut(text: str | None) -> str | None:
    return text[:_SHORT_CHARS] if text else text
