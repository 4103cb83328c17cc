"""Calls of functions: which one is meant, and with which arguments. Functions that return rows are left out."""

from collections.abc import Iterable

from local.supabase.rest.catalog import SCHEMA, Catalog, Function, Parameter
from local.supabase.rest.errors import RestError, unsupported
from local.supabase.rest.request import Payload
from local.supabase.rest.sql import Values, quote
from local.supabase.rest.transaction import Statement, write_result


def find_function(catalog: Catalog, name: str, argument_names: Iterable[str]) -> Function | None:
    """The one function these arguments fit; source: PostgREST Plan.hs."""
    given = set(argument_names)
    candidates = catalog.functions.get(name, ())
    matching = [found for found in candidates if _fits(found, given)]
    if len(matching) > 1:
        raise unsupported(f"overloads that take the same arguments, as those of the function {name}")
    if not matching and any(parameter.name == "" for found in candidates for parameter in found.parameters):
        raise unsupported(f"unnamed arguments, as those of the function {name}")
    return matching[0] if matching else None


def _fits(function: Function, given: set[str]) -> bool:
    names = {parameter.name for parameter in function.parameters}
    required = {parameter.name for parameter in function.parameters if parameter.required}
    return "" not in names and required <= given <= names


def function_missing(name: str, argument_names: Iterable[str]) -> RestError:
    """No function of the schema takes these arguments."""
    listed = ", ".join(sorted(argument_names))
    message = f"({listed})" if listed else " without parameters"
    return RestError(404, "PGRST202", f"Could not find the function {SCHEMA}.{name}{message} in the schema cache")


def write_call(function: Function, payload: Payload) -> Statement:
    """SELECT the function's value, its arguments taken by name from the JSON body."""
    if function.variadic:
        raise unsupported(f"the variadic function {function.name}")
    if function.hoists:
        raise unsupported(f"functions that set a timeout or an isolation level, as {function.name}")
    if function.returns_rows:
        raise unsupported(f"functions that return rows, as {function.name}")
    values = Values()
    chosen = [parameter for parameter in function.parameters if parameter.name in payload.keys]
    body = values.bind(payload.text) if chosen else ""
    arguments = ", ".join(_write_argument(parameter, body) for parameter in chosen)
    call = f"select {quote(SCHEMA, function.name)}({arguments}) as _hangar_value"
    value = "''" if function.returns_void else "coalesce(json_agg(_hangar_page._hangar_value)->0, 'null')"
    return Statement(write_result(call, value, rows="1"), values, read_only=not function.volatile)


def _write_argument(parameter: Parameter, body: str) -> str:
    """The argument as Postgres itself reads it from the JSON body: arrays, json and composites included."""
    name = quote(parameter.name)
    return f"{name} => (select _hangar_body.{name} from json_to_record({body}::json) as _hangar_body({name} {parameter.type}))"
