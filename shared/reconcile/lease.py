"""A row leased to one worker: what is known of it, what has gathered for the next save, how long a call may count on it."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from shared.domain.errors import HangarError
from shared.domain.models import Json, Row, Settings
from shared.reconcile.audit_log import AuditLog

if TYPE_CHECKING:
    from shared.adapters.procedures import Saved
    from shared.reconcile.worker import Worker

# One call to Fly, its retries included, ends well inside the lease, which every save renews.
CALL_BUDGET_S = 40.0


class LeaseLost(Exception):  # noqa: N818  not an error: someone else goes on
    """The row is another worker's now; nothing more may be done here."""


class StoreFailed(Exception):  # noqa: N818  as above: the row stays due and its lease ends by itself
    """The database did not take a save; what was done on Fly is found again by the next worker."""

    def __init__(self, cause: HangarError) -> None:
        super().__init__(str(cause))
        self.cause = cause


@dataclass
class LeasedApp:
    """The row as the last save answered it. `patch` and the journal are what the next one will carry."""

    by: "Worker"
    journal: AuditLog
    row: Row
    settings: Settings
    now: datetime
    patch: Json = field(default_factory=dict)
    turn_in_s: float = 0.0

    def __post_init__(self) -> None:
        self._read_at = self._asked_at = self.by.clock()

    def save(self, *, release: bool, intent: Json | None = None) -> "Saved":
        """Send what has gathered; what is not accepted is another worker's to find out. Raises LeaseLost and StoreFailed."""
        events = self.journal.take()
        self._asked_at = self.by.clock()  # the lease begins anew after this, however late its answer is read
        try:
            saved = self.by.database.save(
                self.row, self.patch, [*events, *([intent] if intent else [])], release=release
            )
        except HangarError as error:
            raise StoreFailed(error) from error
        if saved is None:
            raise LeaseLost
        self.patch = {}
        self.row, self.settings, self.now, self.turn_in_s = saved.row, saved.settings, saved.now, saved.retry_in_s
        self._read_at = self.by.clock()
        return saved

    def remember_ids(self) -> None:
        """Act on ids at once although the save that carries them comes with the next intent or wait."""
        known: Json = {key: self.patch[key] for key in ("machine_id", "secrets_version") if key in self.patch}
        self.row = self.row.model_copy(update=known)

    def time(self) -> datetime:
        """The database's time: read with the last save, carried on by our own clock."""
        return self.now + timedelta(seconds=self.by.clock() - self._read_at)

    def call_budget_s(self) -> float:
        """What is left of the lease for one call. Raises LeaseLost for who was frozen: it may be another's by now."""
        budget_s = CALL_BUDGET_S - (self.by.clock() - self._asked_at)
        if budget_s <= 0:
            raise LeaseLost
        return budget_s
