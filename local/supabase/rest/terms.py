"""What a query string asks for, as plain values: columns, conditions, order, window."""

from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True)
class Field:
    """A column, or a place inside a JSON column: `path` holds (`->` or `->>`, key or index)."""

    name: str
    path: tuple[tuple[str, str | int], ...] = ()


@dataclass(frozen=True)
class Filter:
    """One comparison of a field with a value."""

    field: Field
    operator: str
    value: str | tuple[str, ...]
    negated: bool = False


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
    """Everything one query string asks for. In `select` None stands for all columns."""

    select: tuple[str | None, ...] = (None,)
    conditions: list[Filter | Group] = field(default_factory=list)
    order: tuple[Order, ...] = ()
    limit: int | None = None
    offset: int = 0
    columns: tuple[str, ...] | None = None
    on_conflict: tuple[str, ...] | None = None

    @property
    def is_plain(self) -> bool:
        """Whether it has no filter, order or window."""
        return not self.conditions and not self.order and self.limit is None and not self.offset
