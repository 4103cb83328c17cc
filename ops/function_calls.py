"""Has a function carry out what the database has recorded, and says what came of it."""

from dataclasses import dataclass
from typing import Any, Literal
from uuid import UUID

import httpx

from ops.cli_support import get_actor
from ops.client import Installation
from ops.exit_codes import EXIT_REFUSED, EXIT_SOME_FAILED
from shared.domain.models import Json

Outcome = Literal["done", "accepted", "recorded", "refused", "failed"]
_LATER = "The request is recorded, and the next drain carries it out, within a minute"


@dataclass(frozen=True)
class CallReport:
    """What a function answered.

    `outcome` is "done", "accepted" (it continues), "recorded" (the function was not reached, a drain does it), "refused" (409) or
    "failed". `answer` is the function's own JSON.
    """

    outcome: Outcome
    detail: str
    answer: Json

    @property
    def exit_code(self) -> int:
        return {"refused": EXIT_REFUSED, "failed": EXIT_SOME_FAILED}.get(self.outcome, 0)

    def as_json(self) -> Json:
        """The stable part of the answer."""
        kept = ("code", "status", "app_name", "next_attempt_at")
        return {"outcome": self.outcome, "detail": self.detail, **{key: self.answer.get(key) for key in kept}}


def carry_out(installation: Installation, name: str, user_id: UUID, **body: Any) -> CallReport:
    """Call the function `name` about this user, for the operator at this command line.

    A function that is not configured or cannot be reached is no failure, because what was recorded is done by a drain. Raises
    TargetError when the function rejects our signature.
    """
    if not installation.target.functions.get(name) or not installation.target.webhook_secret:
        return CallReport("recorded", f"HANGAR_FUNCTIONS_URL or its secret is not set. {_LATER}", {})
    try:
        status, answer = installation.call_function(name, {"user_id": str(user_id), "actor": get_actor(), **body})
    except httpx.HTTPError as error:
        return CallReport("recorded", f"the {name} function gave no answer ({type(error).__name__}). {_LATER}", {})
    detail = str(answer.get("detail") or f"the {name} function answered {status}")
    if status == httpx.codes.OK:
        return CallReport("done", detail, answer)
    if status == httpx.codes.ACCEPTED:
        return CallReport("accepted", detail, answer)
    return CallReport("refused" if status == httpx.codes.CONFLICT else "failed", detail, answer)
