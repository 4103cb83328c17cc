"""One run over one leased row: observe, decide, record the intent, execute, record the outcome, until nothing is left to do.

The outcome of one action and the intent of the next travel in one save, so n actions cost n + 2 database calls. The process
may die between any two lines: the next worker closes an intent without outcome as unknown, every call to Fly is
create-or-adopt or delete-or-gone, and an id is saved before anything is waited for.
"""

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

from shared.domain.actions import (
    Action,
    ActionKind,
    Adopt,
    Assign,
    Decision,
    Done,
    GiveUp,
    Rename,
    Wait,
    start_as_it_was,
)
from shared.domain.backoff import counts_as_before
from shared.domain.decide import decide
from shared.domain.errors import (
    Capacity,
    Conflict,
    HangarError,
    LeaseLost,
    NameTaken,
    NotFound,
    NotOwned,
    Refused,
    SaveFailed,
    TransientError,
    Withheld,
)
from shared.domain.models import Json
from shared.domain.observation import Observation
from shared.reconcile import conclude
from shared.reconcile.call import call_fly
from shared.reconcile.executor import (
    GONE_WITH_THE_APP,
    patch_before_deploying,
    patch_from_machine,
    patch_from_observation,
)
from shared.reconcile.lease import CALL_BUDGET_S, LeasedApp
from shared.reconcile.observer import AppObserver
from shared.reconcile.placement import Placement
from shared.reconcile.progress import Progress
from shared.reconcile.result import CAPS, REFUSALS, Result

if TYPE_CHECKING:
    from shared.reconcile.worker import Worker

MARGIN_S = 2.0
LONGEST_WAIT_CALL_S = 20
# More steps than any way from nothing to done, faults included; beyond it the loop does not converge.
MAX_STEPS = 40
SETTLE_S = 2.0
# New secrets may take so long until machines get them.
SECRETS_SETTLE = timedelta(minutes=2)


class Run:
    """One worker on one row that is leased to it, until `ends_at` on the worker's clock."""

    def __init__(self, worker: "Worker", lease: LeasedApp, ends_at: float) -> None:
        self.worker, self.lease, self.ends_at = worker, lease, ends_at
        self.observer = AppObserver(worker.fly, lease.record_attempt, lease.time, worker.inputs)
        self.placement, self.progress = Placement(), Progress()

    def run(self) -> Result:
        """Step until the row is done, waits, is held or has failed. Raises LeaseLost and SaveFailed, no other HangarError."""
        if self.lease.settings.installation_id != self.worker.inputs.installation_id:
            return conclude.hold(self.lease, "installation")
        for _ in range(MAX_STEPS):
            if self._left_s() < MARGIN_S:
                detail = "the deadline of this call is near; the next drain continues with this row"
                return conclude.pause(self.lease, 5, "deadline", detail)
            try:
                observation = self.observe()
                if isinstance(observation, Result):
                    return observation
                result = self._carry_out(decide(self.lease.row, observation, self.lease.time()))
            except (LeaseLost, SaveFailed):
                raise
            except HangarError as error:
                result = self.conclude_error(error)
            if result is not None:
                return replace(result, actions=frozenset(self.progress.calls))
        stuck = f"{self.lease.row.fly_app_name} did not settle in {MAX_STEPS} steps"
        return conclude.fail(self.lease, Conflict(stuck, code="no_progress"))

    def observe(self) -> Observation | Result:
        """What Fly holds for the row, or how the run ends when a healthy app cannot be read."""
        self.observer.budget_s = self.budget_s()
        try:
            observation = self.observer.observe(self.lease.row)
        except TransientError as error:
            if not counts_as_before(self.lease.row, self.progress.calls, error):
                raise
            return conclude.leave_unobserved(self.lease, error)
        if self.observer.take_read_directly():  # goes with the next save, so that the row and its cost show what runs
            found = patch_from_observation(self.lease.row, observation, self.lease.time().date())
            self.lease.learn({**found, "observed": True})
        return observation

    def _carry_out(self, decision: Decision) -> Result | None:
        """Do what was decided. None means: observe and decide again."""
        match decision:
            case Action():
                return self._act(decision)
            case Adopt(machine):
                self.lease.learn(patch_from_machine(self.lease.row, machine, self.lease.time().date()))
                self.lease.save()
                self.observer.machine_changed()  # it came from a list: read it directly before anything is done to it
            case Assign(machine, spare):
                found = patch_from_machine(self.lease.row, machine, self.lease.time().date())
                self.lease.learn({**found, "spare_machine_id": spare.id})
                self.lease.save()
                self.observer.machine_changed()
            case Rename(reason):
                self._rename(reason)
            case Wait():
                return self._wait(decision)
            case Done():
                return conclude.finish(self.lease, decision)
            case GiveUp(code, message, advice):
                if self.lease.row.new_name_request is not None:
                    self.lease.patch["new_name_judged"] = True
                kind = TransientError if decision.passes else Refused
                return conclude.fail(self.lease, kind(message, code=code, advice=advice))
        return None

    def _act(self, action: Action) -> Result | None:
        self.progress.check(self.lease.row.fly_app_name, action, len(self.placement.full))
        if action.kind is ActionKind.CREATE_MACHINE:
            action = self.placement.choose(action, self.lease.row, self.lease.time())
        if action.kind is ActionKind.CREATE_APP:
            self.lease.learn(GONE_WITH_THE_APP)
        self.lease.patch |= patch_before_deploying(action, self.lease.row, self.worker.inputs)
        planned = self.lease.row.generation
        intent, refused = self.lease.record_intent(action)
        if refused == "stale" and action.purpose == "move" and self.lease.row.generation == planned:
            return conclude.pause(self.lease, 60, refused, "the database does not allow this step of a move now")
        if refused:
            return self._conclude_refusal(action, refused)
        try:
            self._call(action, intent)
        except Withheld as withheld:
            return self._conclude_refusal(action, withheld.code)
        if action.kind is ActionKind.CREATE_MACHINE and action.purpose == "move":
            self.lease.save()  # the database must know the new machine before it is asked to let the other one be stopped
        return None

    def _call(self, action: Action, intent: Json) -> None:
        """Make the call. An answer that says how Fly differs from what was observed does not end the run."""
        self.progress.calls[action.kind] += 1
        try:
            call_fly(self.worker, self.lease, self.observer, action, intent, self.budget_s())
            if action.kind in (ActionKind.CREATE_MACHINE, ActionKind.UPDATE_MACHINE):
                self.observer.config_sent(self.lease.row.generation)
        except NameTaken as taken:
            self.progress.refuse_name(self.lease.row.fly_app_name, taken, is_listed=self.observer.listed_as_ours)
        except (LeaseLost, SaveFailed, Withheld):
            raise
        except HangarError as error:
            self._note_failure(action, error)
        else:
            self.progress.rejections.pop(action.kind, None)
            if action.region:
                self.placement.note_room(self.lease, action.region)

    def _note_failure(self, action: Action, error: HangarError) -> None:
        """Remember why Fly did not do it, if the run can continue. Raises the error again if it cannot."""
        if action.purpose == "drift":
            # The app runs as before, so this is no failure of the app. The database has counted the attempt.
            self.lease.patch["drift_error"] = str(error)
        elif isinstance(error, Capacity):
            if not (action.region and self.placement.note_full(self.lease, action.region, error)):
                raise error
        elif isinstance(error, Conflict | NotFound | NotOwned):
            self.progress.reject(action, error)
        elif action.kind is ActionKind.CREATE_MACHINE and error.code == "settling" and self._secrets_are_old():
            # Fly does not have them: the app was deleted and made again behind our back. They are set once more.
            self.lease.learn({"secrets_version": None})
            self.lease.save()
        else:
            raise error

    def _secrets_are_old(self) -> bool:
        issued = self.lease.row.token_issued_at
        return issued is not None and self.lease.time() - issued > SECRETS_SETTLE

    def _conclude_refusal(self, action: Action, refused: str) -> Result | None:
        """How the run ends because the database forbids the call; None if it continues with a fresh decision."""
        if refused == "rate":
            detail = "Fly limits app deletions per minute; this one waits for its slot"
            return conclude.pause(self.lease, self.lease.retry_in_s, "rate_limited", detail)
        as_it_was = start_as_it_was(action, self.lease.row.power) if refused in CAPS else None
        if as_it_was is not None and not self.progress.calls[as_it_was.kind]:
            return self._act(as_it_was)
        if refused in REFUSALS:
            return conclude.hold(self.lease, refused)
        return None  # "stale", "entitled" or "removal_hold": the desired state has changed

    def _rename(self, reason: str) -> None:
        renamed = {"action": "rename", "old_name": self.lease.row.fly_app_name}
        self.lease.add_event("error_occurred", "info", renamed, reason)
        self.lease.patch["rename"] = True
        self.lease.save()
        self.observer = AppObserver(self.worker.fly, self.lease.record_attempt, self.lease.time, self.worker.inputs)
        self.progress.rename()

    def _wait(self, wait: Wait) -> Result | None:
        """Give Fly time: inside this run when the wait is short or Fly can report it, else until a later drain."""
        if self.lease.has_news:
            self.lease.save()  # ids are saved as soon as they are known, before any waiting
        left_s = self._left_s() - MARGIN_S
        if wait.until and wait.machine and left_s >= 1:
            self.worker.fly.wait_machine(
                self.lease.row.fly_app_name,
                wait.machine.id,
                wait.until,
                version=wait.machine.version,
                timeout_s=int(min(LONGEST_WAIT_CALL_S, left_s)),
                is_fresh=True,  # the next observation judges a 404
            )
        elif wait.seconds <= min(left_s, LONGEST_WAIT_CALL_S):
            self.worker.sleep(wait.seconds)
        else:
            return conclude.pause(self.lease, wait.seconds, "waiting", wait.reason)
        self.observer.waited()
        return None

    def conclude_error(self, error: HangarError) -> Result | None:
        """How the run ends with this error; None if it goes on."""
        if error.code == "token" and self.observer.has_new_app:
            self.worker.sleep(SETTLE_S)  # Fly may answer 401 for an app that was created a moment ago
            return None
        return conclude.pause_or_fail(self.lease, error)

    def budget_s(self) -> float:
        """Seconds for one call: up to the deadline, but enough for one short try, else an outage outlasts every drain."""
        return min(CALL_BUDGET_S, max(self._left_s(), 5.0))

    def _left_s(self) -> float:
        return self.ends_at - self.worker.clock()
