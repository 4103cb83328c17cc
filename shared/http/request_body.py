"""Reads the body of a request: JSON only, with limits for size and time."""

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
    """Parse a JSON object. Raises a 400 `Problem` for everything else."""
    try:
        value = json.loads(raw.decode("utf-8"), parse_constant=_refuse_constant)
    except (ValueError, RecursionError):  # not UTF-8, not JSON, a number that is too long, too deep nesting
        raise Problem(400, "not_json", "The body is not valid JSON (RFC 8259, UTF-8)") from None
    if not isinstance(value, dict):
        raise Problem(400, "not_object", "The body is not a JSON object")
    return value


def find_user_id(body: Mapping[str, Any]) -> uuid.UUID | None:
    """The user that a body names: `user_id`, or that of `record` or `old_record` in a Supabase webhook payload.

    Nothing else in the payload is read, because the database decides what to do. None if the body names no user. Raises a
    400 `Problem` if the id has a wrong form.
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
    """As `find_user_id`, but a body that names no user is a 400 as well."""
    user_id = find_user_id(body)
    if user_id is None:
        raise Problem(400, "user_id", "The body names no user: user_id is missing")
    return user_id


def _parse_user_id(value: object, name: str) -> uuid.UUID:
    user_id = parse_uuid(value)
    if user_id is None:
        raise Problem(400, "user_id", f"{name} is not a uuid in the form 8-4-4-4-12")
    label_request(user_id=str(user_id))
    return user_id


def _refuse_constant(name: str) -> float:
    raise ValueError(name)


def check_content_type(request: flask.Request) -> None:
    """Raise a 415 `Problem` unless the body is uncompressed JSON in UTF-8."""
    charset = request.mimetype_params.get("charset", "utf-8").lower()
    if request.mimetype != "application/json" or charset not in ("utf-8", "utf8"):
        raise Problem(415, "type", "The body must be application/json in UTF-8", {"Accept": "application/json"})
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise Problem(415, "encoding", "The body must not be compressed", {"Accept-Encoding": "identity"})


def read_body(request: flask.Request) -> bytes:
    """The body, at most `MAX_BODY_BYTES` long. At most one byte more is held in memory."""
    too_large = Problem(413, "too_large", f"The body is larger than {MAX_BODY_BYTES} bytes")
    if (request.content_length or 0) > MAX_BODY_BYTES:
        raise too_large
    body = bytearray()
    with _bounded_in_time(request) as is_expired:
        try:
            # The stream may return less than requested before its end, above all with chunked bodies.
            while len(body) <= MAX_BODY_BYTES and (piece := request.stream.read(MAX_BODY_BYTES + 1 - len(body))):
                body += piece
        except Exception:  # noqa: BLE001  servers raise different types for invalid chunks and closed connections
            if not is_expired():
                _log.info("the body could not be read", exc_info=True)
                raise Problem(400, "body", "The body could not be read") from None
        if is_expired():
            detail = f"The body did not arrive within {BODY_TIMEOUT_S} s"
            raise Problem(408, "slow_body", detail, {"Connection": "close"})
    if len(body) > MAX_BODY_BYTES:
        raise too_large
    return bytes(body)


@contextmanager
def _bounded_in_time(request: flask.Request) -> Iterator[Callable[[], bool]]:
    """Close the reading side of the connection after BODY_TIMEOUT_S; yields a function that tells whether it did.

    WSGI has no time-out for a body, so a few callers that never finish theirs would occupy every thread. gunicorn passes its
    socket in the environment. Other servers read the whole body before they call the function.
    """
    connection: socket.socket | None = request.environ.get("gunicorn.socket")
    if connection is None:
        yield lambda: False
        return
    expired = threading.Event()

    def end() -> None:
        expired.set()
        with suppress(OSError):  # the sender has closed the connection already
            connection.shutdown(socket.SHUT_RD)

    timer = threading.Timer(BODY_TIMEOUT_S, end)
    timer.daemon = True
    timer.start()
    try:
        yield expired.is_set
    finally:
        timer.cancel()


def discard_rest(request: flask.Request) -> None:
    """Read and discard the rest of the body, so that the sender receives the response and not a connection reset.

    Otherwise the framework would read the whole rest into memory (`read_request` in functions-framework 3.10). Beyond
    `MAX_DISCARDED_BYTES` the server closes the connection.
    """
    left = MAX_DISCARDED_BYTES if (request.content_length or 0) <= MAX_DISCARDED_BYTES else 0
    try:
        while left > 0 and (piece := request.stream.read(min(left, MAX_BODY_BYTES))):
            left -= len(piece)
    except Exception:  # noqa: BLE001  the connection is closed, so there is nothing left to read
        _log.debug("the rest of the body could not be read")
    request.stream = io.BytesIO()
