"""Which installation the command line uses: the environment's, else that of `.env.hangar`, else the local cloud of this folder.

A local cloud that runs in this folder comes before `.env.hangar`, and the command says so on standard error.
"""

import json
import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

from ops.project_files import ENV_FILE, ProjectFileError, read_env_file
from shared.doctor.installation_checks import explain_supabase_url
from shared.settings.validators import LookupScope, base_url, fly_token, image_lookup

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


def load_target(environ: Mapping[str, str], dev_file: Path = DEV_FILE, env_file: Path = ENV_FILE) -> Target:
    """The target that `environ` names, else `env_file`, else the running local cloud. Raises TargetError."""
    variables, source = find_variables(environ, dev_file, env_file)
    if variables is not None:
        return _read_variables(variables, source)
    return replace(
        _read_dev_file(dev_file), image_lookup=_read_image_lookup(environ.get("HANGAR_IMAGE_LOOKUP", "").strip())
    )


def find_variables(
    environ: Mapping[str, str], dev_file: Path = DEV_FILE, env_file: Path = ENV_FILE
) -> tuple[Mapping[str, str] | None, str]:
    """The variables of the installation that is meant, and where they come from. None: the local cloud is meant.

    Raises TargetError if nothing names an installation.
    """
    if environ.get("SUPABASE_URL", "").strip():
        return environ, "the environment"
    on_file = _read_file(env_file)
    if on_file.get("SUPABASE_URL"):
        if not _is_local_cloud_running(dev_file):
            return _add_file(environ, on_file), str(env_file)
        sys.stderr.write(
            f"hangar: acting on the local cloud that runs here ({dev_file}), not on the installation of {env_file}. "
            "Stop the local cloud, or set SUPABASE_URL, to act on the other\n"
        )
    if not dev_file.exists():
        raise TargetError(
            f"no installation is named: run `hangar init`, which writes {env_file}, or set {' and '.join(_REQUIRED)}, or start "
            f"the local cloud with `make dev` (it writes {dev_file})"
        )
    return None, str(dev_file)


def read_variables(environ: Mapping[str, str], env_file: Path = ENV_FILE) -> dict[str, str]:
    """The variables of the environment and of `env_file`. What the environment sets wins.

    The file does not count if its SUPABASE_URL is another one than that of the environment. Raises TargetError.
    """
    on_file = _read_file(env_file)
    named, kept = (each.get("SUPABASE_URL", "").strip().rstrip("/").lower() for each in (environ, on_file))
    return dict(environ) if named and kept and named != kept else _add_file(environ, on_file)


def read_own_variables(environ: Mapping[str, str], folder: Path = Path()) -> tuple[Mapping[str, str], bool]:
    """The variables of the environment, and of the two files of `folder` unless another installation is meant.

    The second value says whether the files are meant: not if the environment names an installation, nor if a local cloud
    runs here. Raises TargetError.
    """
    if environ.get("SUPABASE_URL", "").strip() or _is_local_cloud_running(folder / DEV_FILE):
        return environ, False
    return _add_file(environ, _read_file(folder / ENV_FILE)), True


def _add_file(environ: Mapping[str, str], on_file: Mapping[str, str]) -> dict[str, str]:
    return {**on_file, **{name: value for name, value in environ.items() if value.strip()}}


def _read_variables(environ: Mapping[str, str], source: str) -> Target:
    key = environ.get("SUPABASE_SECRET_KEY") or environ.get("SUPABASE_SERVICE_ROLE_KEY")
    if not key:
        raise TargetError("SUPABASE_URL is set but SUPABASE_SECRET_KEY is not: set it to the project's sb_secret_… key")
    secret = environ.get("HANGAR_WEBHOOK_SECRET")
    fly_token = _read_fly_token(environ.get("FLY_API_TOKEN", "").strip())
    fly_url = _read_url("FLY_API_URL", environ.get("FLY_API_URL", "").strip() or MACHINES_API)
    return Target(
        supabase_url=_read_supabase_url(environ["SUPABASE_URL"]),
        secret_key=_read_secret("SUPABASE_SECRET_KEY", key),
        functions=_read_functions(environ.get("HANGAR_FUNCTIONS_URL", "")),
        webhook_secret=_read_secret("HANGAR_WEBHOOK_SECRET", secret) if secret else None,
        source=source,
        fly_api_token=fly_token,
        fly=FlyAddress(fly_url, fly_token) if fly_token else None,
        image_lookup=_read_image_lookup(environ.get("HANGAR_IMAGE_LOOKUP", "").strip()),
    )


def _read_file(env_file: Path) -> dict[str, str]:
    try:
        return read_env_file(env_file)
    except ProjectFileError as error:
        raise TargetError(str(error)) from None


def _is_local_cloud_running(dev_file: Path) -> bool:
    try:
        pid = json.loads(dev_file.read_text())["pid"]
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return isinstance(pid, int) and _is_running(pid)


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
    """Without a user, a query or a fragment: a password would be shown with every error."""
    url = base_url.parse(text.strip())
    if url is None or (urlsplit(url).port or 0) > MAX_PORT:
        raise TargetError(f"{name} is not a URL: set it to https://… without a password, a space, ? or #")
    return url


def _read_supabase_url(text: str) -> str:
    url = _read_url("SUPABASE_URL", text)
    if problem := explain_supabase_url(url):
        raise TargetError(problem)
    return url


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
