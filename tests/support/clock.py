"""Virtual time, and chance that can be repeated."""

from dataclasses import dataclass
from datetime import UTC, datetime
from random import Random

START = datetime(2026, 11, 22, 12, tzinfo=UTC).timestamp()


@dataclass
class Clock:
    """Virtual seconds, which pass only when a test or a sleeping process moves them."""

    seconds: float = START

    def __call__(self) -> float:
        return self.seconds

    def advance(self, seconds: float) -> None:
        self.seconds += seconds


def make_chance(seed: int, what: str) -> Random:
    """A separate stream of random numbers for each purpose, so that an extra draw for one does not change the others."""
    return Random(f"{seed}:{what}")  # noqa: S311  chance that can be repeated
