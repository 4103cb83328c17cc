"""PostgREST's query string as plain values: select, filters, logic groups, order, limit, columns.

Grammar: PostgREST docs, references/api/tables_views, and its QueryParams.hs. Text outside that grammar raises PGRST100; a
form of the grammar that the local gateway leaves out raises HANGAR_UNSUPPORTED with its name.
"""

import re
from collections.abc import Iterable

from local.supabase.rest.errors import RestError, unparsable, unsupported
from local.supabase.rest.reader import Reader
from local.supabase.rest.terms import Field, Filter, Group, Order, Query

OPERATORS = ("eq", "neq", "gt", "gte", "lt", "lte", "like", "ilike", "in", "is")
IS_VALUES = ("null", "not_null", "true", "false", "unknown")
_TEXT_SEARCH = ("fts", "plfts", "phfts", "wfts")
_LEFT_OUT = ("match", "imatch", "cs", "cd", "ov", "sl", "sr", "nxr", "nxl", "adj", "isdistinct")
_WINDOW = ("order", "limit", "offset")
_LOGIC = ("and", "or", "not.and", "not.or")
_SHAPE = ("select", "columns", "on_conflict")
_AGGREGATES = (".sum()", ".avg()", ".count()", ".max()", ".min()")
_OPERATOR_EXPECTED = "expecting operator (eq, gt, ...)"


def parse_query(pairs: Iterable[tuple[str, str]]) -> Query:
    """Read decoded (name, value) pairs of a query string."""
    query = Query()
    seen: set[str] = set()
    for key, value in pairs:
        if key in _SHAPE:
            if key not in seen:  # the first one counts
                _read_shape(query, key, value)
            seen.add(key)
        elif key in _WINDOW:
            _read_window(query, key, value)
        elif key in _LOGIC:
            query.conditions.append(_parse_group(key, value))
        else:
            query.conditions.append(_parse_filter(key, value))
    return query


def _read_shape(query: Query, key: str, value: str) -> None:
    reader = Reader(value, f"{key} parameter")
    if key == "select":
        if not value.strip():
            raise unsupported("an empty select")
        query.select = tuple(reader.comma_separated(lambda: _parse_column(reader)))
        reader.expect_end()
        return
    names = tuple(reader.comma_separated(reader.read_name))
    reader.expect_end()
    if key == "columns":
        query.columns = tuple(dict.fromkeys(names))
    else:
        query.on_conflict = names


def _parse_column(reader: Reader) -> str | None:
    reader.skip_spaces()
    if reader.take("*"):
        reader.skip_spaces()
        return None
    if reader.at("..."):
        raise unsupported("embedded resources (spread in select)")
    name = reader.read_name()
    if any(map(reader.at, _AGGREGATES)) or (name == "count" and reader.at("()")):
        # Hosted projects leave PostgREST's db-aggregates-enabled off.
        raise RestError(400, "PGRST123", "Use of aggregate functions is not allowed")
    if reader.at("(") or reader.at("!"):
        raise unsupported(f"embedded resources ('{name}' in select)")
    for mark, form in (("->", "a JSON path in select"), ("::", "a cast in select"), (":", "an alias in select")):
        if reader.at(mark):
            raise unsupported(form)
    return name


def _read_window(query: Query, key: str, value: str) -> None:
    if key == "order":
        query.order = (*query.order, *_parse_order(value))
        return
    if not re.fullmatch(r"-?[0-9]{1,18}", value):
        raise unparsable(key, value, "expecting an integer")
    number = int(value)
    if number < 0:
        details = f"{key.capitalize()} should be greater than or equal to zero."
        raise RestError(416, "PGRST103", "Requested range not satisfiable", details)
    if key == "limit":  # supabase-py sends limit twice after limit() and range(): the last one counts
        query.limit = number
    else:
        query.offset = number


def _parse_order(text: str) -> tuple[Order, ...]:
    reader = Reader(text, "order")

    def read_term() -> Order:
        reader.skip_spaces()
        name = _parse_field(reader)
        if reader.at("("):
            raise unsupported(f"embedded resources ('{name.name}' in order)")
        descending = True if reader.take(".desc") else (False if reader.take(".asc") else None)
        nulls_first = True if reader.take(".nullsfirst") else (False if reader.take(".nullslast") else None)
        return Order(name, descending, nulls_first)

    terms = tuple(reader.comma_separated(read_term))
    reader.expect_end()
    return terms


def _parse_filter(key: str, value: str) -> Filter:
    reader = Reader(key, "filter")
    name = _parse_field(reader)
    if reader.at("."):
        raise unsupported(f"parameters of embedded resources ('{key}')")
    reader.expect_end()
    return _parse_operation(Reader(value, "filter"), name, in_group=False)


def _parse_field(reader: Reader) -> Field:
    """A column, or a place inside its JSON."""
    name = reader.read_name()
    path: list[tuple[str, str | int]] = []
    while reader.at("->"):
        arrow = "->>" if reader.take("->>") else "->"
        if arrow == "->":
            reader.take("->")
        path.append((arrow, reader.read_json_key()))
    return Field(name, tuple(path))


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
            if reader.take(f"{prefix}{operator}("):
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
        raise unsupported(f"text search (the operator {operator})")
    if operator in _LEFT_OUT:
        raise unsupported(f"the operator {operator}")
    if operator not in OPERATORS:
        raise reader.failed(f'unexpected "{operator[:1]}" {_OPERATOR_EXPECTED}')
    if reader.at("(any)") or reader.at("(all)"):
        raise unsupported(f"any and all behind the operator {operator}")
    if not reader.take("."):
        raise reader.failed(_OPERATOR_EXPECTED)
    if operator == "in":
        return Filter(name, operator, _parse_list(reader, in_group=in_group), negated)
    value = reader.read_value() if in_group else reader.read_rest()
    if operator == "is":
        value = value.lower()
        if value not in IS_VALUES:
            raise reader.failed("expecting isVal: (null, not_null, true, false, unknown)")
    return Filter(name, operator, value, negated)


def _parse_list(reader: Reader, *, in_group: bool) -> tuple[str, ...]:
    reader.skip_spaces()
    reader.expect("(")
    values = tuple(reader.comma_separated(reader.read_list_element))
    reader.expect(")")
    reader.skip_spaces()
    if not in_group:
        reader.expect_end()
    return () if values == ("",) else values
