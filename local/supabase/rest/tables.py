"""Statements over tables and views: read, insert, upsert, update, delete."""

from collections.abc import Iterable, Sequence

from local.supabase.rest.catalog import SCHEMA, Table
from local.supabase.rest.errors import RestError, unsupported
from local.supabase.rest.query import Query
from local.supabase.rest.request import Call, Payload
from local.supabase.rest.sql import Values, quote, write_columns, write_rows, write_where
from local.supabase.rest.transaction import SOURCE, Statement, write_result

MAX_ROWS = 1000  # db-max-rows of a new project


def write_read(call: Call, table: Table, query: Query) -> Statement:
    """SELECT, cut at MAX_ROWS."""
    values = Values()
    rows = write_rows(_quote(table), query, values, MAX_ROWS)
    return Statement(write_result(rows, _write_body(call)), values, read_only=True)


def write_insert(call: Call, table: Table, query: Query, payload: Payload) -> Statement:
    """INSERT, or with a resolution and something to conflict on, an upsert, which is answered 201 in every case."""
    if query.conditions or query.is_windowed:
        raise unsupported("filters, order or limit on an insert")
    values = Values()
    columns = _columns_of(table, query, payload)
    rows = _write_payload(table, columns, payload, values)
    text = (
        f"insert into {_quote(table)}{_parenthesised(columns)} select {', '.join(map(_picked, columns))} from {rows}"
        f"{_write_conflict(columns, query.on_conflict or table.primary_key, call.preferences.resolution)}"
    )
    return _write_change(call, table, query, text, values)


def write_update(call: Call, table: Table, query: Query, payload: Payload) -> Statement:
    """UPDATE; a body without keys changes nothing."""
    if payload.is_array and payload.objects:
        raise unsupported("a list as the body of an update")
    values = Values()
    columns = _columns_of(table, query, payload)
    settings = ", ".join(f"{quote(name)} = {_picked(name)}" for name in columns)
    if not settings:
        body = "'[]'" if call.preferences.represented else "''"
        return Statement(write_result("select true where false", body), values)
    rows = _write_payload(table, columns, payload, values)
    where = _write_condition(table, query, values, "update")
    return _write_change(call, table, query, f"update {_quote(table)} set {settings} from {rows}{where}", values)


def write_delete(call: Call, table: Table, query: Query) -> Statement:
    """DELETE, never of everything."""
    values = Values()
    where = _write_condition(table, query, values, "delete")
    return _write_change(call, table, query, f"delete from {_quote(table)}{where}", values)


def _quote(table: Table) -> str:
    return quote(SCHEMA, table.name)


def _write_body(call: Call) -> str:
    """The rows of `_hangar_page` as JSON that Postgres builds, so that numbers and times have its form."""
    rows = "json_agg(_hangar_page.*)"
    return f"coalesce({rows}->0, 'null')" if call.singular else f"coalesce({rows}, '[]')"


def _write_condition(table: Table, query: Query, values: Values, command: str) -> str:
    """Hosted projects load pg-safeupdate for the API's login role (supabase/postgres, enable-safeupdate-postgrest)."""
    if query.is_windowed:
        raise unsupported(f"order or limit on {command}")
    if not query.conditions:
        raise RestError(400, "21000", f"{command.upper()} requires a WHERE clause")
    return write_where(_quote(table), query.conditions, values)


def _columns_of(table: Table, query: Query, payload: Payload) -> Sequence[str]:
    if query.columns is None and any(row.keys() != set(payload.keys) for row in payload.objects):
        raise RestError(400, "PGRST102", "All object keys must match")
    names = payload.keys if query.columns is None else query.columns
    for name in names:
        if name not in table.columns:
            message = f"Could not find the '{name}' column of '{table.name}' in the schema cache"
            raise RestError(400, "PGRST204", message)
    return names


def _write_payload(table: Table, columns: Sequence[str], payload: Payload, values: Values) -> str:
    """A FROM item `_hangar_body` with the payload's rows, typed by the table's own columns."""
    body = f"{values.bind(payload.text)}::json"
    each = f"json_array_elements({body})" if payload.is_array else f"(select {body})"
    elements = f"{each} as _hangar_rows(item)"
    if not columns:
        return elements
    picked = ", ".join(f"_hangar_row.{quote(name)}" for name in columns)
    typed = ", ".join(f"{quote(name)} {table.columns[name]}" for name in columns)
    row = f"lateral json_to_record(_hangar_rows.item) as _hangar_row({typed})"
    return f"(select {picked} from {elements}, {row}) as _hangar_body"


def _picked(name: str) -> str:
    return f"_hangar_body.{quote(name)}"


def _parenthesised(names: Iterable[str]) -> str:
    listed = ", ".join(map(quote, names))
    return f" ({listed})" if listed else ""


def _write_conflict(columns: Sequence[str], target: Sequence[str], resolution: str | None) -> str:
    if resolution is None or not target:
        return ""
    action = "nothing"
    if resolution == "merge-duplicates" and columns:
        action = f"update set {', '.join(f'{quote(name)} = excluded.{quote(name)}' for name in columns)}"
    return f" on conflict{_parenthesised(target)} do {action}"


def _write_change(call: Call, table: Table, query: Query, text: str, values: Values) -> Statement:
    """The change with what the caller wants back. Without a representation the role needs no right to read the table."""
    if not call.preferences.represented:
        return Statement(write_result(f"{text} returning 1", "''"), values)
    # Each column once, because the names of a CTE's columns must differ.
    names = Query(select=(None,) if None in query.select else tuple(dict.fromkeys(query.select)))
    change = f"{text} returning {write_columns(_quote(table), names)}"
    page = f"select {write_columns(SOURCE, query)} from {SOURCE}"
    return Statement(write_result(change, _write_body(call), page=page), values)
