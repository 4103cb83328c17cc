"""The request body: its limits, its type, and the user that it names."""

import io
import uuid

import flask
import pytest
from werkzeug.test import create_environ

from shared.http.endpoint import Answer
from shared.http.problem import Problem
from shared.http.request_body import MAX_BODY_BYTES, MAX_DISCARDED_BYTES, find_user_id, require_user_id
from tests.unit.endpoint_calls import JSON, STATIC, USER, ask, assert_problem, make_endpoint, signed


class Endless(io.RawIOBase):
    """A body without a declared length that never ends. Counts the bytes that were read."""

    taken = 0

    def read(self, size=-1):
        assert size > 0, "read without a limit"
        self.taken += size
        return b" " * size


def send(stream, **environ):
    """The response to a body as gunicorn passes it on, without a length unless given. The test client would rewind it."""
    made = create_environ(method="POST", headers=STATIC, content_type=JSON)
    request = flask.Request(made | {"wsgi.input": stream, "wsgi.input_terminated": True} | environ)
    response = make_endpoint().serve(request, lambda _: Answer(200, {}))
    assert request.get_data() == b"", "the framework reads the rest of the body"
    return response


@pytest.mark.parametrize("headers", [{}, STATIC])
def test_a_body_over_64_kib_is_413_before_authentication(headers):
    body = b'{"user_id": "' + b"x" * MAX_BODY_BYTES + b'"}'
    assert_problem(ask(headers=headers, body=body), 413)


def test_a_body_of_exactly_64_kib_is_accepted():
    body = b"{}".ljust(MAX_BODY_BYTES)
    assert ask(lambda call: Answer(200, call.body), body=body).status_code == 200
    assert_problem(ask(body=body + b" "), 413)


def test_a_chunked_body_is_read_no_further_than_needed():
    """At most one byte over the limit is held. The next 16 MiB are discarded, and nothing is left for the framework."""
    stream = Endless()
    response = send(stream)
    assert_problem(response, 413)
    assert stream.taken == MAX_BODY_BYTES + 1 + MAX_DISCARDED_BYTES


def test_a_body_with_a_huge_declared_length_is_not_read():
    stream = Endless()
    assert_problem(send(stream, CONTENT_LENGTH=str(1 << 40)), 413)
    assert stream.taken == 0


def test_a_body_that_ends_early_is_400():
    class Broken(io.RawIOBase):
        def read(self, size=-1):
            raise OSError("the sender is gone")

    assert_problem(send(Broken()), 400, "body")


@pytest.mark.parametrize(
    "content_type",
    [JSON, "application/json; charset=utf-8", 'application/json;charset="UTF-8"', "Application/JSON; Charset=UTF-8"],
)
def test_json_is_accepted_with_its_charset(content_type):
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
def test_a_body_that_is_not_declared_as_json_is_415(content_type):
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
def test_a_body_that_is_not_a_json_object_is_400(body):
    """The same with a signature and with the static secret."""
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
def test_the_user_is_found_in_both_forms(body, user_id):
    assert find_user_id(body) == uuid.UUID(user_id)


@pytest.mark.parametrize("body", [{}, {"tier": "pro"}, {"record": None, "old_record": None}, {"type": "TRUNCATE"}])
def test_a_body_may_name_no_user_if_none_is_required(body):
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
def test_a_user_id_that_is_not_a_uuid_is_400_and_not_repeated(value):
    for body in ({"user_id": value}, {"record": {"user_id": value}}, {"old_record": {"user_id": value}}):
        with pytest.raises(Problem) as caught:
            find_user_id(body)
        assert (caught.value.status, caught.value.code) == (400, "user_id")
        assert "canary" not in caught.value.detail


@pytest.mark.parametrize("record", ["text", 1, [], True, ""])
def test_a_record_that_is_not_an_object_is_400(record):
    with pytest.raises(Problem) as caught:
        find_user_id({"record": record})
    assert caught.value.status == 400
