"""One request, one transaction: role, settings and mode as PostgREST sets them, then the statement.

Source: PostgREST docs references/transactions, and its PreQuery.hs for the order of settings.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import psycopg

from local.http_server import Request
from local.supabase.rest.auth import ANONYMOUS_ROLE, Identity
from local.supabase.rest.catalog import SCHEMA
from local.supabase.rest.errors import RestError, from_database
from local.supabase.rest.pool import Connection
from local.supabase.rest.sql import Values, quote

SOURCE = "_hangar_source"
_ISOLATION = {"read committed", "repeatable read", "serializable", "read uncommitted"}
# Supabase's own: supabase/postgres migrations. service_role has none and gets the login role's 8 s.
_DEFAULT_ROLE_SETTINGS: Mapping[str, Mapping[str, str]] = {ANONYMOUS_ROLE: {"statement_timeout": "3s"}}
_SEARCH_PATH = (SCHEMA, "extensions")


@dataclass(frozen=True)
class Result:
    """The answer of a request's one statement, see `write_result`. `sets_response`: it set PostgREST's `response.*`."""

    total: int | None
    rows: int
    body: str
    sets_response: bool
    inserted: int | None = None


@dataclass(frozen=True)
class Statement:
    """SQL that yields one row of `Result`, and the mode it must run in."""

    text: str
    values: Values
    read_only: bool = False
    settings: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Session:
    """The caller and the request."""

    identity: Identity
    request: Request
    path: str
    role_settings: Mapping[str, Mapping[str, str]]


def run(
    connection: Connection, session: Session, statement: Statement, check: Callable[[Result], None] | None = None
) -> Result:
    """Run and commit. RestError when Postgres or `check` refuses, and nothing is changed."""
    role = session.identity.role
    settings = {**_DEFAULT_ROLE_SETTINGS.get(role, {}), **session.role_settings.get(role, {}), **statement.settings}
    isolation = settings.pop("default_transaction_isolation", "")
    level = isolation if isolation in _ISOLATION else "read committed"
    mode = "read only" if statement.read_only else "read write"
    try:
        connection.execute(f"begin isolation level {level} {mode}".encode())
        _apply_settings(connection, session, settings)
        result = _fetch_result(connection, statement)
        if check is not None:
            check(result)
        connection.execute("commit")
    except psycopg.Error as error:
        _roll_back(connection)
        raise from_database(error, anonymous=session.identity.anonymous) from error
    except BaseException:
        _roll_back(connection)
        raise
    return result


def _fetch_result(connection: Connection, statement: Statement) -> Result:
    row = connection.execute(statement.text.encode(), statement.values.bound).fetchone()
    if row is None:
        raise RestError(500, "HANGAR_BROKEN", "The local gateway built a statement without a result")
    return Result(*row)


def _apply_settings(connection: Connection, session: Session, role_settings: Mapping[str, str]) -> None:
    settings = {
        "search_path": ", ".join(map(quote, _SEARCH_PATH)),
        **role_settings,
        "role": session.identity.role,
        "request.jwt.claims": json.dumps({**session.identity.claims, "role": session.identity.role}),
        "request.method": session.request.method,
        "request.path": session.path,
        "request.headers": json.dumps(_visible_headers(session.request)),
        "request.cookies": "{}",
    }
    values = Values()
    calls = [
        f"pg_catalog.set_config({values.bind(name)}, {values.bind(value)}, true)" for name, value in settings.items()
    ]
    connection.execute(f"select {', '.join(calls)}".encode(), values.bound)


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


def write_result(
    source: str,
    body: str,
    *,
    page: str = f"select * from {SOURCE}",
    count: str | None = None,
    rows: str = "count(*)",
    inserted: str = "null",
) -> str:
    """Wrap `source` (what is read, written or called) so that it answers one row of `Result`.

    `page` reads from `_hangar_source`; `body` is made from `_hangar_page`; `count` is a query whose rows are the total.
    """
    total = "null" if count is None else f"(select count(*) from ({count}) _hangar_count)"
    return (
        f"with {SOURCE} as ({source}) select {total}, {rows}, ({body})::text,"
        " coalesce(current_setting('response.headers', true), '') || coalesce(current_setting('response.status', true), '')"
        f" <> '', {inserted} from ({page}) _hangar_page"
    )
