"""From what the reconciler and the sweep report to what an HTTP caller reads (docs/architecture.md has the table)."""

from decimal import Decimal
from typing import Any, Literal, Protocol
from uuid import UUID

from shared.edge import Answer

Direction = Literal["provision", "deprovision"]
_CENT = Decimal("0.01")


class Outcome(Protocol):
    """What a reconciliation came to, as `shared.reconciler.Outcome` has it."""

    @property
    def state(self) -> Literal["converged", "pending", "nothing"]: ...
    @property
    def status(self) -> str | None: ...
    @property
    def app_name(self) -> str | None: ...
    @property
    def machine_id(self) -> str | None: ...
    @property
    def generation(self) -> int | None: ...
    @property
    def monthly_cost_estimate_usd(self) -> Decimal | None: ...
    @property
    def next_attempt_at(self) -> str | None: ...
    @property
    def detail(self) -> str: ...
    @property
    def known(self) -> bool: ...
    @property
    def entitled(self) -> bool | None: ...


class Report(Protocol):
    """What a sweep came to, as `shared.sweep.SweepReport` has it."""

    def as_answer(self) -> dict[str, Any]: ...


class Runtime(Protocol):
    """What the functions call, as `shared.runtime.get_runtime` gives it."""

    def reconcile(self, user_id: UUID, deadline_s: float, force: bool = False) -> Outcome: ...
    def sweep(self, deadline_s: float, drain_only: bool) -> Report: ...


def answer_outcome(outcome: Outcome, user_id: UUID, direction: Direction | None) -> Answer:
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
    """The outcome's own detail, after what contradicts the caller's belief."""
    if not outcome.known:
        correction = "No such user: nothing was changed"
    elif direction == "provision" and outcome.entitled is False and outcome.state == "nothing":
        correction = "The user is not entitled to an app: nothing was changed"
    elif direction == "provision" and outcome.entitled is False:
        correction = "The user is not entitled to an app: none is provisioned, and one that exists goes away"
    elif direction == "deprovision" and outcome.entitled is True:
        correction = "The user is still entitled to an app: it is not taken away"
    else:
        correction = ""
    return ". ".join(part for part in (correction, outcome.detail.strip().rstrip(".")) if part)


def answer_report(report: Report) -> Answer:
    """200 with the sweep's counts, complete or not: what is left, the next sweep takes up."""
    return Answer(200, report.as_answer())
