"""SQL for what a query asks: names quoted by psycopg, every value a numbered parameter of unknown type.

The type is left to Postgres, as PostgREST does it, so that `eq.5` works for an integer, a text and a uuid alike.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from psycopg import sql

from local.supabase.rest.terms import Field, Filter, Group, Order, Query

_OPERATORS = {
    "eq": "=", "neq": "<>", "gt": ">", "gte": ">=", "lt": "<", "lte": "<=", "like": "like", "ilike": "ilike",
}  # fmt: skip
_IS = {"null": "null", "not_null": "not null", "true": "true", "false": "false", "unknown": "unknown"}


class Values:
    """The parameters of one statement, in the order of their numbers."""

    def __init__(self) -> None:
        self.bound: list[str | None] = []

    def bind(self, value: str | None) -> sql.Composable:
        """The placeholder for `value`."""
        self.bound.append(value)
        return sql.SQL(f"${len(self.bound)}")


@dataclass(frozen=True)
class Rows:
    """A SELECT, and one with a row for each row that the first would have without its window."""

    text: sql.Composable
    every: sql.Composable


def qualified(schema: str, name: str) -> sql.Composable:
    """`"schema"."name"`."""
    return sql.Identifier(schema, name)


def write_rows(source: sql.Composable, query: Query, values: Values, max_rows: int | None) -> Rows:
    """SELECT the query's columns from `source`, cut at `max_rows`."""
    columns = [
        sql.SQL("{}.*").format(source) if name is None else sql.SQL("{}.{}").format(source, sql.Identifier(name))
        for name in query.select
    ]
    origin = sql.SQL("from {}{}").format(source, write_where(source, query.conditions, values))
    order, window = _write_order(source, query.order, values), _write_window(query, max_rows)
    text = sql.SQL("select {} {}{}{}").format(sql.SQL(", ").join(columns), origin, order, window)
    return Rows(text, sql.SQL("select 1 {}").format(origin))


def write_where(source: sql.Composable, conditions: Iterable[Filter | Group], values: Values) -> sql.Composable:
    """` where ...`, or nothing when there are no conditions."""
    written = [_write_condition(source, condition, values) for condition in conditions]
    return sql.SQL(" where ") + sql.SQL(" and ").join(written) if written else sql.SQL("")


def _write_column(source: sql.Composable, place: Field, values: Values) -> sql.Composable:
    column: sql.Composable = sql.SQL("{}.{}").format(source, sql.Identifier(place.name))
    if not place.path:
        return column
    column = sql.SQL("to_jsonb({})").format(column)
    for arrow, key in place.path:
        operand = sql.SQL("{}::int" if isinstance(key, int) else "{}::text").format(values.bind(str(key)))
        column = sql.SQL(" ").join([column, sql.SQL("->>" if arrow == "->>" else "->"), operand])
    return column


def _write_condition(source: sql.Composable, condition: Filter | Group, values: Values) -> sql.Composable:
    negation = sql.SQL("not " if condition.negated else "")
    if isinstance(condition, Group):
        members = [_write_condition(source, member, values) for member in condition.members]
        joiner = sql.SQL(" and " if condition.operator == "and" else " or ")
        return sql.SQL("{}({})").format(negation, joiner.join(members))
    column = _write_column(source, condition.field, values)
    return sql.SQL("{}{} {}").format(negation, column, _write_operation(condition, values))


def _write_operation(condition: Filter, values: Values) -> sql.Composable:
    value = condition.value
    if isinstance(value, tuple):
        return sql.SQL("= any ({})").format(values.bind(_array_literal(value)))
    if condition.operator == "is":
        return sql.SQL("is " + _IS[value])
    if condition.operator in ("like", "ilike"):
        value = value.replace("*", "%")
    return sql.SQL("{} {}").format(sql.SQL(_OPERATORS[condition.operator]), values.bind(value))


def _array_literal(elements: Iterable[str]) -> str:
    quoted = ('"' + element.replace("\\", "\\\\").replace('"', '\\"') + '"' for element in elements)
    return "{" + ",".join(quoted) + "}"


def _write_order(source: sql.Composable, terms: Iterable[Order], values: Values) -> sql.Composable:
    written = []
    for term in terms:
        parts = [_write_column(source, term.field, values)]
        if term.descending is not None:
            parts.append(sql.SQL("desc" if term.descending else "asc"))
        if term.nulls_first is not None:
            parts.append(sql.SQL("nulls first" if term.nulls_first else "nulls last"))
        written.append(sql.SQL(" ").join(parts))
    return sql.SQL(" order by ") + sql.SQL(", ").join(written) if written else sql.SQL("")


def _write_window(query: Query, max_rows: int | None) -> sql.Composable:
    limit = query.limit if max_rows is None else min(max_rows, max_rows if query.limit is None else query.limit)
    written = sql.SQL("") if limit is None else sql.SQL(" limit {}").format(sql.Literal(limit))
    return written + sql.SQL(" offset {}").format(sql.Literal(query.offset)) if query.offset else written
