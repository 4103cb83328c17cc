"""`/rest/v1`: from request to response, as PostgREST answers it.

    respond -> identify the caller -> read the request -> one statement -> one transaction -> one response

The forms that Hangar, its backend and their tests use are here. Every other form answers 400 HANGAR_UNSUPPORTED with its
name and changes nothing. Source: PostgREST Response.hs and RangeQuery.hs for statuses and headers.
"""

from collections.abc import Callable
from dataclasses import dataclass

from local.http_server import Request, Response
from local.supabase.keys import Keys
from local.supabase.rest.auth import Identity, identify
from local.supabase.rest.catalog import SCHEMA, Function, SchemaCache, Table
from local.supabase.rest.errors import RestError, unsupported
from local.supabase.rest.functions import find_function, function_missing, write_call
from local.supabase.rest.pool import Pool
from local.supabase.rest.query import parse_query
from local.supabase.rest.request import (
    Payload,
    Preferences,
    content_type_of,
    names_schema,
    read_accept,
    read_payload,
    read_preferences,
)
from local.supabase.rest.tables import table_missing, write_delete, write_insert, write_read, write_update
from local.supabase.rest.terms import Query
from local.supabase.rest.transaction import Result, Session, Statement, run

_METHODS = ("GET", "HEAD", "POST", "PATCH", "DELETE")


@dataclass(frozen=True)
class Call:
    """One request with its headers read."""

    request: Request
    path: str
    names_schema: bool
    preferences: Preferences
    singular: bool


class RestApi:
    """Answers everything below `/rest/v1/`."""

    def __init__(self, pool: Pool, cache: SchemaCache, keys: Keys, now: Callable[[], float]) -> None:
        self._pool, self._cache, self._keys, self._now = pool, cache, keys, now

    def respond(self, request: Request, path: str) -> Response:
        """Answer `request`; `path` is what follows `/rest/v1`, beginning with a slash."""
        try:
            identity = identify(request.headers, self._keys, self._now)
            named = names_schema(request)
            preferences = read_preferences(request.headers.get("prefer", ""))
            singular = read_accept(request.headers.get("accept", "*/*"))
            if "range" in request.headers:
                raise unsupported("the header Range (use limit and offset)")
            return self._dispatch(Call(request, path, named, preferences, singular), identity)
        except RestError as error:
            return error.response()
        except RecursionError:
            return unsupported("conditions nested this deeply").response()

    def _dispatch(self, call: Call, identity: Identity) -> Response:
        session = Session(identity, call.request, call.path, self._cache.current().role_settings)
        match call.path.strip("/").split("/"):
            case ["rpc", function]:
                return self._call_function(call, session, function)
            case [""]:
                raise unsupported("the OpenAPI description at the root")
            case [table]:
                return self._touch_table(call, session, table)
        raise RestError(404, "PGRST125", "Invalid path specified in request URL")

    def _run(self, session: Session, statement: Statement, call: Call) -> Result:
        def check(result: Result) -> None:
            if result.sets_response:
                raise unsupported("functions that set response.status or response.headers")
            if call.singular and result.rows != 1:
                details = f"The result contains {result.rows} rows"
                raise RestError(406, "PGRST116", "Cannot coerce the result to a single JSON object", details)

        with self._pool.borrow() as connection:
            return run(connection, session, statement, check)

    def _find_table(self, name: str) -> Table:
        for catalog in (self._cache.current, self._cache.reload):
            if found := catalog().tables.get(name):
                return found
        raise table_missing(name)

    def _touch_table(self, call: Call, session: Session, name: str) -> Response:
        method = call.request.method
        if method == "PUT":
            raise unsupported("PUT")
        if method not in _METHODS:
            raise RestError(405, "PGRST117", f"Unsupported HTTP method: {method}")
        query = parse_query(call.request.query)
        table = self._find_table(name)
        if method in ("GET", "HEAD"):
            statement = write_read(table, query, call.preferences, singular=call.singular)
            return _answer_read(call, query, self._run(session, statement, call))
        if method == "DELETE":
            statement = write_delete(table, query, call.preferences, singular=call.singular)
            return _answer_change(call, self._run(session, statement, call), deleted=True)
        payload = read_payload(call.request)
        try:
            return self._write_table(call, session, table, query, payload)
        except RestError as error:
            if error.code != "PGRST204":
                raise
            self._cache.reload()
            return self._write_table(call, session, self._find_table(name), query, payload)

    def _write_table(self, call: Call, session: Session, table: Table, query: Query, payload: Payload) -> Response:
        if call.request.method == "POST":
            statement = write_insert(table, query, payload, call.preferences, singular=call.singular)
            return _answer_insert(call, self._run(session, statement, call))
        statement = write_update(table, query, payload, call.preferences, singular=call.singular)
        return _answer_change(call, self._run(session, statement, call), deleted=False)

    def _call_function(self, call: Call, session: Session, name: str) -> Response:
        method = call.request.method
        if method in ("GET", "HEAD"):
            raise unsupported(f"{method} of a function")
        if method != "POST":
            raise RestError(405, "PGRST101", f"Cannot use the {method} method on RPC")
        if call.request.query:
            raise unsupported("select, filters, order or a window on a function")
        payload = read_payload(call.request, empty_is_object=True)
        if payload.is_array:
            raise unsupported("a list as the arguments of a function")
        function = self._find_function(name, payload.keys)
        result = self._run(session, write_call(function, payload), call)
        if function.returns_void:
            return _answer(call, 204, {"Content-Range": _content_range(0, 0, None)})
        return _answer(call, 200, {"Content-Range": _content_range(0, 0, None)}, result.body)

    def _find_function(self, name: str, names: tuple[str, ...]) -> Function:
        for catalog in (self._cache.current, self._cache.reload):
            if found := find_function(catalog(), name, names):
                return found
        raise function_missing(name, names)


def _answer_read(call: Call, query: Query, result: Result) -> Response:
    first, last = query.offset, query.offset + result.rows - 1
    if result.total is not None and first > result.total:
        details = f"An offset of {first} was requested, but there are only {result.total} rows."
        raise RestError(416, "PGRST103", "Requested range not satisfiable", details)
    status = 206 if result.total is not None and result.rows < result.total else 200
    return _answer(call, status, {"Content-Range": _content_range(first, last, result.total)}, result.body)


def _answer_insert(call: Call, result: Result) -> Response:
    only_updated = result.inserted is not None and result.inserted <= 0
    merged_nothing_new = call.preferences.resolution == "merge-duplicates" and only_updated
    headers = {"Content-Range": _content_range(1, 0, result.rows if call.preferences.counted else None)}
    return _answer(call, 200 if merged_nothing_new else 201, headers, _shown(call, result))


def _answer_change(call: Call, result: Result, *, deleted: bool) -> Response:
    total = result.rows if call.preferences.counted else None
    first, last = (1, 0) if deleted else (0, result.rows - 1)
    headers = {"Content-Range": _content_range(first, last, total)}
    return _answer(call, 200 if call.preferences.represented else 204, headers, _shown(call, result))


def _shown(call: Call, result: Result) -> str | None:
    return result.body if call.preferences.represented else None


def _content_range(first: int, last: int, total: int | None) -> str:
    span = f"{first}-{last}" if total != 0 and first <= last else "*"
    return f"{span}/{'*' if total is None else total}"


def _answer(call: Call, status: int, headers: dict[str, str], body: str | None = None) -> Response:
    if body is not None:
        headers["Content-Type"] = content_type_of(singular=call.singular)
        if call.names_schema:
            headers["Content-Profile"] = SCHEMA
    if call.preferences.applied:
        headers["Preference-Applied"] = ", ".join(call.preferences.applied)
    return Response(status, b"" if body is None or call.request.method == "HEAD" else body.encode(), headers)
