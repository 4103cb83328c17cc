"""Makes an endpoint and calls it, for the tests of shared/http."""

import base64

import flask
from pydantic import SecretStr

from shared.http.endpoint import Endpoint
from shared.http.webhook_auth import SignedWebhook, StaticHeader, sign_webhook

KEY = b"k" * 32
NOW = 1_700_000_000
USER = "11111111-1111-4111-8111-111111111111"
STATIC = {"X-Hangar-Secret": "a-static-secret-of-32-characters"}
JSON = "application/json"


def make_endpoint(**changes):
    verifiers = (
        SignedWebhook(SecretStr("whsec_" + base64.b64encode(KEY).decode())),
        StaticHeader(SecretStr(STATIC["X-Hangar-Secret"])),
    )
    parts = {
        "function": "provision",
        "verifiers": verifiers,
        "allowed": frozenset({"webhook", "static"}),
        "origins": frozenset({"https://admin.example.test"}),
        "deadline_s": 270.0,
        "now_unix_s": lambda: NOW,
    }
    return Endpoint(**{**parts, **changes})


def ask(run=None, *, endpoint=None, method="POST", headers=STATIC, body=b"{}", content_type=JSON):
    """The response to one request. Without `run` the function must not be reached."""

    def unreachable(call):
        raise AssertionError(f"reached with {call}")

    app = flask.Flask("endpoint")
    served = endpoint or make_endpoint()
    methods = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
    app.add_url_rule(
        "/", view_func=lambda: served.serve(flask.request, run or unreachable), endpoint="run", methods=methods
    )
    return app.test_client().open("/", method=method, headers=headers, data=body, content_type=content_type)


def signed(body, at=NOW, delivery="msg_1"):
    signature = sign_webhook(KEY, delivery, sent_at=str(at), body=body)
    return {"webhook-id": delivery, "webhook-timestamp": str(at), "webhook-signature": signature}


def assert_problem(response, status, code=None):
    assert response.status_code == status
    assert response.content_type == "application/problem+json"
    problem = response.get_json(force=True)
    assert {"type", "title", "status", "detail", "instance"} <= problem.keys()
    assert problem["status"] == status
    assert problem["instance"] == f"urn:uuid:{response.headers['X-Request-Id']}"
    if code:
        assert problem["code"] == code
    return problem
