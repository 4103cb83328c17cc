"""The HTTP function `deprovision`: brings one user's app to what the database asks for, whichever way that is."""

import flask

from functions.bootstrap import open_endpoint
from functions.responses import answer_result, read_operator_request
from shared.http.endpoint import Answer, Call
from shared.http.request_body import require_user_id
from shared.wiring import get_runtime

_endpoint = open_endpoint("deprovision", frozenset({"webhook", "static", "operator"}))


def deprovision(request: flask.Request) -> flask.Response:
    """Answer one wake-up call of the database, or an operator. Never raises."""
    return _endpoint.serve(request, _reconcile)


def _reconcile(call: Call) -> Answer:
    user_id = require_user_id(call.body)
    request = read_operator_request(call, "deprovision")
    return answer_result(get_runtime().reconcile(user_id, call.remaining_s, request), user_id, "deprovision", request)
