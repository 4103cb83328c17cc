"""PostgREST's query string, read into plain values: select, filters, logic groups, order, limit, columns.

Grammar: PostgREST docs, references/api/tables_views, and its QueryParams.hs. What is PostgREST's but not spoken here
(embedded resources, full-text search) raises HANGAR_UNSUPPORTED; what is nobody's raises PGRST100.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from local.supabase.rest_errors import RestError, unparsable, unsupported
from local.supabase.rest_reader import Reader

COMPARISONS = ("eq", "gte", "gt", "lte", "lt", "like", "ilike", "match", "imatch")  # these take (any) and (all)
PLAIN_OPERATORS = ("neq", "cs", "cd", "ov", "sl", "sr", "nxr", "nxl", "adj", "isdistinct")
IS_VALUES = ("null", "not_null", "true", "false", "unknown")
_TEXT_SEARCH = ("fts", "plfts", "phfts", "wfts")
_AGGREGATES = ("sum()", "avg()", "count()", "max()", "min()")
_OPERATOR_EXPECTED = "expecting operator (eq, gt, ...)"


@dataclass(frozen=True)
class Field:
    """A column, or a place inside a JSON column: `path` holds (`->` or `->>`, key or index)."""

    name: str
    path: tuple[tuple[str, str | int], ...] = ()


@dataclass(frozen=True)
class SelectItem:
    """One output column; `field` None stands for all of them."""

    field: Field | None
    alias: str | None = None
    cast: str | None = None


@dataclass(frozen=True)
class Filter:
    """One comparison of a field with a value."""

    field: Field
    operator: str
    value: str | tuple[str, ...]
    negated: bool = False
    quantifier: Literal["any", "all"] | None = None


@dataclass(frozen=True)
class Group:
    """Conditions joined by and, or by or."""

    operator: Literal["and", "or"]
    members: tuple["Filter | Group", ...]
    negated: bool = False


@dataclass(frozen=True)
class Order:
    """One term of the order; None leaves Postgres's default."""

    field: Field
    descending: bool | None = None
    nulls_first: bool | None = None


@dataclass
class Query:
    """All that one query string asks for. `arguments` are the plain values of a function called with GET."""

    select: tuple[SelectItem, ...] = (SelectItem(None),)
    conditions: list[Filter | Group] = field(default_factory=list)
    order: tuple[Order, ...] = ()
    limit: int | None = None
    offset: int = 0
    columns: tuple[str, ...] | None = None
    on_conflict: tuple[str, ...] | None = None
    arguments: dict[str, str] = field(default_factory=dict)

    @property
    def selects_everything(self) -> bool:
        return any(item.field is None for item in self.select)


def parse_query(pairs: Iterable[tuple[str, str]], *, takes_arguments: bool = False) -> Query:
    """Read decoded (name, value) pairs; with `takes_arguments` a value without operator is a function's argument."""
    query = Query()
    seen: set[str] = set()
    for key, value in pairs:
        if key in ("select", "columns", "on_conflict"):
            if key not in seen:  # the first one counts
                _read_shape(query, key, value)
        elif key in ("order", "limit", "offset"):
            _read_window(query, key, value)
        elif key in ("and", "or", "not.and", "not.or"):
            query.conditions.append(_parse_group(key, value))
        elif key.rpartition(".")[2] in ("order", "limit", "offset", "and", "or"):
            raise unsupported(f"'{key}': ordering, limits and logic of embedded resources")
        else:
            _read_filter(query, key, value, takes_arguments=takes_arguments)
        seen.add(key)
    return query


def _read_shape(query: Query, key: str, value: str) -> None:
    if key == "select":
        query.select = _parse_select(value)
        return
    reader = Reader(value, f"{key} parameter")
    names = tuple(reader.comma_separated(reader.read_name))
    reader.expect_end()
    if key == "columns":
        query.columns = tuple(dict.fromkeys(names))
    else:
        query.on_conflict = names


def _read_window(query: Query, key: str, value: str) -> None:
    if key == "order":
        query.order = (*query.order, *_parse_order(value))
        return
    if not re.fullmatch(r"-?[0-9]{1,18}", value):
        raise unparsable(key, value, "expecting an integer")
    number = int(value)
    if key == "limit":  # supabase-py sends limit twice after limit() and range(): the last one counts
        if number < 0:
            raise RestError(
                416, "PGRST103", "Requested range not satisfiable", "Limit should be greater than or equal to zero."
            )
        query.limit = number
    else:
        query.offset = number


def _read_filter(query: Query, key: str, value: str, *, takes_arguments: bool) -> None:
    if takes_arguments and not _starts_with_operator(value):
        query.arguments[key] = value
        return
    reader = Reader(key, "filter")
    name = _parse_field(reader)
    if reader.at("."):
        raise unsupported(f"'{key}': filters on embedded resources")
    reader.expect_end()
    query.conditions.append(_parse_operation(Reader(value, "filter"), name, in_group=False))


def _starts_with_operator(value: str) -> bool:
    head = value.removeprefix("not.").partition(".")
    name = head[0].partition("(")[0]
    return bool(head[1]) and name in (*COMPARISONS, *PLAIN_OPERATORS, *_TEXT_SEARCH, "in", "is")


def _parse_select(text: str) -> tuple[SelectItem, ...]:
    if not text.strip():
        raise unsupported("an empty select parameter")
    reader = Reader(text, "select parameter")
    items = tuple(reader.comma_separated(lambda: _parse_select_item(reader)))
    reader.expect_end()
    return items


def _parse_select_item(reader: Reader) -> SelectItem:
    reader.skip_spaces()
    if reader.take("*"):
        reader.skip_spaces()
        return SelectItem(None)
    if reader.at("..."):
        raise unsupported("spread embedded resources in select")
    alias = None
    name = _parse_field(reader)
    if reader.at(":") and not reader.at("::") and not name.path:
        reader.take(":")
        alias, name = name.name, _parse_field(reader)
    if any(reader.at(f".{aggregate}") for aggregate in _AGGREGATES) or (name.name == "count" and reader.at("()")):
        raise RestError(400, "PGRST123", "Use of aggregate functions is not allowed")
    if reader.at("(") or reader.at("!"):
        raise unsupported(f"embedded resources in select ('{name.name}')")
    cast = reader.read_cast() if reader.take("::") else None
    if any(reader.at(f".{aggregate}") for aggregate in _AGGREGATES):
        raise RestError(400, "PGRST123", "Use of aggregate functions is not allowed")
    return SelectItem(name, alias, cast)


def _parse_field(reader: Reader) -> Field:
    name = reader.read_name()
    path: list[tuple[str, str | int]] = []
    while reader.at("->"):
        arrow = "->>" if reader.take("->>") else "->"
        if arrow == "->":
            reader.take("->")
        path.append((arrow, reader.read_json_key()))
    return Field(name, tuple(path))


def _parse_order(text: str) -> tuple[Order, ...]:
    reader = Reader(text, "order")

    def read_term() -> Order:
        reader.skip_spaces()
        name = _parse_field(reader)
        if reader.at("("):
            raise unsupported(f"ordering by the embedded resource '{name.name}'")
        descending = True if reader.take(".desc") else (False if reader.take(".asc") else None)
        nulls_first = True if reader.take(".nullsfirst") else (False if reader.take(".nullslast") else None)
        return Order(name, descending, nulls_first)

    terms = tuple(reader.comma_separated(read_term))
    reader.expect_end()
    return terms


def _parse_group(key: str, value: str) -> Group:
    reader = Reader(key + value, "logic tree")
    group = _parse_member(reader)
    reader.expect_end()
    if not isinstance(group, Group):
        raise reader.failed("expecting a parenthesised list of conditions")
    return group


def _parse_member(reader: Reader) -> Filter | Group:
    reader.skip_spaces()
    for negated, prefix in ((True, "not."), (False, "")):
        for operator in ("and", "or"):
            if reader.at(f"{prefix}{operator}("):
                reader.take(f"{prefix}{operator}(")
                members = tuple(reader.comma_separated(lambda: _parse_member(reader)))
                reader.expect(")")
                reader.skip_spaces()
                return Group("and" if operator == "and" else "or", members, negated)
    name = _parse_field(reader)
    reader.expect(".")
    return _parse_operation(reader, name, in_group=True)


def _parse_operation(reader: Reader, name: Field, *, in_group: bool) -> Filter:
    negated = reader.take("not.")
    operator = reader.read_word()
    if operator in _TEXT_SEARCH:
        raise unsupported(f"full-text search ({operator})")
    quantifier: Literal["any", "all"] | None = None
    if operator in COMPARISONS:
        quantifier = "any" if reader.take("(any)") else ("all" if reader.take("(all)") else None)
    elif operator not in (*PLAIN_OPERATORS, "in", "is"):
        raise reader.failed(f'unexpected "{operator[:1]}" {_OPERATOR_EXPECTED}')
    if not reader.take("."):
        raise reader.failed(_OPERATOR_EXPECTED)
    if operator == "in":
        return Filter(name, operator, _parse_list(reader, in_group=in_group), negated)
    value = reader.read_value() if in_group else reader.read_rest()
    if operator == "is":
        value = value.lower()
        if value not in IS_VALUES:
            raise reader.failed("expecting isVal: (null, not_null, true, false, unknown)")
    return Filter(name, operator, value, negated, quantifier)


def _parse_list(reader: Reader, *, in_group: bool) -> tuple[str, ...]:
    reader.skip_spaces()
    reader.expect("(")
    values = tuple(reader.comma_separated(reader.read_list_element))
    reader.expect(")")
    reader.skip_spaces()
    if not in_group:
        reader.expect_end()
    return () if values == ("",) else values
