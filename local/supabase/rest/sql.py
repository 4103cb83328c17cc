"""SQL text for what a query asks: every name quoted, every value a numbered parameter of unknown type.

The type is left to Postgres, as PostgREST does it, so that `eq.5` works for an integer, a text and a uuid alike.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from local.supabase.rest.terms import Field, Filter, Group, Order, Query

_OPERATORS = {
    "eq": "=", "neq": "<>", "gt": ">", "gte": ">=", "lt": "<", "lte": "<=", "like": "like", "ilike": "ilike",
}  # fmt: skip
_DIRECTION = {None: "", True: " desc", False: " asc"}
_NULLS = {None: "", True: " nulls first", False: " nulls last"}


class Values:
    """The parameters of one statement, in the order of their numbers."""

    def __init__(self) -> None:
        self.bound: list[str] = []

    def bind(self, value: str) -> str:
        """The placeholder for `value`."""
        self.bound.append(value)
        return f"${len(self.bound)}"


@dataclass(frozen=True)
class Rows:
    """A SELECT, and one with a row for each row that the first would have without its window."""

    text: str
    every: str


def quote(*names: str) -> str:
    """`"name"`, or `"schema"."name"`."""
    return ".".join('"' + name.replace('"', '""') + '"' for name in names)


def write_rows(source: str, query: Query, values: Values, max_rows: int | None = None) -> Rows:
    """SELECT the query's columns from `source`, cut at `max_rows`."""
    columns = ", ".join(f"{source}.{'*' if name is None else quote(name)}" for name in query.select)
    origin = f"from {source}{write_where(source, query.conditions, values)}"
    window = _write_order(source, query.order, values) + _write_window(query, max_rows)
    return Rows(f"select {columns} {origin}{window}", f"select 1 {origin}")


def write_where(source: str, conditions: Iterable[Filter | Group], values: Values) -> str:
    """` where ...`, or nothing when there are no conditions."""
    written = [_write_condition(source, condition, values) for condition in conditions]
    return f" where {' and '.join(written)}" if written else ""


def _write_column(source: str, place: Field, values: Values) -> str:
    column = f"{source}.{quote(place.name)}"
    if place.path:
        column = f"to_jsonb({column})"
    for arrow, key in place.path:
        column += f" {arrow} {values.bind(str(key))}::{'int' if isinstance(key, int) else 'text'}"
    return column


def _write_condition(source: str, condition: Filter | Group, values: Values) -> str:
    negation = "not " if condition.negated else ""
    if isinstance(condition, Group):
        members = [_write_condition(source, member, values) for member in condition.members]
        return f"{negation}({f' {condition.operator} '.join(members)})"
    column = _write_column(source, condition.field, values)
    return f"{negation}{column} {_write_operation(condition, values)}"


def _write_operation(condition: Filter, values: Values) -> str:
    value = condition.value
    if isinstance(value, tuple):
        return f"= any ({values.bind(_array_literal(value))})"
    if condition.operator == "is":
        return f"is {value.replace('_', ' ')}"  # one of the five words that the parser accepts
    if condition.operator in ("like", "ilike"):
        value = value.replace("*", "%")
    return f"{_OPERATORS[condition.operator]} {values.bind(value)}"


def _array_literal(elements: Iterable[str]) -> str:
    quoted = ('"' + element.replace("\\", "\\\\").replace('"', '\\"') + '"' for element in elements)
    return "{" + ",".join(quoted) + "}"


def _write_order(source: str, terms: Iterable[Order], values: Values) -> str:
    written = [
        _write_column(source, term.field, values) + _DIRECTION[term.descending] + _NULLS[term.nulls_first]
        for term in terms
    ]
    return f" order by {', '.join(written)}" if written else ""


def _write_window(query: Query, max_rows: int | None) -> str:
    limits = [limit for limit in (query.limit, max_rows) if limit is not None]
    return (f" limit {min(limits)}" if limits else "") + (f" offset {query.offset}" if query.offset else "")
