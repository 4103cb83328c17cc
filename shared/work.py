"""One leased row being worked: the loop of look, decide, intent, act, outcome, and what a failure leaves on the row."""

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from shared.act import act, learn_machine
from shared.errors import Bug, Conflict, Foreign, Gone, HangarError, NameTaken, Refused, Retry, Throttled, Unknown
from shared.journal import Journal
from shared.lifecycle import START_FAILED, decide, find_main
from shared.models import (
    Action,
    ActionKind,
    Adopt,
    AppSeen,
    Asked,
    Decision,
    Done,
    GiveUp,
    Json,
    Rename,
    Row,
    Seen,
    Settings,
    Wait,
)
from shared.observe import LOOKS_FOR_A_NEW_MACHINE, Look
from shared.outcome import REFUSED_WORDS, Outcome, State, outcome_of
from shared.restart import NOT_RESTARTED, RESTART_UNKNOWN, Restart, restart_machine

if TYPE_CHECKING:
    from shared.reconciler import Reconciler
    from shared.store import Saved

# One call to Fly, its retries included, ends well inside the lease, which every save renews.
CALL_BUDGET_S = 40.0
MARGIN_S = 2.0
LONGEST_WAIT_CALL_S = 20
# More steps than any way from nothing to done, faults included; beyond it something goes round in circles.
MAX_STEPS = 40
SAME_ACTION_LIMIT = 3
SETTLE_S = 2.0
ATTEMPTS_A_ROUND = 4
NEEDS_A_PERSON = {"image", "size"}

_WAIT_WHEN_REFUSED_S = {"paused": 60}
_WAIT_OTHERWISE_S = 300


class LeaseLost(Exception):  # noqa: N818  not an error: someone else goes on
    """The row is another worker's now; nothing more may be done here."""


class StoreFailed(Exception):  # noqa: N818  as above: the row stays due and its lease ends by itself
    """The database did not take a save; what was done on Fly is found again by the next worker."""

    def __init__(self, cause: HangarError) -> None:
        super().__init__(str(cause))
        self.cause = cause


@dataclass
class Work:
    """The state of one worker on one row. `patch` and the journal are what the next save will carry."""

    by: "Reconciler"
    row: Row
    settings: Settings
    now: datetime
    ends_at: float
    asked: Asked | None = None
    patch: Json = field(default_factory=dict)
    done: dict[ActionKind, int] = field(default_factory=dict)
    turn_in_s: float = 0.0

    def __post_init__(self) -> None:
        actor = self.asked.actor if self.asked else self.by.holder
        self.journal = Journal(actor, self.by.provisions.installation_id, self.by.new_id)
        if self.asked and self.asked.what != "restart":  # a restart may be refused, and is noted when it begins
            self.journal.note(self.row, "recovery_attempted", "info", {"source": self.asked.what})
        self.restart: Restart | None = None
        self.look = Look(self.by.fly, CALL_BUDGET_S, self._note_attempt)
        self._read_at = self._asked_at = self.by.clock()
        self._attempt_told = False

    def run(self) -> Outcome:
        """Step until the row is done, waits, or failed. Raises LeaseLost and StoreFailed, nothing else of ours."""
        return self._step()

    def tell_restart(self, outcome: Outcome) -> Outcome:
        """The outcome, with what became of the restart that an operator asked for."""
        if self.restart is not None:
            return replace(outcome, restarted=self.restart.done, restart_detail=self.restart.detail)
        if self.asked is None or self.asked.what != "restart":
            return outcome
        called = ActionKind.RESTART_MACHINE in self.done
        return replace(outcome, restart_detail=RESTART_UNKNOWN if called else NOT_RESTARTED)

    def _step(self) -> Outcome:
        if self.settings.installation_id != self.by.provisions.installation_id:
            return self._hold("installation")
        for _ in range(MAX_STEPS):
            if self._left_s() < MARGIN_S:
                return self._pause(5, "the deadline of this call is near; the row goes on at the next drain")
            self.look.budget_s = self._budget_s()
            try:
                try:
                    seen = self.look.see(self.row)
                except Retry as error:
                    if isinstance(error, Throttled) or not self._counts_as_before(error):
                        raise
                    return self._leave_unseen(error)
                self._learn(seen)
                outcome = self._carry_out(decide(self.row, seen, self._time()))
            except Throttled as held:
                # No failure of anybody: it goes on when its turn comes, without an alert and without counting as an attempt.
                outcome = self._pause(max(held.retry_after_s or 0.0, 1.0), str(held))
            except HangarError as error:
                if error.code == "auth" and self.look.just_created:
                    self.by.sleep(SETTLE_S)  # Fly may answer 401 for an app it made a moment ago
                    continue
                outcome = self.fail(error)
            if outcome is not None:
                return outcome
        return self.fail(Conflict(f"{self.row.fly_app_name} did not settle in {MAX_STEPS} steps", code="no_progress"))

    def _carry_out(self, decision: Decision) -> Outcome | None:
        match decision:
            case Action():
                return self._do(decision)
            case Adopt(machine):
                self.patch |= learn_machine(self.row, machine, self._time().date())
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

    def _do(self, action: Action) -> Outcome | None:
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
            self.patch |= {"secrets_version": None, "machine_id": None, "machine_state": "absent"}
        intent, refused = self.intend(action)
        if refused == "rate":
            return self._pause(self.turn_in_s, "Fly takes so many app deletions a minute: this one waits for its turn")
        if refused in REFUSED_WORDS:
            return self._hold(refused)
        if refused:  # stale or entitled: what is desired has changed, so decide again from the fresh row
            return None
        try:
            self.call(action, intent)
        except (Conflict, Gone, Foreign, NameTaken):
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
        budget_s = CALL_BUDGET_S - (self.by.clock() - self._asked_at)
        if budget_s <= 0:
            raise LeaseLost  # frozen since the save: the lease may be another's by now
        self.journal.open(intent)
        try:
            self.patch |= act(
                action,
                self.row,
                self.look,
                fly=self.by.fly,
                provisions=self.by.provisions,
                today=self._time().date(),
                on_attempt=self._note_attempt,
                budget_s=min(budget_s, self._budget_s()),
            )
        except HangarError as error:
            self._note_failure(error)
            raise
        self.journal.close(self.row, "succeeded")
        self._untell_attempts()
        self._remember_ids()

    def _note_failure(self, error: HangarError) -> None:
        adopted = error.machine_id if isinstance(error, Conflict) else None
        status = "unknown" if isinstance(error, Unknown) else "succeeded" if adopted else "failed"
        self.journal.close(self.row, status, error)
        self._untell_attempts()
        self.look.forget()
        if adopted:
            self.patch["machine_id"] = adopted
            self.look.new_machine_looks = LOOKS_FOR_A_NEW_MACHINE
            self._remember_ids()
        if isinstance(error, NameTaken):
            self.look.name_was_taken = True
            self.journal.failed_attempts += 1

    def _rename(self, reason: str) -> None:
        old = {"action": "rename", "old_name": self.row.fly_app_name}
        self.journal.note(self.row, "error_occurred", "info", old, reason)
        self.patch["rename"] = True
        self._save(release=False)
        self.look = Look(self.by.fly, CALL_BUDGET_S, self._note_attempt)
        self.done.pop(ActionKind.CREATE_APP, None)

    def _wait(self, wait: Wait) -> Outcome | None:
        """Let Fly move: inside this call when it is short or Fly can be asked to wait, else at the next drain."""
        if self.patch or self.journal.events:
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
        if self.look.app is not AppSeen.OURS or self.look.just_deleted:
            self.look.app = None
        return None

    def _finish(self, done: Done) -> Outcome:
        changed = self.row.status != done.status or self.row.observed_generation != self.row.generation
        if done.status == "deleted":
            self.patch["deleted"] = True
            self.journal.note(self.row, "deprovision_completed", "succeeded", {})
        else:
            self.patch |= {"status": done.status, "converged": True, "retry_count": 0, "error_message": None}
        if done.status == "active":
            if changed:
                self.patch |= {"deployed": True, "health_status": self.row.health_status or "unknown"}
                machine_id = done.machine.id if done.machine else None
                self.journal.note(self.row, "provision_completed", "succeeded", {"machine_id": machine_id})
            if done.machine and done.machine.health == "healthy" and self.row.health_status != "healthy":
                self.patch["health_status"] = "healthy"
                self.journal.note(
                    self.row, "health_check_passed", "succeeded", {"from": self.row.health_status, "to": "healthy"}
                )
        saved = self._save(release=True)
        if saved.generation_moved and done.status != "deleted":
            return outcome_of(self.row, "pending", "what is wanted changed meanwhile; the row is due again")
        return outcome_of(self.row, "converged", f"the app is {done.status}")

    def _counts_as_before(self, error: Retry) -> bool:
        """Whether an app that could not be looked at is one that nothing was wrong with: unknown is not unhealthy."""
        return (
            self.row.status == "active"
            and self.row.observed_generation == self.row.generation
            and self.row.health_status != "unhealthy"
            and self.done.keys() <= {ActionKind.RESTART_MACHINE}
            and error.code != "contradiction"  # Fly is there, and what it says needs a person's eyes
        )

    def _leave_unseen(self, error: Retry) -> Outcome:
        seconds = self._backoff_s(1)
        detail = (
            f"Fly could not be asked, so the app counts as before: {error}; the next look is in about {seconds:.0f} s"
        )
        return replace(self._pause(seconds, detail), failure=error)

    def _pause(self, seconds: float, detail: str, state: State = "pending") -> Outcome:
        self.patch["next_attempt_in_s"] = seconds
        self._save(release=True)
        return outcome_of(self.row, state, detail)

    def _hold(self, refused: str) -> Outcome:
        if refused == "brake":
            self.by.alerts.deliver()  # the database has raised it, with the figures
        elif refused not in ("paused", "deletes_paused"):
            self.by.alerts.open(refused, "fleet", REFUSED_WORDS[refused], {"app": self.row.fly_app_name})
        return self._pause(_WAIT_WHEN_REFUSED_S.get(refused, _WAIT_OTHERWISE_S), REFUSED_WORDS[refused])

    def fail(self, error: HangarError) -> Outcome:
        """Leave the failure on the row: what happened, when the next attempt is, and an alert."""
        kind = "provision_failed" if self.row.desired_state == "present" else "deprovision_failed"
        # Everything but what only this app's own plan can mend is tried again by itself: nobody should have to retry
        # every user by hand after a wrong token, a strange answer or a mistake of ours.
        transient = error.code not in NEEDS_A_PERSON
        retries = self.row.retry_count + self.journal.failed_attempts + 1
        slow = isinstance(error, Refused | Bug)
        next_in_s = (self.settings.retry_cap_s if slow else self._backoff_s(retries)) if transient else None
        self.patch |= {
            "status": "error",
            "error_code": error.code,
            "error_message": str(error),
            "retry_count": retries,
            "next_attempt_in_s": next_in_s,
        }
        metadata = {"retry_count": retries, "error_code": error.code, "max_retries_exceeded": transient}
        self.journal.note(self.row, kind, "failed", metadata, str(error))
        self._save(release=True)
        self.by.alerts.deliver()  # the save has raised one with the row, so that it outlives us
        when = f"the next attempt is in about {next_in_s:.0f} s" if next_in_s is not None else "it waits for a person"
        return outcome_of(self.row, "pending", f"{kind.replace('_', ' ')}: {error}; {when}", error)

    def _backoff_s(self, retries: int) -> float:
        rounds = -(-retries // ATTEMPTS_A_ROUND)
        doubled: float = self.settings.retry_base_s * 2.0 ** min(rounds - 1, 16)
        return min(doubled, self.settings.retry_cap_s) * (0.75 + 0.25 * self.by.chance())

    def _save(self, *, release: bool, intent: Json | None = None) -> "Saved":
        """Send what has gathered. What was not accepted is then another worker's to find out."""
        patch, events = self.patch, self.journal.take()
        if self.look.looked:
            patch["observed"] = True
        self._asked_at = self.by.clock()  # the lease begins anew after this, however late its answer is read
        try:
            saved = self.by.database.save(self.row, patch, [*events, *([intent] if intent else [])], release=release)
        except HangarError as error:
            raise StoreFailed(error) from error
        if saved is None:
            raise LeaseLost
        self.patch, self.look.looked = {}, False
        self.row, self.settings, self.now, self.turn_in_s = saved.row, saved.settings, saved.now, saved.retry_in_s
        self._read_at = self.by.clock()
        return saved

    def _learn(self, seen: Seen) -> None:
        """What a direct look taught goes with the next save, so that the row (and its cost) tells what is."""
        if not self.look.looked:
            return
        machine = find_main(self.row, seen)
        if machine and machine.id == self.row.machine_id and machine.size:
            self.patch |= learn_machine(self.row, machine, self._time().date())
        elif machine:
            self.patch |= {"machine_state": machine.state, "machine_region": machine.region}
        else:
            self.patch["machine_state"] = "absent"

    def _remember_ids(self) -> None:
        """Act on ids at once although the save that carries them comes with the next intent or wait."""
        known: Json = {key: self.patch[key] for key in ("machine_id", "secrets_version") if key in self.patch}
        self.row = self.row.model_copy(update=known)

    def _note_attempt(self, number: int, error: HangarError, wait_s: float) -> None:
        self.journal.attempt(self.row, number, error, wait_s)
        # A look changes nothing and belongs to no intent; a machine that settles is asked every second.
        if self.journal.is_open and error.code != "settling":
            self._tell_attempt(error, wait_s)

    def _tell_attempt(self, error: HangarError, wait_s: float) -> None:
        """Show the failed attempt before the wait. What was decided stays decided by the row as it was."""
        planned = self.row
        self.patch |= {
            "retry_count": planned.retry_count + self.journal.failed_attempts,
            "error_message": f"{error}; tried again in {wait_s:.0f} s",
        }
        self._save(release=False)
        self.row, self._attempt_told = planned, True

    def _untell_attempts(self) -> None:
        """The call has ended: only the failure of a whole round stays on the row, and `fail` writes that."""
        if self._attempt_told:
            self.patch |= {"retry_count": self.row.retry_count, "error_message": self.row.error_message}
            self._attempt_told = False

    def _time(self) -> datetime:
        """The database's time: read with the last save, carried on by our own clock."""
        return self.now + timedelta(seconds=self.by.clock() - self._read_at)

    def _budget_s(self) -> float:
        """What one call may take: not the deadline's end but for a last short try, else an outage outlasts every drain."""
        return min(CALL_BUDGET_S, max(self._left_s(), 5.0))

    def _left_s(self) -> float:
        return self.ends_at - self.by.clock()
