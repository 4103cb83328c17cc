"""The simulator's time: seconds since 1970 as floats, and Fly's formats of timestamps and durations."""

import re
import threading
from datetime import UTC, datetime
from functools import lru_cache

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|us|µs|ns|h|m|s)")
_UNIT_S = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}


class VirtualClock:
    """A clock that moves by `advance` only, which is also usable as a sleep. Call the clock for the time."""

    def __init__(self, start: float = 1_800_000_000.0) -> None:
        self._now = start
        self._lock = threading.Lock()

    def __call__(self) -> float:
        return self._now

    def advance(self, seconds: float) -> None:
        with self._lock:
            self._now += max(0.0, seconds)


def to_rfc3339(moment: float) -> str:
    """`2026-11-22T10:00:00.123456Z`."""
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def parse_rfc3339(text: str) -> float:
    """Seconds since 1970; ValueError for text that is not an RFC 3339 timestamp with a zone."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"no time zone in {text!r}")
    return moment.timestamp()


def parse_duration(value: object, default_s: float) -> float:
    """Seconds of a Go duration (`1m30s`, `500ms`) or a plain number of seconds; the default when None.

    ValueError for anything else.
    """
    if value is None or value == "":
        return default_s
    if isinstance(value, bool):
        raise ValueError(f"not a duration: {value!r}")  # noqa: TRY004  one error type for "the caller's JSON is wrong"
    if isinstance(value, int | float):
        return float(value)
    return _read_duration(str(value))


@lru_cache(256)
def _read_duration(text: str) -> float:
    if re.fullmatch(r"\d+", text):
        return float(text)
    parts = _DURATION.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ValueError(f"not a duration: {text!r}")
    return sum(float(number) * _UNIT_S[unit] for number, unit in parts)
