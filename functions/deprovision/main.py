"""The HTTP function `deprovision`: "look at this user now". Which way the user's app goes, the database says."""

import flask

from functions.bootstrap import open_edge
from functions.responses import answer_outcome, read_asked
from shared.http.endpoint import Answer, Call
from shared.http.request_body import require_user_id
from shared.wiring import get_runtime

_edge = open_edge("deprovision", frozenset({"webhook", "static", "operator"}))


def deprovision(request: flask.Request) -> flask.Response:
    """Answer one nudge, or an operator; never raises."""
    return _edge.serve(request, _reconcile)


def _reconcile(call: Call) -> Answer:
    user_id = require_user_id(call.body)
    asked = read_asked(call, "deprovision")
    return answer_outcome(get_runtime().reconcile(user_id, call.remaining_s, asked), user_id, "deprovision", asked)
