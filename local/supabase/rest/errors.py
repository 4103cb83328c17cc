"""Errors of the REST gateway, in PostgREST's wire form.

RestError                    one answer: status, {code, message, details, hint}, extra headers
  made by unsupported()      a form of PostgREST that the local gateway leaves out
  made by from_database()    a Postgres error, by the status table of PostgREST's Error.hs
"""

import json
from collections.abc import Mapping

import psycopg

from local.http_server import Response

UNSUPPORTED = "HANGAR_UNSUPPORTED"

# First match by longest prefix. Source: PostgREST Error.hs, mapSQLtoHTTP.
_STATUS_BY_SQLSTATE = {
    "08": 503, "09": 500, "0L": 403, "0P": 403, "23503": 409, "23505": 409, "21000": 500, "25006": 405, "25": 500,
    "28": 403, "2D": 500, "38": 500, "39": 500, "3B": 500, "40": 500, "53400": 500, "53": 503, "54": 500, "55": 500,
    "57P01": 503, "57": 500, "58": 500, "F0": 500, "HV": 500, "P0001": 400, "P0": 500, "XX": 500, "42883": 404,
    "42P01": 404, "42P17": 500,
}  # fmt: skip
_NUL_IN_TEXT = "22021"


class RestError(Exception):
    """An error response. `str()` is for logs and holds code and message only."""

    def __init__(
        self,
        status: int,
        code: str | None,
        message: str,
        details: object = None,
        hint: str | None = None,
        *,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(f"{status} {code}: {message}")
        self.status = status
        self.code = code
        self.body: dict[str, object] = {"code": code, "message": message, "details": details, "hint": hint}
        self.headers = dict(headers or {})

    def response(self) -> Response:
        headers = {"Content-Type": "application/json; charset=utf-8", **self.headers}
        if self.code is not None:
            headers["Proxy-Status"] = f"PostgREST; error={self.code}"
        if self.status == 503:
            headers.setdefault("Retry-After", "1")
        return Response(self.status, json.dumps(self.body).encode(), headers)


def unsupported(form: str) -> RestError:
    """A form of PostgREST that the local gateway leaves out. `form` names it."""
    return RestError(
        400,
        UNSUPPORTED,
        f"The local gateway does not support {form}",
        hint="Nothing was changed. A hosted Supabase project may support it.",
    )


def unparsable(what: str, text: str, why: str) -> RestError:
    """A query parameter outside PostgREST's grammar."""
    return RestError(400, "PGRST100", f'"failed to parse {what} ({text})" (line 1, column 1)', why)


def connection_lost(error: Exception) -> RestError:
    """The connection broke during a request. Whether the request took effect is unknown."""
    return RestError(503, "PGRST001", "Database client error. Retrying the connection.", str(error).strip()[:256])


def from_database(error: psycopg.Error, *, anonymous: bool) -> RestError:
    """Translate a Postgres error. Missing rights are 401 when `anonymous`, otherwise 403."""
    state = error.sqlstate
    if state is None:
        if isinstance(error, psycopg.DataError):  # the driver refuses a NUL before Postgres would
            return RestError(400, _NUL_IN_TEXT, 'invalid byte sequence for encoding "UTF8": 0x00')
        return connection_lost(error)
    message = error.diag.message_primary or ""
    if state == "PGRST":
        return unsupported("a response raised with SQLSTATE PGRST")
    status = _status_of(state, message, anonymous=anonymous)
    headers = {"WWW-Authenticate": "Bearer"} if status == 401 else {}
    return RestError(status, state, message, error.diag.message_detail, error.diag.message_hint, headers=headers)


def _status_of(state: str, message: str, *, anonymous: bool) -> int:
    if state == "42501":
        return 401 if anonymous else 403
    if state == "22023" and message.startswith("role") and message.endswith("does not exist"):
        return 401
    if state == "21000" and message.endswith("requires a WHERE clause"):
        return 400
    if state.startswith("PT"):
        return int(state[2:]) if state[2:].isdigit() and 100 <= int(state[2:]) <= 599 else 500
    for length in (5, 2):
        if state[:length] in _STATUS_BY_SQLSTATE:
            return _STATUS_BY_SQLSTATE[state[:length]]
    return 400
