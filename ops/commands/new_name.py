"""`hangar retry USER --new-name`: a lost app whose name somebody else on Fly has."""

import httpx

from ops.cli_support import ask_reason, echo, get_actor, print_json, stop
from ops.client import Installation
from ops.exit_codes import EXIT_REFUSED, EXIT_SOME_FAILED


def refuse_while_paused(installation: Installation, what: str) -> None:
    """End the command while Hangar is paused."""
    if installation.database.read_overview().is_paused:
        stop(EXIT_REFUSED, f"Hangar is paused, so {what} was not retried; run `hangar resume` first")


def take_new_name(installation: Installation, user: str, reason: str | None, *, as_json: bool) -> None:
    """Record the decision, have it judged at once, and say what became of the user's app."""
    reason = ask_reason(reason, is_required=True)
    user_id, _ = installation.find_known_user(user)
    refuse_while_paused(installation, user)
    before = installation.database.read_user_status(user_id).row or {}
    installation.database.request_new_name(user_id, actor=get_actor(), reason=str(reason))
    status, response = installation.call_function("health", {"user_id": str(user_id)})
    row = installation.database.read_user_status(user_id).row
    is_kept = row is not None and row["id"] == before.get("id")
    if as_json:
        names = {"old_name": before.get("fly_app_name"), "app_name": row["fly_app_name"] if row else None}
        print_json({"http_status": status, **response, **names, "status": row["status"] if row else "deleted"})
    elif not is_kept:
        old = before.get("fly_app_name")
        after = (
            f"the new app is {row['fly_app_name']} ({row['status']})" if row else "the user is not entitled to another"
        )
        echo(f"{user}: the name {old} is given up; {after}")
    if not is_kept and row is not None and row["status"] == "error":
        stop(EXIT_SOME_FAILED, f"{user}: {row['error_message']}. `hangar status {user}` shows what happens next")
    if is_kept:
        _explain_kept(user, row or {}, status, str(response.get("detail", response)))


def _explain_kept(user: str, row: dict[str, object], status: int, detail: str) -> None:
    """End with what was seen. An app that is ours after all is no failure."""
    if row.get("status") == "active" and row.get("new_name_request") is None and status < httpx.codes.BAD_REQUEST:
        stop(EXIT_SOME_FAILED, f"{user}: {row['fly_app_name']} is ours, so it keeps its name: {detail}")
    if row.get("new_name_request") is not None:
        stop(
            EXIT_SOME_FAILED,
            f"{user}: not judged yet: {detail}. The next attempt judges the decision, for an hour from now; "
            f"`hangar status {user}` shows when",
        )
    seen = row.get("error_message") or detail
    stop(EXIT_SOME_FAILED, f"{user}: {seen}. `hangar status {user}` shows what happens next")
