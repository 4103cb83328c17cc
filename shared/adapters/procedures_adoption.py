"""The procedures behind `hangar adopt`: apps of the original system, and what an operator decides about them."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from uuid import UUID

from shared.adapters.database import Caller
from shared.domain.models import Json, Row, Settings

_PAGE = 200
Decision = Literal["adopt", "close"]


@dataclass(frozen=True)
class LegacyApp:
    """A row of the original system, and what its user is entitled to.

    `wanted` is the machine of the user's plan, or None if the user is not entitled. `event_machine_id` is the machine that the
    original system made last, by its log. `other_app` is another app that the user has by now.
    """

    row: Row
    email: str | None
    entitled: bool | None
    why: str
    plan: str | None
    wanted: Json | None
    grace_s: int | None
    event_machine_id: str | None
    other_app: str | None
    original_status: str | None
    original_deleted_at: str | None

    @property
    def is_closed(self) -> bool:
        """Whether the original system closed the row, which says that the app is gone."""
        return self.row.deleted_at is not None


@dataclass(frozen=True)
class LegacyFleet:
    """Every row of the original system that no operator has decided about."""

    apps: tuple[LegacyApp, ...]
    settings: Settings
    now: datetime


class AdoptionProcedures(Caller):
    """What `hangar adopt` asks of the database. `actor` and `reason` are recorded with the decision."""

    def list_legacy_apps(self) -> LegacyFleet:
        """All of them, in the order of their ids."""
        found: list[LegacyApp] = []
        after: str | None = None
        while True:
            answer = self._call("fly_legacy_apps", after=after, limit=_PAGE)
            found += [
                LegacyApp(Row.model_validate(each["row"]), **{key: each[key] for key in _KEYS})
                for each in answer["apps"]
            ]
            after = answer["next"]
            if after is None:
                now = datetime.fromisoformat(answer["now"])
                return LegacyFleet(tuple(found), Settings.model_validate(answer["settings"]), now)

    def begin_adoption(self, row_id: UUID, decision: Decision, facts: Json, *, actor: str, reason: str) -> str:
        """Record the intent. "begun", or "decided" if somebody has decided about this app meanwhile.

        Raises Conflict with the reason if the decision may not be made now.
        """
        answer = self._call(
            "fly_begin_adoption", row=str(row_id), decision=decision, facts=facts, actor=actor, reason=reason
        )
        outcome: str = answer["outcome"]
        return outcome

    def finish_adoption(self, row_id: UUID, decision: Decision, facts: Json, *, actor: str, reason: str) -> str:
        """Make the decision: "adopted", "closed" or "decided". Raises as `begin_adoption` does."""
        answer = self._call(
            "fly_finish_adoption", row=str(row_id), decision=decision, facts=facts, actor=actor, reason=reason
        )
        outcome: str = answer["outcome"]
        return outcome


_KEYS = (
    "email", "entitled", "why", "plan", "wanted", "grace_s", "event_machine_id", "other_app", "original_status",
    "original_deleted_at",
)  # fmt: skip
