"""Responses of the local sign-in service: two forms of errors, redirects; and its transactions."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg.rows import dict_row

from local.http_server import Request, Response, answer_json
from local.supabase.rest.errors import from_database
from local.supabase.rest.pool import Pool

API_VERSION = "2024-01-01"

Row = dict[str, Any]
Cursor = psycopg.Cursor[Row]


class AuthFailure(Exception):  # noqa: N818  an error response
    """An error response: status, stable code, and a message for people."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message

    def response(self, request: Request) -> Response:
        """The error in the form of the caller's API version."""
        if request.headers.get("x-supabase-api-version", "") >= API_VERSION:
            body: Row = {"code": self.code, "message": self.message}
            return answer_json(body, self.status, {"X-Supabase-Api-Version": API_VERSION})
        return answer_json({"code": self.status, "error_code": self.code, "msg": self.message}, self.status)


def redirect(url: str) -> Response:
    """Redirect a browser. The address holds one-time codes and must not be cached."""
    return Response(302, b"", {"Location": url, "Cache-Control": "no-store", "Referrer-Policy": "no-referrer"})


def read_fields(request: Request, *names: str) -> tuple[str, ...]:
    """Text fields of a JSON body; a missing field is empty. AuthFailure when the body is not a JSON object."""
    try:
        body = json.loads(request.body)
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise AuthFailure(400, "bad_json", "Could not parse request body as JSON: an object was expected")
    return tuple(value if isinstance(value := body.get(name), str) else "" for name in names)


@contextmanager
def transaction(pool: Pool) -> Iterator[Cursor]:
    """A cursor in its own transaction, which the end of the block commits. RestError for an error of Postgres."""
    with pool.borrow() as connection:
        try:
            with connection.transaction(), connection.cursor(row_factory=dict_row) as cursor:
                yield cursor
        except psycopg.Error as error:
            raise from_database(error, anonymous=False) from error
