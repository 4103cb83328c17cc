"""Checks of a machine config: an image, a size that exists on Fly, fields of the right type.

Limits: Fly docs "Machine sizing" and fly-go machine_types.go. The texts about memory are those
observed on the wire; the texts about CPUs follow the same form.
"""

from collections.abc import Mapping
from typing import Any

from local.fly.errors import FlyError
from local.fly.forms import Form, integer, is_text, list_of, map_of, one_of
from local.fly.times import parse_duration

STOP_SIGNALS = ("SIGHUP", "SIGINT", "SIGQUIT", "SIGKILL", "SIGUSR1", "SIGUSR2", "SIGTERM")
POLICIES = ("no", "always", "on-failure")
SHARED_CPUS = (1, 2, 4, 6, 8)
PERFORMANCE_CPUS = (1, 2, 4, 6, 8, 10, 12, 14, 16)
_MB_PER_CPU = {"shared": (256, 2048, 256), "performance": (2048, 8192, 1024)}
"""Least and most memory per CPU, and the step."""


def _is_duration(value: Any) -> bool:
    try:
        parse_duration(value, 0.0)
    except ValueError:
        return False
    return True


_DURATION = Form("a duration such as 1m30s", _is_duration)
_OBJECT = map_of(lambda _: True, "fields")
_OBJECTS = list_of(_OBJECT.fits, "objects")
_CONFIG = {
    **dict.fromkeys(("guest", "init", "restart", "stop_config"), _OBJECT),
    **dict.fromkeys(("env", "metadata"), map_of(is_text, "strings")),
    "checks": map_of(_OBJECT.fits, "objects"),
    "services": _OBJECTS,
}
_STOP = {"signal": one_of(STOP_SIGNALS, or_empty=True), "timeout": _DURATION}
_RESTART = {"policy": one_of(POLICIES, or_empty=True), "max_retries": integer()}
_CHECK = {
    "type": one_of(("http", "tcp")),
    "port": integer(),
    "headers": list_of(lambda each: _OBJECT.fits(each) and bool(each.get("name")), "objects with name and values"),
    **dict.fromkeys(("interval", "timeout", "grace_period"), _DURATION),
}


def accept_config(raw: Any) -> dict[str, Any]:
    """A copy of a config with its guest completed; 400 for a config that Fly refuses."""
    if not isinstance(raw, dict):
        raise FlyError(400, "invalid_argument: config is required")
    config = {key: value for key, value in raw.items() if value is not None}
    if not isinstance(config.get("image"), str) or not config["image"]:
        raise FlyError(400, "invalid_argument: invalid config.image, an image is required")
    _check("config", config, _CONFIG)
    _check("config.stop_config", config.get("stop_config", {}), _STOP)
    _check("config.restart", config.get("restart", {}), _RESTART)
    services = config.get("services", [])
    for service in services:
        _check("config.services", service, {"checks": _OBJECTS})
    for name, check in checks_of(config).items():
        _check(f"config.checks.{name}", {**check, "type": check.get("type") or ""}, _CHECK)
    config["guest"] = _accept_guest(config.get("guest", {}))
    config["metadata"] = dict(config.get("metadata", {}))
    if services:
        config["services"] = [_show_autostop(service) for service in services]
    return config


def _check(where: str, fields: Mapping[str, Any], forms: Mapping[str, Form]) -> None:
    """400 for a field of another form; Fly takes null for an absent field."""
    for name, form in forms.items():
        if fields.get(name) is not None and not form.fits(fields[name]):
            raise FlyError(400, f"invalid_argument: {where}.{name} must be {form.words}")


def checks_of(config: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """All health checks of a config by the name of their results: its own, and `servicecheck-…` for those of services."""
    found = dict(config.get("checks") or {})
    for service in config.get("services") or []:
        for number, check in enumerate(service.get("checks") or []):
            port = check.get("port") or service.get("internal_port")
            found[f"servicecheck-{number:02d}-{check.get('type')}-{port}"] = check
    return found


def _accept_guest(raw: dict[str, Any]) -> dict[str, Any]:
    guest = {"cpu_kind": "shared", "cpus": 1, **raw}
    kind, cpus = guest["cpu_kind"], guest["cpus"]
    if not one_of(_MB_PER_CPU).fits(kind):
        raise FlyError(400, f"invalid config.guest.cpu_kind, '{kind}' is not one of shared, performance")
    allowed = SHARED_CPUS if kind == "shared" else PERFORMANCE_CPUS
    if cpus not in allowed or isinstance(cpus, bool):
        raise FlyError(400, f"invalid config.guest.cpus, {cpus} is not one of {', '.join(map(str, allowed))}")
    least, most, step = _MB_PER_CPU[kind]
    memory_mb = guest.setdefault("memory_mb", least * cpus)
    if not isinstance(memory_mb, int) or isinstance(memory_mb, bool):
        raise FlyError(400, "invalid config.guest.memory_mb, must be an integer")
    if memory_mb < least * cpus:
        raise FlyError(400, f"invalid config.guest.memory_mb, minimum required {least * cpus} MiB")
    if memory_mb > most * cpus:
        raise FlyError(400, f"invalid config.guest.memory_mb, maximum allowed {most * cpus} MiB")
    if memory_mb % step:
        raise FlyError(400, f"invalid config.guest.memory_mb, must be a multiple of {step} MiB")
    return guest


def _show_autostop(service: dict[str, Any]) -> dict[str, Any]:
    """Fly's responses have the older booleans for "off" and "stop" (its OpenAPI description says so)."""
    old = {"off": False, "stop": True}
    return {key: old.get(value, value) if key == "autostop" else value for key, value in service.items()}
