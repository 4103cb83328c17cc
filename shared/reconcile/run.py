"""One leased row being worked: the loop of look, decide, intent, act, outcome, and what a failure leaves on the row."""

from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING

from shared.domain.actions import Action, ActionKind, Adopt, Decision, Done, GiveUp, Rename, Wait
from shared.domain.backoff import asked_to_wait_s, back_off_s, choose_next_attempt_s, counts_as_before
from shared.domain.decide import START_FAILED, decide
from shared.domain.errors import (
    Conflict,
    HangarError,
    NameTaken,
    NotFound,
    NotOwned,
    OutcomeUnknown,
    Refused,
    TransientError,
)
from shared.domain.models import Json, OperatorRequest, Row, Settings
from shared.domain.observation import AppPresence
from shared.reconcile.audit_log import AuditLog
from shared.reconcile.executor import act, patch_from_machine, patch_from_observation
from shared.reconcile.lease import CALL_BUDGET_S, LeasedApp
from shared.reconcile.observer import LOOKS_FOR_A_NEW_MACHINE, AppObserver
from shared.reconcile.restart import Restart, restart_machine
from shared.reconcile.result import REFUSED_WORDS, Result, State, result_of
from shared.reconcile.retry_progress import RetryProgress

if TYPE_CHECKING:
    from shared.adapters.procedures import Saved
    from shared.reconcile.worker import Worker

MARGIN_S = 2.0
LONGEST_WAIT_CALL_S = 20
# More steps than any way from nothing to done, faults included; beyond it something goes round in circles.
MAX_STEPS = 40
SAME_ACTION_LIMIT = 3
SETTLE_S = 2.0

_WAIT_WHEN_REFUSED_S = {"paused": 60}
_WAIT_OTHERWISE_S = 300


class ReconcileRun:
    """One worker on one row that is leased to it."""

    def __init__(
        self,
        by: "Worker",
        row: Row,
        settings: Settings,
        now: datetime,
        ends_at: float,
        asked: OperatorRequest | None = None,
    ) -> None:
        self.by, self.ends_at, self.asked = by, ends_at, asked
        actor = asked.actor if asked else by.holder
        self.journal = AuditLog(actor, by.provisions.installation_id, by.new_id)
        self.held = LeasedApp(by, self.journal, row, settings, now)
        self.tries = RetryProgress(self.held, lambda: self._save(release=False))
        self.look = AppObserver(by.fly, CALL_BUDGET_S, self.tries.note)
        self.done: dict[ActionKind, int] = {}
        self.restart: Restart | None = None
        if asked and asked.what != "restart":  # a restart may be refused, and is noted when it begins
            self.journal.note(row, "recovery_attempted", "info", {"source": asked.what})

    @property
    def row(self) -> Row:
        """As the last save answered it, with the ids that this worker has learnt since."""
        return self.held.row

    def run(self) -> Result:
        """Step until the row is done, waits, or failed. Raises LeaseLost and StoreFailed, nothing else of ours."""
        if self.held.settings.installation_id != self.by.provisions.installation_id:
            return self._hold("installation")
        for _ in range(MAX_STEPS):
            if self._left_s() < MARGIN_S:
                return self._pause(5, "the deadline of this call is near; the row goes on at the next drain")
            self.look.budget_s = self._budget_s()
            try:
                try:
                    seen = self.look.see(self.row)
                except TransientError as error:
                    if not counts_as_before(self.row, self.done, error):
                        raise
                    return self._leave_unseen(error)
                if self.look.looked:  # it goes with the next save, so that the row (and its cost) tells what is
                    self.held.patch |= patch_from_observation(self.row, seen, self.held.time().date())
                outcome = self._carry_out(decide(self.row, seen, self.held.time()))
            except HangarError as error:
                if error.code == "auth" and self.look.just_created:
                    self.by.sleep(SETTLE_S)  # Fly may answer 401 for an app it made a moment ago
                    continue
                # What has to wait goes on when its time comes, without an alert and without counting as an attempt.
                wait_s = asked_to_wait_s(error, self.held.settings)
                outcome = self.fail(error) if wait_s is None else self._pause(wait_s, str(error))
            if outcome is not None:
                return outcome
        return self.fail(Conflict(f"{self.row.fly_app_name} did not settle in {MAX_STEPS} steps", code="no_progress"))

    def _carry_out(self, decision: Decision) -> Result | None:
        match decision:
            case Action():
                return self._do(decision)
            case Adopt(machine):
                self.held.patch |= patch_from_machine(self.row, machine, self.held.time().date())
                self._save(release=False)
                self.look.machines = None  # it came from a list, and nothing is done to it before a direct look
            case Rename(reason):
                self._rename(reason)
            case Wait():
                return self._wait(decision)
            case Done():
                if self.asked and self.asked.what == "restart" and self.restart is None:
                    self.restart = restart_machine(self, decision.machine)
                    return None
                return self._finish(decision)
            case GiveUp(code, message, advice):
                return self.fail(Refused(message, code=code, advice=advice))
        return None

    def _do(self, action: Action) -> Result | None:
        """Record the intent, act, keep the outcome for the next save."""
        times = self.done.get(action.kind, 0)
        if action.kind is ActionKind.START_MACHINE and times:
            raise Conflict(f"the machine of {self.row.fly_app_name} was started and did not stay up", code=START_FAILED)
        if times >= SAME_ACTION_LIMIT:
            raise Conflict(
                f"{action.kind} on {self.row.fly_app_name} was done {times} times to no effect", code="no_progress"
            )
        if action.kind is ActionKind.CREATE_APP:
            # What an earlier app of this name had is gone with it, and that has to stand before the new one can.
            self.held.patch |= {"secrets_version": None, "machine_id": None, "machine_state": "absent"}
        intent, refused = self.intend(action)
        if refused == "rate":
            return self._pause(
                self.held.turn_in_s, "Fly takes so many app deletions a minute: this one waits for its turn"
            )
        if refused in REFUSED_WORDS:
            return self._hold(refused)
        if refused:  # stale or entitled: what is desired has changed, so decide again from the fresh row
            return None
        try:
            self.call(action, intent)
        except (Conflict, NotFound, NotOwned, NameTaken):
            return None  # the world differs from what was seen: look again
        return None

    def intend(self, action: Action) -> tuple[Json, str | None]:
        """Record the intent; with it, why the database does not let the call go out, if it does not."""
        intent = self.journal.intend(self.row, action)
        saved = self._save(release=False, intent=intent)
        return intent, saved.refused

    def call(self, action: Action, intent: Json) -> None:
        """Make the call whose intent stands, and keep its outcome for the next save. Raises what the call raises."""
        self.done[action.kind] = self.done.get(action.kind, 0) + 1
        budget_s = min(self.held.call_budget_s(), self._budget_s())
        self.journal.open(intent)
        try:
            learnt = act(
                action,
                self.row,
                self.look,
                fly=self.by.fly,
                provisions=self.by.provisions,
                today=self.held.time().date(),
                on_attempt=self.tries.note,
                budget_s=budget_s,
            )
        except HangarError as error:
            self._note_failure(error)
            raise
        self.held.patch |= learnt
        self.journal.close(self.row, "succeeded")
        self.tries.forget()
        self.held.remember_ids()

    def _note_failure(self, error: HangarError) -> None:
        adopted = error.machine_id if isinstance(error, Conflict) else None
        status = "unknown" if isinstance(error, OutcomeUnknown) else "succeeded" if adopted else "failed"
        self.journal.close(self.row, status, error)
        self.tries.forget()
        self.look.forget()
        if adopted:
            self.held.patch["machine_id"] = adopted
            self.look.new_machine_looks = LOOKS_FOR_A_NEW_MACHINE
            self.held.remember_ids()
        if isinstance(error, NameTaken):
            self.look.name_was_taken = True
            self.journal.failed_attempts += 1

    def _rename(self, reason: str) -> None:
        old = {"action": "rename", "old_name": self.row.fly_app_name}
        self.journal.note(self.row, "error_occurred", "info", old, reason)
        self.held.patch["rename"] = True
        self._save(release=False)
        self.look = AppObserver(self.by.fly, CALL_BUDGET_S, self.tries.note)
        self.done.pop(ActionKind.CREATE_APP, None)

    def _wait(self, wait: Wait) -> Result | None:
        """Let Fly move: inside this call when it is short or Fly can be asked to wait, else at the next drain."""
        if self.held.patch or self.journal.events:
            self._save(release=False)  # ids are saved the moment they are known, before any waiting
        left = self._left_s() - MARGIN_S
        if wait.until and wait.machine and left >= 1:
            self.by.fly.wait_machine(
                self.row.fly_app_name,
                wait.machine.id,
                wait.until,
                version=wait.machine.version,
                timeout_s=int(min(LONGEST_WAIT_CALL_S, left)),
                is_fresh=True,  # a 404 here is for the next look to judge
            )
        elif wait.seconds <= min(left, LONGEST_WAIT_CALL_S):
            self.by.sleep(wait.seconds)
        else:
            return self._pause(wait.seconds, wait.reason)
        self.look.machines, self.look.name_was_taken = None, False
        if self.look.app is not AppPresence.OURS or self.look.just_deleted:
            self.look.app = None
        return None

    def _finish(self, done: Done) -> Result:
        changed = self.row.status != done.status or self.row.observed_generation != self.row.generation
        if done.status == "deleted":
            self.held.patch["deleted"] = True
            self.journal.note(self.row, "deprovision_completed", "succeeded", {})
        else:
            self.held.patch |= {"status": done.status, "converged": True, "retry_count": 0, "error_message": None}
        if done.status == "active":
            if changed:
                self.held.patch |= {"deployed": True, "health_status": self.row.health_status or "unknown"}
                machine_id = done.machine.id if done.machine else None
                self.journal.note(self.row, "provision_completed", "succeeded", {"machine_id": machine_id})
            if done.machine and done.machine.health == "healthy" and self.row.health_status != "healthy":
                self.held.patch["health_status"] = "healthy"
                self.journal.note(
                    self.row, "health_check_passed", "succeeded", {"from": self.row.health_status, "to": "healthy"}
                )
        saved = self._save(release=True)
        if saved.generation_moved and done.status != "deleted":
            return result_of(self.row, "pending", "what is wanted changed meanwhile; the row is due again")
        return result_of(self.row, "converged", f"the app is {done.status}")

    def _leave_unseen(self, error: TransientError) -> Result:
        seconds = back_off_s(1, self.held.settings, self.by.chance)
        detail = (
            f"Fly could not be asked, so the app counts as before: {error}; the next look is in about {seconds:.0f} s"
        )
        return replace(self._pause(seconds, detail), failure=error)

    def _pause(self, seconds: float, detail: str, state: State = "pending") -> Result:
        self.held.patch["next_attempt_in_s"] = seconds
        self._save(release=True)
        return result_of(self.row, state, detail)

    def _hold(self, refused: str) -> Result:
        if refused == "brake":
            self.by.alerts.deliver()  # the database has raised it, with the figures
        elif refused not in ("paused", "deletes_paused"):
            self.by.alerts.open(refused, "fleet", REFUSED_WORDS[refused], {"app": self.row.fly_app_name})
        return self._pause(_WAIT_WHEN_REFUSED_S.get(refused, _WAIT_OTHERWISE_S), REFUSED_WORDS[refused])

    def fail(self, error: HangarError) -> Result:
        """Leave the failure on the row: what happened, when the next attempt is, and an alert."""
        kind = "provision_failed" if self.row.desired_state == "present" else "deprovision_failed"
        retries = self.row.retry_count + self.journal.failed_attempts + 1
        next_in_s = choose_next_attempt_s(error, retries, self.held.settings, self.by.chance)
        self.held.patch |= {
            "status": "error",
            "error_code": error.code,
            "error_message": str(error),
            "retry_count": retries,
            "next_attempt_in_s": next_in_s,
        }
        metadata = {"retry_count": retries, "error_code": error.code, "max_retries_exceeded": next_in_s is not None}
        self.journal.note(self.row, kind, "failed", metadata, str(error))
        self._save(release=True)
        self.by.alerts.deliver()  # the save has raised one with the row, so that it outlives us
        when = f"the next attempt is in about {next_in_s:.0f} s" if next_in_s is not None else "it waits for a person"
        return result_of(self.row, "pending", f"{kind.replace('_', ' ')}: {error}; {when}", error)

    def _save(self, *, release: bool, intent: Json | None = None) -> "Saved":
        if self.look.looked:
            self.held.patch["observed"], self.look.looked = True, False
        return self.held.save(release=release, intent=intent)

    def _budget_s(self) -> float:
        """What one call may take: not the deadline's end but for a last short try, else an outage outlasts every drain."""
        return min(CALL_BUDGET_S, max(self._left_s(), 5.0))

    def _left_s(self) -> float:
        return self.ends_at - self.by.clock()
