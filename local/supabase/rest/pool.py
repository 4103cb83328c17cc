"""A bounded, thread-safe pool of Postgres connections that recovers when the server restarts."""

import select
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg import pq

from local.supabase.rest.errors import RestError

Connection = psycopg.Connection[tuple[Any, ...]]
DEFAULT_STATEMENT_TIMEOUT_MS = 8000

# The settings of a hosted project's login role, for a login role or server without them.
_PREPARE_SESSION = f"""
select pg_catalog.set_config('TimeZone', 'UTC', false)
  from pg_catalog.pg_settings where name = 'TimeZone' and source in ('default', 'configuration file', 'client')
union all
select pg_catalog.set_config('statement_timeout', '{DEFAULT_STATEMENT_TIMEOUT_MS}', false)
  from pg_catalog.pg_settings where name = 'statement_timeout' and setting = '0'
"""


class Pool:
    """At most `size` connections, opened when needed. A borrower waits up to `acquire_timeout_s` for one."""

    def __init__(self, database_url: str, size: int = 10, acquire_timeout_s: float = 10) -> None:
        self._url = database_url
        self._acquire_timeout_s = acquire_timeout_s
        self._slots = threading.BoundedSemaphore(size)
        self._idle: list[Connection] = []
        self._lock = threading.Lock()
        self._closed = False

    @contextmanager
    def borrow(self) -> Iterator[Connection]:
        """A live connection outside a transaction; RestError 504 when all stay busy, 503 when Postgres refuses."""
        if not self._slots.acquire(timeout=self._acquire_timeout_s):
            raise RestError(504, "PGRST003", "Timed out acquiring connection from connection pool.")
        try:
            connection = self._take_idle() or connect(self._url, self._acquire_timeout_s)
            try:
                yield connection
            finally:
                self._give_back(connection)
        finally:
            self._slots.release()

    def close(self) -> None:
        """Close the idle connections; a connection in use is closed when it is returned."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

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
            connection.close()  # the next request must not get the role of an interrupted one
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
            prepare_threshold=None,  # a prepared statement would be stale after a change of the schema
            cursor_factory=psycopg.RawCursor,
            client_encoding="utf8",
            application_name="hangar-gateway",
            connect_timeout=max(2, int(timeout_s)),
        )
        connection.execute(_PREPARE_SESSION)
    except psycopg.Error as error:
        raise RestError(503, "PGRST000", "Database connection error.", str(error).strip()[:256]) from error
    return connection


def _is_quiet(connection: Connection) -> bool:
    """Whether the idle connection is open; the end of a connection that the server closed is readable."""
    if connection.closed:
        return False
    poll = select.poll()
    poll.register(connection.pgconn.socket, select.POLLIN)
    return not poll.poll(0)
