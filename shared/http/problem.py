"""Errors as RFC 9457 problem details. They hold only what a caller may know."""

import json
import logging
import math
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import flask

from shared.domain.errors import STATEMENT_TIMEOUT, Capacity, HangarError, TransientError

_log = logging.getLogger("hangar.http")

RETRY_AFTER_S = 30
MAX_RETRY_AFTER_S = 3600
_CANCELLED_STATEMENT = (
    "The database cancelled a statement that took too long. If it lasts, the open alerts name the cause, "
    "such as a slow host"
)


class Problem(Exception):  # noqa: N818  the term of RFC 9457
    """An error response: its status, a stable `code` for programs and a `detail` for people."""

    def __init__(self, status: int, code: str, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.headers = dict(headers or {})


BROKEN = Problem(500, "broken", "An internal error occurred. The log has the details under this instance")


def problem_from(error: HangarError) -> Problem:
    """The problem for a failure of Fly or the database: try again later, or an operator must act. The log has the details."""
    if isinstance(error, TransientError | Capacity):
        what = (
            _CANCELLED_STATEMENT if error.code == STATEMENT_TIMEOUT else f"{find_source(error)} cannot be reached now"
        )
        detail = f"{what}. Nothing is lost; Hangar tries again"
        return Problem(503, "out_of_reach", detail, retry_after_header(error))
    _log.error("%s", error, exc_info=error, extra={"labels": {"code": error.code}})
    return Problem(500, error.code, "An operator must fix the cause first. The log has it under this instance")


def find_source(error: BaseException) -> str:
    """Whose failure this is, at the beginning of a sentence. An error that was raised from another one is that one's."""
    found: BaseException | None = error
    while found is not None:
        if isinstance(found, HangarError) and found.source:
            return f"{found.source[:1].upper()}{found.source[1:]}"
        found = found.__cause__
    return "Fly"


def retry_after_header(error: HangarError) -> dict[str, str]:
    """Log the failure, and return the header that says when to try again."""
    _log.warning("%s", error, extra={"labels": {"code": error.code}})
    wanted_s = error.retry_after_s or RETRY_AFTER_S
    return {"Retry-After": str(min(max(1, math.ceil(wanted_s)), MAX_RETRY_AFTER_S))}


def render_problem(problem: Problem, request_id: str) -> flask.Response:
    """The problem as an RFC 9457 response. `instance` is the request id, under which the log has the details."""
    body = {
        "type": "about:blank",
        "title": HTTPStatus(problem.status).phrase,
        "status": problem.status,
        "detail": problem.detail,
        "instance": f"urn:uuid:{request_id}",
        "code": problem.code,
    }
    return render_json(problem.status, body, "application/problem+json", problem.headers)


def render_json(status: int, body: Mapping[str, Any], content_type: str, headers: Mapping[str, str]) -> flask.Response:
    """A JSON response."""
    text = json.dumps(body) + "\n"
    return flask.Response(text, status=status, headers=dict(headers), content_type=content_type)
