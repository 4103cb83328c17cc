"""The audit events of one worker: an intent before every call that changes Fly, its outcome after it, and notable events."""

from collections.abc import Callable
from dataclasses import dataclass, field
from uuid import UUID, uuid5

from shared.domain.actions import Action, ActionKind
from shared.domain.errors import HangarError
from shared.domain.models import Json, Row

_STOPPED_AGAIN = "the machine was running although it had been stopped for the grace period; it is stopped again"


@dataclass
class AuditLog:
    """Collects events until the next save takes them. Event ids are made here, so a repeated save writes each event once."""

    actor: str
    installation_id: UUID
    new_id: Callable[[], UUID]
    failed_attempts: int = 0
    _events: list[Json] = field(default_factory=list)
    _open: Json = field(default_factory=dict)

    @property
    def is_call_open(self) -> bool:
        """Whether a call that changes Fly is in progress."""
        return bool(self._open)

    @property
    def has_events(self) -> bool:
        return bool(self._events)

    def take(self) -> list[Json]:
        """The collected events; the log is empty afterwards."""
        events, self._events = self._events, []
        return events

    def put_back(self, events: list[Json]) -> None:
        """Keep events whose save failed for the next save."""
        self._events = events + self._events

    def add_event(self, row: Row, event_type: str, status: str, metadata: Json, details: str | None = None) -> None:
        self._events.append(self._make(row, event_type, status, metadata, details))

    def record_start(self, row: Row) -> None:
        """`provision_started` or `deprovision_started`: once per generation, regardless of how many workers and attempts."""
        if row.observed_generation == row.generation:
            return
        kind = "provision_started" if row.desired_state == "present" else "deprovision_started"
        event = self._make(row, kind, "info", {"tier": row.tier}, None)
        self._events.append({**event, "id": str(uuid5(row.id, f"{kind}:{row.generation}"))})

    def make_intent(self, row: Row, action: Action) -> Json:
        """The intent of one action. It is returned, not collected, because the database may refuse its save."""
        self.record_start(row)
        machine: Json = {"machine_id": action.machine.id} if action.machine else {}
        if action.purpose in ("repair", "replace", "unhealthy"):
            self.add_event(row, "recovery_attempted", "info", {"action": action.kind, **machine})
        elif action.kind is ActionKind.STOP_MACHINE and row.observed_generation == row.generation:
            self.add_event(row, "recovery_attempted", "info", {"action": action.kind, **machine}, _STOPPED_AGAIN)
        metadata = {
            "action": action.kind,
            "attempt": 1,
            "purpose": action.purpose,
            "app": row.fly_app_name,
            # The database refuses an intent of another installation's worker.
            "installation_id": str(self.installation_id),
            **machine,
            **({"region": action.region} if action.region else {}),
            **({"address": action.address} if action.address else {}),
        }
        return self._make(row, "action", "intent", metadata, None)

    def open_call(self, intent: Json) -> None:
        """The call of `intent` begins: failed attempts from here on belong to it."""
        self._open = {**intent["metadata"], "intent_id": intent["id"]}

    def add_attempt(self, row: Row, number: int, error: HangarError, wait_s: float) -> None:
        """Attempt `number` of the current call failed and is repeated after `wait_s` seconds."""
        self.failed_attempts += 1
        metadata = {**self._open, "attempt": number, "wait_s": wait_s, "error_code": error.code, **_request_id(error)}
        self.add_event(row, "error_occurred", "failed", metadata, str(error))

    def close_call(self, row: Row, status: str, error: HangarError | None = None) -> None:
        """The outcome of the open intent: succeeded, failed or unknown."""
        metadata = dict(self._open)
        if error is not None:
            metadata |= {"attempt": error.attempts_made, "error_code": error.code, **_request_id(error)}
        self.add_event(row, "action", status, metadata, str(error) if error else None)
        self._open = {}

    def drop_call(self) -> None:
        """The database has closed the open intent itself."""
        self._open = {}

    def _make(self, row: Row, event_type: str, status: str, metadata: Json, details: str | None) -> Json:
        return {
            "id": str(self.new_id()),
            "event_type": event_type,
            "status": status,
            "metadata": {"generation": row.generation, "actor": self.actor, **metadata},
            "error_details": details,
        }


def _request_id(error: HangarError) -> Json:
    return {"fly_request_id": error.fly_request_id} if error.fly_request_id else {}
