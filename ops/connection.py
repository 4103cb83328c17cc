"""Which installation the command line uses: the one in the environment, else the local cloud of this folder."""

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import httpx

from shared.settings.validators import LookupScope, fly_token, image_lookup

DEV_FILE = Path(".hangar/dev.json")
FUNCTIONS = ("provision", "deprovision", "health")
MAX_PORT = 65535
MACHINES_API = "https://api.machines.dev"
_REQUIRED = ("SUPABASE_URL", "SUPABASE_SECRET_KEY")


class TargetError(Exception):
    """A setting is missing or wrong. The message names the variable and its form, never its value."""


@dataclass(frozen=True)
class FlyAddress:
    """The Machines API and a token for it. The repr shows no token."""

    url: str
    token: str = field(repr=False)


@dataclass(frozen=True)
class Target:
    """Addresses and keys of one installation. The repr shows no key."""

    supabase_url: str
    secret_key: str = field(repr=False)
    functions: Mapping[str, str] = field(default_factory=dict)
    webhook_secret: str | None = field(default=None, repr=False)
    source: str = "the environment"
    fly_api_token: str | None = field(default=None, repr=False)
    image_lookup: LookupScope | None = None
    fly: FlyAddress | None = None


def load_target(environ: Mapping[str, str], dev_file: Path = DEV_FILE) -> Target:
    """The target that `environ` names, else the running local cloud. Raises TargetError."""
    if environ.get("SUPABASE_URL"):
        key = environ.get("SUPABASE_SECRET_KEY") or environ.get("SUPABASE_SERVICE_ROLE_KEY")
        if not key:
            raise TargetError(
                "SUPABASE_URL is set but SUPABASE_SECRET_KEY is not: set it to the project's sb_secret_… key"
            )
        secret = environ.get("HANGAR_WEBHOOK_SECRET")
        fly_token = _read_fly_token(environ.get("FLY_API_TOKEN", "").strip())
        fly_url = _read_url("FLY_API_URL", environ.get("FLY_API_URL", "").strip() or MACHINES_API)
        return Target(
            supabase_url=_read_url("SUPABASE_URL", environ["SUPABASE_URL"]),
            secret_key=_read_secret("SUPABASE_SECRET_KEY", key),
            functions=_read_functions(environ.get("HANGAR_FUNCTIONS_URL", "")),
            webhook_secret=_read_secret("HANGAR_WEBHOOK_SECRET", secret) if secret else None,
            fly_api_token=fly_token,
            fly=FlyAddress(fly_url, fly_token) if fly_token else None,
            image_lookup=_read_image_lookup(environ.get("HANGAR_IMAGE_LOOKUP", "").strip()),
        )
    if not dev_file.exists():
        raise TargetError(
            f"no installation is named: set {' and '.join(_REQUIRED)}, or start the local cloud with `make dev` "
            f"(it writes {dev_file})"
        )
    target = _read_dev_file(dev_file)
    return replace(target, image_lookup=_read_image_lookup(environ.get("HANGAR_IMAGE_LOOKUP", "").strip()))


def _read_dev_file(dev_file: Path) -> Target:
    try:
        dev = json.loads(dev_file.read_text())
        functions = {name: url for name, url in dev["functions"].items() if url}
        fly = FlyAddress(dev["fly_api_url"], dev["fly_api_token"]) if "fly_api_token" in dev else None
        target = Target(
            dev["supabase_url"], dev["secret_key"], functions, dev["webhook_secret"], source=str(dev_file), fly=fly
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        kind = type(error).__name__
        raise TargetError(
            f"{dev_file} cannot be read ({kind}): stop the local cloud and run `make dev` again"
        ) from None
    pid = dev.get("pid")
    if isinstance(pid, int) and not _is_running(pid):
        raise TargetError(
            f"the local cloud of {dev_file} (process {pid}) is not running any more: start it again with `make dev`"
        )
    return target


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True  # it runs as another user
    return True


def _read_url(name: str, text: str) -> str:
    try:
        url = httpx.URL(text.strip())
    except httpx.InvalidURL:
        url = httpx.URL()
    if url.scheme not in ("http", "https") or not url.host or (url.port or 0) > MAX_PORT:
        raise TargetError(f"{name} is not a URL: set it to https://…")
    return text.strip().rstrip("/")


def _read_secret(name: str, text: str) -> str:
    """Surrounding whitespace is dropped. The rest must be valid in an HTTP header."""
    if not re.fullmatch(r"[\x21-\x7e]+", text.strip()):
        raise TargetError(
            f"{name} holds a space, a line break or a character that is never part of a key: copy it again"
        )
    return text.strip()


def _read_fly_token(text: str) -> str | None:
    if text and fly_token.parse(text) is None:
        raise TargetError(f"FLY_API_TOKEN is wrong: expected {fly_token.expected}")
    return text or None


def _read_image_lookup(text: str) -> LookupScope | None:
    if text and image_lookup.parse(text) is None:
        raise TargetError(f"HANGAR_IMAGE_LOOKUP is wrong: expected {image_lookup.expected}")
    return cast("LookupScope | None", text or None)


def _read_functions(text: str) -> dict[str, str]:
    """URLs by function, from a JSON object or from one base URL that ends in the function's name. Empty when unset."""
    if not text:
        return {}
    if not text.lstrip().startswith(("{", "[")):
        base = _read_url("HANGAR_FUNCTIONS_URL", text)
        return {name: f"{base}/{name}" for name in FUNCTIONS}
    try:
        urls: Any = json.loads(text)
    except json.JSONDecodeError as error:
        raise TargetError(f"HANGAR_FUNCTIONS_URL is neither a URL nor a JSON object of URLs: {error}") from None
    if not isinstance(urls, dict):
        raise TargetError("HANGAR_FUNCTIONS_URL is neither a URL nor a JSON object of URLs by function")
    return {str(name): _read_url(f"HANGAR_FUNCTIONS_URL ({name})", str(url)) for name, url in urls.items()}
