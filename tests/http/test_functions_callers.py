"""The three functions as deployed: valid and invalid requests get the documented answer, and bad input reaches nothing."""

import itertools
import json
import socket
import time

import pytest

from tests.http.running_function import (
    FUNCTIONS,
    INSTALLATION,
    JSON,
    PATIENCE_S,
    SECRET_TEXTS,
    SETTINGS,
    STATIC,
    USER,
    closed_port,
    outside,
    running,
    sign,
)

GOOD = json.dumps({"user_id": USER}).encode()
LIMIT = 64 * 1024
SETTINGS_ROW = {"installation_id": INSTALLATION, "live": True, "fly_org_slug": "acme"}
NOW = "2026-11-22T12:00:00+00:00"


@pytest.fixture(scope="module", params=FUNCTIONS)
def deployed(request, tmp_path_factory):
    """A function and the database it would reach. At the end, its log must be JSON and free of secrets."""
    folder = tmp_path_factory.mktemp(request.param)
    with outside() as (world, settings):
        with running(request.param, settings, folder) as function:
            yield function, world
        assert function.lines()
        for text in SECRET_TEXTS:
            assert text not in function.output()


@pytest.fixture
def function(deployed):
    deployed[1].reached.clear()
    deployed[1].answers.clear()
    return deployed[0]


@pytest.fixture
def world(deployed):
    return deployed[1]


def assert_problem(reply, status):
    assert reply.status == status, reply.body
    assert reply.headers["Content-Type"] == "application/problem+json"
    problem = reply.json()
    assert {"type", "title", "status", "detail", "instance"} <= problem.keys()
    assert problem["status"] == status
    assert "Traceback" not in reply.body.decode()
    for text in SECRET_TEXTS:
        assert text not in reply.body.decode() + str(reply.headers)


UNPROVEN = {
    "unsigned": {},
    "unsigned, not JSON": {"body": b"not json"},
    "empty static secret": {"headers": {"X-Hangar-Secret": ""}},
    "wrong static secret": {"headers": {"X-Hangar-Secret": "canary"}},
    "static secret that is not ASCII": {"headers": {"X-Hangar-Secret": "ÿþ".encode("latin-1")}},
    "static secret twice": {"headers": {"X-Hangar-Secret": f"{STATIC['X-Hangar-Secret']},{STATIC['X-Hangar-Secret']}"}},
    "the database's secret key": {"headers": {"Authorization": "Bearer sb_secret_canary0000000000"}},
    "stale signature": {"headers": sign(GOOD, at=time.time().__trunc__() - 1000)},
    "future signature": {"headers": sign(GOOD, at=time.time().__trunc__() + 100_000)},
    "another key": {"headers": sign(GOOD, key=b"o" * 32)},
    "another body": {"headers": sign(b"{}")},
    "signature without comma": {"headers": sign(GOOD, webhook_signature="v1")},
    "signature that is not base64": {"headers": sign(GOOD, webhook_signature="v1,%%%")},
    "signature that is not ASCII": {"headers": sign(GOOD, webhook_signature="v1,ÿ".encode("latin-1"))},
    "unknown version": {"headers": sign(GOOD, webhook_signature="v2,AAAA")},
    "timestamp that is no number": {"headers": sign(GOOD, webhook_timestamp="soon")},
    "timestamp nan": {"headers": sign(GOOD, webhook_timestamp="nan")},
    "empty timestamp": {"headers": sign(GOOD, webhook_timestamp="")},
    "empty id": {"headers": sign(GOOD, webhook_id="")},
}


@pytest.mark.parametrize("case", UNPROVEN.values(), ids=UNPROVEN)
def test_without_proof_it_is_401_and_nothing_is_reached(function, world, case):
    reply = function.ask(case.get("body", GOOD), JSON | case.get("headers", {}))
    assert_problem(reply, 401)
    assert reply.json()["code"] == "proof"
    assert world.reached == []


BAD_BODIES = {
    "empty": b"",
    "not JSON": b"not json",
    "not UTF-8": b'{"user_id": "\xff\xfe"}',
    "UTF-16": '{"user_id": 1}'.encode("utf-16"),
    "two values": b"{} {}",
    "deep": b"[" * 60_000,
    "deep objects": b'{"a":' * 12_000,
    "a number of 60,000 digits": b'{"n": ' + b"9" * 60_000 + b"}",
    "NaN": b'{"user_id": NaN}',
    "a list": b"[]",
    "a text": b'"text"',
    "null": b"null",
    "user_id null": b'{"user_id": null}',
    "user_id a number": b'{"user_id": 1}',
    "user_id an object": b'{"user_id": {"id": 1}}',
    "user_id no uuid": b'{"user_id": "canary"}',
    "user_id half a surrogate": b'{"user_id": "\\ud800"}',
    "user_id in braces": json.dumps({"user_id": f"{{{USER}}}"}).encode(),
    "record a text": b'{"type": "UPDATE", "record": "text"}',
    "record without user": b'{"type": "UPDATE", "record": {"id": 1}, "old_record": null}',
    "record with a bad user": b'{"type": "UPDATE", "record": {"user_id": "canary"}}',
}


@pytest.mark.parametrize("body", BAD_BODIES.values(), ids=BAD_BODIES)
def test_an_authenticated_bad_body_is_400_and_nothing_is_reached(function, world, body):
    for headers in (sign(body), STATIC):
        assert_problem(function.ask(body, JSON | headers), 400)
    assert world.reached == []


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE"])
def test_other_methods_are_405(function, world, method):
    for headers in ({}, JSON | STATIC):
        reply = function.ask(GOOD, headers, method=method)
        assert_problem(reply, 405)
        assert reply.headers["Allow"] == "POST, OPTIONS"
    assert world.reached == []


@pytest.mark.parametrize(
    "content_type", [None, "text/plain", "application/x-www-form-urlencoded", "application/json; charset=utf-16"]
)
def test_another_type_is_415(function, world, content_type):
    headers = STATIC if content_type is None else STATIC | {"Content-Type": content_type}
    assert_problem(function.ask(GOOD, headers), 415)
    assert world.reached == []


@pytest.mark.parametrize("size", [LIMIT + 1, 1_000_000, 12_000_000])
def test_an_oversized_body_is_413_and_the_sender_can_read_the_answer(function, world, size):
    for headers in ({}, JSON | STATIC):
        assert_problem(function.ask(b" " * size, headers), 413)
    assert world.reached == []


def test_a_huge_length_is_413_before_anything_is_sent(function):
    reply = function.ask_raw(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n")
    assert_problem(reply, 413)


def test_a_chunked_body_is_limited_by_counting(function, world):
    """Without a length header the function counts the bytes."""
    chunks = itertools.repeat(b" " * 10_000, 100)
    assert_problem(function.ask(chunks, JSON | STATIC), 413)
    assert world.reached == []
    good = (GOOD[at : at + 7] for at in range(0, len(GOOD), 7))
    assert_problem(function.ask(good, JSON | sign(GOOD)), 503)
    assert world.reached


def test_broken_chunks_are_400(function, world):
    head = f"POST / HTTP/1.1\r\nHost: x\r\nX-Hangar-Secret: {STATIC['X-Hangar-Secret']}\r\n".encode()
    head += b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert_problem(function.ask_raw(head + b"zz\r\n{}\r\n0\r\n\r\n"), 400)
    assert world.reached == []


def test_a_valid_call_is_503_while_the_database_is_down(function, world):
    """The row stays due, and Retry-After says when to call again."""
    for headers in (sign(GOOD), STATIC):
        for content_type in ("application/json", "application/json; charset=utf-8"):
            reply = function.ask(GOOD, headers | {"Content-Type": content_type})
            assert_problem(reply, 503)
            assert int(reply.headers["Retry-After"]) >= 1
    assert set(world.reached) == {"POST /rest/v1/rpc/fly_claim"}


def test_the_user_of_a_database_webhook_is_claimed(function, world):
    payload = {"type": "DELETE", "table": "user_subscriptions", "schema": "public", "record": None}
    body = json.dumps(payload | {"old_record": {"user_id": USER, "tier": "pro"}}).encode()
    assert_problem(function.ask(body, JSON | STATIC), 503)
    assert set(world.reached) == {"POST /rest/v1/rpc/fly_claim"}


def none_claim(**changes):
    claim = {"outcome": "none", "row": None, "last": None, "settings": SETTINGS_ROW, "now": NOW}
    return claim | {"entitled": False, "known": True, "closed_unknown": False} | changes


def test_the_log_names_caller_user_and_trace(function, world):
    world.answers["fly_claim"] = none_claim()
    delivery = {**sign(GOOD), "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
    reply = function.ask(GOOD, JSON | delivery)
    line = next(line for line in function.lines() if reply.headers["X-Request-Id"] in str(line))
    assert line["severity"] == "INFO"
    assert line["trace"] == "0af7651916cd43dd8448eb211c80319c"
    expected = {"caller": "webhook", "caller_name": delivery["webhook-id"], "user_id": USER}
    assert expected.items() <= line["labels"].items()


@pytest.mark.parametrize("known", [True, False])
def test_a_user_who_needs_nothing_is_a_success_with_a_code(function, world, known):
    world.answers["fly_claim"] = none_claim(known=known)
    reply = function.ask(GOOD, JSON | sign(GOOD))
    answer = reply.json()
    assert reply.status == 200
    assert reply.headers["Content-Type"] == "application/json"
    assert answer["user_id"] == USER
    assert {"status", "app_name", "machine_id", "generation", "monthly_cost_estimate_usd"} <= answer.keys()
    assert answer["code"] == ("not_entitled" if known else "unknown_user")


def test_a_preflight_is_answered_without_proof(function, world):
    reply = function.ask(None, {"Origin": "https://admin.example.test"}, method="OPTIONS")
    assert (reply.status, reply.body) == (204, b"")
    assert reply.headers["Access-Control-Allow-Origin"] == "https://admin.example.test"
    reply = function.ask(None, {"Origin": "https://evil.example.test"}, method="OPTIONS")
    assert reply.headers["Access-Control-Allow-Origin"] is None
    assert world.reached == []


@pytest.fixture(scope="module")
def health(tmp_path_factory):
    with outside() as (world, settings), running("health", settings, tmp_path_factory.mktemp("health")) as function:
        yield function, world


@pytest.mark.parametrize("value", ["yes", 1, None, [], {}])
def test_drain_only_must_be_a_boolean(health, value):
    function, world = health
    world.reached.clear()
    body = json.dumps({"drain_only": value}).encode()
    assert_problem(function.ask(body, JSON | sign(body)), 400)
    assert world.reached == []


SOMEBODY = "00000000-0000-4000-8000-000000000001"


@pytest.mark.parametrize(
    "body",
    [
        {"drain_only": True, "user_ids": SOMEBODY},
        {"drain_only": True, "user_ids": [SOMEBODY] * 6},
        {"drain_only": True, "user_ids": ["nobody"]},
        {"drain_only": True, "user_ids": [None]},
        {"drain_only": True, "user_ids": {"id": SOMEBODY}},
        {"user_ids": [SOMEBODY]},
    ],
)
def test_the_users_of_a_wake_up_call_are_at_most_five_uuids(health, body):
    function, world = health
    world.reached.clear()
    content = json.dumps(body).encode()
    assert_problem(function.ask(content, JSON | sign(content)), 400)
    assert world.reached == []


def test_a_drain_with_nothing_due_answers_its_counts(health):
    function, world = health
    world.answers["fly_apply_marks"] = {"users": 0, "changed": 0, "inserted": 0, "left": 0, "everybody": False}
    world.answers["fly_advance_releases"] = {"active": 0, "moved": 0, "looks": [], "now": NOW}
    world.answers["fly_claim_due"] = {"claimed": [], "settings": SETTINGS_ROW, "now": NOW, "due_left": 0}
    body = b'{"drain_only": true, "unknown": ["is", "tolerated"]}'
    reply = function.ask(body, JSON | sign(body))
    assert reply.status == 200
    counts = {
        "apps",
        "healthy",
        "unhealthy",
        "unknown",
        "repaired",
        "provisioned",
        "deprovisioned",
        "orphans",
        "fly_calls",
    }
    assert counts | {"seconds", "complete"} <= reply.json().keys()


def test_an_empty_object_runs_a_sweep(health):
    function, world = health
    world.answers.clear()
    world.reached.clear()
    reply = function.ask(b"{}", JSON | STATIC)
    assert_problem(reply, 503)
    assert world.reached


@pytest.mark.slow
@pytest.mark.parametrize("target", FUNCTIONS)
def test_with_nobody_listening_it_is_503_with_retry_after(target, tmp_path):
    """The database's port is closed, so the connection itself is refused."""
    with closed_port() as port:
        settings = SETTINGS | {"SUPABASE_URL": f"http://127.0.0.1:{port}", "FLY_API_URL": f"http://127.0.0.1:{port}"}
        with running(target, settings, tmp_path) as function:
            reply = function.ask(GOOD, JSON | sign(GOOD))
            assert_problem(reply, 503)
            assert int(reply.headers["Retry-After"]) >= 1


def test_bodies_that_never_arrive_do_not_block_other_callers(function):
    """More callers send half a body than there are threads. Each gets 408, and the next caller gets its response."""
    stalled = [socket.create_connection(("127.0.0.1", function.port), timeout=PATIENCE_S) for _ in range(5)]
    try:
        for connection in stalled:
            connection.sendall(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 500\r\n\r\n{")
        assert_problem(function.ask(GOOD, JSON), 401)
        assert b" 408 " in stalled[0].recv(64)
    finally:
        for connection in stalled:
            connection.close()
