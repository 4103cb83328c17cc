"""From what the reconciler and the sweep report to what an HTTP caller reads."""

from decimal import Decimal
from typing import Any, Literal
from uuid import UUID

from shared.edge import Answer
from shared.outcome import Outcome

Direction = Literal["provision", "deprovision"]
_CENT = Decimal("0.01")


def answer_outcome(outcome: Outcome, user_id: UUID, direction: Direction | None = None) -> Answer:
    """200 when nothing is left to do, 202 when something is; `direction` is what the caller believed, and may be wrong.

    A nudge for a user who needs nothing is a success: the database decides, the answer only says so. Money is text.
    """
    cost = outcome.monthly_cost_estimate_usd
    body: dict[str, Any] = {
        "user_id": str(user_id),
        "status": outcome.status,
        "app_name": outcome.app_name,
        "machine_id": outcome.machine_id,
        "generation": outcome.generation,
        "monthly_cost_estimate_usd": None if cost is None else str(cost.quantize(_CENT)),
        "detail": explain(outcome, direction),
    }
    if outcome.state != "pending":
        return Answer(200, body)
    return Answer(202, body | {"next_attempt_at": outcome.next_attempt_at})


def explain(outcome: Outcome, direction: Direction | None) -> str:
    """The outcome's own detail, after what contradicts the caller's belief and the detail does not say itself."""
    if direction == "provision" and outcome.entitled is False and outcome.state != "nothing":
        return f"not entitled to an app, so none is provisioned; {outcome.detail}"
    if direction == "deprovision" and outcome.entitled is True:
        return f"still entitled to an app, so none is taken away; {outcome.detail}"
    return outcome.detail
