"""The HTTP endpoint of every function. It checks method, size, caller, content type and JSON, in this order.

Only the method (405) and the size (413) are checked before the caller is authenticated. Every response has a stable `code`.
Errors are problem+json (RFC 9457) with the request id as `instance`. Internal details are logged under that id and never sent.
"""

import logging
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

import flask

from shared.domain.errors import HangarError, TransientError
from shared.http import webhook_auth as auth
from shared.http.problem import BROKEN, Problem, problem_from, render_json, render_problem, retry_after_header
from shared.http.request_body import check_content_type, discard_rest, parse_object, read_body
from shared.observability import code_version
from shared.observability.logging import label_request, read_trace, request_context

PREFLIGHT_AGE_S = 600
DOCTOR = "doctor_"  # ids of the calls that the database signs for `hangar doctor` begin so

_log = logging.getLogger("hangar.http")


@dataclass(frozen=True)
class Call:
    """An authenticated request: its JSON object, its caller, and the time (`time.monotonic`) at which its work must end."""

    body: Mapping[str, Any]
    caller: auth.Caller
    request_id: str
    ends_at_monotonic_s: float

    @property
    def remaining_s(self) -> float:
        return max(0.0, self.ends_at_monotonic_s - time.monotonic())


@dataclass(frozen=True)
class Answer:
    """A successful response: a status below 400 and a JSON object. `code` is added to the body unless the body has one."""

    status: int
    body: Mapping[str, Any]
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def code(self) -> str:
        """The stable word for programs."""
        return "accepted" if self.status == HTTPStatus.ACCEPTED else "ok"


@dataclass(frozen=True)
class Endpoint:
    """The public side of one function. `serve` never raises and always answers with JSON, or with 204 to a preflight."""

    function: str
    verifiers: tuple[auth.Verifier, ...]
    allowed: frozenset[auth.Kind]
    origins: frozenset[str]
    deadline_s: float
    now_unix_s: Callable[[], float] = time.time

    def serve(self, request: flask.Request, run: Callable[[Call], Answer]) -> flask.Response:
        """Authenticate the request, pass it to `run`, and send what it returns."""
        started = time.monotonic()
        request_id = str(uuid.uuid4())
        with request_context({"function": self.function, "request_id": request_id}, read_trace(_lower(request))):
            if request.method == "OPTIONS":
                response = flask.Response(status=204, headers={"Allow": "POST, OPTIONS"})
            else:
                response = self._answer(request, run, request_id, started)
            self._finish(request, response, request_id)
            seconds = f"{time.monotonic() - started:.3f}"
            _log.info("%s answered %d", self.function, response.status_code, extra={"labels": {"seconds": seconds}})
        return response

    def _answer(
        self, request: flask.Request, run: Callable[[Call], Answer], request_id: str, started: float
    ) -> flask.Response:
        caller = None
        try:
            body, caller = self._authenticate(request)
            label_request(caller=caller.kind, caller_name=caller.name)
            answer = run(Call(body, caller, request_id, started + self.deadline_s))
            body = {"code": answer.code, **answer.body}
            response = render_json(answer.status, body, "application/json", answer.headers)
        except Problem as problem:
            response = render_problem(problem, request_id)
        except HangarError as error:
            response = render_problem(problem_from(error), request_id)
        except Exception:  # noqa: BLE001  every other failure becomes one response and one log line
            _log.exception("%s failed", self.function)
            response = render_problem(BROKEN, request_id)
        if caller is not None and caller.kind == "webhook" and caller.name.startswith(DOCTOR):
            _name_code(response)
        return response

    def _authenticate(self, request: flask.Request) -> tuple[Mapping[str, Any], auth.Caller]:
        """The body and the caller. Raises the `Problem` of the first check that fails."""
        if request.method != "POST":
            raise Problem(405, "method", "This URL accepts POST only", {"Allow": "POST, OPTIONS"})
        raw = read_body(request)
        try:
            caller = auth.authenticate(self.verifiers, self.allowed, _lower(request), raw, self.now_unix_s())
        except auth.Unauthenticated:
            # One response for every reason, so that callers cannot find out which check failed.
            raise Problem(401, "proof", "Authentication failed", {"WWW-Authenticate": "Hangar"}) from None
        except auth.Forbidden:
            raise Problem(403, "kind", "This kind of caller may not call this function") from None
        except TransientError as error:
            # Not 401: the credential may be valid, and the dashboard signs its user out after a 401.
            detail = "The caller cannot be authenticated right now. Nothing was done"
            raise Problem(503, "proof_unchecked", detail, retry_after_header(error)) from error
        check_content_type(request)
        return parse_object(raw), caller

    def _finish(self, request: flask.Request, response: flask.Response, request_id: str) -> None:
        """Add the headers that every response has, and read the request's body to its end."""
        response.headers["X-Request-Id"] = request_id
        response.headers["Cache-Control"] = "no-store"
        response.headers["X-Content-Type-Options"] = "nosniff"
        if self.origins:
            response.headers["Vary"] = "Origin"
            origin = request.headers.get("Origin", "")
            if origin.lower() in self.origins:
                response.headers["Access-Control-Allow-Origin"] = origin
                response.headers["Access-Control-Expose-Headers"] = "X-Request-Id, Retry-After"
                if request.method == "OPTIONS":
                    response.headers["Access-Control-Allow-Methods"] = "POST, OPTIONS"
                    response.headers["Access-Control-Allow-Headers"] = "authorization, content-type"
                    response.headers["Access-Control-Max-Age"] = str(PREFLIGHT_AGE_S)
        discard_rest(request)


def _name_code(response: flask.Response) -> None:
    """Tell `hangar doctor` which code runs here. Without the header if the files cannot be read."""
    try:
        response.headers[code_version.HEADER] = code_version.fingerprint_code()
    except OSError:
        _log.exception("the files of this function cannot be read, so the answer does not name its code")


def _lower(request: flask.Request) -> dict[str, str]:
    """The headers with lower-case names. The server has joined repeated headers with commas."""
    return {name.lower(): value for name, value in request.headers.items()}
