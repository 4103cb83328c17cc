"""Statements over tables and views: read, insert, upsert, update, delete."""

from collections.abc import Iterable, Sequence

from local.supabase.rest.catalog import SCHEMA, Column, Table
from local.supabase.rest.errors import RestError, unsupported
from local.supabase.rest.request import Payload, Preferences, check_uniform
from local.supabase.rest.sql import Values, quote, write_rows, write_where
from local.supabase.rest.terms import Query
from local.supabase.rest.transaction import SOURCE, Statement, write_result

MAX_ROWS = 1000  # db-max-rows of a new project
_INSERTED = "nullif(current_setting('hangar.inserted', true), '')::int"
# Counts the rows a merging upsert inserted: up by one for each row offered, down by one for each that was updated.
_COUNT_UP, _COUNT_DOWN = (
    f"set_config('hangar.inserted', (coalesce({_INSERTED}, 0) {step})::text, true) is not null"
    for step in ("+ 1", "- 1")
)


def table_missing(name: str) -> RestError:
    """No exposed table has that name."""
    return RestError(404, "PGRST205", f"Could not find the table '{SCHEMA}.{name}' in the schema cache")


def write_read(table: Table, query: Query, preferences: Preferences, *, singular: bool) -> Statement:
    """SELECT, cut at MAX_ROWS."""
    values = Values()
    rows = write_rows(_quote(table), query, values, MAX_ROWS)
    count = rows.every if preferences.counted else None
    return Statement(write_result(rows.text, _write_array(singular=singular), count=count), values, read_only=True)


def write_insert(
    table: Table, query: Query, payload: Payload, preferences: Preferences, *, singular: bool
) -> Statement:
    """INSERT, or with a resolution and something to conflict on, an upsert."""
    if not query.is_plain:
        raise unsupported("filters, order or limit on an insert")
    values = Values()
    columns = _columns_of(table, query, payload)
    rows = _write_payload(columns, payload, values)
    target = query.on_conflict or table.primary_key
    merging = preferences.resolution == "merge-duplicates" and bool(target)
    text = (
        f"insert into {_quote(table)}{_parenthesised(column.name for column in columns)}"
        f" select {', '.join(map(_picked, columns))} from {rows}{f' where {_COUNT_UP}' if merging else ''}"
        f"{_write_conflict(columns, target, preferences.resolution)} {_write_returning(table, query, preferences)}"
    )
    inserted = _INSERTED if merging else "null"
    return _wrap_change(text, query, preferences, values, singular=singular, inserted=inserted)


def write_update(
    table: Table, query: Query, payload: Payload, preferences: Preferences, *, singular: bool
) -> Statement:
    """UPDATE; a body without keys changes nothing."""
    _refuse_window(query, "an update")
    if payload.is_array and payload.objects:
        raise unsupported("a list as the body of an update")
    values, target = Values(), _quote(table)
    columns = _columns_of(table, query, payload)
    if payload.is_array or not columns:
        text = f"select * from {target} where false"
    else:
        _refuse_everything(query, "UPDATE")
        settings = ", ".join(f"{quote(column.name)} = {_picked(column)}" for column in columns)
        rows = _write_payload(columns, payload, values)
        where = write_where(target, query.conditions, values)
        text = f"update {target} set {settings} from {rows}{where} {_write_returning(table, query, preferences)}"
    return _wrap_change(text, query, preferences, values, singular=singular)


def write_delete(table: Table, query: Query, preferences: Preferences, *, singular: bool) -> Statement:
    """DELETE, never of everything."""
    _refuse_window(query, "a delete")
    _refuse_everything(query, "DELETE")
    values, source = Values(), _quote(table)
    where = write_where(source, query.conditions, values)
    text = f"delete from {source}{where} {_write_returning(table, query, preferences)}"
    return _wrap_change(text, query, preferences, values, singular=singular)


def _quote(table: Table) -> str:
    return quote(SCHEMA, table.name)


def _write_array(*, singular: bool) -> str:
    """The rows of `_hangar_page` as JSON that Postgres builds, so that numbers and times have its form."""
    rows = "json_agg(_hangar_page.*)"
    return f"coalesce({rows}->0, 'null')" if singular else f"coalesce({rows}, '[]')"


def _refuse_window(query: Query, what: str) -> None:
    if query.order or query.limit is not None or query.offset:
        raise unsupported(f"order or limit on {what}")


def _refuse_everything(query: Query, command: str) -> None:
    """Hosted projects load pg-safeupdate for the API's login role (supabase/postgres, enable-safeupdate-postgrest)."""
    if not query.conditions:
        raise RestError(400, "21000", f"{command} requires a WHERE clause")


def _columns_of(table: Table, query: Query, payload: Payload) -> list[Column]:
    if query.columns is None:
        check_uniform(payload)
    names = payload.keys if query.columns is None else query.columns
    for name in names:
        if name not in table.columns:
            message = f"Could not find the '{name}' column of '{table.name}' in the schema cache"
            raise RestError(400, "PGRST204", message)
    return [table.columns[name] for name in names]


def _write_payload(columns: Sequence[Column], payload: Payload, values: Values) -> str:
    """A FROM item `_hangar_body` with the payload's rows, typed by the table's own columns."""
    body = f"{values.bind(payload.text)}::json"
    each = f"json_array_elements({body})" if payload.is_array else f"(select {body})"
    elements = f"{each} as _hangar_rows(item)"
    if not columns:
        return elements
    picked = ", ".join(f"_hangar_row.{quote(column.name)}" for column in columns)
    typed = ", ".join(f"{quote(column.name)} {column.type}" for column in columns)
    row = f"lateral json_to_record(_hangar_rows.item) as _hangar_row({typed})"
    return f"(select {picked} from {elements}, {row}) as _hangar_body"


def _picked(column: Column) -> str:
    return f"_hangar_body.{quote(column.name)}"


def _parenthesised(names: Iterable[str]) -> str:
    listed = ", ".join(map(quote, names))
    return f" ({listed})" if listed else ""


def _write_conflict(columns: Sequence[Column], target: Sequence[str], resolution: str | None) -> str:
    if resolution is None or not target:
        return ""
    action = "nothing"
    if resolution == "merge-duplicates" and columns:
        settings = ", ".join(f"{quote(column.name)} = excluded.{quote(column.name)}" for column in columns)
        action = f"update set {settings} where {_COUNT_DOWN}"
    return f" on conflict{_parenthesised(target)} do {action}"


def _write_returning(table: Table, query: Query, preferences: Preferences) -> str:
    """Only what the caller wants back. Without a representation the role needs no right to read the table."""
    if not preferences.represented:
        return "returning 1"
    if None in query.select:
        return f"returning {_quote(table)}.*"
    names = dict.fromkeys(name for name in query.select if name is not None)
    return f"returning {', '.join(f'{_quote(table)}.{quote(name)}' for name in names)}"


def _wrap_change(
    text: str, query: Query, preferences: Preferences, values: Values, *, singular: bool, inserted: str = "null"
) -> Statement:
    if not preferences.represented:
        return Statement(write_result(text, "''", inserted=inserted), values)
    page = write_rows(SOURCE, Query(select=query.select), values).text
    return Statement(write_result(text, _write_array(singular=singular), page=page, inserted=inserted), values)
