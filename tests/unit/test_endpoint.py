"""The endpoint: the order of its checks, the form of its responses, and what an unauthenticated caller learns (nothing)."""

import json
import logging

import pytest

from shared.domain.errors import Capacity, OutcomeUnknown, Refused, TransientError
from shared.http.endpoint import Answer
from shared.http.problem import Problem
from shared.observability.code_version import fingerprint_code
from tests.unit.endpoint_calls import JSON, NOW, STATIC, USER, ask, assert_problem, make_endpoint, signed


def test_a_valid_call_reaches_the_function():
    calls = []

    def run(call):
        calls.append(call)
        return Answer(200, {"fine": True})

    body = json.dumps({"user_id": USER}).encode()
    response = ask(run, headers=signed(body), body=body)
    assert (response.status_code, response.content_type) == (200, JSON)
    assert response.get_json() == {"code": "ok", "fine": True}
    (call,) = calls
    assert call.body == {"user_id": USER}
    assert (call.caller.kind, call.caller.name) == ("webhook", "msg_1")
    assert 269 < call.remaining_s <= 270
    assert call.request_id == response.headers["X-Request-Id"]
    assert response.headers["Cache-Control"] == "no-store"


def refuse(_call):
    raise Problem(400, "user_id", "user_id is missing")


def test_only_a_signed_call_of_the_doctor_learns_which_code_runs():
    """Also when the function refuses what it asks. Who cannot sign learns nothing, and other calls need not know."""
    doctor = signed(b"{}", delivery="doctor_1")
    assert ask(refuse, headers=doctor, body=b"{}").headers["Hangar-Code"] == fingerprint_code()
    assert ask(headers=doctor, body=b"{}").headers["Hangar-Code"] == fingerprint_code()
    for other in (signed(b"{}"), signed(b"{}", delivery="a_doctor_1"), signed(b"{} ", delivery="doctor_1"), STATIC):
        assert "Hangar-Code" not in ask(refuse, headers=other, body=b"{}").headers


def test_a_function_whose_files_cannot_be_read_answers_all_the_same(monkeypatch, caplog):
    """The work is done by then. An exception would say that it failed."""

    def fail():
        raise PermissionError(13, "Permission denied", "shared/fly/client.py")

    monkeypatch.setattr("shared.observability.code_version.fingerprint_code", fail)
    response = ask(lambda _: Answer(200, {}), headers=signed(b"{}", delivery="doctor_1"), body=b"{}")
    assert response.status_code == 200
    assert "Hangar-Code" not in response.headers
    assert "cannot be read" in caplog.text


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "PATCH", "DELETE"])
def test_other_methods_are_405_before_authentication(method):
    response = ask(method=method, headers={})
    assert response.status_code == 405
    assert response.headers["Allow"] == "POST, OPTIONS"


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({}, b"{}"),
        ({}, b"not json"),
        ({}, b""),
        ({"X-Hangar-Secret": "wrong"}, b"{}"),
        (signed(b"{}", at=NOW - 301), b"{}"),
        (signed(b"{}", at=NOW + 301), b"{}"),
        (signed(b"{} "), b"{}"),
        (signed(b"{}") | {"webhook-signature": "no comma"}, b"{}"),
        (signed(b"{}") | {"webhook-signature": "v1,%%%"}, b"{}"),
        (signed(b"\xff"), b"\xfe"),
    ],
)
@pytest.mark.parametrize("content_type", [JSON, "text/plain"])
def test_without_a_valid_credential_every_response_is_the_same_401(headers, body, content_type):
    """An unauthenticated caller does not learn whether the body or its type is valid."""
    problem = assert_problem(ask(headers=headers, body=body, content_type=content_type), 401)
    assert problem["detail"] == "Authentication failed"


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (Answer(200, {}), "ok"),
        (Answer(202, {}), "accepted"),
        (Answer(202, {"code": "held"}), "held"),
    ],
)
def test_every_response_has_a_code(answer, code):
    """A function may set its own code."""
    assert ask(lambda _: answer).get_json()["code"] == code


def test_a_401_names_a_challenge():
    assert ask(headers={}).headers["WWW-Authenticate"]


def test_an_authenticated_caller_of_another_kind_is_403():
    assert_problem(ask(endpoint=make_endpoint(allowed=frozenset({"webhook"}))), 403)


class Unchecked:
    """A verifier that cannot reach what it needs."""

    def verify(self, headers, body, now_unix_s):
        raise TransientError("the public keys could not be read", retry_after_s=7)


def test_a_credential_that_cannot_be_checked_is_503():
    """After a 401 the dashboard would sign its user out."""
    response = ask(endpoint=make_endpoint(verifiers=(Unchecked(),)))
    assert_problem(response, 503, "proof_unchecked")
    assert response.headers["Retry-After"] == "7"
    assert (
        ask(
            lambda _: Answer(200, {}), endpoint=make_endpoint(verifiers=(Unchecked(), *make_endpoint().verifiers))
        ).status_code
        == 200
    )


def test_without_verifiers_every_call_is_401():
    assert_problem(ask(endpoint=make_endpoint(verifiers=())), 401)


@pytest.mark.parametrize(
    ("error", "retry_after"),
    [
        (TransientError("canary"), "30"),
        (TransientError("canary", retry_after_s=0.2), "1"),
        (TransientError("canary", retry_after_s=61.2), "62"),
        (TransientError("canary", retry_after_s=1e9), "3600"),
        (OutcomeUnknown("canary"), "30"),
        (Capacity("canary"), "30"),
    ],
)
def test_a_transient_error_is_503_with_retry_after(error, retry_after):
    def run(_):
        raise error

    response = ask(run)
    problem = assert_problem(response, 503)
    assert response.headers["Retry-After"] == retry_after
    assert "canary" not in json.dumps(problem)


@pytest.mark.parametrize("error", [RuntimeError("canary"), Refused("canary", code="auth"), KeyError("canary")])
def test_other_errors_are_500_with_the_stack_only_in_the_log(error, caplog):
    def run(_):
        raise error

    with caplog.at_level(logging.INFO):
        problem = assert_problem(ask(run), 500)
    assert "canary" not in json.dumps(problem)
    assert any(record.exc_info and "canary" in str(record.exc_info[1]) for record in caplog.records)


def test_a_preflight_of_a_configured_origin_is_allowed():
    response = ask(method="OPTIONS", headers={"Origin": "https://admin.example.test"})
    assert response.status_code == 204
    assert response.data == b""
    assert response.headers["Access-Control-Allow-Origin"] == "https://admin.example.test"
    assert response.headers["Access-Control-Allow-Methods"] == "POST, OPTIONS"
    assert "authorization" in response.headers["Access-Control-Allow-Headers"]
    assert response.headers["Vary"] == "Origin"
    assert "Access-Control-Allow-Credentials" not in response.headers


@pytest.mark.parametrize("origin", ["https://evil.example.test", "https://admin.example.test.evil.test", "null", ""])
def test_other_origins_are_allowed_nothing(origin):
    for method in ("OPTIONS", "POST"):
        response = ask(lambda _: Answer(200, {}), method=method, headers=STATIC | {"Origin": origin})
        assert not [name for name in response.headers if name[0].startswith("Access-Control")]


def test_responses_and_errors_can_be_read_from_a_configured_origin():
    origin = {"Origin": "https://admin.example.test"}
    for headers in (STATIC | origin, origin):
        response = ask(lambda _: Answer(200, {}), headers=headers)
        assert response.headers["Access-Control-Allow-Origin"] == "https://admin.example.test"
