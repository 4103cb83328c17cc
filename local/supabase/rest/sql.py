"""SQL fragments for what a query asks: names quoted by psycopg, every value a numbered parameter of unknown type.

Leaving the type to Postgres is what PostgREST does; it makes `eq.5` work for an integer, a text and a uuid alike.
"""

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

from psycopg import sql

from local.supabase.rest.terms import Field, Filter, Group, Order, Query, SelectItem

_OPERATORS = {
    "eq": "=", "neq": "<>", "gt": ">", "gte": ">=", "lt": "<", "lte": "<=", "like": "like", "ilike": "ilike",
    "match": "~", "imatch": "~*", "cs": "@>", "cd": "<@", "ov": "&&", "sl": "<<", "sr": ">>", "nxr": "&<",
    "nxl": "&>", "adj": "-|-", "isdistinct": "is distinct from",
}  # fmt: skip
_TEXT_SEARCH = {
    "fts": "to_tsquery",
    "plfts": "plainto_tsquery",
    "phfts": "phraseto_tsquery",
    "wfts": "websearch_to_tsquery",
}
_NO_EMBEDS: Mapping[str, sql.Composable] = MappingProxyType({})
_IS = {"null": "null", "not_null": "not null", "true": "true", "false": "false", "unknown": "unknown"}


class Values:
    """The parameters of one statement, in the order of their numbers."""

    def __init__(self) -> None:
        self.bound: list[str | None] = []
        self._names = 0

    def bind(self, value: str | None) -> sql.Composable:
        """A placeholder that stands for `value`."""
        self.bound.append(value)
        return sql.SQL(f"${len(self.bound)}")

    def make_name(self) -> sql.Identifier:
        """A name that nothing else in the statement has."""
        self._names += 1
        return sql.Identifier(f"_hangar_{self._names}")


def qualified(schema: str, name: str) -> sql.Composable:
    """`"schema"."name"`."""
    return sql.Identifier(schema, name)


def write_column(source: sql.Composable, place: Field, values: Values) -> sql.Composable:
    """The column of `source`, or the place inside it."""
    column: sql.Composable = sql.SQL("{}.{}").format(source, sql.Identifier(place.name))
    if not place.path:
        return column
    column = sql.SQL("to_jsonb({})").format(column)
    for arrow, key in place.path:
        operand = sql.SQL("{}::int" if isinstance(key, int) else "{}::text").format(values.bind(str(key)))
        column = sql.SQL(" ").join([column, sql.SQL("->>" if arrow == "->>" else "->"), operand])
    return column


def write_select_item(source: sql.Composable, item: SelectItem, values: Values) -> sql.Composable:
    """One output column over `source`."""
    if item.field is None:
        return sql.SQL("{}.*").format(source)
    written = write_column(source, item.field, values)
    if item.cast is not None:
        # Unquoted, because "int" and "bigint" are grammar, not names; the reader let only words through.
        written = sql.SQL("cast({} as {})").format(written, sql.SQL(item.cast))
    alias = item.alias or implied_alias(item.field)
    return sql.SQL("{} as {}").format(written, sql.Identifier(alias))


def implied_alias(place: Field) -> str:
    """A JSON path is named by its last key."""
    keys = [key for _, key in place.path if isinstance(key, str)]
    return keys[-1] if keys else place.name


def write_where(source: sql.Composable, conditions: Iterable[Filter | Group], values: Values) -> sql.Composable:
    """` where ...`, or nothing when there are no conditions."""
    return join_conditions([write_condition(source, condition, values) for condition in conditions])


def join_conditions(written: Sequence[sql.Composable]) -> sql.Composable:
    """` where a and b`, or nothing."""
    return sql.SQL(" where ") + sql.SQL(" and ").join(written) if written else sql.SQL("")


def write_condition(
    source: sql.Composable,
    condition: Filter | Group,
    values: Values,
    embeds: Mapping[str, sql.Composable] = _NO_EMBEDS,
) -> sql.Composable:
    """One boolean expression over `source`; `embeds` has what is null when an embedded resource holds nothing."""
    negation = sql.SQL("not " if condition.negated else "")
    if isinstance(condition, Group):
        members = [write_condition(source, member, values, embeds) for member in condition.members]
        joiner = sql.SQL(" and " if condition.operator == "and" else " or ")
        return sql.SQL("{}({})").format(negation, joiner.join(members))
    column = embeds.get(condition.field.name) if condition.operator == "is" else None
    if column is None:
        column = write_column(source, condition.field, values)
    return sql.SQL("{}{} {}").format(negation, column, _write_operation(condition, values))


def _write_operation(condition: Filter, values: Values) -> sql.Composable:
    value = condition.value
    if isinstance(value, tuple):
        return sql.SQL("= any ({})").format(values.bind(_array_literal(value)))
    if condition.operator == "is":
        return sql.SQL("is " + _IS[value])
    if condition.operator in _TEXT_SEARCH:
        return _write_text_search(condition.operator, condition.language, value, values)
    if condition.operator in ("like", "ilike"):
        value = value.replace("*", "%")
    bound = values.bind(value)
    if condition.quantifier is not None:
        bound = sql.SQL("{} ({})").format(sql.SQL(condition.quantifier), bound)
    return sql.SQL("{} {}").format(sql.SQL(_OPERATORS[condition.operator]), bound)


def _write_text_search(operator: str, language: str | None, value: str, values: Values) -> sql.Composable:
    words = [sql.SQL("{}::regconfig").format(values.bind(language))] if language is not None else []
    words.append(sql.SQL("{}::text").format(values.bind(value)))
    return sql.SQL("@@ {}({})").format(sql.SQL(_TEXT_SEARCH[operator]), sql.SQL(", ").join(words))


def _array_literal(elements: Iterable[str]) -> str:
    quoted = ('"' + element.replace("\\", "\\\\").replace('"', '\\"') + '"' for element in elements)
    return "{" + ",".join(quoted) + "}"


def write_order(
    source: sql.Composable, terms: Iterable[Order], values: Values, embeds: Mapping[str, sql.Composable] = _NO_EMBEDS
) -> sql.Composable:
    """` order by ...`, or nothing. `embeds`: the joins that offer the n-th term's column as `_hangar_by_n`."""
    written = []
    for number, term in enumerate(terms):
        if term.embed is None:
            parts = [write_column(source, term.field, values)]
        else:
            parts = [sql.SQL("{}.{}").format(embeds[term.embed], sql.Identifier(f"_hangar_by_{number}"))]
        if term.descending is not None:
            parts.append(sql.SQL("desc" if term.descending else "asc"))
        if term.nulls_first is not None:
            parts.append(sql.SQL("nulls first" if term.nulls_first else "nulls last"))
        written.append(sql.SQL(" ").join(parts))
    return sql.SQL(" order by ") + sql.SQL(", ").join(written) if written else sql.SQL("")


def write_window(query: Query, max_rows: int | None) -> sql.Composable:
    """` limit ... offset ...`: what was asked for, cut at `max_rows`."""
    limit = query.limit if max_rows is None else min(max_rows, max_rows if query.limit is None else query.limit)
    written = sql.SQL("") if limit is None else sql.SQL(" limit {}").format(sql.Literal(limit))
    return written + sql.SQL(" offset {}").format(sql.Literal(query.offset)) if query.offset else written
