"""What a machine config must look like: an image, and a size that exists on Fly.

Limits: Fly docs "Machine sizing" and fly-go machine_types.go. The texts of the memory refusals are the ones seen on
the wire; those about CPUs are ours in the same form.
"""

from typing import Any

from local.fly.errors import FlyError

SHARED_CPUS = (1, 2, 4, 6, 8)
PERFORMANCE_CPUS = (1, 2, 4, 6, 8, 10, 12, 14, 16)
_MB_PER_CPU = {"shared": (256, 2048, 256), "performance": (2048, 8192, 1024)}
"""Least and most memory for each CPU, and the step."""

_MAPS = ("env", "metadata", "checks", "guest", "restart", "stop_config", "init")


def accept_config(raw: Any) -> dict[str, Any]:
    """A copy of a config with its guest filled in; 400 when Fly would not take it."""
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
    if not isinstance(services, list) or not all(isinstance(service, dict) for service in services):
        raise FlyError(400, "invalid request body: config.services must be a list of objects")
    config["guest"] = _accept_guest(config.get("guest") or {})
    config["metadata"] = dict(config.get("metadata", {}))
    if services:
        config["services"] = [_show_autostop(service) for service in services]
    return config


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
    """Fly answers with the older booleans for "off" and "stop" (its OpenAPI description says so)."""
    old = {"off": False, "stop": True}
    return {key: old.get(value, value) if key == "autostop" else value for key, value in service.items()}
