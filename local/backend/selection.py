"""Which traders a process runs: one rule for the first load and every poll. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from local.backend.settings import DEDICATED, Settings


@dataclass(frozen=True)
class Trader:
    """A trader as read. Equality covers every field, so an edited filter or name is a change."""

    id: str
    user_id: str | None
    name: str
    filter: Any


@dataclass(frozen=True)
class Selection:
    """Equality conditions on `traders`, sent to the database and applied again to its rows."""

    conditions: tuple[tuple[str, str], ...]

    def admit(self, rows: Iterable[Mapping[str, Any]]) -> dict[str, Trader]:
        """The traders of `rows` that this process may run, by id. Other rows are dropped."""
        return {
            str(row["id"]): Trader(str(row["id"]), row["user_id"], str(row["name"]), row["filter"])
            for row in rows
            if all(_as_text(row[column]) == wanted for column, wanted in self.conditions)
        }


def select_for(settings: Settings) -> Selection:
    """user_dedicated: the user's own enabled traders. shared_backend: the enabled built-in traders."""
    if settings.run_mode == DEDICATED:
        return Selection((("user_id", str(settings.user_id)), ("enabled", "true"), ("is_built_in", "false")))
    return Selection((("enabled", "true"), ("is_built_in", "true")))


@dataclass(frozen=True)
class Difference:
    """The changes from `running` to `desired`: ids to stop and traders to start; a changed trader is in both."""

    stop: tuple[str, ...]
    start: tuple[Trader, ...]


def compare(running: Mapping[str, Trader], desired: Mapping[str, Trader]) -> Difference:
    """Compare with the desired set: a running trader that is not in it unchanged is stopped."""
    return Difference(
        stop=tuple(sorted(key for key, trader in running.items() if desired.get(key) != trader)),
        start=tuple(desired[key] for key in sorted(desired) if running.get(key) != desired[key]),
    )


def _as_text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
