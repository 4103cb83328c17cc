"""The select parameter: columns, JSON paths, casts, and embedded resources, which hold a select of their own.

Grammar: PostgREST docs, references/api/resource_embedding, and its QueryParams.hs.
"""

from local.supabase.rest.errors import RestError
from local.supabase.rest.reader import Reader
from local.supabase.rest.terms import Embed, Field, Query, SelectItem

_AGGREGATES = ("sum()", "avg()", "count()", "max()", "min()")
_JOINS = {"inner": True, "left": False}


def parse_select(text: str) -> tuple[SelectItem | Embed, ...]:
    """Read the whole parameter; an empty one selects no column."""
    if not text.strip():
        return ()
    reader = Reader(text, "select parameter")
    items = tuple(reader.comma_separated(lambda: _parse_item(reader)))
    reader.expect_end()
    return items


def parse_field(reader: Reader) -> Field:
    """A column, or a place inside its JSON."""
    name = reader.read_name()
    path: list[tuple[str, str | int]] = []
    while reader.at("->"):
        arrow = "->>" if reader.take("->>") else "->"
        if arrow == "->":
            reader.take("->")
        path.append((arrow, reader.read_json_key()))
    return Field(name, tuple(path))


def _parse_item(reader: Reader) -> SelectItem | Embed:
    reader.skip_spaces()
    if reader.take("*"):
        reader.skip_spaces()
        return SelectItem(None)
    if reader.take("..."):
        return _parse_embed(reader, reader.read_name(), None, spread=True)
    alias = None
    place = parse_field(reader)
    if reader.at(":") and not reader.at("::") and not place.path:
        reader.take(":")
        alias, place = place.name, parse_field(reader)
    _refuse_aggregate(reader, place)
    if (reader.at("(") or reader.at("!")) and not place.path:
        return _parse_embed(reader, place.name, alias, spread=False)
    cast = reader.read_cast() if reader.take("::") else None
    _refuse_aggregate(reader, place)
    return SelectItem(place, alias, cast)


def _parse_embed(reader: Reader, target: str, alias: str | None, *, spread: bool) -> Embed:
    embed = Embed(target, Query(), alias, spread=spread)
    while reader.take("!"):
        word = reader.read_name()
        if word in _JOINS:
            embed.inner = _JOINS[word]
        else:
            embed.hint = word
    reader.expect("(")
    reader.skip_spaces()
    if reader.at(")"):
        embed.query.select = ()
    else:
        embed.query.select = tuple(reader.comma_separated(lambda: _parse_item(reader)))
    reader.expect(")")
    reader.skip_spaces()
    return embed


def _refuse_aggregate(reader: Reader, place: Field) -> None:
    """Hosted projects leave PostgREST's db-aggregates-enabled off."""
    if any(reader.at(f".{aggregate}") for aggregate in _AGGREGATES) or (place.name == "count" and reader.at("()")):
        raise RestError(400, "PGRST123", "Use of aggregate functions is not allowed")
