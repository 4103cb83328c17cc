"""How the local sign-in service answers: JSON, its two forms of error, redirects, and one transaction at a time."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg.rows import dict_row

from local.http_server import Request, Response
from local.supabase.rest.errors import from_database
from local.supabase.rest.pool import Pool

API_VERSION = "2024-01-01"

Row = dict[str, Any]
Cursor = psycopg.Cursor[Row]


class AuthFailure(Exception):  # noqa: N818  an answer, as supabase/auth names its own errors
    """An answer that is no success: status, the stable code, and words for people."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message

    def response(self, request: Request) -> Response:
        """In the form that the caller's API version asks for."""
        if request.headers.get("x-supabase-api-version", "") >= API_VERSION:
            body: Row = {"code": self.code, "message": self.message}
            return answer_json(self.status, body, {"X-Supabase-Api-Version": API_VERSION})
        return answer_json(self.status, {"code": self.status, "error_code": self.code, "msg": self.message})


def answer_json(status: int, body: object, headers: Mapping[str, str] | None = None) -> Response:
    return Response(status, json.dumps(body).encode(), {"Content-Type": "application/json", **(headers or {})})


def redirect(url: str) -> Response:
    """Send a browser on. What stands in the address is for one use, so nobody keeps it."""
    return Response(302, b"", {"Location": url, "Cache-Control": "no-store", "Referrer-Policy": "no-referrer"})


def read_fields(request: Request, *names: str) -> tuple[str, ...]:
    """Text fields of a JSON body; one that is missing or no text is empty. AuthFailure when it is no JSON object."""
    try:
        body = json.loads(request.body)
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise AuthFailure(400, "bad_json", "Could not parse request body as JSON: an object was expected")
    return tuple(value if isinstance(value := body.get(name), str) else "" for name in names)


@contextmanager
def transaction(pool: Pool) -> Iterator[Cursor]:
    """A cursor in a transaction of its own, which the end of the block commits. RestError for what Postgres says."""
    with pool.borrow() as connection:
        try:
            with connection.transaction(), connection.cursor(row_factory=dict_row) as cursor:
                yield cursor
        except psycopg.Error as error:
            raise from_database(error, anonymous=False) from error
