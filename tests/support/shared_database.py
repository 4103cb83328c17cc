"""One database for many tests. It is emptied before each, and replaced after a test that changed more than rows.

A database of its own costs a test 50 ms, and each new session of Postgres 20 ms and more until it has read its functions.
"""

import contextlib
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import tuple_row

from local.supabase.postgres.server import Postgres
from tests.support.databases import as_role, drop_database, fresh_database
from tests.support.sessions import open_host, open_service, plan_once, plan_procedures_once

_SCHEMAS = ("public", "hangar", "auth", "vault", "cron", "net")
# Catalogs that change without a change of the schema, or that only follow other catalogs.
_UNSTEADY = ("pg_statistic", "pg_statistic_ext_data", "pg_largeobject", "pg_largeobject_metadata", "pg_depend")
# What a test may leave in a session.
_RESET = "reset session authorization; reset role; reset all; select pg_advisory_unlock_all()"
_CLEAR = f"{_RESET}; close all; unlisten *"

_OTHERS = (
    "select count(*) from pg_stat_activity"
    " where datname = current_database() and pid <> pg_backend_pid() and xact_start is not null"
)
_STRANGERS = (
    "select count(*) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid() and pid <> all (%s)"
    " and backend_type = 'client backend'"
)
_CLOSING_S = 0.5  # a closed session takes a moment to end at the server
# Many tests replace the clock. It is put back; all other functions have to be as they were.
_CLOCK = "select pg_get_functiondef(oid), to_jsonb(p) from pg_proc p where oid = 'hangar.now()'::regprocedure"


class SchemaStamp:
    """What a database's schema is like, as one value that is compared: the size of each catalog, and how much of it is new.

    Every schema change after the stamp was made changes the value, but not a new body of the clock. A change of rows never does.
    """

    def __init__(self, session: psycopg.Connection) -> None:
        catalogs = session.execute(
            "select relname from pg_class where relnamespace = 'pg_catalog'::regnamespace and relkind = 'r' and not relisshared"
            " and relname <> all (%s) order by 1",
            (list(_UNSTEADY),),
        ).fetchall()
        [newest] = session.execute("select pg_current_xact_id()::xid::text").fetchone()
        each = sql.SQL(
            "(select array[count(*), count(*) filter (where age(xmin) <= age({}::xid){})] from pg_catalog.{})"
        )
        names = [*(name for (name,) in catalogs), "pg_authid", "pg_auth_members", "pg_db_role_setting"]
        clock = sql.SQL(" and oid <> 'hangar.now()'::regprocedure")
        parts = [
            each.format(newest, clock if name == "pg_proc" else sql.SQL(""), sql.Identifier(name)) for name in names
        ]
        self._query = (
            sql.SQL("select jsonb_build_array({})").format(sql.SQL(", ").join(parts)).as_string(session).encode()
        )

    def read(self, session: psycopg.Connection) -> list[object]:
        """The value now. A dropped, changed or new object, role, right or comment changes it."""
        [value] = session.execute(self._query, prepare=True).fetchone()
        return value


def keep_rows(session: psycopg.Connection, into: str = "kept") -> bytes:
    """Keep a copy of all rows. Returns the statement with which a superuser brings them back, whatever the tables hold by then.

    The tables come from the catalog, so that none is forgotten. With `into="pg_temp"` only this session can bring them back, and
    no other finds the copy.
    """
    tables = session.execute(
        "select schemaname, tablename from pg_tables where schemaname = any(%s) order by 1, 2", (list(_SCHEMAS),)
    ).fetchall()
    names = [sql.Identifier(*each) for each in tables]
    filled = sql.SQL(", ").join(sql.SQL("exists (select from {})").format(name) for name in names)
    if into != "pg_temp":
        session.execute(sql.SQL("create schema {}").format(sql.Identifier(into)))
    statements = [sql.SQL("delete from {}").format(name) for name in names]
    for number, is_filled in enumerate(session.execute(sql.SQL("select {}").format(filled)).fetchone()):
        if is_filled:
            kept = sql.Identifier(into, f"table_{number}")
            session.execute(sql.SQL("create table {} as select * from {}").format(kept, names[number]))
            statements.append(
                sql.SQL("insert into {} overriding system value select * from {}").format(names[number], kept)
            )
    # People and links name a release by its number, and tests an event, so a test has to begin with the same ones.
    for schema, name, first, last in session.execute(
        "select schemaname, sequencename, start_value, last_value from pg_sequences where schemaname = any(%s)",
        (list(_SCHEMAS),),
    ).fetchall():
        sequence = sql.Identifier(schema, name).as_string(session)
        set_back = sql.SQL("perform setval({}::regclass, {}, {})")
        statements.append(set_back.format(sequence, first if last is None else last, last is not None))
    # A function, so that the session plans all this only once.
    body = sql.SQL("; ").join(statements)
    restore = sql.Identifier(into, "restore_rows")
    session.execute(
        sql.SQL("create function {}() returns void language plpgsql as $restore$ begin {}; end $restore$").format(
            restore, body
        )
    )
    # Otherwise the audit log refuses even this deletion.
    begin = f"{_RESET}; begin; set local session_replication_role = replica; set local lock_timeout = '5s'"
    return sql.SQL("{}; select {}(); commit").format(sql.SQL(begin), restore).as_string(session).encode()


class SharedDatabase:
    """A database that is as its template whenever a test begins. Never for two tests at once.

    `host` is its superuser's session for as long as it exists.
    """

    is_closed = False

    def __init__(self, server: Postgres, open_first: Callable[[str], psycopg.Connection]) -> None:
        self.url = fresh_database(server)
        self.host = open_first(self.url)
        self._restore = keep_rows(self.host, "pg_temp")
        self._clock = self.host.execute(_CLOCK).fetchone()
        self._stamp = SchemaStamp(self.host)
        self._schema = self._stamp.read(self.host)

    def empty(self) -> None:
        """Bring back the rows of the beginning."""
        self.host.execute(self._restore, prepare=False)

    def is_reusable(self) -> bool:
        """Whether nothing but rows has changed since it was made, and nobody is in a transaction."""
        if self.host.info.transaction_status != psycopg.pq.TransactionStatus.IDLE:
            return False
        try:
            self.host.execute(_RESET.encode(), prepare=False)
            return not self._is_busy() and self._stamp.read(self.host) == self._schema and self._set_clock_back()
        except psycopg.Error:
            return False  # the test has ended the session

    def _set_clock_back(self) -> bool:
        """Give the clock its body again. False if the test has changed more of it, for example who may call it."""
        if self.host.execute(_CLOCK).fetchone() == self._clock:
            return True
        self.host.execute(self._clock[0].encode())
        return self.host.execute(_CLOCK).fetchone() == self._clock

    def _is_busy(self) -> bool:
        [others] = self.host.execute(_OTHERS).fetchone()
        return bool(others)

    def close(self) -> None:
        """End every session and remove the database."""
        self.is_closed = True
        self.host.close()
        drop_database(self.url)


def _open_world_host(url: str) -> psycopg.Connection:
    host = open_host(url)
    plan_procedures_once(host)
    return host


class WorldDatabase(SharedDatabase):
    """A live installation without users, with sessions that stay open for the next world."""

    def __init__(self, server: Postgres) -> None:
        super().__init__(server, _open_world_host)
        self._idle: list[psycopg.Connection] = []

    def empty(self) -> None:
        """Reset to a live installation without users, rows and events."""
        super().empty()
        plan_once(self.host)

    def open_service(self) -> psycopg.Connection:
        """A session with the rights of Hangar's functions, new or returned."""
        if self._idle:
            return self._idle.pop()
        session = open_service(self.url)
        session.prepare_threshold = 0
        plan_once(session)
        return session

    def return_service(self, session: psycopg.Connection) -> None:
        """Keep the session for the next process, as it was opened. One that is broken, closed or in a transaction is not kept."""
        if session.info.transaction_status == psycopg.pq.TransactionStatus.IDLE:
            with contextlib.suppress(psycopg.Error):  # for example: the server has ended the session
                session.execute(_RESET.encode(), prepare=False)
                session.execute("set role service_role")
                plan_once(session)
                self._idle.append(session)
                return
        session.close()

    def close(self) -> None:
        for session in self._idle:
            session.close()
        super().close()


class SessionPool:
    """Sessions to one database that stay open for the next test."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._idle: dict[str | None, list[psycopg.Connection]] = defaultdict(list)  # by role
        self._lent: list[tuple[str | None, psycopg.Connection]] = []

    def open(self, role: str | None = None, claims: Mapping[str, object] | None = None) -> psycopg.Connection:
        """An autocommit session, as superuser or as a role of Supabase; new, or as good as new."""
        idle = self._idle[role]
        session = idle.pop() if idle else psycopg.connect(self.url, autocommit=True)
        self._lent.append((role, session))
        if role:
            as_role(session, role, claims)
        return session

    def take_back(self) -> None:
        """End the test's use of its sessions. One that is broken, closed or in a transaction is not kept."""
        for role, session in self._lent:
            if session.closed or not self._clear(session):
                session.close()
            else:
                self._idle[role].append(session)
        self._lent = []

    def _clear(self, session: psycopg.Connection) -> bool:
        if session.info.transaction_status != psycopg.pq.TransactionStatus.IDLE:
            return False
        try:
            session.autocommit, session.row_factory, session.prepare_threshold = True, tuple_row, 5
            session.execute(_CLEAR.encode(), prepare=False)
        except psycopg.Error:
            return False
        return True

    def list_pids(self) -> list[int]:
        """The idle sessions' processes."""
        return [each.info.backend_pid for idle in self._idle.values() for each in idle]

    def close(self) -> None:
        for session in [each for idle in self._idle.values() for each in idle]:
            session.close()


class PlainDatabase(SharedDatabase):
    """A new installation, for tests that open sessions of their own, most often from `sessions`."""

    def __init__(self, server: Postgres) -> None:
        super().__init__(server, lambda url: psycopg.connect(url, autocommit=True))
        self.sessions = SessionPool(self.url)

    def _is_busy(self) -> bool:
        """Whether any session is left that is not ours: a thread or a process of the test could still write through it."""
        ours = self.sessions.list_pids()
        ends_at = time.monotonic() + _CLOSING_S
        while self.host.execute(_STRANGERS, (ours,)).fetchone() != (0,):
            if time.monotonic() > ends_at:
                return True
            time.sleep(0.005)
        return False

    def close(self) -> None:
        self.sessions.close()
        super().close()


class SharedDatabases:
    """Lends a database to each test that lives at the same time."""

    def __init__(self) -> None:
        # By the port of the server.
        self._idle: dict[tuple[type[SharedDatabase], int], list[SharedDatabase]] = defaultdict(list)

    @contextlib.contextmanager
    def lend(self, server: Postgres) -> Iterator[WorldDatabase]:
        """A database of this server for a world, until the end of the test."""
        with self._lend(WorldDatabase, server) as database:
            yield database

    @contextlib.contextmanager
    def lend_plain(self, server: Postgres) -> Iterator[PlainDatabase]:
        """A database of this server as it is installed, until the end of the test."""
        with self._lend(PlainDatabase, server) as database:
            database.empty()
            try:
                yield database
            finally:
                database.sessions.take_back()

    @contextlib.contextmanager
    def _lend(self, kind: type[Any], server: Postgres) -> Iterator[Any]:
        idle = self._idle[kind, server.port]
        database = idle.pop() if idle else kind(server)
        try:
            yield database
        finally:
            if database.is_reusable():
                idle.append(database)
            else:
                database.close()

    def close(self) -> None:
        """Remove every database."""
        for database in (each for idle in self._idle.values() for each in idle):
            database.close()
