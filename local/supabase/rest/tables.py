"""Statements over tables and views: read, insert, upsert, update, delete."""

from collections.abc import Sequence

from psycopg import sql

from local.supabase.rest.catalog import Column, Table
from local.supabase.rest.errors import RestError, unsupported
from local.supabase.rest.request import Payload, Preferences, check_uniform
from local.supabase.rest.sql import Values, qualified, write_rows, write_where
from local.supabase.rest.terms import Query
from local.supabase.rest.transaction import Statement, write_result

_SOURCE = sql.Identifier("_hangar_source")
_BODY = sql.Identifier("_hangar_body")
_WHOLE_SOURCE = sql.SQL("select * from _hangar_source")
_NO_BODY = sql.SQL("''")
# Counts the rows a merging upsert inserted: up by one for each row offered, down by one for each that was updated.
_COUNT_UP, _COUNT_DOWN = (
    sql.SQL(
        "set_config('hangar.inserted',"
        f" (coalesce(nullif(current_setting('hangar.inserted', true), ''), '0')::int {step})::text, true) is not null"
    )
    for step in ("+ 1", "- 1")
)
_INSERTED = sql.SQL("nullif(current_setting('hangar.inserted', true), '')::int")


def table_missing(schema: str, name: str) -> RestError:
    """No exposed table has that name."""
    return RestError(404, "PGRST205", f"Could not find the table '{schema}.{name}' in the schema cache")


def write_read(table: Table, query: Query, preferences: Preferences, *, singular: bool, max_rows: int) -> Statement:
    """SELECT, cut at `max_rows`."""
    values = Values()
    rows = write_rows(qualified(table.schema, table.name), query, values, max_rows)
    count = rows.every if preferences.counted else None
    text = write_result(rows.text, _WHOLE_SOURCE, _write_array(singular=singular), count=count)
    return Statement(text, values, read_only=True)


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
    text = sql.SQL("insert into {}{} select {} from {}{}{} {}").format(
        qualified(table.schema, table.name),
        _parenthesised([column.name for column in columns]),
        sql.SQL(", ").join([_picked(column) for column in columns]),
        rows,
        sql.SQL(" where ") + _COUNT_UP if merging else sql.SQL(""),
        _write_conflict(columns, target, preferences.resolution),
        _write_returning(table, query, preferences),
    )
    return _wrap_change(text, query, preferences, values, singular=singular, inserted=_INSERTED if merging else None)


def write_update(
    table: Table, query: Query, payload: Payload, preferences: Preferences, *, singular: bool
) -> Statement:
    """UPDATE; a body without keys changes nothing."""
    _refuse_window(query, "an update")
    if payload.is_array and payload.objects:
        raise unsupported("a list as the body of an update")
    values = Values()
    columns = _columns_of(table, query, payload)
    target = qualified(table.schema, table.name)
    if payload.is_array or not columns:
        text = sql.SQL("select * from {} where false").format(target)
    else:
        _refuse_everything(query, "UPDATE")
        text = sql.SQL("update {} set {} from {}{} {}").format(
            target,
            sql.SQL(", ").join([sql.SQL("{} = {}").format(sql.Identifier(c.name), _picked(c)) for c in columns]),
            _write_payload(columns, payload, values),
            write_where(target, query.conditions, values),
            _write_returning(table, query, preferences),
        )
    return _wrap_change(text, query, preferences, values, singular=singular)


def write_delete(table: Table, query: Query, preferences: Preferences, *, singular: bool) -> Statement:
    """DELETE, never of everything."""
    _refuse_window(query, "a delete")
    _refuse_everything(query, "DELETE")
    values = Values()
    source = qualified(table.schema, table.name)
    where = write_where(source, query.conditions, values)
    text = sql.SQL("delete from {}{} {}").format(source, where, _write_returning(table, query, preferences))
    return _wrap_change(text, query, preferences, values, singular=singular)


def _write_array(*, singular: bool) -> sql.Composable:
    """The rows of `_hangar_page` as JSON that Postgres builds, so that numbers and times have its form."""
    if singular:
        return sql.SQL("coalesce(json_agg(_hangar_page.*)->0, 'null')")
    return sql.SQL("coalesce(json_agg(_hangar_page.*), '[]')")


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


def _write_payload(columns: Sequence[Column], payload: Payload, values: Values) -> sql.Composable:
    """A FROM item `_hangar_body` with the payload's rows, typed by the table's own columns."""
    body = values.bind(payload.text)
    each = sql.SQL("json_array_elements({}::json)" if payload.is_array else "(select {}::json)").format(body)
    elements = sql.SQL("{} as _hangar_rows(item)").format(each)
    if not columns:
        return elements
    picked = sql.SQL(", ").join([sql.SQL("_hangar_row.{0} as {0}").format(sql.Identifier(c.name)) for c in columns])
    typed = sql.SQL(", ").join([sql.SQL("{} {}").format(sql.Identifier(c.name), sql.SQL(c.type)) for c in columns])
    return sql.SQL("(select {} from {}, lateral json_to_record(_hangar_rows.item) as _hangar_row({})) as {}").format(
        picked, elements, typed, _BODY
    )


def _picked(column: Column) -> sql.Composable:
    return sql.SQL("{}.{}").format(_BODY, sql.Identifier(column.name))


def _parenthesised(names: Sequence[str]) -> sql.Composable:
    return sql.SQL(" ({})").format(sql.SQL(", ").join(map(sql.Identifier, names))) if names else sql.SQL("")


def _write_conflict(columns: Sequence[Column], target: Sequence[str], resolution: str | None) -> sql.Composable:
    if resolution is None or not target:
        return sql.SQL("")
    action: sql.Composable = sql.SQL("nothing")
    if resolution == "merge-duplicates" and columns:
        settings = sql.SQL(", ").join([sql.SQL("{0} = excluded.{0}").format(sql.Identifier(c.name)) for c in columns])
        action = sql.SQL("update set {} where {}").format(settings, _COUNT_DOWN)
    return sql.SQL(" on conflict{} do {}").format(_parenthesised(target), action)


def _write_returning(table: Table, query: Query, preferences: Preferences) -> sql.Composable:
    """Only what is asked for: without a representation, no right to read the table is needed."""
    if not preferences.represented:
        return sql.SQL("returning 1")
    source = qualified(table.schema, table.name)
    if None in query.select:
        return sql.SQL("returning {}.*").format(source)
    names = dict.fromkeys(name for name in query.select if name is not None)
    columns = [sql.SQL("{}.{}").format(source, sql.Identifier(name)) for name in names]
    return sql.SQL("returning ") + sql.SQL(", ").join(columns)


def _wrap_change(
    text: sql.Composable,
    query: Query,
    preferences: Preferences,
    values: Values,
    *,
    singular: bool,
    inserted: sql.Composable | None = None,
) -> Statement:
    if not preferences.represented:
        return Statement(write_result(text, _WHOLE_SOURCE, _NO_BODY, inserted=inserted), values)
    page = write_rows(_SOURCE, Query(select=query.select), values, None).text
    return Statement(write_result(text, page, _write_array(singular=singular), inserted=inserted), values)
