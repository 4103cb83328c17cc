"""From what the reconciler and the sweep report to what an HTTP caller reads."""

from decimal import Decimal
from typing import Any, Literal
from uuid import UUID

from shared.domain.errors import TransientError
from shared.domain.models import OperatorRequest
from shared.http.endpoint import Answer, Call
from shared.http.problem import Problem, retry_after_header
from shared.reconcile.restart import NOT_RESTARTED
from shared.reconcile.result import Result

Direction = Literal["provision", "deprovision"]
What = Literal["provision", "deprovision", "check", "restart"]
ASK_AGAIN = "; nothing repeats a restart by itself, so ask again"
_CENT = Decimal("0.01")


def read_asked(call: Call, what: What) -> OperatorRequest | None:
    """What an operator wants; None for the machines that only nudge."""
    return OperatorRequest(call.caller.name, what) if call.caller.kind == "operator" else None


def answer_outcome(
    outcome: Result, user_id: UUID, direction: Direction | None = None, asked: OperatorRequest | None = None
) -> Answer:
    """200 when nothing is left to do, 202 when something is; `direction` is what the caller believed, and may be wrong.

    A nudge for a user who needs nothing is a success: the database decides, the answer only says so. An operator who
    `asked` for what the database does not want, or for nobody we know, is told by a 409 or 404 `Problem`. Money is text.
    """
    if asked is not None:
        refuse_operator(outcome, user_id, asked.what)
    cost = outcome.monthly_cost_estimate_usd
    body: dict[str, Any] = {
        "user_id": str(user_id),
        "status": outcome.status,
        "app_name": outcome.app_name,
        "machine_id": outcome.machine_id,
        "generation": outcome.generation,
        "monthly_cost_estimate_usd": None if cost is None else str(cost.quantize(_CENT)),
        "code": outcome.code,
        "detail": explain(outcome, direction),
    }
    if asked is not None and asked.what == "restart":
        body |= {"restarted": outcome.restarted is True}
        became = outcome.restart_detail or NOT_RESTARTED
        body["detail"] = f"{became}{'' if outcome.restarted else ASK_AGAIN}; {body['detail']}"
    if outcome.state != "pending":
        return Answer(200, body)
    return Answer(202, body | {"next_attempt_at": outcome.next_attempt_at})


def refuse_operator(outcome: Result, user_id: UUID, what: What | None) -> None:
    """Raise the `Problem` of an operator's wish that cannot be, with what to do instead."""
    if not outcome.known:
        raise Problem(404, "unknown_user", f"No user of this installation has the id {user_id}")
    if what == "provision" and outcome.entitled is False:
        raise Problem(
            409, "not_entitled", f"Not entitled to an app: grant one by an override, then provision. {outcome.detail}"
        )
    if what == "provision" and outcome.state == "nothing":  # not live yet, or a tier that fly_plans lacks
        raise Problem(409, "not_admitted", f"No app was made, and an override would admit the user. {outcome.detail}")
    if what == "deprovision" and outcome.entitled is True:
        raise Problem(
            409,
            "still_entitled",
            f"Still entitled to an app: deny it by an override, then deprovision. {outcome.detail}",
        )
    if what == "restart" and outcome.state == "nothing":
        raise Problem(409, "no_app", f"There is no app to restart: {outcome.detail}")
    if what == "restart" and isinstance(outcome.failure, TransientError) and not outcome.restarted:
        raise unanswered_restart(outcome.failure, outcome.restart_detail or NOT_RESTARTED)
    if what == "restart" and outcome.restarted is False:
        raise Problem(409, "not_restarted", f"{_capitalize(outcome.restart_detail)}{ASK_AGAIN}. Now {outcome.detail}")


def unanswered_restart(error: TransientError, became: str = NOT_RESTARTED) -> Problem:
    """The answer to a restart that Fly or the database was out of reach for."""
    return Problem(
        503, "not_restarted", f"Fly or the database is out of reach: {became}{ASK_AGAIN}", retry_after_header(error)
    )


def _capitalize(text: str | None) -> str:
    return f"{text[0].upper()}{text[1:]}" if text else ""


def explain(outcome: Result, direction: Direction | None) -> str:
    """The outcome's own detail, after what contradicts the caller's belief and the detail does not say itself."""
    if direction == "provision" and outcome.entitled is False and outcome.state != "nothing":
        return f"not entitled to an app, so none is provisioned; {outcome.detail}"
    if direction == "deprovision" and outcome.entitled is True:
        return f"still entitled to an app, so none is taken away; {outcome.detail}"
    return outcome.detail
