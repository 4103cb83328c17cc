"""How fast a migration starts users.

Fly documents its limits for each app and action (1 call a second, 3 at once; Fly docs, "Working with the Machines API").
One worker for one user stays below them, and users do not add up. For whole apps Fly documents one limit only, 100
deletions a minute, and none for creations. A migration therefore starts at most 100 users a minute, so that its apps can
be deleted as fast as they were created. The functions themselves wait after a 429.
"""

import time
from collections.abc import Callable

PER_MINUTE = 100


class Pace:
    """Allows `per_minute` starts a minute, and at most a tenth of them at once."""

    def __init__(self, per_minute: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_s = per_minute / 60
        self._capacity = max(1.0, per_minute / 10)
        self._available, self._clock = self._capacity, clock
        self._at = clock()

    def take(self) -> bool:
        """Whether one more may start now. If so, it is counted."""
        now = self._clock()
        self._available = min(self._capacity, self._available + (now - self._at) * self._per_s)
        self._at = now
        if self._available < 1:
            return False
        self._available -= 1
        return True
