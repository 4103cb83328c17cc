"""How a run ends: converged, paused until later, held by the database, or failed. Each writes the row and releases the lease."""

from dataclasses import replace
from typing import TYPE_CHECKING

from shared.domain.actions import Done
from shared.domain.backoff import ATTEMPTS_A_ROUND, asked_to_wait_s, back_off_s, choose_next_attempt_s
from shared.domain.decide import START_FAILED
from shared.domain.errors import HangarError, TransientError
from shared.domain.models import Row
from shared.reconcile.result import REFUSALS, Result, result_of

if TYPE_CHECKING:
    from shared.reconcile.lease import LeasedApp

_HOLD_S = {"paused": 60}
_OTHER_HOLD_S = 300


def finish(lease: "LeasedApp", done: Done) -> Result:
    """The row matches what Fly runs: save its status and the events that belong to it."""
    row = lease.row
    is_news = row.status != done.status or row.observed_generation != row.generation
    if done.status == "deleted":
        lease.patch["deleted"] = True
        if done.lost_name:
            lost = {"action": "name_lost", "old_name": row.fly_app_name}
            if row.new_name_request is not None:
                lost |= {"actor": row.new_name_request.actor, "reason": row.new_name_request.reason}
            lease.add_event("error_occurred", "info", lost, done.lost_name)
        lease.add_event("deprovision_completed", "succeeded", {})
    else:
        lease.patch |= {"status": done.status, "converged": True, "retry_count": 0, "error_message": None}
    if done.status == "active":
        if is_news:
            lease.patch |= {"deployed": True, "health_status": row.health_status or "unknown"}
            if done.machine and done.machine.host_ok:  # what the change could not bring about
                lease.patch["drift"] = {each.kind: each.text for each in done.machine.drift}
            machine_id = done.machine.id if done.machine else None
            lease.add_event("provision_completed", "succeeded", {"machine_id": machine_id})
        if done.machine and done.machine.health == "healthy" and row.health_status != "healthy":
            lease.patch["health_status"] = "healthy"
            lease.add_event("health_check_passed", "succeeded", {"from": row.health_status, "to": "healthy"})
    saved = lease.save(release=True)
    if saved.generation_moved and done.status != "deleted":
        return result_of(lease.row, "pending", "changed", "the desired state changed meanwhile; the row is due again")
    return result_of(lease.row, "converged", "converged", f"the app is {done.status}")


def pause(lease: "LeasedApp", seconds: float, code: str, detail: str) -> Result:
    """Leave the row due in `seconds`; this is not a failure."""
    lease.patch["next_attempt_in_s"] = seconds
    lease.save(release=True)
    return result_of(lease.row, "pending", code, detail)


def hold(lease: "LeasedApp", refused: str) -> Result:
    """The database forbids the call: raise its alert, and look again later. `refused` is a key of `REFUSALS`."""
    notifier = lease.worker.notifier
    if refused == "brake":
        notifier.deliver()  # the database has raised it, with the figures
    elif refused not in ("paused", "deletes_paused", "entitlement_unknown"):
        notifier.open(refused, "fleet", REFUSALS[refused], {"app": lease.row.fly_app_name})
    return pause(lease, _HOLD_S.get(refused, _OTHER_HOLD_S), refused, REFUSALS[refused])


def leave_unobserved(lease: "LeasedApp", error: TransientError) -> Result:
    """Fly could not be read, which says nothing about the app: the row keeps its status and is read again later."""
    seconds = back_off_s(1, lease.settings, lease.worker.chance)
    detail = f"Fly could not be read, so the app keeps its status: {error}; the next try is in about {seconds:.0f} s"
    return replace(pause(lease, seconds, error.code, detail), failure=error)


def pause_or_fail(lease: "LeasedApp", error: HangarError) -> Result:
    """A call that has to wait for Fly's rate limit continues later, without an alert and without counting as an attempt."""
    wait_s = asked_to_wait_s(error, lease.settings)
    return fail(lease, error) if wait_s is None else pause(lease, wait_s, error.code, str(error))


def fail(lease: "LeasedApp", error: HangarError) -> Result:
    """Write the failure to the row: what happened and when the next attempt is. The save raises the alert with it."""
    row = lease.row
    kind = "provision_failed" if row.desired_state == "present" else "deprovision_failed"
    retries = _count_failures(row, error, lease.audit.failed_attempts)
    next_in_s = choose_next_attempt_s(row, error, retries, lease.settings, lease.worker.chance)
    lease.patch |= {
        "status": "error",
        "error_code": error.code,
        "error_message": str(error),
        "retry_count": retries,
        "next_attempt_in_s": next_in_s,
    }
    metadata = {
        "retry_count": retries,
        "error_code": error.code,
        "max_retries_exceeded": error.attempts_made >= ATTEMPTS_A_ROUND,
    }
    lease.add_event(kind, "failed", metadata, str(error))
    lease.save(release=True)
    lease.worker.notifier.deliver()  # the save has raised the alert, so it survives this process
    when = f"the next attempt is in about {next_in_s:.0f} s" if next_in_s is not None else "an operator has to act"
    return result_of(lease.row, "pending", error.code, f"{kind.replace('_', ' ')}: {error}; {when}", error)


def _count_failures(row: Row, error: HangarError, attempts: int) -> int:
    """The row's `retry_count` after this failure. Failed starts are counted alone, because three replace the machine.

    Starts that Fly refused, and calls that were repeated, must not add to them.
    """
    if error.code != START_FAILED:
        return row.retry_count + attempts + 1
    return 1 + (row.retry_count if row.error_code == START_FAILED else 0)
