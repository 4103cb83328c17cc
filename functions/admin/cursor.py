"""Keyset cursors in addresses."""

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Any


def write_cursor(place: Any) -> str | None:
    """A place in a list as one word of an address; None when there is no further page."""
    return None if place is None else urlsafe_b64encode(json.dumps(place).encode()).rstrip(b"=").decode()


def read_cursor(word: str) -> list[str] | None:
    """The place that `write_cursor` wrote; None, the first page, for anything else."""
    try:
        place = json.loads(urlsafe_b64decode(f"{word}==".encode()))
    except ValueError:
        return None
    return (
        place if isinstance(place, list) and len(place) == 2 and all(isinstance(part, str) for part in place) else None
    )
