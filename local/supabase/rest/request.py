"""What a request prefers and accepts: the Prefer and Accept headers, the schema, the body."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from local.http_server import Request
from local.supabase.rest.auth import Identity
from local.supabase.rest.catalog import SCHEMA
from local.supabase.rest.errors import RestError, unsupported

_PREFERENCES = {
    "resolution": ("merge-duplicates", "ignore-duplicates"),
    "return": ("representation", "minimal"),
}
# Preferences of PostgREST that would change the answer and that the local gateway leaves out.
_LEFT_OUT = ("return", "count", "missing", "handling", "max-affected", "timezone")
SINGULAR = "application/vnd.pgrst.object+json"
_LISTS = ("*/*", "application/*", "application/json", "application/vnd.pgrst.array+json")


@dataclass(frozen=True)
class Preferences:
    """The Prefer header."""

    resolution: str | None = None
    represented: bool = False


@dataclass(frozen=True)
class Call:
    """One request with its caller, and its headers read."""

    request: Request
    path: str
    identity: Identity
    preferences: Preferences
    singular: bool


@dataclass(frozen=True)
class Payload:
    """A JSON body, kept as text so that Postgres reads the numbers. `keys` are those of the first row."""

    text: str
    keys: tuple[str, ...] = ()
    is_array: bool = False
    objects: list[Mapping[str, Any]] = field(default_factory=list)


def read_call(request: Request, path: str, identity: Identity) -> Call:
    """Read the headers; RestError for one that asks for what the gateway does not have."""
    if "range" in request.headers:
        raise unsupported("the header Range (use limit and offset)")
    _check_schema(request)
    preferences = _read_preferences(request.headers.get("prefer", ""))
    return Call(request, path, identity, preferences, singular=_read_accept(request.headers.get("accept", "*/*")))


def _read_preferences(header: str) -> Preferences:
    """Read the Prefer header; unknown preferences are ignored, as in PostgREST."""
    found: dict[str, str] = {}
    for text in filter(None, (part.strip() for part in header.split(","))):
        name, _, value = text.partition("=")
        if value in _PREFERENCES.get(name, ()):
            found.setdefault(name, value)
        elif name in _LEFT_OUT:
            raise unsupported(f"Prefer: {text}")
    return Preferences(
        resolution=found.get("resolution"),
        represented=found.get("return") == "representation",
    )


def _read_accept(header: str) -> bool:
    """Whether the caller wants one object instead of a list."""
    for text in header.split(","):
        kind = text.partition(";q=")[0].strip()
        if kind in (*_LISTS, SINGULAR):
            return kind == SINGULAR
    raise unsupported(f"Accept: {header}")


def _check_schema(request: Request) -> None:
    """RestError 406 for a schema that is not exposed."""
    schema = request.headers.get("accept-profile" if request.method == "GET" else "content-profile")
    if schema not in (None, SCHEMA):
        hint = f"Only the following schemas are exposed: {SCHEMA}"
        raise RestError(406, "PGRST106", f"Invalid schema: {schema}", hint=hint)


def read_payload(request: Request, *, empty_is_object: bool = False) -> Payload:
    """Read a JSON body of one object or a list of objects; anything else counts as an empty list, as in PostgREST."""
    kind = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise unsupported(f"Content-Type: {kind}")
    if not request.body and empty_is_object:
        return Payload("{}", objects=[{}])
    try:
        text = request.body.decode()
        found = json.loads(text)
    except (ValueError, RecursionError):
        raise RestError(400, "PGRST102", "Empty or invalid json") from None
    if isinstance(found, dict):
        return Payload(text, tuple(found), objects=[found])
    if not isinstance(found, list):
        return Payload("[]", is_array=True)
    if not all(isinstance(row, dict) for row in found):
        raise RestError(400, "PGRST102", "All object keys must match")
    return Payload(text, tuple(found[0]) if found else (), is_array=True, objects=found)
