"""Reads what a deployment on Fly finds: apps, machines and names of secrets, by flyctl's own listings."""

import json
from typing import Any

from ops.deploy.fly import FlyOptions, FlyState, Running, name_apps
from ops.deploy.tools import CommandError, Tools


def read_fly(tools: Tools, options: FlyOptions) -> FlyState:
    """The state of the functions' apps. Raises CommandError."""
    listed = _read_list(tools, options.tool, "apps", "list", "--org", options.org, "--json")
    names = frozenset(_get(each, "name") for each in listed)
    ours = [app for app in name_apps(options).values() if app in names]
    machines, secrets = {}, {}
    for app in ours:
        found = _read_list(tools, options.tool, "machine", "list", "--app", app, "--json")
        machines[app] = tuple(
            _read_machine(each) for each in found if _get(each, "state") not in ("destroyed", "destroying")
        )
        named = _read_list(tools, options.tool, "secrets", "list", "--app", app, "--json")
        secrets[app] = frozenset(_get(each, "name") for each in named)
    return FlyState(names, machines, secrets)


def _read_list(tools: Tools, *argv: str) -> list[dict[str, Any]]:
    output = tools.read(*argv)
    try:
        document = json.loads(output or "[]")
    except json.JSONDecodeError:
        raise CommandError(f"`{' '.join(argv)}` did not print JSON. Update flyctl (`fly version upgrade`)") from None
    return [each for each in document or [] if isinstance(each, dict)]


def _get(document: dict[str, Any], key: str) -> str:
    """Versions of flyctl print the same key as `name` or `Name`."""
    return str(document.get(key) or document.get(key.capitalize()) or "")


def _read_machine(document: dict[str, Any]) -> Running:
    config = document.get("config") or {}
    return Running(image=str(config.get("image") or ""), env=config.get("env") or {})
