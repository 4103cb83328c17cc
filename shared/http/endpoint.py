"""The HTTP edge of every function: method, size, proof, type, form, in this order, and one shape for every answer.

Only what a stranger may know is checked before the proof: the method (405) and the size (413). Errors are
problem+json (RFC 9457) with the request's id as `instance`; what went wrong inside is logged under that id, never sent.
"""

import logging
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import flask

from shared.domain.errors import HangarError, TransientError
from shared.http import webhook_auth as auth
from shared.http.problem import BROKEN, Problem, problem_from, render_json, render_problem, retry_after_header
from shared.http.request_body import check_content_type, discard_rest, parse_object, read_body
from shared.observability.logging import label_request, read_trace, request_context

PREFLIGHT_AGE_S = 600

_log = logging.getLogger("hangar.http")


@dataclass(frozen=True)
class Call:
    """A request that was let in: its JSON object, who sent it, and until when (`time.monotonic`) it may work."""

    body: Mapping[str, Any]
    caller: auth.Caller
    request_id: str
    ends_at_monotonic_s: float

    @property
    def remaining_s(self) -> float:
        return max(0.0, self.ends_at_monotonic_s - time.monotonic())


@dataclass(frozen=True)
class Answer:
    """A good answer: a status below 400 and a JSON object."""

    status: int
    body: Mapping[str, Any]
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Edge:
    """One function as the world sees it. `serve` never raises and always answers in JSON (or 204 to a preflight)."""

    function: str
    verifiers: tuple[auth.Verifier, ...]
    allowed: frozenset[auth.Kind]
    origins: frozenset[str]
    deadline_s: float
    now_unix_s: Callable[[], float] = time.time

    def serve(self, request: flask.Request, run: Callable[[Call], Answer]) -> flask.Response:
        """Let the request in or refuse it, `run` it, and answer."""
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
        try:
            body, caller = self._admit(request)
            label_request(caller=caller.kind, caller_name=caller.name)
            answer = run(Call(body, caller, request_id, started + self.deadline_s))
        except Problem as problem:
            return render_problem(problem, request_id)
        except HangarError as error:
            return render_problem(problem_from(error), request_id)
        except Exception:  # noqa: BLE001  the edge: whatever broke becomes one answer and one line of log
            _log.exception("%s broke", self.function)
            return render_problem(BROKEN, request_id)
        return render_json(answer.status, answer.body, "application/json", answer.headers)

    def _admit(self, request: flask.Request) -> tuple[Mapping[str, Any], auth.Caller]:
        """The body and its sender; raises the `Problem` of the first check that fails."""
        if request.method != "POST":
            raise Problem(405, "method", "This address takes POST only", {"Allow": "POST, OPTIONS"})
        raw = read_body(request)
        try:
            caller = auth.authenticate(self.verifiers, self.allowed, _lower(request), raw, self.now_unix_s())
        except auth.Unauthenticated:
            # One answer for every reason, so that nobody can feel their way to a proof.
            raise Problem(401, "proof", "The proof is missing or wrong", {"WWW-Authenticate": "Hangar"}) from None
        except auth.Forbidden:
            raise Problem(403, "kind", "This kind of caller is not let in here") from None
        except TransientError as error:
            # Not 401: the proof may well be good, and a caller that is told otherwise would sign out.
            detail = "Who is calling cannot be checked now; nothing was done"
            raise Problem(503, "proof_unchecked", detail, retry_after_header(error)) from error
        check_content_type(request)
        return parse_object(raw), caller

    def _finish(self, request: flask.Request, response: flask.Response, request_id: str) -> None:
        """The headers every answer has, and the end of the request's body."""
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


def _lower(request: flask.Request) -> dict[str, str]:
    """The headers with lower-case names; the server has joined repeated ones with commas."""
    return {name.lower(): value for name, value in request.headers.items()}
