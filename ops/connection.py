"""Which installation the command line speaks to: the environment first, then the local cloud of this checkout."""

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

DEV_FILE = Path(".hangar/dev.json")
FUNCTIONS = ("provision", "deprovision", "health")
MAX_PORT = 65535
_NEEDED = ("SUPABASE_URL", "SUPABASE_SECRET_KEY")


class TargetError(Exception):
    """The settings do not name an installation; the message says which variable is wrong and its form, never its value."""


@dataclass(frozen=True)
class Target:
    """Addresses and keys of one installation. Its repr shows no key."""

    supabase_url: str
    secret_key: str = field(repr=False)
    functions: Mapping[str, str] = field(default_factory=dict)
    webhook_secret: str | None = field(default=None, repr=False)
    source: str = "the environment"


def load_target(environ: Mapping[str, str], dev_file: Path = DEV_FILE) -> Target:
    """The target of `environ` when it names a Supabase project, else that of the running local cloud. Raises TargetError."""
    if environ.get("SUPABASE_URL"):
        key = environ.get("SUPABASE_SECRET_KEY") or environ.get("SUPABASE_SERVICE_ROLE_KEY")
        if not key:
            raise TargetError(
                "SUPABASE_URL is set but SUPABASE_SECRET_KEY is not: set it to the project's sb_secret_… key"
            )
        secret = environ.get("HANGAR_WEBHOOK_SECRET")
        return Target(
            supabase_url=_read_url("SUPABASE_URL", environ["SUPABASE_URL"]),
            secret_key=_read_secret("SUPABASE_SECRET_KEY", key),
            functions=_read_functions(environ.get("HANGAR_FUNCTIONS_URL", "")),
            webhook_secret=_read_secret("HANGAR_WEBHOOK_SECRET", secret) if secret else None,
        )
    if not dev_file.exists():
        raise TargetError(
            f"no installation to speak to: set {' and '.join(_NEEDED)}, or start the local cloud with `make dev` "
            f"(it writes {dev_file})"
        )
    return _read_dev_file(dev_file)


def _read_dev_file(dev_file: Path) -> Target:
    try:
        dev = json.loads(dev_file.read_text())
        functions = {name: url for name, url in dev["functions"].items() if url}
        target = Target(dev["supabase_url"], dev["secret_key"], functions, dev["webhook_secret"], source=str(dev_file))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        told = type(error).__name__
        raise TargetError(f"{dev_file} cannot be read ({told}): stop the local cloud and `make dev` anew") from None
    pid = dev.get("pid")
    if isinstance(pid, int) and not _is_running(pid):
        raise TargetError(f"the local cloud of {dev_file} (process {pid}) is gone: start it anew with `make dev`")
    return target


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True  # somebody else's, and alive
    return True


def _read_url(name: str, text: str) -> str:
    try:
        url = httpx.URL(text.strip())
    except httpx.InvalidURL:
        url = httpx.URL()
    if url.scheme not in ("http", "https") or not url.host or (url.port or 0) > MAX_PORT:
        raise TargetError(f"{name} is no URL: set it to https://…")
    return text.strip().rstrip("/")


def _read_secret(name: str, text: str) -> str:
    """What surrounds a secret in a file or a copy is dropped; what stands inside must be fit for a header."""
    if not re.fullmatch(r"[\x21-\x7e]+", text.strip()):
        raise TargetError(f"{name} holds a space, a line break or a character that no key has: copy it anew")
    return text.strip()


def _read_functions(text: str) -> dict[str, str]:
    """A JSON object of URLs by function, or one base URL below which each function has its name; empty when unset."""
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
