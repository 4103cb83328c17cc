"""Which installation the command line speaks to: the environment first, then the local cloud of this checkout."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

DEV_FILE = Path(".hangar/dev.json")
_NEEDED = ("SUPABASE_URL", "SUPABASE_SECRET_KEY")


class TargetError(Exception):
    """The settings do not name an installation; the message says which variable is missing and its form."""


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
        return Target(
            supabase_url=environ["SUPABASE_URL"],
            secret_key=key,
            functions=_read_functions(environ.get("HANGAR_FUNCTIONS_URL", "")),
            webhook_secret=environ.get("HANGAR_WEBHOOK_SECRET"),
        )
    if not dev_file.exists():
        raise TargetError(
            f"no installation to speak to: set {' and '.join(_NEEDED)}, or start the local cloud with `make dev` "
            f"(it writes {dev_file})"
        )
    dev = json.loads(dev_file.read_text())
    functions = {name: url for name, url in dev["functions"].items() if url}
    return Target(dev["supabase_url"], dev["secret_key"], functions, dev["webhook_secret"], source=str(dev_file))


def _read_functions(text: str) -> dict[str, str]:
    """A JSON object of URLs by function, or one base URL below which each function has its name; empty when unset."""
    if not text:
        return {}
    if text.startswith("{"):
        try:
            urls: Any = json.loads(text)
        except json.JSONDecodeError as error:
            raise TargetError(f"HANGAR_FUNCTIONS_URL is neither a URL nor a JSON object of URLs: {error}") from None
        return {str(name): str(url) for name, url in urls.items()}
    return {name: f"{text.rstrip('/')}/{name}" for name in ("provision", "deprovision", "health")}
