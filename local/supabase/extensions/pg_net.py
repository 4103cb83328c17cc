"""The worker of pg_net, outside the database, with the same batches, transactions and losses.

As in supabase/pg_net `src/worker.c` and `src/core.c` (0.20): one iteration is one transaction that
takes up to BATCH_SIZE requests in the order of their ids, sends them all at once, waits for the slowest, stores the responses
and commits. Nothing is retried. Between iterations the worker pauses, then sleeps until a committed request wakes it. Responses
do not expire.
"""

import asyncio
import contextlib
import functools
import select
import socket
import ssl
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import httpx
import psycopg
from psycopg.types.json import Jsonb

from local.service import Service
from local.supabase.extensions.recovery import Recovery

USER_AGENT = "pg_net/0.20.4"
BATCH_SIZE = 200

# As in pg_net, a header with a NULL value is dropped and the request is sent without it.
_TAKE = """
    with taken as (select id from net.http_request_queue order by id limit %s)
    delete from net.http_request_queue q using taken where q.id = taken.id
    returning q.id, upper(q.method), q.url, q.timeout_milliseconds, q.body, coalesce(
      (select jsonb_object_agg(key, value) from jsonb_each_text(q.headers) where value is not null), '{}')"""
_STORE = """
    insert into net._http_response (id, status_code, content, headers, content_type, timed_out, error_msg)
    values (%s, %s, %s, %s, %s, %s, %s)"""


@dataclass(frozen=True)
class _Request:
    id: int
    method: str
    url: str
    timeout_ms: int
    body: bytes | None
    headers: dict[str, str]


_Row = tuple[int, int | None, str | None, Jsonb | None, str | None, bool, str | None]


class PgNetWorker(Service):
    """Sends the requests of `net.http_post` in the database of `url` (a superuser's).

    `crash` is what crash recovery of the server does: the current batch is cut and both unlogged tables are empty.
    """

    def __init__(self, url: str, *, pause_s: float = 1.0) -> None:
        self._url, self._pause_s = url, pause_s
        self._woken = True  # requests left by an earlier worker are sent at the start
        self._crashed = self._asleep = False
        self._stopping = threading.Event()
        self._wake_write, self._wake_read = socket.socketpair()
        self._wake_write.settimeout(0)
        self._batch: tuple[asyncio.AbstractEventLoop, asyncio.Task[Any]] | None = None
        self._batch_lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="pg_net", daemon=True)

    @property
    def is_asleep(self) -> bool:
        """Whether nothing is being sent and only a wake makes the worker read the queue."""
        return self._asleep

    def start(self) -> Self:
        self._thread.start()
        return self

    def stop(self) -> None:
        """End after the current batch, as a restart of the worker does; the queue stays."""
        self._stopping.set()
        self._wake()
        self._thread.join()
        self._wake_write.close()
        self._wake_read.close()

    def crash(self) -> None:
        """Cut the current batch and empty queue and responses; returns when that is done."""
        self._crashed = True
        with self._batch_lock:
            if self._batch:
                loop, task = self._batch
                loop.call_soon_threadsafe(task.cancel)
        self._wake()
        while self._crashed and self._thread.is_alive():
            time.sleep(0.005)

    def _run(self) -> None:
        recovery = Recovery("pg_net", self._stopping, self._pause_s)
        with asyncio.Runner() as runner:
            while not self._stopping.is_set():
                with recovery, psycopg.connect(self._url, autocommit=True, application_name="pg_net worker") as session:
                    session.add_notify_handler(self._on_notify)
                    session.execute("listen pg_net_wake")
                    self._serve(session, runner)
                self._woken = True  # a restarted worker reads the queue first

    def _serve(self, session: psycopg.Connection, runner: asyncio.Runner) -> None:
        while not self._stopping.is_set():
            if self._crashed:
                session.execute("truncate net.http_request_queue, net._http_response")
                self._crashed = False
            if not self._woken:
                self._asleep = True
                self._sleep(session, None)
                self._asleep = False
                continue
            self._woken = False
            while not self._stopping.is_set() and not self._crashed:
                with contextlib.suppress(asyncio.CancelledError):
                    if not self._iterate(session, runner):
                        break
                    self._sleep(session, self._pause_s)

    def _iterate(self, session: psycopg.Connection, runner: asyncio.Runner) -> bool:
        """One transaction; False when there was nothing to do."""
        with session.transaction():
            requests = [_Request(*row) for row in session.execute(_TAKE, (BATCH_SIZE,)).fetchall()]
            requests.sort(key=lambda request: request.id)
            rows = runner.run(self._deliver(requests)) if requests else []
            with session.cursor() as cursor:
                cursor.executemany(_STORE, rows)
        return bool(requests)

    async def _deliver(self, requests: Sequence[_Request]) -> list[_Row]:
        everything = asyncio.ensure_future(_send_all(requests))
        with self._batch_lock:
            self._batch = (asyncio.get_running_loop(), everything)
        try:
            return await everything
        finally:
            with self._batch_lock:
                self._batch = None

    def _sleep(self, session: psycopg.Connection, limit_s: float | None) -> None:
        """Wait for a wake or, if given, for `limit_s`."""
        sources: list[Any] = [session.fileno(), self._wake_read]
        readable, _, _ = select.select(sources, [], [], limit_s)
        if self._wake_read in readable:
            self._wake_read.recv(64)
        if session.fileno() in readable:
            session.execute("select")  # lets the session read its notifications, which calls _on_notify

    def _on_notify(self, _notice: psycopg.Notify) -> None:
        self._woken = True

    def _wake(self) -> None:
        with contextlib.suppress(OSError):  # a full socket has a wake already, a closed one has no listener
            self._wake_write.send(b"w")


@functools.cache
def _tls() -> ssl.SSLContext:
    return ssl.create_default_context()  # 50 ms of work, so once


async def _send_all(requests: Sequence[_Request]) -> list[_Row]:
    # Everything at once, like curl's multi handle without limits. No keep-alive, so that no connection is stale.
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
    timeout = httpx.Timeout(None)  # the total time counts, see _send
    async with httpx.AsyncClient(
        verify=_tls(), limits=limits, timeout=timeout, follow_redirects=True, trust_env=False
    ) as client:
        client.headers = httpx.Headers({"User-Agent": USER_AGENT, "Accept": "*/*"})
        return await asyncio.gather(*(_send(client, request) for request in requests))


async def _send(client: httpx.AsyncClient, request: _Request) -> _Row:
    headers = [(name.encode(), value.encode()) for name, value in request.headers.items()]
    begun = time.monotonic()
    try:
        async with asyncio.timeout(request.timeout_ms / 1000):
            response = await client.request(request.method, request.url, headers=headers, content=request.body)
    except TimeoutError:
        total_ms = (time.monotonic() - begun) * 1000
        message = f"Timeout of {request.timeout_ms} ms reached. Total time: {total_ms:.3f} ms"
        return (request.id, None, None, None, None, True, message)
    except Exception as error:  # noqa: BLE001  one request must not fail its batch
        return (request.id, None, None, None, None, False, _curl_message(error))
    received = Jsonb({name.decode("latin-1"): value.decode("latin-1") for name, value in response.headers.raw})
    content = response.text.split("\0", 1)[0] or None  # a C string in pg_net, and NULL when empty
    return (request.id, response.status_code, content, received, response.headers.get("content-type"), False, None)


def _curl_message(error: Exception) -> str:
    """The text of curl_easy_strerror for a closed port, and otherwise httpx's own."""
    return "Couldn't connect to server" if isinstance(error, httpx.ConnectError) else f"{type(error).__name__}: {error}"
