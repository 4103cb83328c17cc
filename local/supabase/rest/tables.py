"""Statements over tables and views: read, insert, upsert, update, delete."""

from collections.abc import Sequence

from psycopg import sql

from local.supabase.rest.catalog import Catalog, Column, Table
from local.supabase.rest.embeds import list_parent_columns, write_rows
from local.supabase.rest.errors import RestError, unsupported
from local.supabase.rest.request import Accepted, Payload, Preferences, check_uniform
from local.supabase.rest.sql import Values, qualified, write_where
from local.supabase.rest.terms import Query
from local.supabase.rest.transaction import Planned, Statement, write_result

SOURCE = sql.Identifier("_hangar_source")
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
# PostgREST's own way to CSV: the names of the first row's columns, then each row as Postgres writes a composite.
_CSV = sql.SQL(
    "coalesce((select string_agg(key, ',') from json_object_keys((array_agg(row_to_json(_hangar_page.*)))[1]) as key), '')"
    " || E'\\n' || coalesce(string_agg(substring(_hangar_page::text, 2, length(_hangar_page::text) - 2), E'\\n'), '')"
)
_INSERTED = sql.SQL("nullif(current_setting('hangar.inserted', true), '')::int")


def find_table(catalog: Catalog, schema: str, name: str) -> Table | None:
    """The table of that name, None when the catalog has none."""
    return catalog.tables.get((schema, name))


def table_missing(schema: str, name: str) -> RestError:
    """No exposed table has that name."""
    return RestError(404, "PGRST205", f"Could not find the table '{schema}.{name}' in the schema cache")


def write_array(accepted: Accepted) -> sql.Composable:
    """The rows of `_hangar_page` as JSON or CSV, built by Postgres so that numbers and times are Postgres's."""
    if accepted.csv:
        return _CSV
    rows: sql.Composable = sql.SQL("json_agg(_hangar_page.*)")
    if accepted.strip_nulls:
        rows = sql.SQL("json_strip_nulls({})").format(rows)
    if accepted.singular:
        return sql.SQL("coalesce({}->0, 'null')").format(rows)
    return sql.SQL("coalesce({}, '[]')").format(rows)


def write_read(
    catalog: Catalog, table: Table, query: Query, preferences: Preferences, accepted: Accepted, max_rows: int
) -> Statement:
    """SELECT, cut at `max_rows`."""
    values = Values()
    rows = write_rows(catalog, table, qualified(table.schema, table.name), query, values, max_rows)
    count = rows.every if preferences.counts_exactly else None
    text = write_result(rows.text, _WHOLE_SOURCE, write_array(accepted), count=count)
    return Statement(text, values, read_only=True, planned=_write_estimate(catalog, table, query, preferences, max_rows))


def _write_estimate(
    catalog: Catalog, table: Table, query: Query, preferences: Preferences, max_rows: int
) -> Planned | None:
    if preferences.count not in ("planned", "estimated"):
        return None
    values = Values()
    rows = write_rows(catalog, table, qualified(table.schema, table.name), query, values, max_rows)
    return Planned(rows.every, values, above=max_rows if preferences.count == "estimated" else 0)


def write_insert(
    catalog: Catalog, table: Table, query: Query, payload: Payload, preferences: Preferences, accepted: Accepted
) -> Statement:
    """INSERT, or with a resolution and something to conflict on, an upsert."""
    if query.conditions or query.order or query.limit is not None or query.offset:
        raise unsupported("filters, order or limit on an insert")
    values = Values()
    columns = _columns_of(table, query, payload)
    rows = _write_rows(columns, payload, values, defaults=preferences.missing_default)
    target = query.on_conflict or table.primary_key
    merging = preferences.resolution == "merge-duplicates" and bool(target)
    text = sql.SQL("insert into {}{} select {} from {}{}{} {}").format(
        qualified(table.schema, table.name),
        _parenthesised([column.name for column in columns]),
        sql.SQL(", ").join([_picked(column) for column in columns]),
        rows,
        sql.SQL(" where ") + _COUNT_UP if merging else sql.SQL(""),
        _write_conflict(columns, target, preferences.resolution),
        _write_returning(catalog, table, query, preferences),
    )
    return Statement(_write_mutation(catalog, table, text, query, preferences, accepted, values, merging=merging), values)


def write_update(
    catalog: Catalog, table: Table, query: Query, payload: Payload, preferences: Preferences, accepted: Accepted
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
            _write_rows(columns, payload, values, defaults=preferences.missing_default),
            write_where(target, query.conditions, values),
            _write_returning(catalog, table, query, preferences),
        )
    return Statement(_write_mutation(catalog, table, text, query, preferences, accepted, values), values)


def write_delete(catalog: Catalog, table: Table, query: Query, preferences: Preferences, accepted: Accepted) -> Statement:
    """DELETE; never of everything."""
    _refuse_window(query, "a delete")
    _refuse_everything(query, "DELETE")
    values = Values()
    source = qualified(table.schema, table.name)
    where = write_where(source, query.conditions, values)
    text = sql.SQL("delete from {}{} {}").format(source, where, _write_returning(catalog, table, query, preferences))
    return Statement(_write_mutation(catalog, table, text, query, preferences, accepted, values), values)


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


def _write_rows(columns: Sequence[Column], payload: Payload, values: Values, *, defaults: bool) -> sql.Composable:
    """A FROM item `_hangar_body` with the payload's rows, typed by the table's own columns."""
    body = values.bind(payload.text)
    each = sql.SQL("json_array_elements({}::json)" if payload.is_array else "(select {}::json)").format(body)
    elements = sql.SQL("{} as _hangar_rows(item)").format(each)
    if not columns:
        return elements
    picked = sql.SQL(", ").join([_write_pick(column, defaults=defaults) for column in columns])
    typed = sql.SQL(", ").join([_write_type(column) for column in columns])
    return sql.SQL("(select {} from {}, lateral json_to_record(_hangar_rows.item) as _hangar_row({})) as {}").format(
        picked, elements, typed, _BODY
    )


def _write_type(column: Column) -> sql.Composable:
    return sql.SQL("{} {}").format(sql.Identifier(column.name), sql.SQL(column.type))


def _write_pick(column: Column, *, defaults: bool) -> sql.Composable:
    name = sql.Identifier(column.name)
    if not defaults or column.default is None:
        return sql.SQL("_hangar_row.{0} as {0}").format(name)
    return sql.SQL(
        "case when _hangar_rows.item::jsonb ? {key} then _hangar_row.{name} else {default} end as {name}"
    ).format(key=sql.Literal(column.name), name=name, default=sql.SQL(column.default))


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


def _write_returning(catalog: Catalog, table: Table, query: Query, preferences: Preferences) -> sql.Composable:
    """Only what is asked for: without a representation, no right to read the table is needed."""
    if preferences.returning != "representation":
        return sql.SQL("returning 1")
    source = qualified(table.schema, table.name)
    if query.selects_everything:
        return sql.SQL("returning {}.*").format(source)
    names = dict.fromkeys(item.field.name for item in query.columns_selected if item.field is not None)
    names |= dict.fromkeys(list_parent_columns(catalog, table, query))
    if not names:
        return sql.SQL("returning 1")
    columns = [sql.SQL("{}.{}").format(source, sql.Identifier(name)) for name in names]
    return sql.SQL("returning ") + sql.SQL(", ").join(columns)


def _write_mutation(
    catalog: Catalog,
    table: Table,
    text: sql.Composable,
    query: Query,
    preferences: Preferences,
    accepted: Accepted,
    values: Values,
    *,
    merging: bool = False,
) -> sql.Composed:
    inserted = _INSERTED if merging else None
    if preferences.returning != "representation":
        return write_result(text, _WHOLE_SOURCE, _NO_BODY, inserted=inserted)
    shown = Query(select=query.select)
    page = write_rows(catalog, table, SOURCE, shown, values, None).text
    return write_result(text, page, write_array(accepted), inserted=inserted)
