"""Makes one call whose intent is recorded: repeats it while that is safe, and records its outcome."""

from typing import TYPE_CHECKING

from shared.domain.actions import Action
from shared.domain.errors import Conflict, HangarError, LeaseLost, NameTaken, OutcomeUnknown, SaveFailed, Withheld
from shared.domain.models import Json
from shared.fly.retry import RetryState, repeat
from shared.reconcile.executor import Effects, execute
from shared.reconcile.lease import LeasedApp
from shared.reconcile.observer import AppObserver

if TYPE_CHECKING:
    from shared.reconcile.worker import Worker


def call_fly(
    worker: "Worker", lease: LeasedApp, observer: AppObserver, action: Action, intent: Json, budget_s: float
) -> None:
    """Make the call within `budget_s` seconds and the lease; its effects and outcome go with the next save.

    The client makes single attempts here: this function repeats them, and shows each failed one on the row before the wait.
    Before each repetition it asks the database whether the call is still allowed. Raises what the call raises, Withheld if it
    is not allowed any more, and LeaseLost.
    """
    ends_at = worker.clock() + min(lease.call_budget_s(), budget_s)
    fly = worker.fly.single_attempts()

    def attempt() -> Effects:
        if retries.last_error is not None:
            _ask_again(lease, intent, retries.last_error)
        left_s = ends_at - worker.clock()
        return execute(action, lease.row, fly=fly, inputs=worker.inputs, time=lease.time, budget_s=left_s)

    lease.audit.open_call(intent)
    retries = RetryState(worker.fly.policy, worker.clock, ends_at)
    try:
        effects = repeat(attempt, retries, sleep=worker.sleep, before_wait=lease.record_attempt)
    except LeaseLost:
        raise
    except Withheld:
        observer.invalidate()
        raise
    except HangarError as error:
        _record_failure(lease, observer, action, error)
        raise
    effects.apply_to(observer)
    lease.learn(effects.patch)
    lease.record_outcome("succeeded")


def _ask_again(lease: LeasedApp, intent: Json, last_error: HangarError) -> None:
    try:
        refused = lease.ask_again(intent)
    except SaveFailed as failed:
        raise last_error from failed  # no attempt without an answer; the policy waits and asks again
    if refused is not None:
        raise Withheld(f"the database no longer allows this call ({refused})", code=refused)


def _record_failure(lease: LeasedApp, observer: AppObserver, action: Action, error: HangarError) -> None:
    existing = error.machine_id if isinstance(error, Conflict) else None
    status = "unknown" if isinstance(error, OutcomeUnknown) else "succeeded" if existing else "failed"
    lease.record_outcome(status, error)
    observer.invalidate()
    if existing:
        lease.learn({"spare_machine_id" if action.purpose == "move" else "machine_id": existing})
        observer.machine_named()
    if isinstance(error, NameTaken):
        observer.name_taken()
        lease.audit.failed_attempts += 1
