"""A row leased to one worker. The lease owns the row, the patch and audit events of the next save, and the lease clock."""

import logging
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from shared.domain.actions import Action
from shared.domain.errors import HangarError, LeaseLost, SaveFailed
from shared.domain.models import Json, OperatorRequest, Row, Settings
from shared.reconcile.audit_log import AuditLog

if TYPE_CHECKING:
    from shared.adapters.procedures import Saved
    from shared.reconcile.worker import Worker

_log = logging.getLogger("hangar.lease")

# One call to Fly, including its retries, ends well inside the lease, which every save renews.
CALL_BUDGET_S = 40.0


@dataclass
class LeasedApp:
    """The row as the last save returned it, and what the next save will carry."""

    worker: "Worker"
    row: Row
    settings: Settings
    now: datetime
    request: OperatorRequest | None = None
    patch: Json = field(default_factory=dict)
    retry_in_s: float = 0.0
    _shows_attempts: bool = False

    def __post_init__(self) -> None:
        actor = self.request.actor if self.request else self.worker.holder
        self.audit = AuditLog(actor, self.worker.inputs.installation_id, self.worker.new_id)
        self._read_at = self._renewed_at = self.worker.clock()

    @property
    def has_news(self) -> bool:
        """Whether the next save would carry anything."""
        return bool(self.patch) or self.audit.has_events

    def learn(self, patch: Json) -> None:
        """Add findings to the next save. Ids are used at once, although the save comes with the next intent or wait."""
        self.patch |= patch
        known: Json = {key: patch[key] for key in ("machine_id", "spare_machine_id", "secrets_version") if key in patch}
        if "secrets_version" in patch:
            for name in ("token_issued_at", "token_expires_at"):
                known[name] = datetime.fromisoformat(patch[name]) if name in patch else None
        self.row = self.row.model_copy(update=known)

    def add_event(self, event_type: str, status: str, metadata: Json, details: str | None = None) -> None:
        self.audit.add_event(self.row, event_type, status, metadata, details)

    def save(self, *, release: bool = False, intent: Json | None = None) -> "Saved":
        """Send the patch and events, and renew the lease. Raises LeaseLost and SaveFailed; both leave the next save whole."""
        events = self.audit.take()
        self._renewed_at = self.worker.clock()  # the lease starts after this moment, however late the response arrives
        try:
            saved = self.worker.database.save(
                self.row, self.patch, [*events, *([intent] if intent else [])], release=release
            )
        except HangarError as error:
            self.audit.put_back(events)
            raise SaveFailed(error) from error
        if saved is None:
            raise LeaseLost(f"the lease of {self.row.fly_app_name} belongs to another worker")
        self.patch = {}
        self.row, self.settings, self.now, self.retry_in_s = saved.row, saved.settings, saved.now, saved.retry_in_s
        self._read_at = self.worker.clock()
        return saved

    def record_intent(self, action: Action) -> tuple[Json, str | None]:
        """Save the intent of a call. Returns it with the reason why the database forbids the call, if it does."""
        intent = self.audit.make_intent(self.row, action)
        return intent, self.save(intent=intent).refused

    def record_attempt(self, number: int, error: HangarError, wait_s: float) -> None:
        """A failed attempt is repeated after `wait_s`: note it, and show it on the row while a call changes Fly.

        A save that fails here does not end the call, because the attempt is only shown. Raises LeaseLost.
        """
        self.audit.add_attempt(self.row, number, error, wait_s)
        # An observation changes nothing; a machine that is still settling is asked every second.
        if not self.audit.is_call_open or error.code == "settling":
            return
        planned = self.row
        self.patch |= {
            "retry_count": planned.retry_count + self.audit.failed_attempts,
            "error_message": f"{error}; retrying in {wait_s:.0f} s",
        }
        try:
            self.save()
        except SaveFailed as failed:
            _log.warning("attempt %s on %s is not shown on its row: %s", number, planned.fly_app_name, failed)
        # Keep the row from before the save: the current action was decided on it.
        self.row, self._shows_attempts = planned, True

    def ask_again(self, intent: Json) -> str | None:
        """Ask the database before another attempt of the open call. Returns why it is no longer allowed, or None.

        An operator may have paused Hangar during the wait, or the user may have paid again. Raises LeaseLost and SaveFailed.
        """
        planned = self.row
        refused = self.save(intent=intent).refused
        if refused is None:
            self.row = planned  # the current action was decided on it
        else:
            # The refused save has closed the intent as unknown, because an earlier attempt may have worked.
            self.audit.drop_call()
            if self.row.generation == planned.generation:
                self._hide_attempts(planned)
        return refused

    def record_outcome(self, status: str, error: HangarError | None = None) -> None:
        """Close the open call: succeeded, failed or unknown. Only the failure of a whole round stays on the row."""
        self.audit.close_call(self.row, status, error)
        self._hide_attempts(self.row)

    def _hide_attempts(self, planned: Row) -> None:
        if self._shows_attempts:
            self.patch |= {"retry_count": planned.retry_count, "error_message": planned.error_message}
            self._shows_attempts = False

    def time(self) -> datetime:
        """The database's time: read with the last save, continued by this process's clock."""
        return self.now + timedelta(seconds=self.worker.clock() - self._read_at)

    def call_budget_s(self) -> float:
        """Seconds left of the lease for one call. Raises LeaseLost if the process was suspended past its lease."""
        budget_s = CALL_BUDGET_S - (self.worker.clock() - self._renewed_at)
        if budget_s <= 0:
            raise LeaseLost(f"the lease of {self.row.fly_app_name} may have expired while this process was suspended")
        return budget_s
