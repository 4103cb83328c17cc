"""The HTTP function `deprovision`: "look at this user now". Which way the user's app goes, the database says."""

import flask

from functions.answers import answer_outcome
from functions.startup import open_edge
from shared.edge import Answer, Call, require_user_id
from shared.runtime import get_runtime

_edge = open_edge("deprovision", frozenset({"webhook", "static"}))


def deprovision(request: flask.Request) -> flask.Response:
    """Answer one nudge; never raises."""
    return _edge.serve(request, _reconcile)


def _reconcile(call: Call) -> Answer:
    user_id = require_user_id(call.body)
    return answer_outcome(get_runtime().reconcile(user_id, call.remaining_s), user_id, "deprovision")
