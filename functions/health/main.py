"""The HTTP function `health`: the sweep over the fleet, or only what is due, or one user."""

import flask

from functions.bootstrap import open_edge
from functions.responses import answer_outcome, read_asked, unanswered_restart
from shared.domain.errors import TransientError
from shared.http.endpoint import Answer, Call
from shared.http.problem import Problem
from shared.http.request_body import find_user_id
from shared.wiring import get_runtime

_edge = open_edge("health", frozenset({"webhook", "static", "operator"}))


def health(request: flask.Request) -> flask.Response:
    """Answer one call of the scheduler, one nudge, or an operator; never raises."""
    return _edge.serve(request, _look)


def _look(call: Call) -> Answer:
    drain_only, restart = _read_flag(call, "drain_only"), _read_flag(call, "restart")
    user_id = find_user_id(call.body)
    if restart and call.caller.kind != "operator":
        raise Problem(403, "kind", "Only an operator may have a machine restarted")
    if restart and user_id is None:
        raise Problem(400, "user_id", "The body names no user whose machine to restart: user_id is missing")
    if user_id is not None:
        asked = read_asked(call, "restart" if restart else "check")
        try:
            outcome = get_runtime().reconcile(user_id, call.remaining_s, asked)
        except TransientError as error:
            if restart:
                raise unanswered_restart(error) from error
            raise
        return answer_outcome(outcome, user_id, asked=asked)
    # Complete or not: what is left, the next sweep takes up.
    return Answer(200, get_runtime().sweep(call.remaining_s, drain_only).as_answer())


def _read_flag(call: Call, name: str) -> bool:
    value = call.body.get(name, False)
    if not isinstance(value, bool):
        raise Problem(400, name, f"{name} is neither true nor false")
    return value
