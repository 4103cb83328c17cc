"""What a reconcile left behind, as every caller gets to see it."""

from dataclasses import dataclass, field, replace
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Literal

from shared.domain.models import Row

if TYPE_CHECKING:
    from shared.adapters.procedures import Claim

State = Literal["converged", "pending", "nothing"]

LEASED = "another worker is at this app right now"
# Why the database does not let a call to Fly go out.
REFUSED_WORDS = {
    "paused": "Hangar is paused: no change is made on Fly until `hangar resume`",
    "deletes_paused": "deletions are paused (hangar.settings.deletes_paused); the app stays until they are released",
    "brake": "the brake is on, so the app stays as it is: `hangar brake` tells why and lets it go on",
    "max_apps": "as many apps run as hangar.settings.max_apps allows; raise it, or wait until one goes",
    "max_cost": "the estimated cost would pass hangar.settings.max_monthly_cost_usd; raise it, or wait until an app goes",
    "installation": "this database belongs to another installation of Hangar (HANGAR_INSTALLATION_ID differs): read-only",
}


@dataclass(frozen=True)
class Result:
    """`pending` = accepted and not finished, `next_attempt_at` says when it goes on; `nothing` = no app, none needed.

    `failure` is the error that ended this attempt, if one did. `restarted` says, where an operator asked for it, whether
    the machine runs anew; `restart_detail` why not, or that it does so already.
    """

    state: State
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
    restarted: bool | None = None
    restart_detail: str | None = None


def result_of(row: Row, state: State, detail: str, failure: Exception | None = None) -> Result:
    """The row's truth as an answer."""
    return Result(
        state=state,
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
    """Why there was nothing for us to work on: leased elsewhere, waiting for its time, or no app to have."""
    if claim.row is not None and claim.outcome == "leased":
        outcome = result_of(claim.row, "pending", LEASED)
        soon = (claim.now + timedelta(seconds=5)).isoformat()
        return replace(outcome, next_attempt_at=outcome.next_attempt_at or soon)
    if claim.row is not None:
        return result_of(claim.row, "pending", claim.row.error_message or "waiting until next_attempt_at")
    if not claim.known:
        return Result("nothing", "no such user; nothing to do", known=False, entitled=False)
    if claim.entitled is None:
        return Result("nothing", "the user's tier is unknown to fly_plans; nothing was changed")
    if claim.entitled and not claim.settings.live:
        return Result(
            "nothing", "entitled, but Hangar is not live yet: admit this user with migrate-users", entitled=True
        )
    if claim.last is not None:
        return replace(result_of(claim.last, "nothing", "the app is gone; nothing to do"), entitled=claim.entitled)
    return Result("nothing", "not entitled to an app; nothing to do", entitled=claim.entitled)
