"""App secrets (`/v1/apps/{app_name}/secrets`). A machine gets them when it is created or updated."""

import hashlib
import re
from collections.abc import Mapping
from typing import Any

from local.fly.api.calls import Call, find_app
from local.fly.errors import FlyError, answer, read_int
from local.fly.state.model import App, Secret
from local.fly.state.state import World
from local.fly.times import to_rfc3339
from local.http_server import Response

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def list_secrets(world: World, call: Call) -> Response:
    """`GET …/secrets`: names and digests; values with `show_secrets=true`."""
    app = find_app(world, call)
    wanted = call.param("min_version")
    if wanted and read_int(wanted, "min_version", 0, 1 << 62) > app.secrets_version:
        raise FlyError(412, f"failed_precondition: secrets version {wanted} is not available")
    shown = call.flag("show_secrets")
    return answer({"secrets": [_shown(app, name, with_value=shown) for name in sorted(app.secrets)]})


def update_secrets(world: World, call: Call) -> Response:
    """`POST …/secrets` `{"values": {name: value or null}}`: null removes. Nothing changes when one of them is wrong."""
    app = find_app(world, call)
    values = call.body(required=True).get("values")
    if not isinstance(values, dict) or not all(isinstance(value, str | None) for value in values.values()):
        raise FlyError(400, "invalid_argument: values must map names to strings or null")
    for name in values:
        _check_name(name)
    _change(app, values, call.now)
    shown = [_shown(app, name) for name, value in values.items() if value is not None]
    return answer({"secrets": shown, **_version(app)})


def get_secret(world: World, call: Call) -> Response:
    """`GET …/secrets/{secret_name}`."""
    app, name = _find(world, call)
    return answer(_shown(app, name, with_value=call.flag("show_secrets")))


def set_secret(world: World, call: Call) -> Response:
    """`POST …/secrets/{secret_name}` `{"value"}`: 201."""
    app = find_app(world, call)
    name = call.params["secret_name"]
    value = call.body(required=True).get("value")
    _check_name(name)
    if not isinstance(value, str):
        raise FlyError(400, "invalid_argument: value must be a string")
    _change(app, {name: value}, call.now)
    return answer({**_shown(app, name), **_version(app)}, 201)


def delete_secret(world: World, call: Call) -> Response:
    """`DELETE …/secrets/{secret_name}`: 200 with the new version."""
    app, name = _find(world, call)
    _change(app, {name: None}, call.now)
    return answer(_version(app))


def _find(world: World, call: Call) -> tuple[App, str]:
    app = find_app(world, call)
    name = call.params["secret_name"]
    if name not in app.secrets:
        raise FlyError(404, "not_found: secret not found")
    return app, name


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise FlyError(400, f"invalid_argument: invalid secret name '{name}'")


def _change(app: App, values: Mapping[str, str | None], moment: float) -> None:
    """Set or remove secrets, which together are one new version."""
    for name, value in values.items():
        before = app.secrets.pop(name, None)
        if value is not None:
            digest = hashlib.sha256(f"{app.id}:{value}".encode()).hexdigest()[:16]
            app.secrets[name] = Secret(value, digest, before.created_at if before else moment, moment)
    app.secrets_version += 1


def _shown(app: App, name: str, *, with_value: bool = False) -> dict[str, Any]:
    secret = app.secrets[name]
    shown = {
        "name": name,
        "digest": secret.digest,
        "created_at": to_rfc3339(secret.created_at),
        "updated_at": to_rfc3339(secret.updated_at),
    }
    return shown | ({"value": secret.value} if with_value else {})


def _version(app: App) -> dict[str, int]:
    return {"version": app.secrets_version, "Version": app.secrets_version}
