"""Faults: failures that a test sets with `PUT /_sim/faults`, by method and path, before or after the effect."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from local.fly.errors import answer
from local.fly.forms import ANYTHING, FLAG, TEXT, Form, integer, is_text, map_of, number, one_of, read_fields
from local.http_server import Request, Response

MAX_DELAY_S = 3600
_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "*")
_FORMS = {
    "method": Form(f"one of {', '.join(_METHODS)}", lambda value: is_text(value) and value.upper() in _METHODS),
    "path": Form('a string that starts with "/"', lambda value: is_text(value) and value.startswith("/")),
    "when": one_of(("before", "after")),
    "status": integer(200, 599, "an integer from 200 to 599").or_null(),
    "body": ANYTHING,
    "text": TEXT.or_null(),
    "headers": map_of(is_text, "strings").or_null(),
    "delay_s": number(0, MAX_DELAY_S, f"a number of seconds from 0 to {MAX_DELAY_S}"),
    "disconnect": FLAG,
    "times": integer(1, words="an integer from 1").or_null(),
}


@dataclass
class Fault:
    """One fault. Without `status` and `disconnect` it only delays. `times` None means without limit."""

    method: str
    path: str
    when: str = "before"
    status: int | None = None
    body: Any = None
    text: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    delay_s: float = 0.0
    disconnect: bool = False
    times: int | None = None

    @property
    def replaces(self) -> bool:
        return self.disconnect or self.status is not None

    def matches(self, request: Request) -> bool:
        """Whether the fault applies to this request; `*` (or `{name}`) in the path matches one segment."""
        if self.times == 0 or self.method not in ("*", request.method):
            return False
        wanted, given = self.path.split("/"), request.path.split("/")
        return len(wanted) == len(given) and all(
            w in ("*", g) or w.startswith("{") for w, g in zip(wanted, given, strict=True)
        )

    def response(self) -> Response:
        if self.disconnect:
            return Response(0, disconnect=True)
        status = self.status or 500
        if self.text is not None:
            return Response(status, self.text.encode(), {"Content-Type": "text/html; charset=utf-8", **self.headers})
        if self.body is None:
            return Response(status, b"", self.headers)
        return answer(self.body, status, self.headers)

    def shown(self) -> dict[str, Any]:
        shown = {key: getattr(self, key) for key in sorted(_FORMS)}
        return {key: value for key, value in shown.items() if value not in (None, {}, False, 0.0)}


def parse_faults(raw: Any) -> list[Fault]:
    """The faults of a `PUT /_sim/faults` body; ValueError names the wrong one and the reason."""
    if not isinstance(raw, list):
        raise ValueError("expected a list of faults")  # noqa: TRY004  one error type for "the caller's JSON is wrong"
    return [_parse(index, item) for index, item in enumerate(raw)]


def _parse(index: int, item: Any) -> Fault:
    try:
        fields = read_fields(item, _FORMS, required=["method", "path"])
    except ValueError as error:
        raise ValueError(f"fault {index}: {error}") from error
    return Fault(**{**fields, "method": fields["method"].upper(), "headers": fields.get("headers") or {}})
