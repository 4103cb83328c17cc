"""The procedures of docs/database.md by name and type, over any store: here those of the reconciler and of alerts."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from shared.adapters.procedures_releases import ReleaseProcedures
from shared.adapters.procedures_sweep import SweepProcedures
from shared.domain.models import Json, Row, Settings


@dataclass(frozen=True)
class Operator:
    """Whether a user may operate Hangar now, and the e-mail address that signs the audit log."""

    is_operator: bool
    email: str | None


@dataclass(frozen=True)
class Claim:
    """What asking for one user's row gave. `row` is ours to act on only when `outcome` is "claimed"."""

    outcome: str
    row: Row | None
    last: Row | None
    settings: Settings
    now: datetime
    entitled: bool | None
    why: str | None
    known: bool


@dataclass(frozen=True)
class Saved:
    """What a save gave back: the row as it stands now, and why an intent was refused, if it was.

    `retry_in_s` belongs to the refusal "rate": when this row's turn comes.
    """

    row: Row
    settings: Settings
    now: datetime
    generation_moved: bool
    refused: str | None
    retry_in_s: float
    successor: UUID | None


class Database(SweepProcedures, ReleaseProcedures):
    """The procedures of the reconcile loop, the sweep and the alerts; `OperatorDatabase` has all."""

    def claim(self, user_id: UUID, holder: str, *, force: bool) -> Claim:
        """Derive the user's desired state and lease the row, if there is one to lease."""
        answer = self._call("fly_claim", user=str(user_id), holder=holder, force=force)
        return Claim(
            outcome=answer["outcome"],
            row=Row.model_validate(answer["row"]) if answer["row"] else None,
            last=Row.model_validate(answer["last"]) if answer["last"] else None,
            settings=Settings.model_validate(answer["settings"]),
            now=datetime.fromisoformat(answer["now"]),
            entitled=answer["entitled"],
            why=answer.get("why"),
            known=bool(answer["known"]),
        )

    def end_removal_hold(self, user_id: UUID, actor: str) -> bool:
        """Let the removal of this user's app begin now; False when it is not being held."""
        return bool(self._call("fly_end_removal_hold", user=str(user_id), actor=actor)["ended"])

    def claim_due(self, limit: int, holder: str, first: str = "present") -> tuple[list[Row], Settings, datetime, int]:
        """Lease up to `limit` due rows, oldest first; with settings, the database's time and how many stay due.

        What is wanted and what is unwanted are queues of their own; `first` says who gets the larger half of the places.
        """
        answer = self._call("fly_claim_due", limit=limit, holder=holder, first=first)
        rows = [Row.model_validate(claimed["row"]) for claimed in answer["claimed"]]
        now = datetime.fromisoformat(answer["now"])
        return rows, Settings.model_validate(answer["settings"]), now, int(answer["due_left"])

    def save(self, row: Row, patch: Json, events: Sequence[Json], *, release: bool) -> Saved | None:
        """Compare-and-set on lease and generation; None when the lease is lost."""
        answer = self._call(
            "fly_save",
            id=str(row.id),
            lease_token=str(row.lease_token),
            planned_generation=row.generation,
            patch=patch,
            events=list(events),
            release=release,
        )
        if answer is None:
            return None
        return Saved(
            row=Row.model_validate(answer["row"]),
            settings=Settings.model_validate(answer["settings"]),
            now=datetime.fromisoformat(answer["now"]),
            generation_moved=bool(answer["generation_moved"]),
            refused=answer["refused"],
            retry_in_s=float(answer["retry_in_s"] or 0),
            successor=UUID(answer["successor"]) if answer["successor"] else None,
        )

    def find_operator(self, user_id: UUID) -> Operator:
        """Look a user up by id; an unknown one is no operator."""
        answer = self._call("fly_operator", user=str(user_id))
        return Operator(is_operator=answer["operator"] is True, email=answer["email"])

    def raise_alert(self, kind: str, key: str, message: str, metadata: Json) -> bool:
        """Open an alert; True when it was not open already, so that it is sent once."""
        return bool(self._call("fly_raise_alert", kind=kind, key=key, message=message, metadata=metadata)["new"])

    def resolve_alert(self, kind: str, key: str) -> bool:
        """Close an open alert; True when there was one."""
        return bool(self._call("fly_resolve_alert", kind=kind, key=key)["resolved"])

    def take_alerts(self, destinations: Sequence[str] = ("default",), limit: int = 100) -> list[Json]:
        """Claim for half a minute the messages about alerts that are due for these destinations, in order."""
        alerts: list[Json] = self._call("fly_take_alerts", limit=limit, destinations=list(destinations))["alerts"]
        return alerts

    def record_deliveries(self, results: Sequence[Json]) -> None:
        """Each result has `delivery_id`, `token`, `outcome` (delivered, failed, skipped), `error` and `retry_after_s`."""
        self._call("fly_record_deliveries", results=list(results))
