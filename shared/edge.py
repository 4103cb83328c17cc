"""The HTTP edge of every function: method, size, proof, type, form, in this order, and one shape for every answer.

Only what a stranger may know is checked before the proof: the method (405) and the size (413). Errors are
problem+json (RFC 9457) with the request's id as `instance`; what went wrong inside is logged under that id, never sent.
"""

import io
import json
import logging
import math
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

import flask

from shared import auth
from shared.config_forms import parse_uuid
from shared.errors import Capacity, HangarError, Retry
from shared.logs import label_request, read_trace, request_context

MAX_BODY_BYTES = 64 * 1024
MAX_DISCARDED_BYTES = 16 * 1024 * 1024
BODY_TIMEOUT_S = 5
RETRY_AFTER_S = 30
MAX_RETRY_AFTER_S = 3600
PREFLIGHT_AGE_S = 600

_log = logging.getLogger("hangar.edge")


class Problem(Exception):  # noqa: N818  RFC 9457's own word
    """An answer that is an error: its status, a stable `code` for programs and a `detail` for people."""

    def __init__(self, status: int, code: str, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.headers = dict(headers or {})


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
            return _render_problem(problem, request_id)
        except HangarError as error:
            return _render_problem(_problem_of(error), request_id)
        except Exception:  # noqa: BLE001  the edge: whatever broke becomes one answer and one line of log
            _log.exception("%s broke", self.function)
            return _render_problem(_BROKEN, request_id)
        return _render(answer.status, answer.body, "application/json", answer.headers)

    def _admit(self, request: flask.Request) -> tuple[Mapping[str, Any], auth.Caller]:
        """The body and its sender; raises the `Problem` of the first check that fails."""
        if request.method != "POST":
            raise Problem(405, "method", "This address takes POST only", {"Allow": "POST, OPTIONS"})
        raw = _read_body(request)
        try:
            caller = auth.authenticate(self.verifiers, self.allowed, _lower(request), raw, self.now_unix_s())
        except auth.Unauthenticated:
            # One answer for every reason, so that nobody can feel their way to a proof.
            raise Problem(401, "proof", "The proof is missing or wrong", {"WWW-Authenticate": "Hangar"}) from None
        except auth.Forbidden:
            raise Problem(403, "kind", "This kind of caller is not let in here") from None
        except Retry as error:
            # Not 401: the proof may well be good, and a caller that is told otherwise would sign out.
            detail = "Who is calling cannot be checked now; nothing was done"
            raise Problem(503, "proof_unchecked", detail, come_again(error)) from error
        _check_type(request)
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


def parse_object(raw: bytes) -> Mapping[str, Any]:
    """The JSON object these bytes are; raises a 400 `Problem` for anything else, however it is broken."""
    try:
        value = json.loads(raw.decode("utf-8"), parse_constant=_refuse_constant)
    except (ValueError, RecursionError):  # not UTF-8, not JSON, a number beyond all digits, nested without end
        raise Problem(400, "not_json", "The body is not JSON (RFC 8259, UTF-8)") from None
    if not isinstance(value, dict):
        raise Problem(400, "not_object", "The body is not a JSON object")
    return value


def find_user_id(body: Mapping[str, Any]) -> uuid.UUID | None:
    """The user a body is about: `user_id`, or that of a Supabase webhook payload's `record`, else its `old_record`.

    Nothing else of a payload is read: the database says what to do. None when the body names no user at all; raises a
    400 `Problem` when it names one in a wrong form.
    """
    if "user_id" in body:
        return _parse_user_id(body["user_id"], "user_id")
    for part in ("record", "old_record"):
        record = body.get(part)
        if record is None:
            continue
        if not isinstance(record, dict):
            raise Problem(400, "record", f"{part} is not a JSON object")
        if record.get("user_id") is not None:
            return _parse_user_id(record["user_id"], f"{part}.user_id")
    if body.get("record") is not None or body.get("old_record") is not None:
        raise Problem(400, "user_id", "Neither record nor old_record has a user_id")
    return None


def require_user_id(body: Mapping[str, Any]) -> uuid.UUID:
    """As `find_user_id`, but naming no user is a 400 too."""
    user_id = find_user_id(body)
    if user_id is None:
        raise Problem(400, "user_id", "The body names no user: user_id is missing")
    return user_id


def _parse_user_id(value: object, name: str) -> uuid.UUID:
    user_id = parse_uuid(value)
    if user_id is None:
        raise Problem(400, "user_id", f"{name} is not a uuid of the form 8-4-4-4-12")
    label_request(user_id=str(user_id))
    return user_id


def _lower(request: flask.Request) -> dict[str, str]:
    """The headers with lower-case names; the server has joined repeated ones with commas."""
    return {name.lower(): value for name, value in request.headers.items()}


def _refuse_constant(name: str) -> float:
    raise ValueError(name)


def _check_type(request: flask.Request) -> None:
    charset = request.mimetype_params.get("charset", "utf-8").lower()
    if request.mimetype != "application/json" or charset not in ("utf-8", "utf8"):
        raise Problem(415, "type", "The body must be application/json in UTF-8", {"Accept": "application/json"})
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise Problem(415, "encoding", "The body must not be compressed", {"Accept-Encoding": "identity"})


def _read_body(request: flask.Request) -> bytes:
    """The body, at most `MAX_BODY_BYTES`; never more than one byte beyond is held."""
    too_large = Problem(413, "too_large", f"The body is larger than {MAX_BODY_BYTES} bytes")
    if (request.content_length or 0) > MAX_BODY_BYTES:
        raise too_large
    body = bytearray()
    with _bounded_in_time(request) as is_over:
        try:
            # The stream may give less than asked for before its end, above all with chunked bodies.
            while len(body) <= MAX_BODY_BYTES and (piece := request.stream.read(MAX_BODY_BYTES + 1 - len(body))):
                body += piece
        except Exception:  # noqa: BLE001  broken chunks and senders that go away have no common type across servers
            if not is_over():
                _log.info("the body could not be read", exc_info=True)
                raise Problem(400, "body", "The body could not be read") from None
        if is_over():
            detail = f"The body did not arrive within {BODY_TIMEOUT_S} s"
            raise Problem(408, "slow_body", detail, {"Connection": "close"})
    if len(body) > MAX_BODY_BYTES:
        raise too_large
    return bytes(body)


@contextmanager
def _bounded_in_time(request: flask.Request) -> Iterator[Callable[[], bool]]:
    """Close the reading side of the connection after BODY_TIMEOUT_S; gives a way to ask whether that has happened.

    WSGI knows no time-out for a body, and a handful of callers who never finish theirs would hold every thread. gunicorn
    shows its socket in the environment; other servers read the body themselves before they call us.
    """
    connection: socket.socket | None = request.environ.get("gunicorn.socket")
    if connection is None:
        yield lambda: False
        return
    over = threading.Event()

    def end() -> None:
        over.set()
        with suppress(OSError):  # the sender was faster in closing it
            connection.shutdown(socket.SHUT_RD)

    timer = threading.Timer(BODY_TIMEOUT_S, end)
    timer.daemon = True
    timer.start()
    try:
        yield over.is_set
    finally:
        timer.cancel()


def discard_rest(request: flask.Request) -> None:
    """Throw away, piece by piece, what the sender is still sending, so that it gets to read our answer, not a reset.

    Nothing is left for the framework, which would read the rest into memory after us, whatever its size (`read_request`
    in functions-framework 3.10). Beyond `MAX_DISCARDED_BYTES` the server closes the connection on the sender.
    """
    left = MAX_DISCARDED_BYTES if (request.content_length or 0) <= MAX_DISCARDED_BYTES else 0
    try:
        while left > 0 and (piece := request.stream.read(min(left, MAX_BODY_BYTES))):
            left -= len(piece)
    except Exception:  # noqa: BLE001  the sender is gone or broken, so there is nothing left to read off
        _log.debug("the rest of the body could not be read")
    request.stream = io.BytesIO()


_BROKEN = Problem(500, "broken", "Something broke here; the log has it under this instance")


def _problem_of(error: HangarError) -> Problem:
    """What a caller may know of a failure below: come again, or a person must act. The rest stands in the log."""
    if isinstance(error, Retry | Capacity):
        detail = "The database or Fly is out of reach; nothing is lost, it will be tried again"
        return Problem(503, "out_of_reach", detail, come_again(error))
    _log.error("%s", error, exc_info=error, extra={"labels": {"code": error.code}})
    return Problem(500, error.code, "A person must act first; the log has the reason under this instance")


def come_again(error: HangarError) -> dict[str, str]:
    """Log what is out of reach, and say when to ask again."""
    _log.warning("%s", error, extra={"labels": {"code": error.code}})
    wanted_s = getattr(error, "retry_after_s", None) or RETRY_AFTER_S
    return {"Retry-After": str(min(max(1, math.ceil(wanted_s)), MAX_RETRY_AFTER_S))}


def _render_problem(problem: Problem, request_id: str) -> flask.Response:
    body = {
        "type": "about:blank",
        "title": HTTPStatus(problem.status).phrase,
        "status": problem.status,
        "detail": problem.detail,
        "instance": f"urn:uuid:{request_id}",
        "code": problem.code,
    }
    return _render(problem.status, body, "application/problem+json", problem.headers)


def _render(status: int, body: Mapping[str, Any], content_type: str, headers: Mapping[str, str]) -> flask.Response:
    text = json.dumps(body) + "\n"
    return flask.Response(text, status=status, headers=dict(headers), content_type=content_type)
