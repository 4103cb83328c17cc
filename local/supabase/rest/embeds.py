"""SELECT over a table with the related rows embedded in each row: one lateral join for each embedded resource.

A to-one resource joins at most one row, with its columns as one JSON object; a to-many resource joins one row that holds all
of them as a JSON array, ordered and cut as its own parameters say. `!inner` and `resource=not.is.null` keep only rows that
have any.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from psycopg import sql

from local.supabase.rest.catalog import Catalog, Table
from local.supabase.rest.errors import RestError, not_embedded, unsupported
from local.supabase.rest.relations import Relation, find_relation
from local.supabase.rest.sql import (
    Values,
    implied_alias,
    join_conditions,
    qualified,
    write_column,
    write_condition,
    write_order,
    write_select_item,
    write_window,
)
from local.supabase.rest.terms import Embed, Order, Query

_NOTHING = sql.SQL("")
_COMMA = sql.SQL(", ")


@dataclass(frozen=True)
class Rows:
    """A SELECT, and one with a row for each row that the first would have without its window."""

    text: sql.Composable
    every: sql.Composable


def write_rows(
    catalog: Catalog, table: Table | None, source: sql.Composable, query: Query, values: Values, max_rows: int | None
) -> Rows:
    """Read `query` from `source`, whose rows are those of `table`; None: of no table, so nothing can be embedded."""
    parts = _Writer(catalog, values, max_rows).write_parts(table, source, query)
    origin = sql.SQL("from {}{}{}").format(source, _NOTHING.join(parts.joins), join_conditions(parts.conditions))
    order = write_order(source, query.order, values, parts.names)
    text = sql.SQL("select {} {}{}{}").format(
        _COMMA.join(parts.select), origin, order, write_window(query, max_rows)
    )
    return Rows(text, sql.SQL("select 1 {}").format(origin))


def list_parent_columns(catalog: Catalog, table: Table, query: Query) -> Iterator[str]:
    """The columns of `table` by which its embedded resources are found."""
    for embed in query.embeds:
        yield from find_relation(catalog, table, embed).parent_columns


@dataclass
class _Parts:
    """What a SELECT is put together from; `names` has the join of each embedded resource."""

    select: list[sql.Composable] = field(default_factory=list)
    joins: list[sql.Composable] = field(default_factory=list)
    conditions: list[sql.Composable] = field(default_factory=list)
    names: dict[str, sql.Composable] = field(default_factory=dict)


@dataclass(frozen=True)
class _Writer:
    catalog: Catalog
    values: Values
    max_rows: int | None

    def write_parts(self, table: Table | None, source: sql.Composable, query: Query) -> _Parts:
        parts = _Parts()
        for item in query.select:
            if isinstance(item, Embed):
                self._add_embed(parts, table, source, item, query.order)
            else:
                parts.select.append(write_select_item(source, item, self.values))
        for term in query.order:
            if term.embed is not None and term.embed not in parts.names:
                raise not_embedded(term.embed)
        found = {name: _found(join) for name, join in parts.names.items()}
        parts.conditions += [write_condition(source, each, self.values, found) for each in query.conditions]
        return parts

    def _add_embed(
        self, parts: _Parts, table: Table | None, source: sql.Composable, embed: Embed, order: Sequence[Order]
    ) -> None:
        if table is None:
            raise unsupported(f"embedded resources ('{embed.target}') in what is no table")
        relation = find_relation(self.catalog, table, embed)
        join = self.values.make_name()
        ordered = [(number, term) for number, term in enumerate(order) if term.embed == embed.name]
        text = self._write_related(relation, source, embed, ordered)
        parts.joins.append(sql.SQL(" left join lateral ({}) as {} on true").format(text, join))
        parts.names[embed.name] = join
        parts.select += _write_output(relation, embed, join)
        if embed.inner:
            parts.conditions.append(sql.SQL("{} is not null").format(_found(join)))

    def _write_related(
        self, relation: Relation, parent: sql.Composable, embed: Embed, ordered: Sequence[tuple[int, Order]]
    ) -> sql.Composable:
        """The rows of `embed` that belong to one row of `parent`. `_hangar_found` is null when there are none."""
        target = self.values.make_name()
        inner = self.write_parts(relation.target, target, embed.query)
        origin, belongs = self._write_origin(relation, parent, target)
        tail = sql.SQL("{}{}{}{}").format(
            origin,
            _NOTHING.join(inner.joins),
            join_conditions([belongs, *inner.conditions]),
            write_order(target, embed.query.order, self.values, inner.names),
        )
        columns = _COMMA.join(inner.select)
        if relation.to_one:
            return self._write_one(embed, target, columns, tail, ordered)
        if embed.spread:
            raise unsupported(f"spreading '{embed.target}', of which a row has many")
        if ordered:
            message = f"A related order on '{embed.name}' is not possible"
            details = f"'{relation.parent.name}' and '{embed.target}' do not form a many-to-one or one-to-one relationship"
            raise RestError(400, "PGRST118", message, details)
        return sql.SQL(
            "select json_agg(_hangar_row.*) as _hangar_found from (select {} from {}{}) as _hangar_row"
        ).format(columns, tail, write_window(embed.query, self.max_rows))

    def _write_one(
        self,
        embed: Embed,
        target: sql.Composable,
        columns: sql.Composable,
        tail: sql.Composable,
        ordered: Sequence[tuple[int, Order]],
    ) -> sql.Composable:
        """The one related row, as JSON or spread as its columns, with the columns that the rows around it are ordered by."""
        shape: sql.Composable = sql.SQL("(select row_to_json(_hangar_row.*) from (select {}) as _hangar_row)").format(columns)
        items: list[sql.Composable] = [sql.SQL("{} as _hangar_found").format(sql.SQL("true") if embed.spread else shape)]
        if embed.spread and embed.query.select:
            items.append(columns)
        items += [
            sql.SQL("{} as {}").format(
                write_column(target, term.field, self.values), sql.Identifier(f"_hangar_by_{number}")
            )
            for number, term in ordered
        ]
        return sql.SQL("select {} from {}").format(_COMMA.join(items), tail)

    def _write_origin(
        self, relation: Relation, parent: sql.Composable, target: sql.Composable
    ) -> tuple[sql.Composable, sql.Composable]:
        """The FROM items of the related rows, and the condition under which they belong to the row of `parent`."""
        item = sql.SQL("{} as {}").format(qualified(relation.target.schema, relation.target.name), target)
        if relation.junction is None:
            return item, _write_pairs(parent, target, relation.pairs)
        between = self.values.make_name()
        junction = qualified(relation.junction.schema, relation.junction.name)
        item = sql.SQL("{} join {} as {} on {}").format(
            item, junction, between, _write_pairs(between, target, relation.junction_pairs)
        )
        return item, _write_pairs(parent, between, relation.pairs)


def _found(join: sql.Composable) -> sql.Composable:
    return sql.SQL("{}._hangar_found").format(join)


def _write_pairs(left: sql.Composable, right: sql.Composable, pairs: Sequence[tuple[str, str]]) -> sql.Composable:
    equal = sql.SQL("{}.{} = {}.{}")
    return sql.SQL(" and ").join(
        [equal.format(left, sql.Identifier(mine), right, sql.Identifier(theirs)) for mine, theirs in pairs]
    )


def _write_output(relation: Relation, embed: Embed, join: sql.Composable) -> list[sql.Composable]:
    """What the row around it shows of an embedded resource: nothing when nothing is selected of it."""
    if not embed.query.select:
        return []
    if embed.spread:
        columns = _list_columns(relation.target, embed)
        return [sql.SQL("{}.{}").format(join, sql.Identifier(column)) for column in columns]
    value = _found(join) if relation.to_one else sql.SQL("coalesce({}, '[]')").format(_found(join))
    return [sql.SQL("{} as {}").format(value, sql.Identifier(embed.name))]


def _list_columns(table: Table, embed: Embed) -> Iterator[str]:
    """The output columns of a spread resource."""
    for item in embed.query.select:
        if isinstance(item, Embed):
            if item.spread:
                raise unsupported(f"spreading '{item.target}' inside of '{embed.target}'")
            yield item.name
        elif item.field is None:
            yield from table.columns
        else:
            yield item.alias or implied_alias(item.field)
