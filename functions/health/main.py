"""The HTTP function `health`: the sweep over the fleet, or only what is due, or one user."""

import flask

from functions.answers import answer_outcome
from functions.startup import open_edge
from shared.edge import Answer, Call, Problem, find_user_id
from shared.runtime import get_runtime

_edge = open_edge("health", frozenset({"webhook", "static"}))


def health(request: flask.Request) -> flask.Response:
    """Answer one call of the scheduler, or one nudge; never raises."""
    return _edge.serve(request, _look)


def _look(call: Call) -> Answer:
    drain_only = call.body.get("drain_only", False)
    if not isinstance(drain_only, bool):
        raise Problem(400, "drain_only", "drain_only is neither true nor false")
    user_id = find_user_id(call.body)
    if user_id is not None:
        return answer_outcome(get_runtime().reconcile(user_id, call.remaining_s), user_id)
    # Complete or not: what is left, the next sweep takes up.
    return Answer(200, get_runtime().sweep(call.remaining_s, drain_only).as_answer())
