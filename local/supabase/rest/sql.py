"""SQL text for what a query asks: every name quoted, every value a numbered parameter of unknown type.

The type is left to Postgres, as PostgREST does it, so that `eq.5` works for an integer, a text and a uuid alike.
"""

from collections.abc import Iterable

from local.supabase.rest.query import Filter, Query

_OPERATORS = {
    "eq": "=", "neq": "<>", "gt": ">", "gte": ">=", "lt": "<", "lte": "<=", "like": "like", "ilike": "ilike",
}  # fmt: skip


class Values:
    """The parameters of one statement, in the order of their numbers."""

    def __init__(self) -> None:
        self.bound: list[str] = []

    def bind(self, value: str) -> str:
        """The placeholder for `value`."""
        self.bound.append(value)
        return f"${len(self.bound)}"


def quote(*names: str) -> str:
    """`"name"`, or `"schema"."name"`."""
    return ".".join('"' + name.replace('"', '""') + '"' for name in names)


def write_rows(source: str, query: Query, values: Values, max_rows: int) -> str:
    """SELECT the query's columns from `source`, cut at `max_rows`."""
    terms = ", ".join(f"{source}.{quote(term.column)}{term.direction}" for term in query.order)
    return (
        f"select {write_columns(source, query)} from {source}{write_where(source, query.conditions, values)}"
        + (f" order by {terms}" if terms else "")
        + f" limit {max_rows if query.limit is None else min(query.limit, max_rows)} offset {query.offset}"
    )


def write_columns(source: str, query: Query) -> str:
    """What `select` asks for."""
    return ", ".join(f"{source}.{'*' if name is None else quote(name)}" for name in query.select)


def write_where(source: str, conditions: Iterable[tuple[Filter, ...]], values: Values) -> str:
    """` where ...`, or nothing when there are no conditions."""
    written = [" or ".join(_write_condition(source, one, values) for one in each) for each in conditions]
    return f" where ({') and ('.join(written)})" if written else ""


def _write_condition(source: str, condition: Filter, values: Values) -> str:
    return f"{'not ' * condition.negated}{source}.{quote(condition.column)} {_write_operation(condition, values)}"


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
