"""`/rest/v1`: from request to response, PostgREST's way.

    respond -> identify the caller -> read what is asked -> one statement -> one transaction -> one answer

Source: PostgREST Response.hs and RangeQuery.hs for statuses and headers.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from local.http_server import Request, Response
from local.supabase.rest import functions as rest_functions, tables as rest_tables
from local.supabase.keys import Keys
from local.supabase.rest.auth import Identity, identify
from local.supabase.rest.catalog import Catalog, Function, SchemaCache, Table
from local.supabase.rest.errors import RestError, unsupported
from local.supabase.rest.pool import Pool
from local.supabase.rest.query import parse_query
from local.supabase.rest.request import (
    Accepted,
    Payload,
    Preferences,
    read_accept,
    read_payload,
    read_preferences,
    narrow_window,
    read_schema,
)
from local.supabase.rest.terms import Query
from local.supabase.rest.transaction import Result, Session, Statement, run

_METHODS = ("GET", "HEAD", "POST", "PATCH", "DELETE")


@dataclass(frozen=True)
class Call:
    """One request, understood."""

    request: Request
    path: str
    schema: str
    schema_was_named: bool
    preferences: Preferences
    accepted: Accepted


class RestApi:
    """Answers everything below `/rest/v1/`."""

    def __init__(
        self,
        pool: Pool,
        cache: SchemaCache,
        keys: Keys,
        *,
        exposed_schemas: Sequence[str],
        max_rows: int,
        now: Callable[[], float],
    ) -> None:
        self._pool = pool
        self._cache = cache
        self._keys = keys
        self._exposed = tuple(exposed_schemas)
        self._max_rows = max_rows
        self._now = now

    def respond(self, request: Request, path: str) -> Response:
        """Answer `request`; `path` is what follows `/rest/v1`, beginning with a slash."""
        try:
            identity = identify(request.headers, self._keys, self._now)
            schema, named = read_schema(request, self._exposed)
            preferences = read_preferences(request.headers.get("prefer", ""))
            accepted = read_accept(request.headers.get("accept", "*/*"))
            call = Call(request, path, schema, named, preferences, accepted)
            return self._dispatch(call, identity)
        except RestError as error:
            return error.response()
        except RecursionError:
            return unsupported("conditions nested this deeply").response()

    def _dispatch(self, call: Call, identity: Identity) -> Response:
        session = Session(identity, call.request, call.path, call.schema, self._cache.current().role_settings)
        match call.path.strip("/").split("/"):
            case ["rpc", function]:
                return self._call_function(call, session, function)
            case [""]:
                raise unsupported("the OpenAPI description at the root")
            case [table]:
                return self._touch_table(call, session, table)
        raise RestError(404, "PGRST125", "Invalid path specified in request URL")

    def _run(self, session: Session, statement: Statement, call: Call, *, mutates: bool = False) -> Result:
        def check(result: Result) -> None:
            if call.accepted.singular and result.rows != 1:
                details = f"The result contains {result.rows} rows"
                raise RestError(406, "PGRST116", "Cannot coerce the result to a single JSON object", details)
            most = call.preferences.max_affected
            if mutates and call.preferences.strict and most is not None and result.rows > most:
                details = f"The query affects {result.rows} rows"
                message = "Query result exceeds max-affected preference constraint"
                raise RestError(400, "PGRST124", message, details)

        with self._pool.borrow() as connection:
            return run(connection, session, statement, check)

    def _find_table(self, call: Call, name: str) -> Table:
        for catalog in (self._cache.current, self._cache.reload):
            found = rest_tables.find_table(catalog(), call.schema, name)
            if found is not None:
                return found
        raise rest_tables.table_missing(call.schema, name)

    def _touch_table(self, call: Call, session: Session, name: str) -> Response:
        method = call.request.method
        if method == "PUT":
            raise unsupported("PUT")
        if method not in _METHODS:
            raise RestError(405, "PGRST117", f"Unsupported HTTP method: {method}")
        query = parse_query(call.request.query)
        table = self._find_table(call, name)
        catalog = self._cache.current()
        if method in ("GET", "HEAD"):
            narrow_window(query, call.request.headers.get("range", ""))
            statement = rest_tables.write_read(catalog, table, query, call.preferences, call.accepted, self._max_rows)
            return _answer_read(call, query, self._run(session, statement, call))
        if method == "DELETE":
            statement = rest_tables.write_delete(catalog, table, query, call.preferences, call.accepted)
            return _answer_change(call, self._run(session, statement, call, mutates=True), deleted=True)
        payload = read_payload(call.request)
        try:
            return self._write_table(call, session, table, query, payload)
        except RestError as error:
            if error.code != "PGRST204":
                raise
            self._cache.reload()
            return self._write_table(call, session, self._find_table(call, name), query, payload)

    def _write_table(self, call: Call, session: Session, table: Table, query: Query, payload: Payload) -> Response:
        catalog = self._cache.current()
        if call.request.method == "POST":
            if call.preferences.returning == "headers-only":
                raise unsupported("Prefer: return=headers-only")
            statement = rest_tables.write_insert(catalog, table, query, payload, call.preferences, call.accepted)
            return _answer_insert(call, self._run(session, statement, call))
        statement = rest_tables.write_update(catalog, table, query, payload, call.preferences, call.accepted)
        return _answer_change(call, self._run(session, statement, call, mutates=True), deleted=False)

    def _call_function(self, call: Call, session: Session, name: str) -> Response:
        method = call.request.method
        if method not in ("GET", "HEAD", "POST"):
            raise RestError(405, "PGRST101", f"Cannot use the {method} method on RPC")
        reading = method != "POST"
        query = parse_query(call.request.query, takes_arguments=reading)
        if query.columns is not None or query.on_conflict is not None:
            raise unsupported("columns or on_conflict on a function")
        payload = None if reading else read_payload(call.request, empty_is_object=True)
        function = self._find_function(call, name, query, payload)
        if payload is not None and payload.is_array and not rest_functions.takes_whole_body(function):
            raise unsupported("a list as the arguments of a function")
        if call.preferences.max_affected is not None and call.preferences.strict and not function.returns_set:
            message = "Function must return SETOF or TABLE when max-affected preference is used with handling=strict"
            raise RestError(400, "PGRST128", message)
        statement = rest_functions.write_call(
            self._cache.current(),
            function,
            query,
            payload,
            preferences=call.preferences,
            accepted=call.accepted,
            max_rows=self._max_rows,
        )
        result = self._run(session, statement, call, mutates=True)
        if function.returns_void:
            return _answer(call, 204, result, {"Content-Range": _content_range(0, 0, None)}, with_body=False)
        return _answer_read(call, query, result)

    def _find_function(self, call: Call, name: str, query: Query, payload: Payload | None) -> Function:
        names = query.arguments if payload is None else payload.keys
        has_json_body = payload is not None

        def find(catalog: Catalog) -> Function | None:
            return rest_functions.find_function(catalog, call.schema, name, names, has_json_body=has_json_body)

        found = find(self._cache.current()) or find(self._cache.reload())
        if found is None:
            raise rest_functions.function_missing(call.schema, name, names, has_json_body=has_json_body)
        return found


def _answer_read(call: Call, query: Query, result: Result) -> Response:
    first, last = query.offset, query.offset + result.rows - 1
    status = 200
    if result.total is not None and first > result.total:
        details = f"An offset of {first} was requested, but there are only {result.total} rows."
        error = RestError(416, "PGRST103", "Requested range not satisfiable", details)
        return error.response()
    if result.total is not None and result.rows < result.total:
        status = 206
    return _answer(call, status, result, {"Content-Range": _content_range(first, last, result.total)})


def _answer_insert(call: Call, result: Result) -> Response:
    only_updated = result.inserted is not None and result.inserted <= 0
    merged_nothing_new = call.preferences.resolution == "merge-duplicates" and only_updated
    headers = {"Content-Range": _content_range(1, 0, result.rows if call.preferences.counts_exactly else None)}
    represented = call.preferences.returning == "representation"
    return _answer(call, 200 if merged_nothing_new else 201, result, headers, with_body=represented)


def _answer_change(call: Call, result: Result, *, deleted: bool) -> Response:
    total = result.rows if call.preferences.counts_exactly else None
    first, last = (1, 0) if deleted else (0, result.rows - 1)
    represented = call.preferences.returning == "representation"
    headers = {"Content-Range": _content_range(first, last, total)}
    return _answer(call, 200 if represented else 204, result, headers, with_body=represented)


def _content_range(first: int, last: int, total: int | None) -> str:
    span = f"{first}-{last}" if total != 0 and first <= last else "*"
    return f"{span}/{'*' if total is None else total}"


def _answer(call: Call, status: int, result: Result, headers: dict[str, str], *, with_body: bool = True) -> Response:
    if with_body:
        headers["Content-Type"] = call.accepted.content_type
        if call.schema_was_named:
            headers["Content-Profile"] = call.schema
    if call.preferences.applied:
        headers["Preference-Applied"] = ", ".join(call.preferences.applied)
    try:
        if result.response_status is not None:
            status = int(result.response_status)
        for entry in json.loads(result.response_headers or "[]"):
            for name, value in entry.items():
                headers = {key: kept for key, kept in headers.items() if key.lower() != name.lower()}
                headers[name] = value
    except (ValueError, AttributeError, TypeError):
        return RestError(
            500, "PGRST111", "response.headers or response.status has not the form it must have"
        ).response()
    body = result.body.encode() if with_body and call.request.method != "HEAD" else b""
    return Response(status, body, headers)
