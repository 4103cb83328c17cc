"""The result of a reconcile, the same for every caller."""

from dataclasses import dataclass, field, replace
from datetime import UTC, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Literal

from shared.domain.actions import ActionKind
from shared.domain.entitlement import explain_unknown
from shared.domain.models import Row

if TYPE_CHECKING:
    from shared.adapters.procedures import Claim

State = Literal["converged", "pending", "nothing"]

# Why the database does not let a call to Fly go out: the code of its refusal, and the sentence for people.
REFUSALS = {
    "paused": "Hangar is paused: no Fly changes until `hangar resume`",
    "deletes_paused": "deletions are paused (hangar.settings.deletes_paused); the app stays until they are resumed",
    "brake": "the brake is on, so the app stays as it is; `hangar brake` shows why and releases it",
    "max_apps": "the limit of apps (the setting max_apps) is reached, so no app is created; apps that run stay as they are. "
    "Raise the limit, or wait until an app is removed",
    "entitlement_unknown": "nothing is removed while it is not known what the user is entitled to (an alert says why)",
    "max_cost": "the estimated cost would exceed hangar.settings.max_monthly_cost_usd, so no app is created or becomes "
    "larger; apps that run keep their size. Raise the limit, or wait until an app is removed",
    "installation": "this database belongs to another installation of Hangar (HANGAR_INSTALLATION_ID differs): read-only",
}

LEGACY = "the app is of the original system; Hangar does nothing with it until an operator adopts it (`hangar adopt`)"

# Refusals of what an app would cost. The app itself may run on as it is.
CAPS = frozenset({"max_apps", "max_cost"})


@dataclass(frozen=True)
class Result:
    """`pending`: accepted, not finished, continues at `next_attempt_at`. `nothing`: there is no app, and none is needed.

    `code` is stable and for programs: "converged", "waiting", "changed", "deadline", "leased", "lease_lost", "out_of_reach",
    "removal_hold", "legacy", "unknown_user", a key of `entitlement.UNKNOWN_ENTITLEMENT`, "not_live", "not_entitled",
    "app_gone", a key of `REFUSALS`, or an error's code.
    `failure` is the error that ended this run. `actions` are the kinds of calls it made on Fly. `restarted` and
    `restart_detail` are set when an operator asked for a restart.
    """

    state: State
    code: str
    detail: str
    status: str | None = None
    app_name: str | None = None
    machine_id: str | None = None
    generation: int | None = None
    monthly_cost_estimate_usd: Decimal | None = None
    next_attempt_at: str | None = None
    known: bool = True
    entitled: bool | None = None
    failure: Exception | None = field(default=None, repr=False)
    actions: frozenset[ActionKind] = frozenset()
    restarted: bool | None = None
    restart_detail: str | None = None


def result_of(row: Row, state: State, code: str, detail: str, failure: Exception | None = None) -> Result:
    """A result with the row's facts."""
    return Result(
        state=state,
        code=code,
        detail=detail,
        status=row.status,
        app_name=row.fly_app_name,
        machine_id=row.machine_id,
        generation=row.generation,
        monthly_cost_estimate_usd=row.monthly_cost_estimate_usd,
        next_attempt_at=row.next_attempt_at.isoformat() if row.next_attempt_at else None,
        entitled=row.desired_state == "present",
        failure=failure,
    )


def result_unclaimed(claim: "Claim") -> Result:
    """Why there was no row to work on: leased elsewhere, waiting for its next attempt, or no app."""
    if claim.row is not None and claim.outcome == "leased":
        result = result_of(claim.row, "pending", "leased", "another worker is working on this app")
        soon = (claim.now + timedelta(seconds=5)).isoformat()
        return replace(result, next_attempt_at=result.next_attempt_at or soon)
    if claim.row is not None and claim.outcome == "legacy":
        return result_of(claim.row, "nothing", "legacy", LEGACY)
    if claim.row is not None:
        if claim.row.hold_until is not None and claim.now < claim.row.hold_until:
            until = claim.row.hold_until.astimezone(UTC)
            detail = f"the app keeps running until {until:%H:%M:%S} UTC; a renewal cancels its removal"
            return result_of(claim.row, "pending", "removal_hold", detail)
        code = claim.row.error_code or "waiting"
        return result_of(claim.row, "pending", code, claim.row.error_message or "waiting until next_attempt_at")
    if not claim.known:
        return Result("nothing", "unknown_user", "no such user; nothing to do", known=False, entitled=False)
    if claim.entitled is None:
        code = claim.why or "unknown_tier"
        return Result("nothing", code, f"{explain_unknown(code)}; nothing was changed")
    if claim.entitled and not claim.settings.live:
        detail = "entitled, but Hangar is not live yet; admit this user with `hangar migrate-users`"
        return Result("nothing", "not_live", detail, entitled=True)
    if claim.last is not None:
        gone = result_of(claim.last, "nothing", "app_gone", "the app has been deleted; nothing to do")
        return replace(gone, entitled=claim.entitled)
    return Result("nothing", "not_entitled", "not entitled to an app; nothing to do", entitled=claim.entitled)
