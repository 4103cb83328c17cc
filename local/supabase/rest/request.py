"""What a request prefers and accepts: the Prefer and Accept headers, the schema, the body."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from local.http_server import Request
from local.supabase.rest.errors import RestError, unsupported
from local.supabase.rest.terms import Query

_PREFERENCES = {
    "resolution": ("merge-duplicates", "ignore-duplicates"),
    "return": ("representation", "minimal", "headers-only"),
    "count": ("exact", "planned", "estimated"),
    "tx": ("commit", "rollback"),
    "missing": ("default", "null"),
    "handling": ("strict", "lenient"),
}
_SINGULAR = "application/vnd.pgrst.object+json"
_ARRAY = "application/vnd.pgrst.array+json"
_READING = ("GET", "HEAD")


@dataclass(frozen=True)
class Preferences:
    """The Prefer header. `applied` echoes, in order, what was understood."""

    resolution: str | None = None
    returning: str = "minimal"
    count: str | None = None
    missing_default: bool = False
    strict: bool = False
    max_affected: int | None = None
    applied: tuple[str, ...] = ()

    @property
    def counts_exactly(self) -> bool:
        """`estimated` counts, too, until the planner expects more rows than a page can hold."""
        return self.count in ("exact", "estimated")


@dataclass(frozen=True)
class Accepted:
    """The shape asked for: one object or an array, with or without nulls, or CSV."""

    singular: bool = False
    strip_nulls: bool = False
    csv: bool = False

    @property
    def content_type(self) -> str:
        if self.csv:
            return "text/csv; charset=utf-8"
        kind = _SINGULAR if self.singular else _ARRAY if self.strip_nulls else "application/json"
        return f"{kind}{';nulls=stripped' if self.strip_nulls else ''}; charset=utf-8"


@dataclass(frozen=True)
class Payload:
    """A JSON body, kept as text so that Postgres reads the numbers. `keys` are those of every row."""

    text: str
    keys: tuple[str, ...] = ()
    is_array: bool = False
    objects: list[Mapping[str, Any]] = field(default_factory=list)


def read_preferences(header: str) -> Preferences:
    """Read the Prefer header; what is unknown is left out, or with handling=strict refused."""
    found: dict[str, str] = {}
    invalid: list[str] = []
    for text in filter(None, (part.strip() for part in header.split(","))):
        name, _, value = text.partition("=")
        if (value in _PREFERENCES.get(name, ())) or (name == "max-affected" and value.isascii() and value.isdigit()):
            found.setdefault(name, value)
        elif name == "timezone":
            raise unsupported("Prefer: timezone")
        else:
            invalid.append(text)
    strict = found.get("handling") == "strict"
    if strict and invalid:
        details = f"Invalid preferences: {', '.join(invalid)}"
        raise RestError(400, "PGRST122", "Invalid preferences given with handling=strict", details)
    # tx=rollback is only honoured by a PostgREST configured for it, which a hosted project's is not.
    applied = tuple(f"{name}={value}" for name, value in found.items() if name != "tx")
    return Preferences(
        resolution=found.get("resolution"),
        returning=found.get("return", "minimal"),
        count=found.get("count"),
        missing_default=found.get("missing") == "default",
        strict=strict,
        max_affected=int(found["max-affected"]) if "max-affected" in found else None,
        applied=applied,
    )


def read_accept(header: str) -> Accepted:
    """The first media type of the list that can be served; RestError 406 when none can."""
    offered = [part.strip() for part in header.split(",") if part.strip()] or ["*/*"]
    for text in offered:
        kind, *parameters = (part.strip() for part in text.split(";"))
        strip_nulls = "nulls=stripped" in parameters
        if kind == _SINGULAR:
            return Accepted(singular=True, strip_nulls=strip_nulls)
        if kind == _ARRAY and strip_nulls:
            return Accepted(strip_nulls=True)
        if kind in ("*/*", "application/*", "application/json", _ARRAY):
            return Accepted()
        if kind == "text/csv":
            return Accepted(csv=True)
        if kind == "application/geo+json":
            raise unsupported(f"Accept: {kind}")
    raise RestError(406, "PGRST107", f"None of these media types are available: {', '.join(offered)}")


def read_schema(request: Request, exposed: tuple[str, ...]) -> tuple[str, bool]:
    """The schema a request is about, and whether it named it itself."""
    header = "accept-profile" if request.method in _READING else "content-profile"
    schema = request.headers.get(header)
    if schema is None:
        return exposed[0], False
    if schema not in exposed:
        hint = f"Only the following schemas are exposed: {', '.join(exposed)}"
        raise RestError(406, "PGRST106", f"Invalid schema: {schema}", hint=hint)
    return schema, True


def narrow_window(query: Query, header: str) -> None:
    """Cut limit and offset down to a `Range: 0-9` header; one that is no such range is ignored, as in PostgREST."""
    found = re.fullmatch(r"([0-9]{1,18})-([0-9]{0,18})", header.strip())
    if found is None:
        return
    first, last = int(found[1]), int(found[2]) if found[2] else None
    ends = [end for end in (None if query.limit is None else query.offset + query.limit, None if last is None else last + 1) if end is not None]
    query.offset = max(query.offset, first)
    if ends:
        query.limit = max(0, min(ends) - query.offset)


def read_payload(request: Request, *, empty_is_object: bool = False) -> Payload:
    """Read a JSON body of one object or a list of objects; anything else counts as an empty list, as in PostgREST."""
    kind = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    if kind in ("text/csv", "application/x-www-form-urlencoded", "text/plain", "application/octet-stream", "text/xml"):
        raise unsupported(f"Content-Type: {kind}")
    if kind != "application/json":
        raise RestError(400, "PGRST102", f"Content-Type not acceptable: {kind}")
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


def check_uniform(payload: Payload) -> None:
    """Without a `columns` parameter every object must have the same keys."""
    if any(row.keys() != set(payload.keys) for row in payload.objects):
        raise RestError(400, "PGRST102", "All object keys must match")
