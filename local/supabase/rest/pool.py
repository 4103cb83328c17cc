"""A bounded, thread-safe pool of Postgres connections that survives the server's death."""

import select
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self

import psycopg
from psycopg import pq

from local.supabase.rest.errors import connection_failed, pool_exhausted

Connection = psycopg.Connection[tuple[Any, ...]]
DEFAULT_STATEMENT_TIMEOUT_MS = 8000

# What a hosted project's login role and database carry, for a login role or server that was given nothing of it.
_PREPARE_SESSION = f"""
select pg_catalog.set_config('TimeZone', 'UTC', false)
  from pg_catalog.pg_settings where name = 'TimeZone' and source in ('default', 'configuration file', 'client')
union all
select pg_catalog.set_config('statement_timeout', '{DEFAULT_STATEMENT_TIMEOUT_MS}', false)
  from pg_catalog.pg_settings where name = 'statement_timeout' and setting = '0'
"""  # noqa: S608  a constant of ours


class Pool:
    """At most `size` connections, opened when needed; `acquire_timeout_s` is how long a borrower waits for one."""

    def __init__(self, database_url: str, size: int = 10, acquire_timeout_s: float = 10) -> None:
        self._url = database_url
        self._acquire_timeout_s = acquire_timeout_s
        self._slots = threading.BoundedSemaphore(size)
        self._idle: list[Connection] = []
        self._lock = threading.Lock()
        self._closed = False

    @contextmanager
    def borrow(self) -> Iterator[Connection]:
        """Lend a live connection outside any transaction; RestError 504 when all stay busy, 503 when none opens."""
        if not self._slots.acquire(timeout=self._acquire_timeout_s):
            raise pool_exhausted()
        try:
            connection = self._take_idle() or connect(self._url, self._acquire_timeout_s)
            try:
                yield connection
            finally:
                self._give_back(connection)
        finally:
            self._slots.release()

    def close(self) -> None:
        """Close what is idle; a connection in use is closed when it comes back."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _take_idle(self) -> Connection | None:
        while True:
            with self._lock:
                if not self._idle:
                    return None
                connection = self._idle.pop()
            if _is_quiet(connection):
                return connection
            connection.close()

    def _give_back(self, connection: Connection) -> None:
        if connection.closed:
            return
        if connection.pgconn.transaction_status != pq.TransactionStatus.IDLE:
            connection.close()  # a request that broke off half-way must not leave its role to the next one
            return
        with self._lock:
            if not self._closed:
                self._idle.append(connection)
                return
        connection.close()


def connect(database_url: str, timeout_s: float = 10) -> Connection:
    """Open a connection in autocommit with the session settings of a hosted project; RestError 503 when refused."""
    try:
        connection = psycopg.connect(
            database_url,
            autocommit=True,
            prepare_threshold=None,  # prepared statements would outlive the schema they were planned for
            cursor_factory=psycopg.RawCursor,
            client_encoding="utf8",
            application_name="hangar-gateway",
            connect_timeout=max(2, int(timeout_s)),
        )
        connection.execute(_PREPARE_SESSION)
    except psycopg.Error as error:
        raise connection_failed(error) from error
    return connection


def _is_quiet(connection: Connection) -> bool:
    """Whether the idle connection is still open: a server that died or hung up leaves its end readable."""
    if connection.closed:
        return False
    poll = select.poll()
    poll.register(connection.pgconn.socket, select.POLLIN)
    return not poll.poll(0)
