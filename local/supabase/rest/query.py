"""PostgREST's query string as plain values: columns, filters, order, window.

Grammar: PostgREST docs, references/api/tables_views, and its QueryParams.hs. Text outside that grammar raises PGRST100; a
form of the grammar that the local gateway leaves out raises HANGAR_UNSUPPORTED with its name.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from local.supabase.rest.errors import RestError, unparsable, unsupported

OPERATORS = ("eq", "neq", "gt", "gte", "lt", "lte", "like", "ilike", "in", "is")
IS_VALUES = ("null", "not_null", "true", "false", "unknown")
_OPERATORS_LEFT_OUT = (
    *("fts", "plfts", "phfts", "wfts", "match", "imatch", "isdistinct"),
    *("cs", "cd", "ov", "sl", "sr", "nxr", "nxl", "adj"),
)
_SHAPE = ("select", "columns", "on_conflict")
# What PostgREST takes where the gateway takes a column's name only, the first mark that fits.
_NAMES_LEFT_OUT = (
    ("(", "embedded resources and aggregates"),
    ("!", "embedded resources"),
    ("->", "JSON paths"),
    ("::", "casts"),
    (":", "aliases"),
    ('"', "quoted names"),
    (".", "embedded resources"),
)
_NAME = re.compile(r"[\w $-]+")
_ORDER = re.compile(r"([^.]*)(?:\.(asc|desc))?(?:\.nulls(first|last))?")
_OPERATION = re.compile(r"(not\.)?([a-z]+)(\([^)]*\))?\.(.*)", re.DOTALL)
_ELEMENT = r'"(?:[^"\\]|\\.)*"|[^",)][^,)]*|'
_LIST = re.compile(rf"\(((?:{_ELEMENT})(?:,(?:{_ELEMENT}))*)\)", re.DOTALL)


@dataclass(frozen=True)
class Filter:
    """One comparison of a column with a value."""

    column: str
    operator: str
    value: str | tuple[str, ...]
    negated: bool = False


@dataclass(frozen=True)
class Order:
    """One term of the order. `direction` is its SQL, empty for Postgres's default."""

    column: str
    direction: str = ""


@dataclass
class Query:
    """Everything one query string asks for. In `select` None stands for all columns."""

    select: tuple[str | None, ...] = (None,)
    conditions: list[tuple[Filter, ...]] = field(default_factory=list)  # of each, one comparison must hold
    order: tuple[Order, ...] = ()
    limit: int | None = None
    offset: int = 0
    columns: tuple[str, ...] | None = None
    on_conflict: tuple[str, ...] | None = None

    @property
    def is_windowed(self) -> bool:
        return bool(self.order) or self.limit is not None or self.offset > 0


def parse_query(pairs: Iterable[tuple[str, str]]) -> Query:
    """Read decoded (name, value) pairs of a query string."""
    query = Query()
    shape: dict[str, str] = {}
    for key, value in pairs:
        if key in _SHAPE:
            shape.setdefault(key, value)  # the first one counts
        elif key == "order":
            query.order += tuple(map(_parse_order, value.split(",")))
        elif key == "limit":  # supabase-py sends limit twice after limit() and range(): the last one counts
            query.limit = _parse_number(key, value)
        elif key == "offset":
            query.offset = _parse_number(key, value)
        elif key == "or":
            query.conditions.append(_parse_alternatives(value))
        elif key in ("and", "not.and", "not.or"):
            raise unsupported(f"groups of conditions (the parameter {key})")
        else:
            query.conditions.append((_parse_filter(key, value),))
    if "select" in shape:
        query.select = tuple(map(_parse_column, shape["select"].split(",")))
    if "columns" in shape:
        query.columns = tuple(dict.fromkeys(_parse_names(shape["columns"], "columns")))
    if "on_conflict" in shape:
        query.on_conflict = _parse_names(shape["on_conflict"], "on_conflict")
    return query


def _parse_column(text: str) -> str | None:
    return None if text.strip() == "*" else _parse_name(text, "select")


def _parse_names(text: str, where: str) -> tuple[str, ...]:
    """A list of names, which supabase-py puts into double quotes."""
    return tuple(_parse_name(name.strip().removeprefix('"').removesuffix('"'), where) for name in text.split(","))


def _parse_name(text: str, where: str) -> str:
    for mark, form in _NAMES_LEFT_OUT:
        if mark in text:
            raise unsupported(f"{form} ('{text}' in {where})")
    name = text.strip()
    if not _NAME.fullmatch(name):
        raise unparsable(where, text, "expecting field name (* or [a..z0..9_$])")
    return name


def _parse_number(key: str, value: str) -> int:
    if not re.fullmatch(r"-?[0-9]{1,18}", value):
        raise unparsable(key, value, "expecting an integer")
    if value.startswith("-"):
        details = f"{key.capitalize()} should be greater than or equal to zero."
        raise RestError(416, "PGRST103", "Requested range not satisfiable", details)
    return int(value)


def _parse_order(text: str) -> Order:
    found = _ORDER.fullmatch(text.strip())
    if found is None:
        raise unparsable("order", text, 'expecting delimiter (.), "," or end of input')
    column, direction, nulls = found.groups()
    return Order(_parse_name(column, "order"), f"{f' {direction}' * bool(direction)}{f' nulls {nulls}' * bool(nulls)}")


def _parse_filter(key: str, value: str) -> Filter:
    column = _parse_name(key, "a filter")
    found = _OPERATION.fullmatch(value)
    negated, operator, modifier, operand = found.groups() if found else ("", "", "", "")
    if operator in _OPERATORS_LEFT_OUT:
        raise unsupported(f"the operator {operator}")
    if operator not in OPERATORS:
        raise unparsable("filter", value, "expecting operator (eq, gt, ...)")
    if modifier:
        raise unsupported(f"any and all behind the operator {operator}")
    if operator == "in":
        return Filter(column, operator, _parse_list(operand), bool(negated))
    if operator == "is":
        operand = operand.lower()
        if operand not in IS_VALUES:
            raise unparsable("filter", value, f"expecting isVal: ({', '.join(IS_VALUES)})")
    return Filter(column, operator, operand, bool(negated))


def _parse_alternatives(text: str) -> tuple[Filter, ...]:
    """Plain comparisons, as in `(ended_at.is.null,ended_at.gte.5)`."""
    if not re.fullmatch(r"\([^()\"]*\)", text):
        raise unsupported(f"groups of conditions but plain ones (or={text})")
    members = [member.partition(".") for member in text[1:-1].split(",")]
    return tuple(_parse_filter(column, operation) for column, _, operation in members)


def _parse_list(text: str) -> tuple[str, ...]:
    found = _LIST.fullmatch(text.strip())
    if found is None:
        raise unparsable("filter", text, "expecting a list in parentheses")
    elements = re.findall(rf"(?:^|,)({_ELEMENT})", found[1], re.DOTALL)
    values = tuple(
        re.sub(r"\\(.)", r"\1", each[1:-1], flags=re.DOTALL) if each.startswith('"') else each for each in elements
    )
    return () if values == ("",) else values
