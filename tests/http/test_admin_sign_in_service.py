"""How the dashboard receives responses of Supabase Auth: as tokens, a refusal with its code, or a transient error."""

import json

import pytest

from functions.admin.auth.sign_in_service import NotSignedIn, SignInService
from local.http_server import Response, Server
from shared.domain.errors import TransientError
from tests.http.running_function import closed_port

JSON = {"Content-Type": "application/json"}


def call(answer, use):
    """The result of `use` of the service if Supabase Auth always returns this response."""
    with Server(lambda _: answer) as server:
        return use(SignInService(f"{server.url}/auth/v1", "sb_publishable_0000000000"))


def reply(status, body, headers=JSON):
    return Response(status, body if isinstance(body, bytes) else json.dumps(body).encode(), headers)


def sign_in(service):
    return service.sign_in("a@example.test", "password")


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (reply(400, {"code": 400, "error_code": "invalid_credentials", "msg": "no"}), "invalid_credentials"),
        (
            reply(400, {"code": "user_banned", "message": "no"}, JSON | {"X-Supabase-Api-Version": "2024-01-01"}),
            "user_banned",
        ),
        (reply(429, {"error_code": "any", "msg": "no"}), "over_request_rate_limit"),
        (reply(429, b"slow down", {}), "over_request_rate_limit"),
        (reply(403, b"<html>", {}), "refused"),
        (reply(401, {"message": "Invalid API key"}), "refused"),
    ],
)
@pytest.mark.parametrize("use", [sign_in, lambda s: s.refresh("token"), lambda s: s.finish_oauth("code", "verifier")])
def test_a_refusal_has_the_code_of_supabase_auth(answer, code, use):
    with pytest.raises(NotSignedIn) as refusal:
        call(answer, use)
    assert refusal.value.code == code


@pytest.mark.parametrize(
    "answer",
    [
        reply(500, {"error_code": "unexpected_failure", "msg": "no"}),
        reply(502, b"bad gateway", {}),
        reply(503, {"msg": "no"}),
        reply(200, b"not json", {}),
        reply(200, {"access_token": "a"}),
        reply(302, b"", {"Location": "/elsewhere"}),
    ],
)
@pytest.mark.parametrize("use", [sign_in, lambda s: s.refresh("token"), lambda s: s.finish_oauth("code", "verifier")])
def test_an_answer_that_is_no_verdict_is_transient(answer, use):
    with pytest.raises(TransientError):
        call(answer, use)


@pytest.mark.parametrize("use", [sign_in, lambda s: s.refresh("token"), lambda s: s.sign_out("token")])
def test_no_answer_at_all_is_transient(use):
    with closed_port() as port, pytest.raises(TransientError):
        use(SignInService(f"http://127.0.0.1:{port}/auth/v1", "sb_publishable_0000000000"))


def test_signing_out_of_a_session_that_has_ended_is_not_an_error():
    call(reply(403, {"error_code": "session_not_found", "msg": "no"}), lambda service: service.sign_out("token"))
    with pytest.raises(TransientError):
        call(reply(500, b"", {}), lambda service: service.sign_out("token"))


def test_each_oauth_sign_in_has_a_verifier_of_its_own():
    service = SignInService("https://project.example.test/auth/v1", "sb_publishable_0000000000")
    first, second = (service.start_oauth("github", "https://admin.example.test/signed-in") for _ in range(2))
    assert first[0].startswith("https://project.example.test/auth/v1/authorize?")
    assert first[1] != second[1]
    assert len(first[1]) >= 43  # RFC 7636 4.1
