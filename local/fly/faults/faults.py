"""Faults: failures that a test sets, by method and path, before or after the effect."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from local.fly.errors import answer
from local.http_server import Request, Response

MAX_DELAY_S = 3600
_KEYS = {"method", "path", "when", "status", "body", "text", "headers", "delay_s", "disconnect", "times"}
_METHODS = {"GET", "POST", "PUT", "PATCH", "DELETE", "*"}


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
        shown = {key: getattr(self, key) for key in sorted(_KEYS)}
        return {key: value for key, value in shown.items() if value not in (None, {}, False, 0.0)}


def parse_faults(raw: Any) -> list[Fault]:
    """The faults of a `PUT /_sim/faults` body; ValueError names the wrong one and the reason."""
    if not isinstance(raw, list):
        raise ValueError("expected a list of faults")  # noqa: TRY004  one error type for "the caller's JSON is wrong"
    return [_parse(index, item) for index, item in enumerate(raw)]


def _parse(index: int, item: Any) -> Fault:
    problem = _problem_with(item)
    if problem:
        raise ValueError(f"fault {index}: {problem}")
    return Fault(**{**item, "method": item["method"].upper(), "headers": item.get("headers") or {}})


def _problem_with(item: Any) -> str | None:
    if not isinstance(item, dict):
        return "expected an object"
    if unknown := set(item) - _KEYS:
        return f"unknown field {min(unknown)!r}; known are {', '.join(sorted(_KEYS))}"
    if str(item.get("method", "")).upper() not in _METHODS:
        return f"method must be one of {', '.join(sorted(_METHODS))}"
    path = item.get("path")
    if not isinstance(path, str) or not path.startswith("/"):
        return 'path must be a string that starts with "/"'
    if item.get("when", "before") not in ("before", "after"):
        return 'when must be "before" or "after"'
    status = item.get("status")
    if status is not None and (not _is_int(status) or not 200 <= status <= 599):
        return "status must be an integer from 200 to 599"
    if not isinstance(item.get("text", ""), str | None):
        return "text must be a string"
    headers = {} if item.get("headers") is None else item["headers"]
    if not isinstance(headers, dict) or not all(isinstance(v, str) for v in headers.values()):
        return "headers must be an object of strings"
    delay_s = item.get("delay_s", 0)
    if isinstance(delay_s, bool) or not isinstance(delay_s, int | float) or not 0 <= delay_s <= MAX_DELAY_S:
        return f"delay_s must be a number of seconds from 0 to {MAX_DELAY_S}"
    if not isinstance(item.get("disconnect", False), bool):
        return "disconnect must be true or false"
    times = item.get("times")
    if times is not None and (not _is_int(times) or times < 1):
        return "times must be an integer from 1"
    return None


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
