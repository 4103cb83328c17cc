"""Which table an embedded resource means, and how its rows belong to those of the table around it.

Source: PostgREST docs, references/api/resource_embedding, and its Plan.hs (`findRel`). Tables only: relations that
PostgREST derives for views are refused, not guessed.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from local.supabase.rest.catalog import Catalog, ForeignKey, Table
from local.supabase.rest.errors import RestError
from local.supabase.rest.terms import Embed


@dataclass(frozen=True)
class Relation:
    """From `parent` to `target`: pairs of columns that are equal, through `junction` (and its second pairs) if there is one."""

    parent: Table
    target: Table
    pairs: tuple[tuple[str, str], ...]
    to_one: bool
    names: frozenset[str]  # what a hint may call it
    label: str
    junction: Table | None = None
    junction_pairs: tuple[tuple[str, str], ...] = ()

    @property
    def parent_columns(self) -> tuple[str, ...]:
        return tuple(column for column, _ in self.pairs)


def find_relation(catalog: Catalog, parent: Table, embed: Embed) -> Relation:
    """The one relation meant. RestError PGRST200 when there is none, 300 PGRST201 when there are several."""
    found = [
        relation
        for relation, names in _list_relations(catalog, parent)
        if embed.target in names and (embed.hint is None or embed.hint in relation.names)
    ]
    if not found:
        raise _no_relation(parent, embed)
    if len(found) > 1:
        raise _several_relations(parent, embed, found)
    return found[0]


def _list_relations(catalog: Catalog, parent: Table) -> Iterator[tuple[Relation, set[str]]]:
    """Every relation of `parent`, with the names by which a select may target it."""
    here = (parent.schema, parent.name)
    for key in catalog.foreign_keys:
        if key.table == here:
            yield _to_referenced(catalog, parent, key), {key.target[1], key.name, *_only(key.columns)}
        if key.target == here:
            yield _to_referencing(catalog, parent, key), {key.table[1], key.name}
    for first in catalog.foreign_keys:
        junction = catalog.tables[first.table]
        for second in catalog.foreign_keys:
            is_junction = (
                first.target == here
                and second.table == first.table
                and second.name != first.name
                and {*first.columns, *second.columns} <= set(junction.primary_key)
            )
            if is_junction:
                yield _through(catalog, parent, junction, first, second), {second.target[1]}


def _to_referenced(catalog: Catalog, parent: Table, key: ForeignKey) -> Relation:
    return Relation(
        parent,
        catalog.tables[key.target],
        tuple(zip(key.columns, key.target_columns, strict=True)),
        to_one=True,
        names=frozenset({key.name, *_only(key.columns), *_only(key.target_columns)}),
        label="one-to-one" if key.one_to_one else "many-to-one",
    )


def _to_referencing(catalog: Catalog, parent: Table, key: ForeignKey) -> Relation:
    return Relation(
        parent,
        catalog.tables[key.table],
        tuple(zip(key.target_columns, key.columns, strict=True)),
        to_one=key.one_to_one,
        names=frozenset({key.name, *_only(key.columns), *_only(key.target_columns)}),
        label="one-to-one" if key.one_to_one else "one-to-many",
    )


def _through(catalog: Catalog, parent: Table, junction: Table, first: ForeignKey, second: ForeignKey) -> Relation:
    return Relation(
        parent,
        catalog.tables[second.target],
        tuple(zip(first.target_columns, first.columns, strict=True)),
        to_one=False,
        names=frozenset({junction.name, first.name, second.name}),
        label="many-to-many",
        junction=junction,
        junction_pairs=tuple(zip(second.columns, second.target_columns, strict=True)),
    )


def _only(columns: tuple[str, ...]) -> tuple[str, ...]:
    """A key of one column may be called by it."""
    return columns if len(columns) == 1 else ()


def _no_relation(parent: Table, embed: Embed) -> RestError:
    hint = f" using the hint '{embed.hint}'" if embed.hint else ""
    return RestError(
        400,
        "PGRST200",
        f"Could not find a relationship between '{parent.name}' and '{embed.target}' in the schema cache",
        f"Searched for a foreign key relationship between '{parent.name}' and '{embed.target}'{hint} in the schema"
        f" '{parent.schema}', but no matches were found.",
    )


def _several_relations(parent: Table, embed: Embed, found: list[Relation]) -> RestError:
    details = [
        {
            "cardinality": relation.label,
            "embedding": f"{parent.name} with {relation.target.name}",
            "relationship": f"{', '.join(sorted(relation.names))} using {relation.pairs}",
        }
        for relation in found
    ]
    ways = ", ".join(sorted({f"'{embed.target}!{name}'" for relation in found for name in relation.names}))
    return RestError(
        300,
        "PGRST201",
        f"Could not embed because more than one relationship was found for '{parent.name}' and '{embed.target}'",
        details,
        f"Try changing '{embed.target}' to one of the following: {ways}. Find the desired relationship in the"
        " 'details' key.",
    )
