"""The audit lines one worker writes: an intent before every call that changes Fly, an outcome after it, and what befell."""

from collections.abc import Callable
from dataclasses import dataclass, field
from uuid import UUID, uuid5

from shared.domain.actions import Action, ActionKind
from shared.domain.errors import HangarError
from shared.domain.models import Json, Row


@dataclass
class AuditLog:
    """Gathers events until the next save takes them. Ids come from us, so that a repeated save writes them once."""

    actor: str
    installation_id: UUID
    new_id: Callable[[], UUID]
    events: list[Json] = field(default_factory=list)
    failed_attempts: int = 0
    _open: Json = field(default_factory=dict)

    @property
    def is_open(self) -> bool:
        """Whether a call that changes Fly is under way."""
        return bool(self._open)

    def take(self) -> list[Json]:
        """What has gathered; the journal is empty afterwards."""
        events, self.events = self.events, []
        return events

    def note(self, row: Row, event_type: str, status: str, metadata: Json, details: str | None = None) -> None:
        self.events.append(self._make(row, event_type, status, metadata, details))

    def announce(self, row: Row) -> None:
        """`provision_started` or `deprovision_started`: once a generation, however many workers and attempts it takes."""
        if row.observed_generation == row.generation:
            return
        kind = "provision_started" if row.desired_state == "present" else "deprovision_started"
        event = self._make(row, kind, "info", {"tier": row.tier}, None)
        self.events.append({**event, "id": str(uuid5(row.id, f"{kind}:{row.generation}"))})

    def intend(self, row: Row, action: Action) -> Json:
        """The intent of one action. It is returned, not gathered: its save may refuse it."""
        self.announce(row)
        machine: Json = {"machine_id": action.machine.id} if action.machine else {}
        if action.purpose in ("repair", "replace"):
            self.note(row, "recovery_attempted", "info", {"action": action.kind, **machine})
        elif action.kind is ActionKind.STOP_MACHINE and row.observed_generation == row.generation:
            woken = "the machine ran although it had been stopped for the grace period: it is stopped again"
            self.note(row, "recovery_attempted", "info", {"action": action.kind, **machine}, woken)
        metadata = {
            "action": action.kind,
            "attempt": 1,
            "purpose": action.purpose,
            "app": row.fly_app_name,
            # The database refuses an intent of another installation's worker.
            "installation_id": str(self.installation_id),
            **machine,
        }
        return self._make(row, "action", "intent", metadata, None)

    def open(self, intent: Json) -> None:
        """The call of `intent` begins: failed attempts from here on are its."""
        self._open = {**intent["metadata"], "intent_id": intent["id"]}

    def attempt(self, row: Row, number: int, error: HangarError, wait_s: float) -> None:
        """One try failed and is repeated after `wait_s` seconds."""
        self.failed_attempts += 1
        metadata = {**self._open, "attempt": number, "wait_s": wait_s, "error_code": error.code, **_trace(error)}
        self.note(row, "error_occurred", "failed", metadata, str(error))

    def close(self, row: Row, status: str, error: HangarError | None = None) -> None:
        """The outcome of the open intent: succeeded, failed or unknown."""
        metadata = dict(self._open)
        if error is not None:
            metadata |= {"attempt": error.attempts_made, "error_code": error.code, **_trace(error)}
        self.note(row, "action", status, metadata, str(error) if error else None)
        self._open = {}

    def _make(self, row: Row, event_type: str, status: str, metadata: Json, details: str | None) -> Json:
        return {
            "id": str(self.new_id()),
            "event_type": event_type,
            "status": status,
            "metadata": {"generation": row.generation, "actor": self.actor, **metadata},
            "error_details": details,
        }


def _trace(error: HangarError) -> Json:
    return {"fly_request_id": error.fly_request_id} if error.fly_request_id else {}
