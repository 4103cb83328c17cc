"""`/rest/v1`: from request to response, as PostgREST answers it.

    respond -> identify the caller -> read the request -> one statement -> one transaction -> one response

The forms that Hangar, its backend and their tests use are here. Every other form answers 400 HANGAR_UNSUPPORTED with its
name and changes nothing. Source: PostgREST Response.hs and RangeQuery.hs for statuses and headers.
"""

from collections.abc import Callable

from local.http_server import Request, Response
from local.supabase.keys import Keys
from local.supabase.rest.auth import identify
from local.supabase.rest.catalog import SCHEMA, Function, SchemaCache, Table
from local.supabase.rest.errors import RestError, unsupported
from local.supabase.rest.functions import find_function, function_missing, write_call
from local.supabase.rest.pool import Pool
from local.supabase.rest.query import Query, parse_query
from local.supabase.rest.request import SINGULAR, Call, Payload, read_call, read_payload
from local.supabase.rest.tables import write_delete, write_insert, write_read, write_update
from local.supabase.rest.transaction import Result, Statement, run


class RestApi:
    """Answers everything below `/rest/v1/`."""

    def __init__(self, pool: Pool, cache: SchemaCache, keys: Keys, now: Callable[[], float]) -> None:
        self._pool, self._cache, self._keys, self._now = pool, cache, keys, now

    def respond(self, request: Request, path: str) -> Response:
        """Answer `request`; `path` is what follows `/rest/v1`, beginning with a slash."""
        try:
            identity = identify(request.headers, self._keys, self._now)
            return self._dispatch(read_call(request, path, identity))
        except RestError as error:
            return error.response()

    def _dispatch(self, call: Call) -> Response:
        match call.path.strip("/").split("/"):
            case ["rpc", function]:
                return self._call_function(call, function)
            case [""]:
                raise unsupported("the OpenAPI description at the root")
            case [table]:
                return self._touch_table(call, table)
        raise RestError(404, "PGRST125", "Invalid path specified in request URL")

    def _run(self, call: Call, statement: Statement) -> Result:
        def check(result: Result) -> None:
            if result.sets_response:
                raise unsupported("functions that set response.status or response.headers")
            if call.singular and result.rows != 1:
                details = f"The result contains {result.rows} rows"
                raise RestError(406, "PGRST116", "Cannot coerce the result to a single JSON object", details)

        with self._pool.borrow() as connection:
            return run(connection, call, statement, check)

    def _find_table(self, name: str) -> Table:
        for catalog in (self._cache.current, self._cache.reload):
            if found := catalog().tables.get(name):
                return found
        raise RestError(404, "PGRST205", f"Could not find the table '{SCHEMA}.{name}' in the schema cache")

    def _touch_table(self, call: Call, name: str) -> Response:
        method = call.request.method
        if method not in ("GET", "POST", "PATCH", "DELETE"):
            raise unsupported(f"{method} of a table")
        query = parse_query(call.request.query)
        table = self._find_table(name)
        if method == "GET":
            result = self._run(call, write_read(call, table, query))
            last = query.offset + result.rows - 1
            span = f"{query.offset}-{last}" if result.rows else "*"
            return _answer(call, 200, {"Content-Range": f"{span}/*"}, result.body)
        if method == "DELETE":
            return self._change(call, write_delete(call, table, query))
        payload = read_payload(call.request)
        try:
            return self._write_table(call, table, query, payload)
        except RestError as error:
            if error.code != "PGRST204":
                raise
            self._cache.reload()
            return self._write_table(call, self._find_table(name), query, payload)

    def _write_table(self, call: Call, table: Table, query: Query, payload: Payload) -> Response:
        write = write_insert if call.request.method == "POST" else write_update
        return self._change(call, write(call, table, query, payload))

    def _change(self, call: Call, statement: Statement) -> Response:
        result = self._run(call, statement)
        status = 201 if call.request.method == "POST" else 200 if call.preferences.represented else 204
        return _answer(call, status, {}, result.body if call.preferences.represented else None)

    def _call_function(self, call: Call, name: str) -> Response:
        if call.request.method != "POST":
            raise unsupported(f"{call.request.method} of a function")
        if call.request.query:
            raise unsupported("select, filters, order or a window on a function")
        payload = read_payload(call.request, empty_is_object=True)
        if payload.is_array:
            raise unsupported("a list as the arguments of a function")
        function = self._find_function(name, payload.keys)
        result = self._run(call, write_call(function, payload))
        return _answer(call, 204, {}) if function.returns_void else _answer(call, 200, {}, result.body)

    def _find_function(self, name: str, names: tuple[str, ...]) -> Function:
        for catalog in (self._cache.current, self._cache.reload):
            if found := find_function(catalog(), name, names):
                return found
        raise function_missing(name, names)


def _answer(call: Call, status: int, headers: dict[str, str], body: str | None = None) -> Response:
    if body is not None:
        headers["Content-Type"] = f"{SINGULAR if call.singular else 'application/json'}; charset=utf-8"
    return Response(status, (body or "").encode(), headers)
