"""The local pg_net against the behaviour of pg_net 0.20 (supabase/pg_net, `sql/pg_net.sql`, `src/worker.c`)."""

import json
import threading
import time
from collections.abc import Callable

import psycopg
import pytest

from local import process
from local.http_server import Request, Response, Server
from local.supabase.extensions.pg_net import PgNetWorker


class Receiver:
    """Records requests. While `gate` is cleared every request waits; `answer` makes the response."""

    def __init__(self):
        self.requests: list[Request] = []
        self.gate = threading.Event()
        self.gate.set()
        self.answer: Callable[[Request], Response] = lambda _: Response(200, b"ok", {"X-One": "1"})
        self.server = Server(self._receive)

    def _receive(self, request: Request) -> Response:
        self.requests.append(request)
        self.gate.wait(200)
        return self.answer(request)


@pytest.fixture
def receiver():
    receiver = Receiver()
    with receiver.server:
        yield receiver
        receiver.gate.set()


@pytest.fixture
def worker(bare_database):
    with PgNetWorker(bare_database, pause_s=0.02) as worker:
        yield worker


def until(condition: Callable[[], object], limit_s: float = 15) -> object:
    deadline = time.monotonic() + limit_s
    while not (result := condition()):
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.01)
    return result


def responses(session: psycopg.Connection, count: int) -> list[tuple]:
    wanted = "select id, status_code, content, timed_out, error_msg from net._http_response order by id"
    until(lambda: _count(session) >= count)
    return session.execute(wanted).fetchall()


def _count(session: psycopg.Connection) -> int:
    return session.execute("select count(*) from net._http_response").fetchone()[0]


def queued(session: psycopg.Connection) -> int:
    return session.execute("select count(*) from net.http_request_queue").fetchone()[0]


@pytest.mark.every_postgres
def test_a_committed_post_is_sent_once_and_its_response_stored(bare_database, worker, receiver, connect):
    session = connect(bare_database, "service_role")
    post = 'select net.http_post(%s, \'{"user_id": "x"}\'::jsonb, headers := \'{"X-Secret": "s"}\'::jsonb)'
    (number,) = session.execute(post, (receiver.server.url + "/f",)).fetchone()
    assert responses(session, 1) == [(number, 200, "ok", False, None)]
    (request,) = receiver.requests
    assert (request.method, request.path, json.loads(request.body)) == ("POST", "/f", {"user_id": "x"})
    assert request.headers["user-agent"] == "pg_net/0.20.4"
    assert request.headers["content-type"] == "application/json"
    assert request.headers["x-secret"] == "s"
    kept = session.execute("select headers ->> 'X-One', content_type from net._http_response").fetchone()
    assert kept == ("1", None)


def test_nothing_is_sent_before_commit_or_after_rollback(bare_database, worker, receiver, connect):
    """A request exists for the worker once its transaction has committed."""
    session = connect(bare_database)
    with session.transaction(force_rollback=True):
        session.execute("select net.http_post(%s)", (receiver.server.url + "/rolled-back",))
    with session.transaction():
        session.execute("select net.http_post(%s)", (receiver.server.url + "/kept",))
        assert receiver.requests == []
    responses(session, 1)
    assert [request.path for request in receiver.requests] == ["/kept"]


def test_a_direct_insert_waits_for_the_next_wake(bare_database, worker, receiver, connect):
    """pg_net PR 282: only the request functions wake the worker."""
    session = connect(bare_database)
    session.execute("select net.http_post(%s)", (receiver.server.url + "/first",))
    responses(session, 1)
    until(lambda: worker.is_asleep)
    session.execute(
        "insert into net.http_request_queue (method, url, headers, timeout_milliseconds) values ('GET', %s, '{}', 5000)",
        (receiver.server.url + "/direct",),
    )
    time.sleep(0.3)
    assert (queued(session), worker.is_asleep) == (1, True)
    session.execute("select net.wake()")
    responses(session, 2)


def test_a_timeout_is_recorded_although_the_receiver_got_it(bare_database, worker, receiver, connect):
    """The total time counts. Afterwards the outcome at the receiver is unknown, and nothing is retried."""
    receiver.gate.clear()
    session = connect(bare_database)
    session.execute("select net.http_post(%s, timeout_milliseconds := 1000)", (receiver.server.url,))
    ((_, status, content, timed_out, message),) = responses(session, 1)
    assert (status, content, timed_out) == (None, None, True)
    assert message.startswith("Timeout of 1000 ms reached")
    receiver.gate.set()
    session.execute("select net.http_post(%s)", (receiver.server.url + "/later",))
    responses(session, 2)
    assert [request.path for request in receiver.requests] == ["/", "/later"]


def test_a_failure_leaves_a_row_and_is_not_retried(bare_database, worker, receiver, connect):
    """The row names the failure, a closed port in curl's words."""
    receiver.answer = lambda request: (
        Response(503, b"busy", {"Content-Type": "text/plain"})
        if request.path == "/503"
        else Response(0, disconnect=True)
    )
    session = connect(bare_database)
    closed = f"http://127.0.0.1:{process.free_port()}"
    for url in (receiver.server.url + "/503", receiver.server.url + "/cut", closed, "gopher://x"):
        session.execute("select net.http_post(%s)", (url,))
    outcomes = [
        (status, content, timed_out, message) for _, status, content, timed_out, message in responses(session, 4)
    ]
    assert outcomes[0] == (503, "busy", False, None)
    assert outcomes[1][:3] == (None, None, False)
    assert outcomes[1][3]
    assert outcomes[2] == (None, None, False, "Couldn't connect to server")
    assert outcomes[3][3].startswith("UnsupportedProtocol")
    assert len(receiver.requests) == 2


def test_a_null_header_value_is_dropped_and_the_request_still_goes_out(bare_database, worker, receiver, connect):
    """`'Bearer ' || secret` with a missing secret: the receiver answers 401, and nothing reports it."""
    session = connect(bare_database)
    headers = "jsonb_build_object('Authorization', 'Bearer ' || null, 'X-Kept', 'yes')"
    session.execute(f"select net.http_post(%s, headers := {headers})", (receiver.server.url,))
    responses(session, 1)
    assert "authorization" not in receiver.requests[0].headers
    assert receiver.requests[0].headers["x-kept"] == "yes"


def test_arguments_that_raise_in_the_caller(bare_database, connect):
    """Missing values, another content type, and params, which the local pg_net leaves out."""
    session = connect(bare_database, "service_role")
    with pytest.raises(psycopg.errors.NotNullViolation):
        session.execute("select net.http_post(null)")
    with pytest.raises(psycopg.errors.NotNullViolation):
        session.execute("select net.http_post('http://x', headers := null)")
    with pytest.raises(psycopg.errors.RaiseException, match='must be "application/json"'):
        session.execute("select net.http_post('http://x', headers := '{\"content-type\": \"text/plain\"}')")
    with pytest.raises(psycopg.errors.FeatureNotSupported, match="does not support params"):
        session.execute("select net.http_post('http://x', params := '{\"a\": 1}')")
    assert session.execute("select net.http_post('http://x')").fetchone()[0] > 0  # no error without a worker
    assert queued(session) == 1


def test_roles_that_may_send(bare_database, connect):
    """As on Supabase: the three API roles and `postgres`, and no other role."""
    session = connect(bare_database)
    session.execute("set role pg_monitor")  # any role outside Supabase's own
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        session.execute("select net.http_post('http://x')")
    for role in ("anon", "authenticated", "service_role", "postgres"):
        assert connect(bare_database, role).execute("select net.http_post('http://x')").fetchone()[0] > 0


@pytest.mark.slow
def test_a_batch_is_sent_at_once_and_the_next_waits_for_its_slowest(bare_database, receiver, connect):
    """Up to batch_size requests are sent together; their rows stay visible in the queue meanwhile."""
    receiver.gate.clear()
    session = connect(bare_database)
    session.execute(  # the highest id first, so that only the order by id explains which are taken
        "insert into net.http_request_queue (id, method, url, headers, body, timeout_milliseconds)"
        " select n, 'POST', %s, '{}', n::text::bytea, 60000 from generate_series(250, 1, -1) n",
        (receiver.server.url + "/many",),
    )
    with PgNetWorker(bare_database, pause_s=0.02):
        until(lambda: len(receiver.requests) >= 200)
        assert (len(receiver.requests), queued(session), _count(session)) == (200, 250, 0)
        receiver.gate.set()
        rows = responses(session, 250)
    assert {json.loads(request.body) for request in receiver.requests[:200]} == set(range(1, 201))
    assert len(receiver.requests) == 250
    assert {status for _, status, *_ in rows} == {200}


def test_a_restarted_worker_sends_what_is_queued(bare_database, receiver, connect):
    """A request that no worker has taken waits for the next one."""
    session = connect(bare_database)
    session.execute("select net.http_post(%s)", (receiver.server.url,))
    with PgNetWorker(bare_database, pause_s=0.02):
        responses(session, 1)
    session.execute("select net.http_post(%s)", (receiver.server.url,))
    with PgNetWorker(bare_database, pause_s=0.02):
        responses(session, 2)


def test_a_crash_empties_queue_and_responses(bare_database, worker, receiver, connect):
    """Both tables are unlogged; the worker continues with the next request."""
    session = connect(bare_database)
    session.execute("select net.http_post(%s)", (receiver.server.url,))
    responses(session, 1)
    receiver.gate.clear()
    many = "select net.http_post(%s, timeout_milliseconds := 300000) from generate_series(1, 3)"
    session.execute(many, (receiver.server.url,))
    until(lambda: len(receiver.requests) == 4)
    worker.crash()  # does not wait for the responses
    assert (queued(session), _count(session)) == (0, 0)
    receiver.gate.set()
    session.execute("select net.http_post(%s)", (receiver.server.url + "/after",))
    assert [number for number, *_ in responses(session, 1)] == [5]


def test_without_the_net_schema_the_worker_waits_for_it(bare_database, receiver, connect, capfd):
    """It reports the error and continues when the schema is there."""
    session = connect(bare_database)
    session.execute("alter schema net rename to gone")
    with PgNetWorker(bare_database, pause_s=0.02):
        until(lambda: "does not exist" in capfd.readouterr().err)
        session.execute("alter schema gone rename to net")
        session.execute("select net.http_post(%s)", (receiver.server.url,))
        responses(session, 1)
