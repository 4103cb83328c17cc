"""What a query string asks for, as plain values: columns, embedded resources, conditions, order, window."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal


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


@dataclass
class Embed:
    """Related rows inside each row: `alias:target!hint!inner(...)`, or `...target(...)` spread into it.

    `target` and `hint` are names as written; rest_relations.py finds what they mean. `query` is asked of the related rows.
    """

    target: str
    query: "Query"
    alias: str | None = None
    hint: str | None = None
    inner: bool = False
    spread: bool = False

    @property
    def name(self) -> str:
        """By which filters, order and output call it."""
        return self.alias or self.target


@dataclass(frozen=True)
class Filter:
    """One comparison of a field with a value; `language` belongs to full-text search."""

    field: Field
    operator: str
    value: str | tuple[str, ...]
    negated: bool = False
    quantifier: Literal["any", "all"] | None = None
    language: str | None = None


@dataclass(frozen=True)
class Group:
    """Conditions joined by and, or by or."""

    operator: Literal["and", "or"]
    members: tuple["Filter | Group", ...]
    negated: bool = False


@dataclass(frozen=True)
class Order:
    """One term of the order; None leaves Postgres's default. `embed` names the resource whose column it is."""

    field: Field
    descending: bool | None = None
    nulls_first: bool | None = None
    embed: str | None = None


@dataclass
class Query:
    """All that one query string asks for. `arguments` are the plain values of a function called with GET."""

    select: tuple[SelectItem | Embed, ...] = (SelectItem(None),)
    conditions: list[Filter | Group] = field(default_factory=list)
    order: tuple[Order, ...] = ()
    limit: int | None = None
    offset: int = 0
    columns: tuple[str, ...] | None = None
    on_conflict: tuple[str, ...] | None = None
    arguments: dict[str, str] = field(default_factory=dict)

    @property
    def columns_selected(self) -> Iterator[SelectItem]:
        return (item for item in self.select if isinstance(item, SelectItem))

    @property
    def embeds(self) -> Iterator[Embed]:
        return (item for item in self.select if isinstance(item, Embed))

    @property
    def selects_everything(self) -> bool:
        return any(item.field is None for item in self.columns_selected)
