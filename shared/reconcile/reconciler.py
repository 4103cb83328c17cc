"""Brings one user's app to what the database asks for: claim, then look, decide, record the intent, act, record the outcome.

The outcome of one action and the intent of the next travel in one save, so n actions cost n + 2 database calls. The process
may die between any two lines: an intent without outcome is closed as `unknown` by the next claimer, every call to Fly is
create-or-adopt or delete-or-gone, and an id is saved before anything is waited for.
"""

import logging
from datetime import datetime
from uuid import UUID

from shared.domain.errors import InternalError, TransientError
from shared.domain.models import OperatorRequest, Row, Settings
from shared.reconcile.lease import LeaseLost, StoreFailed
from shared.reconcile.restart import with_restart
from shared.reconcile.result import Result, result_of, result_unclaimed
from shared.reconcile.run import ReconcileRun
from shared.reconcile.worker import Worker

_log = logging.getLogger("hangar.reconciler")


class Reconciler(Worker):
    """The loop over one app."""

    def reconcile(
        self, user_id: UUID, deadline_s: float, *, force: bool = False, asked: OperatorRequest | None = None
    ) -> Result:
        """Work on this user for at most `deadline_s` seconds; `force` overrides a wait after failures.

        `asked` is an operator's wish: it overrides the wait too, and signs every event with the operator's name.
        Raises TransientError when Fly or the database is out of reach: nothing is lost, the row stays due. Of a restart only when
        the database gave no row to work on; later failures are in its outcome.
        """
        force = force or asked is not None
        ends_at = self.clock() + deadline_s
        claim = self.database.claim(user_id, self.holder, force=force)
        while claim.outcome == "claimed" and claim.row is not None:
            outcome = self.work(claim.row, claim.settings, claim.now, ends_at, asked)
            # Nothing repeats a restart, so its outcome says what became of it.
            if isinstance(outcome.failure, TransientError) and not (asked and asked.what == "restart"):
                raise outcome.failure
            if outcome.status != "deleted":
                return outcome
            # The user may have subscribed again while the old app went: then a successor row waits, and is taken on.
            claim = self.database.claim(user_id, self.holder, force=force)
            if claim.row is None:
                return outcome
        return result_unclaimed(claim)

    def work(
        self, row: Row, settings: Settings, now: datetime, ends_at: float, asked: OperatorRequest | None = None
    ) -> Result:
        """Step a leased row until it is done, has to wait, has failed, or the time is up. A failure is in the outcome."""
        work = ReconcileRun(self, row, settings, now, ends_at, asked)
        return with_restart(work, self._run(work))

    def _run(self, work: ReconcileRun) -> Result:
        try:
            return work.run()
        except LeaseLost:
            return result_of(work.row, "pending", "another worker has taken this app over; it goes on there")
        except StoreFailed as lost:
            return result_of(work.row, "pending", f"the row stays due: {lost.cause}", lost.cause)
        except Exception as error:  # noqa: BLE001  see below
            # One user's oddity must not stop everybody else's drain; the lease ends by itself and the row is due again.
            _log.exception("working on %s broke", work.row.fly_app_name)
            broken = InternalError(
                f"working on {work.row.fly_app_name} broke: {type(error).__name__}; the log has the rest"
            )
            return self._leave_broken(work, broken)

    def _leave_broken(self, work: ReconcileRun, broken: InternalError) -> Result:
        try:
            return work.fail(broken)
        except (LeaseLost, StoreFailed):
            return result_of(work.row, "pending", str(broken), broken)
