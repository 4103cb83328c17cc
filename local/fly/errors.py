"""Responses in Fly's shape: JSON, and errors as `{"error": text, "status"?: code}` (Fly's OpenAPI `ErrorResponse`)."""

import json
from collections.abc import Mapping
from typing import Any

from local.http_server import Request, Response, answer_json

JSON_TYPE = "application/json; charset=utf-8"


class FlyError(Exception):
    """An error response; `code` is the machine-readable `status` that Fly sends with few of its errors."""

    def __init__(
        self, status: int, error: str, code: str | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(error)
        self.status = status
        self.error = error
        self.code = code
        self.headers = dict(headers or {})

    def response(self) -> Response:
        body = {"error": self.error} | ({"status": self.code} if self.code else {})
        return answer(body, self.status, self.headers)


def answer(body: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A JSON response."""
    return answer_json(body, status, {"Content-Type": JSON_TYPE, **(headers or {})})


def read_object(request: Request, *, required: bool = False) -> dict[str, Any]:
    """The request's JSON object; 400 for anything else. An empty body is an empty object unless one is required."""
    if not request.body.strip():
        if required:
            raise FlyError(400, "EOF")  # the text of Go's JSON decoder, and so of Fly
        return {}
    try:
        body = json.loads(request.body)
    except ValueError as error:
        raise FlyError(400, f"invalid request body: {error}") from error
    if not isinstance(body, dict):
        raise FlyError(400, "invalid request body: expected a JSON object")
    return body


def read_int(text: str, name: str, low: int, high: int) -> int:
    """An integer within bounds, else 400."""
    try:
        value = int(text)
    except ValueError as error:
        raise FlyError(400, f"invalid_argument: {name} must be an integer") from error
    if not low <= value <= high:
        raise FlyError(400, f"invalid_argument: {name} must be between {low} and {high}")
    return value


def read_text(body: Mapping[str, Any], name: str) -> str | None:
    """A string field, or None when it is absent, null or empty; 400 for another type."""
    value = body.get(name)
    if value is not None and not isinstance(value, str):
        raise FlyError(400, f"invalid_argument: {name} must be a string")
    return value or None


def is_true(text: str | None) -> bool:
    """Whether a query flag is on, in the spellings of Go's ParseBool."""
    return text in ("1", "t", "T", "true", "TRUE", "True")
