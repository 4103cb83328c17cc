"""Fly with a wrong clock: `Date` and the time stamps of answers are shifted. Timers are not affected."""

import json
from datetime import UTC, datetime
from email.utils import format_datetime
from functools import lru_cache
from typing import Any

from local.fly.times import parse_rfc3339, to_rfc3339

# Text in RFC 3339, epoch milliseconds (an event's `timestamp`, an app's `created_at`) or epoch seconds (a lease).
STAMPS = frozenset({"created_at", "updated_at", "expires_at", "exited_at", "timestamp", "last_updated_at"})
_MILLISECONDS = 1e11


@lru_cache(64)
def to_http_date(second: int) -> str:
    """The value of a `Date` header."""
    return format_datetime(datetime.fromtimestamp(second, UTC), usegmt=True)


def shift_stamps(body: bytes, skew_s: float) -> bytes:
    """The JSON `body` with every time stamp shifted, except in `config`, which a client wrote. Other bodies do not change."""
    try:
        shown = json.loads(body)
    except ValueError:
        return body
    return json.dumps(_shift(shown, skew_s)).encode()


def _shift(value: Any, skew_s: float) -> Any:
    if isinstance(value, list):
        return [_shift(each, skew_s) for each in value]
    if not isinstance(value, dict):
        return value
    return {
        key: each if key == "config" else _shift_stamp(each, skew_s) if key in STAMPS else _shift(each, skew_s)
        for key, each in value.items()
    }


def _shift_stamp(value: Any, skew_s: float) -> Any:
    if isinstance(value, str):
        return to_rfc3339(parse_rfc3339(value) + skew_s)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return int(value + skew_s * (1000 if value > _MILLISECONDS else 1))
    return value
