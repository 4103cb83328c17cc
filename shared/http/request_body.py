"""Reads a request's body: bounded in size and time, JSON only."""

import io
import json
import logging
import socket
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import flask

from shared.http.problem import Problem
from shared.observability.logging import label_request
from shared.settings.validators import parse_uuid

_log = logging.getLogger("hangar.http")

MAX_BODY_BYTES = 64 * 1024


MAX_DISCARDED_BYTES = 16 * 1024 * 1024


BODY_TIMEOUT_S = 5


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


def _refuse_constant(name: str) -> float:
    raise ValueError(name)


def check_content_type(request: flask.Request) -> None:
    """Raises Problem (415) unless the body is uncompressed JSON in UTF-8."""
    charset = request.mimetype_params.get("charset", "utf-8").lower()
    if request.mimetype != "application/json" or charset not in ("utf-8", "utf8"):
        raise Problem(415, "type", "The body must be application/json in UTF-8", {"Accept": "application/json"})
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise Problem(415, "encoding", "The body must not be compressed", {"Accept-Encoding": "identity"})


def read_body(request: flask.Request) -> bytes:
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
