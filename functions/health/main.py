"""The HTTP function `health`: a sweep over the fleet, a drain of what is due, or a check of one user."""

from uuid import UUID

import flask

from functions.bootstrap import open_endpoint
from functions.responses import (
    answer_result,
    answer_sweep,
    read_actor,
    read_operator_request,
    refuse_unanswered_restart,
)
from shared.domain.errors import TransientError
from shared.http.endpoint import Answer, Call
from shared.http.problem import Problem
from shared.http.request_body import find_user_id, require_user_id
from shared.wiring import get_runtime

MAX_USERS = 5
_endpoint = open_endpoint("health", frozenset({"webhook", "static", "operator"}))


def health(request: flask.Request) -> flask.Response:
    """Answer one call of the scheduler, one wake-up call of the database, or an operator. Never raises."""
    return _endpoint.serve(request, _check)


def _check(call: Call) -> Answer:
    drain_only, restart = _read_flag(call, "drain_only"), _read_flag(call, "restart")
    user_id = find_user_id(call.body)
    if restart and call.caller.kind != "operator" and read_actor(call) is None:
        raise Problem(403, "kind", "Only an operator may restart a machine")
    if restart and user_id is None:
        raise Problem(400, "user_id", "user_id is missing: the body does not name the user whose machine to restart")
    if user_id is not None:
        request = read_operator_request(call, "restart" if restart else "check")
        try:
            result = get_runtime().reconcile(user_id, call.remaining_s, request)
        except TransientError as error:
            if restart:
                raise refuse_unanswered_restart(error) from error
            raise
        return answer_result(result, user_id, request=request)
    users = _read_users(call)
    if users and not drain_only:
        raise Problem(400, "user_ids", "user_ids needs drain_only: true, because a sweep always covers every app")
    return answer_sweep(get_runtime().sweep(call.remaining_s, drain_only, users))


def _read_users(call: Call) -> list[UUID]:
    """The users that a wake-up call of the database names: `user_ids`, at most five."""
    value = call.body.get("user_ids", [])
    if not isinstance(value, list) or len(value) > MAX_USERS:
        raise Problem(400, "user_ids", f"user_ids must be a list of at most {MAX_USERS} users")
    return [require_user_id({"user_id": each}) for each in value]


def _read_flag(call: Call, name: str) -> bool:
    value = call.body.get(name, False)
    if not isinstance(value, bool):
        raise Problem(400, name, f"{name} must be true or false")
    return value
