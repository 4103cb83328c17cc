"""One request, one transaction: role, settings and mode as PostgREST sets them, then the statement.

Source: PostgREST docs references/transactions, and its PreQuery.hs for the order of settings. Of a role's
settings only its timeout applies.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psycopg

from local.http_server import Request
from local.supabase.rest.catalog import SCHEMA
from local.supabase.rest.errors import from_database
from local.supabase.rest.pool import Connection
from local.supabase.rest.request import Call
from local.supabase.rest.sql import Values, quote

SOURCE = "_hangar_source"
_SEARCH_PATH = (SCHEMA, "extensions")
_ROLE_TIMEOUT = Path(__file__).with_name("role_timeout.sql").read_text().strip()


@dataclass(frozen=True)
class Result:
    """The answer of a request's one statement, see `write_result`. `sets_response`: it set PostgREST's `response.*`."""

    rows: int
    body: str
    sets_response: bool


@dataclass(frozen=True)
class Statement:
    """SQL that yields one row of `Result`, and the mode it must run in."""

    text: str
    values: Values
    read_only: bool = False


def run(connection: Connection, call: Call, statement: Statement, check: Callable[[Result], None]) -> Result:
    """Run and commit. RestError when Postgres or `check` refuses, and nothing is changed."""
    try:
        mode = "only" if statement.read_only else "write"
        connection.execute(f"begin isolation level read committed read {mode}".encode())
        _apply_settings(connection, call)
        # The statement answers one row, see write_result.
        [row] = connection.execute(statement.text.encode(), statement.values.bound).fetchall()
        result = Result(*row)
        check(result)
        connection.execute("commit")
    except psycopg.Error as error:
        _roll_back(connection)
        raise from_database(error, anonymous=call.identity.anonymous) from error
    except BaseException:
        _roll_back(connection)
        raise
    return result


def _apply_settings(connection: Connection, call: Call) -> None:
    identity = call.identity
    settings = {
        "search_path": ", ".join(map(quote, _SEARCH_PATH)),
        "role": identity.role,
        "request.jwt.claims": json.dumps({**identity.claims, "role": identity.role}),
        "request.method": call.request.method,
        "request.path": call.path,
        "request.headers": json.dumps(_visible_headers(call.request)),
        "request.cookies": "{}",
    }
    values = Values()
    calls = [
        f"pg_catalog.set_config({values.bind(name)}, {values.bind(value)}, true)" for name, value in settings.items()
    ]
    timeout = f"pg_catalog.set_config('statement_timeout', ({_ROLE_TIMEOUT.format(values.bind(identity.role))}), true)"
    connection.execute(f"select {', '.join([*calls, timeout])}".encode(), values.bound)


def _visible_headers(request: Request) -> dict[str, str]:
    """All headers but the API keys, which Supabase's edge exchanges for a token of its own."""
    return {
        name: value
        for name, value in request.headers.items()
        if name != "apikey" and not (name == "authorization" and " sb_" in value)
    }


def _roll_back(connection: Connection) -> None:
    if connection.closed:
        return
    try:
        connection.execute("rollback")
    except psycopg.Error:
        connection.close()


def write_result(source: str, body: str, *, page: str = f"select * from {SOURCE}", rows: str = "count(*)") -> str:
    """Wrap `source` (what is read, written or called) so that it answers one row of `Result`.

    `page` reads from `_hangar_source`; `body` is made from `_hangar_page`.
    """
    return (
        f"with {SOURCE} as ({source}) select {rows}, ({body})::text,"
        " coalesce(current_setting('response.headers', true), '') || coalesce(current_setting('response.status', true), '')"
        f" <> '' from ({page}) _hangar_page"
    )
