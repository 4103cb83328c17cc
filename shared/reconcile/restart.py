"""An operator's restart: bring the app up to date, then claim it, observe, record the intent, call, and let the row settle.

A restart is done at most once per minute (the database refuses a second intent), and a failed one is reported to the operator,
not written to the row: it is not a failure of the app.
"""

from dataclasses import replace
from typing import TYPE_CHECKING
from uuid import UUID

from shared.domain.actions import Action, ActionKind
from shared.domain.decide import find_main, is_asleep
from shared.domain.errors import HangarError, LeaseLost, OutcomeUnknown, SaveFailed
from shared.domain.models import Json, OperatorRequest
from shared.domain.observation import ObservedMachine
from shared.reconcile.call import call_fly
from shared.reconcile.lease import LeasedApp
from shared.reconcile.reconciler import attempt_reconcile, guard
from shared.reconcile.result import REFUSALS, Result, result_unclaimed
from shared.reconcile.run import MARGIN_S, Run

if TYPE_CHECKING:
    from shared.reconcile.worker import Worker

NOT_RESTARTED = "the machine was not restarted"
BROUGHT_UP = "this request brought the machine up"
RESTART_UNKNOWN = "it is not known whether the machine was restarted"
_BRINGS_UP = {ActionKind.CREATE_MACHINE, ActionKind.UPDATE_MACHINE, ActionKind.START_MACHINE}


def restart(
    worker: "Worker", user_id: UUID, deadline_s: float, request: OperatorRequest, *, wakes: bool = False
) -> Result:
    """Restart this user's running machine once. `restarted` and `restart_detail` of the result say what happened.

    With `wakes` a machine that sleeps on demand is started instead; without it, it is left asleep.

    What the row needs comes first; a machine that this brings up is not restarted as well. Raises TransientError only when
    the database gave no row to work on; later failures are in the result.
    """
    ends_at = worker.clock() + deadline_s
    result = attempt_reconcile(worker, user_id, ends_at, force=True, request=OperatorRequest(request.actor))
    if result.state != "converged":
        detail = None if result.state == "nothing" else NOT_RESTARTED
        return replace(result, restart_detail=detail)
    if result.status == "active" and _BRINGS_UP & result.actions:
        return replace(result, restarted=True, restart_detail=BROUGHT_UP)
    if result.status == "deleted":
        return replace(result, restarted=False, restart_detail=_explain_absence(None))
    if ends_at - worker.clock() < MARGIN_S:
        return replace(result, restarted=False, restart_detail=f"{NOT_RESTARTED}: the time of this request was up")
    claim = worker.database.claim(user_id, worker.holder, force=True)
    if claim.outcome != "claimed" or claim.row is None:
        return replace(result_unclaimed(claim), restart_detail=NOT_RESTARTED)
    lease = LeasedApp(worker, claim.row, claim.settings, claim.now, request)
    return _Restart(worker, lease, ends_at, wakes=wakes).run()


class _Restart:
    """One restart on a leased row. `detail` and `done` say what became of it so far."""

    def __init__(self, worker: "Worker", lease: LeasedApp, ends_at: float, *, wakes: bool) -> None:
        self.worker, self.lease, self.wakes = worker, lease, wakes
        self.run_after = Run(worker, lease, ends_at)
        self.done: bool | None = None
        self.detail = NOT_RESTARTED

    def run(self) -> Result:
        result = guard(self.lease, self._restart_and_settle)
        return replace(result, restarted=self.done, restart_detail=self.detail)

    def _restart_and_settle(self) -> Result:
        try:
            observation = self.run_after.observe()
        except (LeaseLost, SaveFailed):
            raise
        except HangarError as error:
            return self.run_after.conclude_error(error) or self.run_after.run()
        if isinstance(observation, Result):
            return observation
        self._restart(find_main(self.lease.row, observation))
        result = self.run_after.run()
        if self.done is None and _BRINGS_UP & result.actions:  # what is desired had changed, and came first
            self.done, self.detail = True, BROUGHT_UP
        return result

    def _restart(self, machine: ObservedMachine | None) -> None:
        kind = self._choose(machine)
        if machine is None or kind is None:
            self.done, self.detail = False, _explain_absence(machine)
            return
        action = Action(kind, machine, "restart")
        intent, refused = self.lease.record_intent(action)
        if refused == "restarted":
            self.done, self.detail = True, "a restart was requested less than a minute ago and is not repeated"
        elif refused in REFUSALS:
            self.done, self.detail = False, f"{NOT_RESTARTED}: {REFUSALS[refused]}"
        elif refused is None:
            self.lease.add_event("recovery_attempted", "info", {"source": "restart"})
            self._call(action, intent)

    def _choose(self, machine: ObservedMachine | None) -> ActionKind | None:
        if machine is None or not machine.host_ok:
            return None
        if machine.state == "started":
            return ActionKind.RESTART_MACHINE
        return ActionKind.START_MACHINE if self.wakes and is_asleep(self.lease.row, machine) else None

    def _call(self, action: Action, intent: Json) -> None:
        self.detail = RESTART_UNKNOWN  # until there is an answer
        after = self.run_after
        try:
            call_fly(self.worker, self.lease, after.observer, action, intent, after.budget_s())
        except (LeaseLost, SaveFailed):
            raise
        except HangarError as error:
            became = RESTART_UNKNOWN if isinstance(error, OutcomeUnknown) else NOT_RESTARTED
            self.done, self.detail = False, f"{became}: {error}"
        else:
            started = action.kind is ActionKind.START_MACHINE
            self.done, self.detail = True, "the machine was started" if started else "the machine was restarted"


def _explain_absence(machine: ObservedMachine | None) -> str:
    state = "absent" if machine is None else machine.state if machine.host_ok else "on a host that Fly cannot reach"
    return f"{NOT_RESTARTED}: only a running machine can be restarted, and this one is {state}"
