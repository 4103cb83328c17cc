"""Fly's paging: a cursor remembers what existed at the first page; pages may be short or empty."""

import sys
from collections.abc import Callable

from local.fly.api.calls import Call
from local.fly.errors import FlyError, read_int
from local.fly.state.state import Cursor, World

CURSOR_LIFE_S = 1800.0
"""Fly: cursors live 30 minutes from the first page."""


Page = tuple[list[str], str | None, int]
"""The ids of a page, the cursor of the next one (None at the end), and the count at the first page."""


def read_page(
    world: World,
    call: Call,
    find_ids: Callable[[], list[str]],
    most: int,
    *,
    default: int = sys.maxsize,
    advisory: bool,
) -> Page:
    """The page behind the call's `cursor`; without a cursor, the first page of what `find_ids` returns.

    With an `advisory` limit a page may be shorter, which Fly documents for machine listings and not for app listings.
    400 for a limit outside 1 to `most`, and for an unknown or expired cursor.
    """
    text, cursor = call.param("limit"), call.param("cursor")
    limit = default if text is None else read_int(text, "limit", 1, most)
    if cursor and limit == sys.maxsize:
        raise FlyError(400, "cursor requires limit")
    return _next_page(
        world,
        cursor or _start_listing(world, find_ids(), call.now),
        limit,
        call.now,
        advisory=advisory and limit < sys.maxsize,
    )


def _start_listing(world: World, ids: list[str], now: float) -> str:
    """Remember the ids of a listing and return the cursor of its first page."""
    world.cursors = {token: cursor for token, cursor in world.cursors.items() if cursor.expires_at > now}
    token = world.hex_id(32)
    world.cursors[token] = Cursor(ids, 0, now + CURSOR_LIFE_S, len(ids))
    return token


def _next_page(world: World, token: str, limit: int, now: float, *, advisory: bool) -> Page:
    """A cursor can be used again, because a client may have lost the response."""
    cursor = world.cursors.get(token)
    if cursor is None or cursor.expires_at <= now:
        raise FlyError(400, "invalid cursor")
    size = limit
    if advisory and world.chance(world.unkindness.empty_pages):
        size = 0
    elif advisory and limit > 1 and world.chance(world.unkindness.short_pages):
        size = world.chances.randint(1, limit)
    page = cursor.ids[cursor.at : cursor.at + size]
    end = cursor.at + size
    if end >= len(cursor.ids):
        if cursor.at == 0:
            del world.cursors[token]
        return page, None, cursor.total
    following = world.hex_id(32)
    world.cursors[following] = Cursor(cursor.ids, end, cursor.expires_at, cursor.total)
    return page, following, cursor.total
