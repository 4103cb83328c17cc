"""Calls of functions: which one is meant, with which arguments, and the shape of what comes back."""

from collections.abc import Iterable, Mapping, Sequence

from psycopg import sql

from local.supabase.rest.catalog import Catalog, Function, Parameter
from local.supabase.rest.embeds import write_rows
from local.supabase.rest.errors import RestError, unsupported
from local.supabase.rest.request import Accepted, Payload, Preferences
from local.supabase.rest.sql import Values, qualified, write_window
from local.supabase.rest.tables import SOURCE, write_array
from local.supabase.rest.terms import Query, SelectItem
from local.supabase.rest.transaction import Statement, write_result

_VALUE = sql.SQL("_hangar_value")


def find_function(
    catalog: Catalog, schema: str, name: str, argument_names: Iterable[str], *, has_json_body: bool
) -> Function | None:
    """The one function these arguments fit; RestError 300 PGRST203 when several do. Source: PostgREST Plan.hs."""
    given = set(argument_names)
    candidates = catalog.functions.get((schema, name), ())
    matching = [found for found in candidates if _fits(found, given)]
    if not matching and has_json_body:
        matching = [found for found in candidates if takes_whole_body(found)]
    if len(matching) > 1:
        raise _ambiguous(matching)
    return matching[0] if matching else None


def _fits(function: Function, given: set[str]) -> bool:
    names = {parameter.name for parameter in function.parameters}
    required = {parameter.name for parameter in function.parameters if parameter.required}
    return "" not in names and required <= given <= names


def takes_whole_body(function: Function) -> bool:
    """Whether its single, unnamed argument is a JSON document: then the body is that argument."""
    return len(function.parameters) == 1 and (function.parameters[0].name, function.parameters[0].type) in (
        ("", "json"),
        ("", "jsonb"),
    )


def _ambiguous(functions: Sequence[Function]) -> RestError:
    def describe(function: Function) -> str:
        parameters = ", ".join(f"{parameter.name} => {parameter.type}" for parameter in function.parameters)
        return f"{function.schema}.{function.name}({parameters})"

    return RestError(
        300,
        "PGRST203",
        f"Could not choose the best candidate function between: {', '.join(map(describe, functions))}",
        hint="Try renaming the parameters or the function itself in the database so function overloading can be"
        " resolved",
    )


def function_missing(schema: str, name: str, argument_names: Iterable[str], *, has_json_body: bool) -> RestError:
    """No function of the schema takes these arguments."""
    names = sorted(argument_names)
    listed = ", ".join(names)
    message = f"({listed})" if names else " without parameters"
    searched = f" with parameter{'s' if len(names) > 1 else ''} {listed}" if names else " without parameters"
    either = " or with a single unnamed json/jsonb parameter" if has_json_body else ""
    return RestError(
        404,
        "PGRST202",
        f"Could not find the function {schema}.{name}{message} in the schema cache",
        f"Searched for the function {schema}.{name}{searched}{either}, but no matches were found in the schema cache.",
    )


def write_call(
    catalog: Catalog,
    function: Function,
    query: Query,
    payload: Payload | None,
    *,
    preferences: Preferences,
    accepted: Accepted,
    max_rows: int,
) -> Statement:
    """SELECT from the function; arguments from the JSON body, or from the query string when `payload` is None."""
    if function.variadic:
        raise unsupported(f"the variadic function {function.name}")
    values = Values()
    call = _write_call(function, query.arguments, payload, values)
    settings, read_only = function.settings, payload is None or not function.volatile
    if function.returns_void:
        source = sql.SQL("select {}").format(call)
        text = write_result(source, sql.SQL("select * from _hangar_source"), sql.SQL("''"), rows=sql.SQL("1"))
        return Statement(text, values, read_only, settings)
    if not function.returns_rows:
        text = _write_scalar(function, call, query, preferences=preferences, accepted=accepted, max_rows=max_rows)
        return Statement(text, values, read_only, settings)
    source = sql.SQL("select _hangar_call.* from {} as _hangar_call").format(call)
    table = None if function.row_of is None else catalog.tables.get(function.row_of)
    rows = write_rows(catalog, table, SOURCE, query, values, max_rows)
    count = rows.every if preferences.counts_exactly else None
    one = not function.returns_set
    shape = Accepted(singular=True, strip_nulls=accepted.strip_nulls) if one else accepted
    text = write_result(source, rows.text, write_array(shape), count=count, rows=sql.SQL("1") if one else None)
    return Statement(text, values, read_only, settings)


def _write_scalar(
    function: Function,
    call: sql.Composable,
    query: Query,
    *,
    preferences: Preferences,
    accepted: Accepted,
    max_rows: int,
) -> sql.Composed:
    if query.conditions or query.order or query.select != (SelectItem(None),):
        raise unsupported("select, filters or order on a function that returns a plain value")
    source = sql.SQL("select {} as {}").format(call, _VALUE)
    page = sql.SQL("select * from {}{}").format(SOURCE, write_window(query, max_rows))
    count = sql.SQL("select 1 from {}").format(SOURCE) if preferences.counts_exactly else None
    found: sql.Composable = sql.SQL("json_agg(_hangar_page._hangar_value)")
    if accepted.strip_nulls:
        found = sql.SQL("json_strip_nulls({})").format(found)
    if function.returns_set and not accepted.singular:
        return write_result(source, page, sql.SQL("coalesce({}, '[]')").format(found), count=count)
    rows = None if function.returns_set else sql.SQL("1")
    return write_result(source, page, sql.SQL("coalesce({}->0, 'null')").format(found), count=count, rows=rows)


def _write_call(
    function: Function, given: Mapping[str, str], payload: Payload | None, values: Values
) -> sql.Composable:
    name = qualified(function.schema, function.name)
    if payload is None:
        chosen = [parameter for parameter in function.parameters if parameter.name in given]
        arguments = [
            _write_argument(parameter, sql.SQL("{}::{}").format(values.bind(given[parameter.name]), _type(parameter)))
            for parameter in chosen
        ]
    elif takes_whole_body(function):
        arguments = [sql.SQL("{}::{}").format(values.bind(payload.text), _type(function.parameters[0]))]
    else:
        chosen = [parameter for parameter in function.parameters if parameter.name in payload.keys]
        body = values.bind(payload.text) if chosen else None
        arguments = [_write_argument(parameter, _write_from_body(parameter, body)) for parameter in chosen if body]
    return sql.SQL("{}({})").format(name, sql.SQL(", ").join(arguments))


def _write_argument(parameter: Parameter, value: sql.Composable) -> sql.Composable:
    return sql.SQL("{} => {}").format(sql.Identifier(parameter.name), value)


def _write_from_body(parameter: Parameter, body: sql.Composable) -> sql.Composable:
    """The argument as Postgres itself reads it from the JSON body: arrays, json and composites included."""
    column = sql.Identifier(parameter.name)
    return sql.SQL("(select _hangar_body.{0} from json_to_record({1}::json) as _hangar_body({0} {2}))").format(
        column, body, _type(parameter)
    )


def _type(parameter: Parameter) -> sql.Composable:
    return sql.SQL(parameter.type)
