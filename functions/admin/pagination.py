"""Keyset cursors in addresses."""

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Any

from werkzeug.exceptions import BadRequest


def write_cursor(place: Any) -> str | None:
    """A place in a list as one word of an address; None when there is no further page."""
    return None if place is None else urlsafe_b64encode(json.dumps(place).encode()).rstrip(b"=").decode()


def read_cursor(word: str) -> list[str] | None:
    """The place that `write_cursor` wrote; None, the first page, for anything else. 400 for what was made to break us."""
    try:
        place = json.loads(urlsafe_b64decode(f"{word}==".encode()))
    except RecursionError as error:
        raise BadRequest from error
    except ValueError:
        return None
    if not (isinstance(place, list) and len(place) == 2 and all(isinstance(part, str) for part in place)):
        return None
    try:
        "".join(place).encode()
    except UnicodeEncodeError as error:  # half a character, which no text of Postgres can hold
        raise BadRequest from error
    return place
