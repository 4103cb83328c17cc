"""The HTTP function `deprovision`: "look at this user now". Which way the user's app goes, the database says."""

import flask

from functions.answers import answer_outcome, read_asked
from functions.startup import open_edge
from shared.edge import Answer, Call, require_user_id
from shared.runtime import get_runtime

_edge = open_edge("deprovision", frozenset({"webhook", "static", "operator"}))


def deprovision(request: flask.Request) -> flask.Response:
    """Answer one nudge, or an operator; never raises."""
    return _edge.serve(request, _reconcile)


def _reconcile(call: Call) -> Answer:
    user_id = require_user_id(call.body)
    asked = read_asked(call, "deprovision")
    return answer_outcome(get_runtime().reconcile(user_id, call.remaining_s, asked), user_id, "deprovision", asked)
