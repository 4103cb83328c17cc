"""PostgREST's query string, read into plain values: select, filters, logic groups, order, limit, columns.

Grammar: PostgREST docs, references/api/tables_views, and its QueryParams.hs. What is nobody's grammar raises PGRST100. A
parameter of an embedded resource is the same parameter behind its name: `traders.order`, `traders.signals.limit`.
"""

import re
from collections.abc import Iterable
from typing import Literal

from local.supabase.rest.errors import RestError, not_embedded, unparsable
from local.supabase.rest.reader import Reader
from local.supabase.rest.select import parse_field, parse_select
from local.supabase.rest.terms import Embed, Field, Filter, Group, Order, Query

COMPARISONS = ("eq", "gte", "gt", "lte", "lt", "like", "ilike", "match", "imatch")  # these take (any) and (all)
PLAIN_OPERATORS = ("neq", "cs", "cd", "ov", "sl", "sr", "nxr", "nxl", "adj", "isdistinct")
IS_VALUES = ("null", "not_null", "true", "false", "unknown")
TEXT_SEARCH = ("fts", "plfts", "phfts", "wfts")
_WINDOW = ("order", "limit", "offset")
_LOGIC = ("and", "or", "not.and", "not.or")
_OPERATOR_EXPECTED = "expecting operator (eq, gt, ...)"


def parse_query(pairs: Iterable[tuple[str, str]], *, takes_arguments: bool = False) -> Query:
    """Read decoded (name, value) pairs; with `takes_arguments` a value without operator is a function's argument."""
    query = Query()
    seen: set[str] = set()
    rest: list[tuple[str, str]] = []
    for key, value in pairs:
        if key not in ("select", "columns", "on_conflict"):
            rest.append((key, value))
        elif key not in seen:  # the first one counts
            _read_shape(query, key, value)
        seen.add(key)
    for key, value in rest:
        if takes_arguments and key not in (*_WINDOW, *_LOGIC) and not _starts_with_operator(value):
            query.arguments[key] = value
        else:
            _read_condition(query, key, value)
    return query


def _read_condition(query: Query, key: str, value: str) -> None:
    """One parameter of `query` itself, or, behind the name of an embedded resource, of that."""
    if key in _WINDOW:
        _read_window(query, key, value)
    elif key in _LOGIC:
        query.conditions.append(_parse_group(key, value))
    elif (embed := _find_embed(query, key)) is not None:
        _read_condition(embed.query, key[len(embed.name) + 1 :], value)
    else:
        _read_filter(query, key, value)


def _find_embed(query: Query, key: str) -> Embed | None:
    """The embedded resource whose parameter `key` is; None when it is a column's."""
    for embed in query.embeds:
        if key.startswith(f"{embed.name}."):
            return embed
    name, dot, _ = key.partition(".")
    if dot and '"' not in name and "->" not in name:
        raise not_embedded(name)
    return None


def _read_shape(query: Query, key: str, value: str) -> None:
    if key == "select":
        query.select = parse_select(value)
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


def _read_filter(query: Query, key: str, value: str) -> None:
    reader = Reader(key, "filter")
    name = parse_field(reader)
    reader.expect_end()
    query.conditions.append(_parse_operation(Reader(value, "filter"), name, in_group=False))


def _starts_with_operator(value: str) -> bool:
    head = value.removeprefix("not.").partition(".")
    name = head[0].partition("(")[0]
    return bool(head[1]) and name in (*COMPARISONS, *PLAIN_OPERATORS, *TEXT_SEARCH, "in", "is")


def _parse_order(text: str) -> tuple[Order, ...]:
    reader = Reader(text, "order")

    def read_term() -> Order:
        reader.skip_spaces()
        name, embed = parse_field(reader), None
        if reader.take("("):
            name, embed = parse_field(reader), name.name
            reader.expect(")")
        descending = True if reader.take(".desc") else (False if reader.take(".asc") else None)
        nulls_first = True if reader.take(".nullsfirst") else (False if reader.take(".nullslast") else None)
        return Order(name, descending, nulls_first, embed)

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
    name = parse_field(reader)
    reader.expect(".")
    return _parse_operation(reader, name, in_group=True)


def _parse_operation(reader: Reader, name: Field, *, in_group: bool) -> Filter:
    negated = reader.take("not.")
    operator = reader.read_word()
    quantifier: Literal["any", "all"] | None = None
    language = None
    if operator in COMPARISONS:
        quantifier = "any" if reader.take("(any)") else ("all" if reader.take("(all)") else None)
    elif operator in TEXT_SEARCH:
        if reader.take("("):
            language = reader.read_name()
            reader.expect(")")
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
    return Filter(name, operator, value, negated, quantifier, language)


def _parse_list(reader: Reader, *, in_group: bool) -> tuple[str, ...]:
    reader.skip_spaces()
    reader.expect("(")
    values = tuple(reader.comma_separated(reader.read_list_element))
    reader.expect(")")
    reader.skip_spaces()
    if not in_group:
        reader.expect_end()
    return () if values == ("",) else values
