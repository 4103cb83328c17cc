"""Brings one user's app to what the database asks for: claim, then look, decide, record the intent, act, record the outcome.

The outcome of one action and the intent of the next travel in one save, so n actions cost n + 2 database calls. The process
may die between any two lines: an intent without outcome is closed as `unknown` by the next claimer, every call to Fly is
create-or-adopt or delete-or-gone, and an id is saved before anything is waited for.
"""

import logging
import random
import socket
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from os import getpid
from typing import TYPE_CHECKING
from uuid import UUID

from shared.act import Provisions
from shared.errors import Bug, Retry
from shared.held import LeaseLost, StoreFailed
from shared.models import Asked, Row, Settings
from shared.outcome import Outcome, outcome_of, outcome_unclaimed
from shared.restart import tell_restart
from shared.store import Database
from shared.work import Work

if TYPE_CHECKING:
    from shared.alerts import Alerts
    from shared.fly import FlyClient


_log = logging.getLogger("hangar.reconciler")


def make_holder(function: str) -> str:
    """Who holds a lease, for people who read the table: function, host, process."""
    return f"{function}@{socket.gethostname()}:{getpid()}"


@dataclass
class Reconciler:
    """Everything one worker needs. Clock, sleep, randomness and ids come in, so that a test owns time and chance."""

    database: Database
    fly: "FlyClient"
    provisions: Provisions
    alerts: "Alerts"
    holder: str = "worker"
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    new_id: Callable[[], UUID] = uuid.uuid4
    chance: Callable[[], float] = random.random

    def reconcile(
        self, user_id: UUID, deadline_s: float, *, force: bool = False, asked: Asked | None = None
    ) -> Outcome:
        """Work on this user for at most `deadline_s` seconds; `force` overrides a wait after failures.

        `asked` is an operator's wish: it overrides the wait too, and signs every event with the operator's name.
        Raises Retry when Fly or the database is out of reach: nothing is lost, the row stays due. Of a restart only when
        the database gave no row to work on; later failures are in its outcome.
        """
        force = force or asked is not None
        ends_at = self.clock() + deadline_s
        claim = self.database.claim(user_id, self.holder, force=force)
        while claim.outcome == "claimed" and claim.row is not None:
            outcome = self.work(claim.row, claim.settings, claim.now, ends_at, asked)
            # Nothing repeats a restart, so its outcome says what became of it.
            if isinstance(outcome.failure, Retry) and not (asked and asked.what == "restart"):
                raise outcome.failure
            if outcome.status != "deleted":
                return outcome
            # The user may have subscribed again while the old app went: then a successor row waits, and is taken on.
            claim = self.database.claim(user_id, self.holder, force=force)
            if claim.row is None:
                return outcome
        return outcome_unclaimed(claim)

    def work(self, row: Row, settings: Settings, now: datetime, ends_at: float, asked: Asked | None = None) -> Outcome:
        """Step a leased row until it is done, has to wait, has failed, or the time is up. A failure is in the outcome."""
        work = Work(self, row, settings, now, ends_at, asked)
        return tell_restart(work, self._run(work))

    def _run(self, work: Work) -> Outcome:
        try:
            return work.run()
        except LeaseLost:
            return outcome_of(work.row, "pending", "another worker has taken this app over; it goes on there")
        except StoreFailed as lost:
            return outcome_of(work.row, "pending", f"the row stays due: {lost.cause}", lost.cause)
        except Exception as error:  # noqa: BLE001  see below
            # One user's oddity must not stop everybody else's drain; the lease ends by itself and the row is due again.
            _log.exception("working on %s broke", work.row.fly_app_name)
            broken = Bug(f"working on {work.row.fly_app_name} broke: {type(error).__name__}; the log has the rest")
            return self._leave_broken(work, broken)

    def _leave_broken(self, work: Work, broken: Bug) -> Outcome:
        try:
            return work.fail(broken)
        except (LeaseLost, StoreFailed):
            return outcome_of(work.row, "pending", str(broken), broken)
