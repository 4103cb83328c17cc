"""Fly's documented rate limits as token buckets.

Docs "Working with the Machines API": per action and identifier (machine or app) 1 request a second, burst 3; Get
Machine 5 a second, burst 10; 100 app deletions a minute.
"""

from dataclasses import dataclass

GET_MACHINE = "GET /v1/apps/{app_name}/machines/{machine_id}"
DELETE_APP = "DELETE /v1/apps/{app_name}"
_KEEP_BUCKETS = 20_000


@dataclass
class _Bucket:
    tokens: float
    at: float


class RateLimits:
    """Counts requests. `wait_s` is 0 for an allowed request, else the seconds until the next one is allowed."""

    def __init__(self) -> None:
        self._buckets: dict[tuple[str, str], _Bucket] = {}
        self._tidy_at = _KEEP_BUCKETS

    def wait_s(self, action: str, identifier: str, now: float) -> float:
        """Take one token from every bucket of the call, or none when one bucket is empty."""
        wanted = []
        if identifier:
            rate, burst = (5.0, 10.0) if action == GET_MACHINE else (1.0, 3.0)
            wanted.append(((action, identifier), rate, burst))
        if action == DELETE_APP:
            wanted.append(((action, ""), 100 / 60, 100.0))
        waits = [self._refill(key, rate, burst, now) for key, rate, burst in wanted]
        if any(waits):
            return max(waits)
        for key, _, _ in wanted:
            self._buckets[key].tokens -= 1
        return 0.0

    def _refill(self, key: tuple[str, str], rate: float, burst: float, now: float) -> float:
        if len(self._buckets) > self._tidy_at:
            # A bucket that was unused for a minute is full again and can be dropped.
            self._buckets = {k: b for k, b in self._buckets.items() if now - b.at < 60}
            self._tidy_at = max(_KEEP_BUCKETS, 2 * len(self._buckets))
        bucket = self._buckets.setdefault(key, _Bucket(burst, now))
        bucket.tokens = min(burst, bucket.tokens + max(0.0, now - bucket.at) * rate)
        bucket.at = now
        return 0.0 if bucket.tokens >= 1 else (1 - bucket.tokens) / rate
