"""Checks of a machine config: an image, a size that exists on Fly, fields of the right type.

Limits: Fly docs "Machine sizing" and fly-go machine_types.go. The texts about memory are those
observed on the wire; the texts about CPUs follow the same form.
"""

from collections.abc import Mapping
from typing import Any

from local.fly.errors import FlyError
from local.fly.times import parse_duration

STOP_SIGNALS = ("SIGHUP", "SIGINT", "SIGQUIT", "SIGKILL", "SIGUSR1", "SIGUSR2", "SIGTERM")
POLICIES = ("no", "always", "on-failure")
SHARED_CPUS = (1, 2, 4, 6, 8)
PERFORMANCE_CPUS = (1, 2, 4, 6, 8, 10, 12, 14, 16)
_MB_PER_CPU = {"shared": (256, 2048, 256), "performance": (2048, 8192, 1024)}
"""Least and most memory per CPU, and the step."""

_MAPS = ("env", "metadata", "checks", "guest", "restart", "stop_config", "init")


def accept_config(raw: Any) -> dict[str, Any]:
    """A copy of a config with its guest completed; 400 for a config that Fly refuses."""
    if not isinstance(raw, dict):
        raise FlyError(400, "invalid_argument: config is required")
    config = {key: value for key, value in raw.items() if value is not None}
    if not isinstance(config.get("image"), str) or not config["image"]:
        raise FlyError(400, "invalid_argument: invalid config.image, an image is required")
    for name in _MAPS:
        if not isinstance(config.get(name, {}), dict):
            raise FlyError(400, f"invalid request body: config.{name} must be an object")
    for name in ("env", "metadata"):
        if not all(isinstance(value, str) for value in config.get(name, {}).values()):
            raise FlyError(400, f"invalid request body: config.{name} must map strings to strings")
    services = config.get("services", [])
    if not _is_objects(services) or not all(_is_objects(service.get("checks") or []) for service in services):
        raise FlyError(400, "invalid request body: config.services and their checks must be lists of objects")
    _check_stop(config.get("stop_config", {}))
    _check_restart(config.get("restart", {}))
    for name, check in checks_of(config).items():
        _check_check(name, check)
    config["guest"] = _accept_guest(config.get("guest") or {})
    config["metadata"] = dict(config.get("metadata", {}))
    if services:
        config["services"] = [_show_autostop(service) for service in services]
    return config


def _is_objects(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, dict) for item in value)


def checks_of(config: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """All health checks of a config by the name of their results: its own, and `servicecheck-…` for those of services."""
    found = dict(config.get("checks") or {})
    for service in config.get("services") or []:
        for number, check in enumerate(service.get("checks") or []):
            port = check.get("port") or service.get("internal_port")
            found[f"servicecheck-{number:02d}-{check.get('type')}-{port}"] = check
    return found


def _check_stop(stop: dict[str, Any]) -> None:
    if stop.get("signal") and stop["signal"] not in STOP_SIGNALS:
        raise FlyError(400, f"invalid_argument: unknown config.stop_config.signal '{stop['signal']}'")
    _check_durations("stop_config", stop, "timeout")


def _check_restart(restart: dict[str, Any]) -> None:
    if restart.get("policy") not in (None, "", *POLICIES):
        raise FlyError(400, f"invalid_argument: config.restart.policy must be one of {', '.join(POLICIES)}")
    retries = restart.get("max_retries")
    if retries is not None and (isinstance(retries, bool) or not isinstance(retries, int)):
        raise FlyError(400, "invalid request body: config.restart.max_retries must be an integer")


def _check_check(name: str, check: Any) -> None:
    if not isinstance(check, dict) or check.get("type") not in ("http", "tcp"):
        raise FlyError(400, f"invalid_argument: config.checks.{name}.type must be http or tcp")
    port = check.get("port")
    if port is not None and (isinstance(port, bool) or not isinstance(port, int)):
        raise FlyError(400, f"invalid request body: config.checks.{name}.port must be an integer")
    headers = check.get("headers") or []
    if not isinstance(headers, list) or not all(isinstance(each, dict) and each.get("name") for each in headers):
        raise FlyError(400, f"invalid request body: config.checks.{name}.headers must be a list of name and values")
    _check_durations(f"checks.{name}", check, "interval", "timeout", "grace_period")


def _check_durations(where: str, fields: dict[str, Any], *names: str) -> None:
    for name in names:
        try:
            parse_duration(fields.get(name), 0.0)
        except ValueError as error:
            raise FlyError(400, f"invalid_argument: config.{where}.{name}: {error}") from error


def _accept_guest(raw: dict[str, Any]) -> dict[str, Any]:
    guest = {"cpu_kind": "shared", "cpus": 1, **raw}
    kind, cpus = guest["cpu_kind"], guest["cpus"]
    if kind not in _MB_PER_CPU:
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
