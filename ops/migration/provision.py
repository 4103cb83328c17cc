"""Takes one admitted user to an active app by calling `provision` until the outcome is known."""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal
from uuid import uuid4

import httpx

from ops.client import Installation
from ops.connection import TargetError
from shared.adapters.procedures_migration import Candidate
from shared.domain.errors import HangarError
from shared.domain.remediation import advise

# Codes of an answer that concern every user: the installation is paused, a limit is reached, or the id is another one's.
REFUSAL_CODES = frozenset({"paused", "max_apps", "max_cost", "installation"})
_NEXT_CALL_S, _NEXT_CALL_AFTER_ERROR_S = 1.0, 3.0

Outcome = Literal["active", "failed", "unfinished", "skipped"]


@dataclass(frozen=True)
class UserResult:
    """The outcome for one user. A failed one has `error_code` and `advice`."""

    candidate: Candidate
    outcome: Outcome
    detail: str
    seconds: float = 0.0
    app_name: str | None = None
    machine_id: str | None = None
    error_code: str | None = None
    advice: str | None = None


class InstallationRefusal(Exception):  # noqa: N818  not an error of this user
    """The installation refuses every user; the message says why."""


def check_provision_function(installation: Installation) -> None:
    """Call `provision` for an unknown user, to find a wrong address or secret early. Raises TargetError."""
    status, response = installation.call_function("provision", {"user_id": str(uuid4())})
    if status >= httpx.codes.BAD_REQUEST:
        detail = response.get("detail")
        raise TargetError(f"the provision function answered {status}, so no user was admitted: {detail}")


def provision_user(
    installation: Installation,
    candidate: Candidate,
    *,
    actor: str,
    patience_s: float,
    stopping: threading.Event,
    clock: Callable[[], float],
) -> UserResult:
    """Call until the app is active or has failed, `patience_s` is over, or `stopping` is set.

    Raises InstallationRefusal when the installation refuses every user, TargetError when the function cannot be called.
    """
    started_at = clock()
    detail, app_name = "no answer yet", None
    if candidate.status == "error" and (problem := _reset_failure(installation, candidate, actor)):
        return UserResult(candidate, "failed", problem)
    while clock() < started_at + patience_s:
        try:
            status, response = installation.call_function("provision", {"user_id": str(candidate.user_id)})
        except httpx.HTTPError as error:
            status, response = 503, {"detail": f"no answer from the provision function ({type(error).__name__})"}
        detail, app_name = str(response.get("detail", response)), response.get("app_name") or app_name
        seconds = clock() - started_at
        if status == httpx.codes.OK:
            outcome: Outcome = "active" if response.get("status") == "active" else "skipped"
            return UserResult(candidate, outcome, detail, seconds, app_name, response.get("machine_id"))
        if response.get("code") in REFUSAL_CODES:
            raise InstallationRefusal(detail)
        row = _read_row(installation, candidate)
        if row and row["status"] == "error" and row["lease_token"] is None:  # with a lease, another attempt is running
            return _explain_failure(candidate, row, seconds)
        if status < httpx.codes.INTERNAL_SERVER_ERROR and status != httpx.codes.ACCEPTED:
            message = f"the provision function answered {status}: {detail}"
            return UserResult(candidate, "failed", message, seconds, app_name)
        if stopping.wait(_NEXT_CALL_S if status == httpx.codes.ACCEPTED else _NEXT_CALL_AFTER_ERROR_S):
            break
    return UserResult(candidate, "unfinished", detail, clock() - started_at, app_name)


def _reset_failure(installation: Installation, candidate: Candidate, actor: str) -> str | None:
    """Make a failed app due now with the current plan and settings. Returns the error if that failed."""
    try:
        installation.database.retry(candidate.user_id, actor=actor)
    except HangarError as error:
        return str(error)
    return None


def _read_row(installation: Installation, candidate: Candidate) -> dict[str, Any] | None:
    """The live row. It says whether the attempt is over, which a 503 does not."""
    try:
        rows = installation.read_rows("user_fly_apps", user_id=f"eq.{candidate.user_id}", deleted_at="is.null")
    except (HangarError, httpx.HTTPError):
        return None
    return rows[0] if rows else None


def _explain_failure(candidate: Candidate, row: Mapping[str, Any], seconds: float) -> UserResult:
    code = row["error_code"]
    advice = advise(code, candidate.name, goes_on=row["next_attempt_at"] is not None)
    name, message = row["fly_app_name"], row["error_message"] or "no message"
    return UserResult(candidate, "failed", message, seconds, name, row["machine_id"], code, advice)
