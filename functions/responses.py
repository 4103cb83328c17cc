"""What `provision`, `deprovision` and `health` answer: from a Result or a SweepReport to an HTTP answer.

Every answer has a stable `code` for programs beside its `detail` for people. The codes of a reconcile (200 and 202):

    converged        the app is as the database asks for
    unknown_user     no user has this id
    unknown_tier     fly_plans does not list the user's tier
    not_entitled     the user is not entitled to an app and has none
    not_live         the user is entitled, but Hangar is not live and the user was not admitted
    app_gone         the user's app was deleted
    leased           another worker is working on this app
    lease_lost       another worker has taken over this app
    waiting          the next attempt is due at `next_attempt_at`
    changed          the desired state changed meanwhile; the row is due again
    deadline         the time of this call was up; the next drain continues
    paused, deletes_paused, brake, max_apps, max_cost, installation
                     the database holds the change back
    out_of_reach     the database did not answer while the app was worked on; the row stays due
    any other        the error code of the last attempt

A sweep answers `complete` or `incomplete`. Operators are refused with `unknown_user` (404); `not_entitled`, `not_admitted`,
`still_entitled`, `no_app`, `not_restarted` (409); `not_restarted` (503). `shared/http` adds what applies to every caller:
`proof`, `kind`, `proof_unchecked`, `out_of_reach`, `broken`, the code of an error, and the codes of a malformed request.
"""

import re
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Literal
from uuid import UUID

from shared.domain.errors import TransientError
from shared.domain.models import OperatorRequest
from shared.http.endpoint import Answer, Call
from shared.http.problem import Problem, retry_after_header
from shared.reconcile.restart import NOT_RESTARTED
from shared.reconcile.result import Result

if TYPE_CHECKING:
    from shared.fleet.sweep import SweepReport

Direction = Literal["provision", "deprovision"]
What = Literal["provision", "deprovision", "check", "restart"]
ASK_AGAIN = "; Hangar does not repeat a restart, so request it again"
_CLI_ACTOR = re.compile(r"cli:[!-~]{1,100}", re.ASCII)
_CENT = Decimal("0.01")


def read_operator_request(call: Call, what: What) -> OperatorRequest | None:
    """What an operator wants. None for machines, which only send wake-up calls."""
    if call.caller.kind == "operator":
        return OperatorRequest(call.caller.name, what)
    actor = read_actor(call)
    return None if actor is None else OperatorRequest(actor, what)


def read_actor(call: Call) -> str | None:
    """The operator at a command line for whom a signed call is made: `actor` of the body, like "cli:ops".

    Only the webhook secret signs such a call. Raises a 400 Problem for another text: nobody passes for a signed-in operator.
    """
    actor = call.body.get("actor")
    if actor is None or call.caller.kind != "webhook":
        return None
    if not isinstance(actor, str) or not _CLI_ACTOR.fullmatch(actor):
        raise Problem(400, "actor", "actor must be cli: and a name of at most 100 printable ASCII characters")
    return actor


def answer_sweep(report: "SweepReport") -> Answer:
    """The counts of a sweep. A sweep that did not finish is a success too: the next one continues."""
    return Answer(200, {**report.as_answer(), "code": "complete" if report.complete else "incomplete"})


def answer_result(
    result: Result, user_id: UUID, direction: Direction | None = None, request: OperatorRequest | None = None
) -> Answer:
    """200 if nothing is left to do, 202 if something is. `direction` is what the caller expected, and may be wrong.

    A wake-up call for a user who needs nothing is a success: the database decides, and the answer reports it. An operator
    whose `request` the database does not allow, or whose user does not exist, gets a 409 or 404 `Problem`. Money is text.
    """
    if request is not None:
        refuse_operator(result, user_id, request.what)
    cost = result.monthly_cost_estimate_usd
    body: dict[str, Any] = {
        "user_id": str(user_id),
        "status": result.status,
        "app_name": result.app_name,
        "machine_id": result.machine_id,
        "generation": result.generation,
        "monthly_cost_estimate_usd": None if cost is None else str(cost.quantize(_CENT)),
        "detail": explain(result, direction),
        "code": result.code,
    }
    if request is not None and request.what == "restart":
        body |= {"restarted": result.restarted is True}
        restart = result.restart_detail or NOT_RESTARTED
        body["detail"] = f"{restart}{'' if result.restarted else ASK_AGAIN}; {body['detail']}"
    if result.state != "pending":
        return Answer(200, body)
    return Answer(202, body | {"next_attempt_at": result.next_attempt_at})


def refuse_operator(result: Result, user_id: UUID, what: What | None) -> None:
    """Raise the `Problem` of an operator's request that cannot be carried out. It says what to do instead."""
    detail = _capitalize(result.detail)
    if not result.known:
        raise Problem(404, "unknown_user", f"This installation has no user with the id {user_id}")
    if what == "provision" and result.entitled is False:
        raise Problem(
            409, "not_entitled", f"The user is not entitled to an app. Set an override that grants one first. {detail}"
        )
    if what == "provision" and result.state == "nothing":  # not live, or a tier that fly_plans lacks
        raise Problem(409, "not_admitted", f"No app was created. An override would admit the user. {detail}")
    if what == "deprovision" and result.entitled is True:
        raise Problem(
            409,
            "still_entitled",
            f"The user is still entitled to the app. Set an override that denies it first. {detail}",
        )
    if what == "restart" and result.state == "nothing":
        raise Problem(409, "no_app", f"There is no app to restart. {detail}")
    if what == "restart" and isinstance(result.failure, TransientError) and not result.restarted:
        raise refuse_unanswered_restart(result.failure, result.restart_detail or NOT_RESTARTED)
    if what == "restart" and result.restarted is False:
        raise Problem(409, "not_restarted", f"{_capitalize(result.restart_detail)}{ASK_AGAIN}. {detail}")


def refuse_unanswered_restart(error: TransientError, restart: str = NOT_RESTARTED) -> Problem:
    """The problem of a restart for which Fly or the database did not answer."""
    detail = f"Fly or the database does not answer: {restart}{ASK_AGAIN}"
    return Problem(503, "not_restarted", detail, retry_after_header(error))


def _capitalize(text: str | None) -> str:
    return f"{text[0].upper()}{text[1:]}" if text else ""


def explain(result: Result, direction: Direction | None) -> str:
    """The result's own detail, preceded by what the caller expected wrongly."""
    if direction == "provision" and result.entitled is False and result.state != "nothing":
        return f"not entitled to an app, so no app is provisioned; {result.detail}"
    if direction == "deprovision" and result.entitled is True:
        return f"still entitled to an app, so the app is not removed; {result.detail}"
    return result.detail
