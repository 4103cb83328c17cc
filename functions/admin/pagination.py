"""Keyset cursors in addresses. Flask and werkzeug have none."""

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Any

from werkzeug.exceptions import BadRequest


def write_cursor(place: Any) -> str | None:
    """A place in a list as one word of an address. None if there is no further page."""
    return None if place is None else urlsafe_b64encode(json.dumps(place).encode()).rstrip(b"=").decode()


def read_cursor(word: str) -> list[str] | None:
    """The place that `write_cursor` wrote. None, the first page, for other text. 400 for a cursor made to break the parser."""
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
    except UnicodeEncodeError as error:  # half a surrogate pair, which no text in Postgres can hold
        raise BadRequest from error
    return place
