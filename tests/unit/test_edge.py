"""The edge: the order of its checks, the shape of its answers, and what a stranger learns (nothing)."""

import base64
import io
import json
import logging
import uuid
from decimal import Decimal

import flask
import pytest
from werkzeug.test import create_environ

from functions.responses import answer_result
from shared.domain.errors import Capacity, OutcomeUnknown, Refused, TransientError
from shared.http.endpoint import Answer, Edge
from shared.http.problem import Problem
from shared.http.request_body import MAX_BODY_BYTES, MAX_DISCARDED_BYTES, find_user_id, require_user_id
from shared.http.webhook_auth import SignedWebhook, StaticHeader, sign_webhook
from shared.reconcile.result import Result
from shared.settings.secret import Secret

KEY = b"k" * 32
NOW = 1_700_000_000
USER = "11111111-1111-4111-8111-111111111111"
STATIC = {"X-Hangar-Secret": "a-static-secret-of-32-characters"}
JSON = "application/json"


def make_edge(**changes):
    verifiers = (
        SignedWebhook(Secret("whsec_" + base64.b64encode(KEY).decode())),
        StaticHeader(Secret(STATIC["X-Hangar-Secret"])),
    )
    parts = {
        "function": "provision",
        "verifiers": verifiers,
        "allowed": frozenset({"webhook", "static"}),
        "origins": frozenset({"https://admin.example.test"}),
        "deadline_s": 270.0,
        "now_unix_s": lambda: NOW,
    }
    return Edge(**{**parts, **changes})


def ask(run=None, *, edge=None, method="POST", headers=STATIC, body=b"{}", content_type=JSON):
    """The edge's answer to one request; without `run` the function must not be reached."""

    def unreachable(call):
        raise AssertionError(f"reached with {call}")

    app = flask.Flask("edge")
    served = edge or make_edge()
    methods = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
    app.add_url_rule(
        "/", view_func=lambda: served.serve(flask.request, run or unreachable), endpoint="run", methods=methods
    )
    return app.test_client().open("/", method=method, headers=headers, data=body, content_type=content_type)


def signed(body, at=NOW):
    signature = sign_webhook(KEY, "msg_1", sent_at=str(at), body=body)
    return {"webhook-id": "msg_1", "webhook-timestamp": str(at), "webhook-signature": signature}


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


def test_a_good_call_reaches_the_function():
    seen = []

    def run(call):
        seen.append(call)
        return Answer(200, {"fine": True})

    body = json.dumps({"user_id": USER}).encode()
    response = ask(run, headers=signed(body), body=body)
    assert (response.status_code, response.get_json(), response.content_type) == (200, {"fine": True}, JSON)
    (call,) = seen
    assert call.body == {"user_id": USER}
    assert (call.caller.kind, call.caller.name) == ("webhook", "msg_1")
    assert 269 < call.remaining_s <= 270
    assert call.request_id == response.headers["X-Request-Id"]
    assert response.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "PATCH", "DELETE"])
def test_other_methods_are_405_before_any_proof(method):
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
def test_without_proof_every_answer_is_the_same_401(headers, body, content_type):
    """Whether the body is sound, or its type, is nothing a stranger is told."""
    problem = assert_problem(ask(headers=headers, body=body, content_type=content_type), 401)
    assert problem["detail"] == "The proof is missing or wrong"


def test_a_401_names_a_challenge():
    assert ask(headers={}).headers["WWW-Authenticate"]


def test_a_proven_caller_of_another_kind_is_403():
    assert_problem(ask(edge=make_edge(allowed=frozenset({"webhook"}))), 403)


class Unjudged:
    """A proof whose judge is out of reach."""

    def verify(self, headers, body, now_unix_s):
        raise TransientError("the public keys could not be read", retry_after_s=7)


def test_a_proof_that_cannot_be_judged_is_503_and_not_401():
    """Whoever is told 401 signs out; here it is only to come again."""
    response = ask(edge=make_edge(verifiers=(Unjudged(),)))
    assert_problem(response, 503, "proof_unchecked")
    assert response.headers["Retry-After"] == "7"
    assert (
        ask(lambda _: Answer(200, {}), edge=make_edge(verifiers=(Unjudged(), *make_edge().verifiers))).status_code
        == 200
    )


def test_with_no_verifier_nobody_gets_in():
    assert_problem(ask(edge=make_edge(verifiers=())), 401)


@pytest.mark.parametrize("headers", [{}, STATIC])
def test_a_body_over_64_kib_is_413_before_any_proof(headers):
    body = b'{"user_id": "' + b"x" * MAX_BODY_BYTES + b'"}'
    assert_problem(ask(headers=headers, body=body), 413)


def test_a_body_of_exactly_64_kib_is_taken():
    body = b"{}".ljust(MAX_BODY_BYTES)
    assert ask(lambda call: Answer(200, call.body), body=body).status_code == 200
    assert_problem(ask(body=body + b" "), 413)


class Endless(io.RawIOBase):
    """A body without a declared length that never ends; counts what was read of it."""

    taken = 0

    def read(self, size=-1):
        assert size > 0, "read without a limit"
        self.taken += size
        return b" " * size


def send(stream, **environ):
    """The answer to a body as gunicorn hands it over, of unknown length unless told; the test client would rewind it."""
    made = create_environ(method="POST", headers=STATIC, content_type=JSON)
    request = flask.Request(made | {"wsgi.input": stream, "wsgi.input_terminated": True} | environ)
    response = make_edge().serve(request, lambda _: Answer(200, {}))
    assert request.get_data() == b"", "the framework reads on after us"
    return response


def test_a_chunked_body_is_read_no_further_than_needed():
    """Held is one byte over the limit; the next 16 MiB are thrown away, and the framework finds nothing to read on."""
    stream = Endless()
    response = send(stream)
    assert_problem(response, 413)
    assert stream.taken == MAX_BODY_BYTES + 1 + MAX_DISCARDED_BYTES


def test_a_huge_length_is_believed_and_nothing_is_read():
    stream = Endless()
    assert_problem(send(stream, CONTENT_LENGTH=str(1 << 40)), 413)
    assert stream.taken == 0


def test_a_body_that_breaks_off_is_400():
    class Broken(io.RawIOBase):
        def read(self, size=-1):
            raise OSError("the sender is gone")

    assert_problem(send(Broken()), 400, "body")


@pytest.mark.parametrize(
    "content_type",
    [JSON, "application/json; charset=utf-8", 'application/json;charset="UTF-8"', "Application/JSON; Charset=UTF-8"],
)
def test_json_is_taken_with_its_charset(content_type):
    assert ask(lambda _: Answer(200, {}), content_type=content_type).status_code == 200


@pytest.mark.parametrize(
    "content_type",
    [
        None,
        "",
        "text/plain",
        "text/json",
        "application/x-www-form-urlencoded",
        "application/problem+json",
        "application/json; charset=utf-16",
        "application/jsonp",
    ],
)
def test_what_is_not_declared_as_json_is_415(content_type):
    assert_problem(ask(content_type=content_type), 415)


def test_a_compressed_body_is_415():
    assert_problem(ask(headers=STATIC | {"Content-Encoding": "gzip"}), 415)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"not json",
        b"{",
        b"{} {}",
        b"\xff\xfe",
        b'{"user_id": "\xff"}',
        b"\xef\xbb\xbf{}",
        "{}".encode("utf-16"),
        b"{'user_id': 1}",
        b'{"n": NaN}',
        b'{"n": -Infinity}',
        b"[" * 60_000,
        b'{"a":' * 12_000,
        b'{"n": ' + b"9" * 60_000 + b"}",
        b"[]",
        b'"text"',
        b"null",
        b"1",
    ],
)
def test_a_proven_body_that_is_no_json_object_is_400(body):
    """Signed or not makes no difference: the proof is good, the body is not."""
    assert_problem(ask(headers=signed(body), body=body), 400)
    assert_problem(ask(headers=STATIC, body=body), 400)


USERS = [
    ({"user_id": USER}, USER),
    ({"user_id": USER.upper(), "tier": "pro"}, USER),
    ({"user_id": USER, "reason": {"any": "thing"}}, USER),
    ({"type": "INSERT", "table": "user_subscriptions", "schema": "public", "record": {"user_id": USER}}, USER),
    ({"type": "UPDATE", "record": {"user_id": USER}, "old_record": {"user_id": str(uuid.UUID(int=2))}}, USER),
    ({"type": "DELETE", "record": None, "old_record": {"user_id": USER, "tier": "pro"}}, USER),
    ({"record": {"user_id": None}, "old_record": {"user_id": USER}}, USER),
    ({"user_id": USER, "record": "ignored"}, USER),
]


@pytest.mark.parametrize(("body", "user_id"), USERS)
def test_the_user_is_found_in_either_form(body, user_id):
    assert find_user_id(body) == uuid.UUID(user_id)


@pytest.mark.parametrize("body", [{}, {"tier": "pro"}, {"record": None, "old_record": None}, {"type": "TRUNCATE"}])
def test_a_body_may_name_no_user_where_none_is_needed(body):
    assert find_user_id(body) is None
    with pytest.raises(Problem) as caught:
        require_user_id(body)
    assert caught.value.status == 400


@pytest.mark.parametrize(
    "value",
    [
        None,
        "",
        "canary",
        1,
        True,
        1.5,
        [USER],
        {"id": USER},
        USER[:-1],
        f"{USER} ",
        f"{{{USER}}}",
        f"urn:uuid:{USER}",
        USER.replace("-", ""),
        USER.replace("1", "g"),
        USER.replace("1", chr(0x661)),
        "\ud800",
    ],
)
def test_a_user_id_that_is_no_uuid_is_400_and_not_repeated(value):
    for body in ({"user_id": value}, {"record": {"user_id": value}}, {"old_record": {"user_id": value}}):
        with pytest.raises(Problem) as caught:
            find_user_id(body)
        assert (caught.value.status, caught.value.code) == (400, "user_id")
        assert "canary" not in caught.value.detail


@pytest.mark.parametrize("record", ["text", 1, [], True, ""])
def test_a_record_that_is_no_object_is_400(record):
    with pytest.raises(Problem) as caught:
        find_user_id({"record": record})
    assert caught.value.status == 400


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
def test_what_may_pass_is_503_with_retry_after(error, retry_after):
    def run(_):
        raise error

    response = ask(run)
    problem = assert_problem(response, 503)
    assert response.headers["Retry-After"] == retry_after
    assert "canary" not in json.dumps(problem)


@pytest.mark.parametrize("error", [RuntimeError("canary"), Refused("canary", code="auth"), KeyError("canary")])
def test_a_fault_is_500_with_its_stack_in_the_log_only(error, caplog):
    def run(_):
        raise error

    with caplog.at_level(logging.INFO):
        problem = assert_problem(ask(run), 500)
    assert "canary" not in json.dumps(problem)
    assert any(record.exc_info and "canary" in str(record.exc_info[1]) for record in caplog.records)


def test_a_preflight_of_a_configured_origin_is_answered():
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


def test_answers_and_errors_can_be_read_from_a_configured_origin():
    origin = {"Origin": "https://admin.example.test"}
    for headers in (STATIC | origin, origin):
        response = ask(lambda _: Answer(200, {}), headers=headers)
        assert response.headers["Access-Control-Allow-Origin"] == "https://admin.example.test"


def outcome(**changes):
    parts = {
        "state": "converged",
        "status": "active",
        "app_name": "vyx-user-00000000",
        "machine_id": "148e1234",
        "generation": 3,
        "monthly_cost_estimate_usd": Decimal("6.0"),
        "next_attempt_at": None,
        "detail": "active",
        "known": True,
        "entitled": True,
    }
    return Result(**{**parts, **changes})


def test_a_converged_user_is_200_with_money_as_text():
    answer = answer_result(outcome(), uuid.UUID(USER), "provision")
    assert (answer.status, answer.body) == (
        200,
        {
            "user_id": USER,
            "status": "active",
            "app_name": "vyx-user-00000000",
            "machine_id": "148e1234",
            "generation": 3,
            "monthly_cost_estimate_usd": "6.00",
            "detail": "active",
            "code": "converged",
        },
    )


def test_a_pending_user_is_202_with_the_next_attempt():
    answer = answer_result(
        outcome(state="pending", status="error", next_attempt_at="2026-11-22T12:00:00+00:00"),
        uuid.UUID(USER),
        "provision",
    )
    assert answer.status == 202
    assert answer.body["next_attempt_at"] == "2026-11-22T12:00:00+00:00"


@pytest.mark.parametrize(
    ("changes", "direction", "detail"),
    [
        ({"known": False, "state": "nothing", "entitled": False}, "provision", "why"),
        ({"state": "nothing", "entitled": False}, "provision", "why"),
        ({"entitled": False}, "provision", "not entitled to an app, so no app is provisioned; why"),
        ({}, "deprovision", "still entitled to an app, so the app is not removed; why"),
        ({}, "provision", "why"),
        ({"entitled": None}, "provision", "why"),
        ({"entitled": False}, "deprovision", "why"),
        ({"entitled": False}, None, "why"),
    ],
)
def test_a_nudge_that_believes_wrongly_is_a_success_that_says_so(changes, direction, detail):
    answer = answer_result(outcome(detail="why", **changes), uuid.UUID(USER), direction)
    assert answer.status == 200
    assert answer.body["detail"] == detail
