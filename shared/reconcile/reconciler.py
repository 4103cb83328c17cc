"""Brings one user's app to its desired state: claim the row, run until it converges or has to wait, take on a successor."""

import logging
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING
from uuid import UUID

from shared.domain.errors import HangarError, InternalError, LeaseLost, SaveFailed, TransientError
from shared.domain.models import OperatorRequest, Row, Settings
from shared.reconcile import conclude
from shared.reconcile.lease import LeasedApp
from shared.reconcile.result import Result, result_of, result_unclaimed
from shared.reconcile.run import MARGIN_S, Run

if TYPE_CHECKING:
    from shared.adapters.procedures import Claim
    from shared.reconcile.worker import Worker

# A removal hold that ends within this time is waited for. Longer ones end in a drain.
SHORT_HOLD_S = 5.0

_log = logging.getLogger("hangar.reconciler")


def reconcile(
    worker: "Worker", user_id: UUID, deadline_s: float, *, force: bool = False, request: OperatorRequest | None = None
) -> Result:
    """Work on this user for at most `deadline_s` seconds; `force` overrides a wait after failures.

    An operator's `request` overrides the wait too, and signs every event with the operator's name. Raises TransientError
    when Fly or the database is out of reach: nothing is lost, the row stays due.
    """
    result = attempt_reconcile(worker, user_id, worker.clock() + deadline_s, force=force, request=request)
    if isinstance(result.failure, TransientError):
        raise result.failure
    return result


def attempt_reconcile(
    worker: "Worker", user_id: UUID, ends_at: float, *, force: bool = False, request: OperatorRequest | None = None
) -> Result:
    """As `reconcile`, but a failure of the run is in its result. Raises what claiming raises."""
    force = force or request is not None
    if request is not None and request.what == "deprovision":
        worker.database.end_removal_hold(user_id, request.actor)
    claim = _claim(worker, user_id, ends_at, force=force)
    while claim.outcome == "claimed" and claim.row is not None:
        result = work_on(worker, claim.row, claim.settings, claim.now, ends_at, request)
        if result.status != "deleted" or isinstance(result.failure, TransientError):
            return result
        # The user may have subscribed again while the old app was deleted: then a successor row waits.
        claim = worker.database.claim(user_id, worker.holder, force=force)
        if claim.row is None:
            return result
    return result_unclaimed(claim)


def _claim(worker: "Worker", user_id: UUID, ends_at: float, *, force: bool) -> "Claim":
    """Claim the row, after waiting for the end of a removal hold that is near."""
    claim = worker.database.claim(user_id, worker.holder, force=force)
    if claim.outcome == "waiting" and claim.row is not None and claim.row.hold_until is not None:
        hold_s = (claim.row.hold_until - claim.now).total_seconds()
        if 0 < hold_s <= min(SHORT_HOLD_S, ends_at - worker.clock() - MARGIN_S):
            worker.sleep(hold_s)
            return worker.database.claim(user_id, worker.holder, force=force)
    return claim


def work_on(
    worker: "Worker",
    row: Row,
    settings: Settings,
    now: datetime,
    ends_at: float,
    request: OperatorRequest | None = None,
) -> Result:
    """Run a leased row until it is done, has to wait, has failed, or the time is up. A failure is in the result."""
    lease = LeasedApp(worker, row, settings, now, request)
    if request and request.what:
        lease.add_event("recovery_attempted", "info", {"source": request.what})
    return guard(lease, Run(worker, lease, ends_at).run)


def guard(lease: LeasedApp, run: Callable[[], Result]) -> Result:
    """The result of `run`, whatever ends it: one user's oddity must not stop everybody else's drain."""
    try:
        return run()
    except LeaseLost as lost:
        return result_of(lease.row, "pending", lost.code, "another worker has taken over this app and continues")
    except SaveFailed as failed:
        cause = failed.cause
        code = "out_of_reach" if isinstance(cause, TransientError) else cause.code
        return result_of(lease.row, "pending", code, f"the row stays due: {cause}", cause)
    except HangarError as error:
        return _fail(lease, error)
    except Exception as error:  # noqa: BLE001  the lease expires, and the row is due again
        _log.exception("working on %s failed", lease.row.fly_app_name)
        name = type(error).__name__
        broken = InternalError(f"working on {lease.row.fly_app_name} failed: {name}; the log has the details")
        return _fail(lease, broken)


def _fail(lease: LeasedApp, error: HangarError) -> Result:
    try:
        return conclude.fail(lease, error)
    except HangarError:  # not even the failure can be written: the lease expires, and the row is due again
        return result_of(lease.row, "pending", error.code, str(error), error)
