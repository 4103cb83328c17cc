"""One database for the worlds of many tests. It is emptied before each, and replaced after a test that changed more than rows.

A database of its own costs a test 50 ms, and each new session of Postgres 20 ms and more until it has read its functions.
"""

import contextlib
from collections import defaultdict
from collections.abc import Iterator

import psycopg
from psycopg import sql

from local.supabase.postgres.server import Postgres
from tests.support.databases import drop_database, fresh_database
from tests.support.sessions import open_host, open_service, plan_once

_SCHEMAS = ("public", "hangar", "auth", "vault", "cron", "net")
# Catalogs that change without a change of the schema, or that only follow other catalogs.
_UNSTEADY = ("pg_statistic", "pg_statistic_ext_data", "pg_largeobject", "pg_largeobject_metadata", "pg_depend")
# What a world may leave in a session.
_RESET = "reset session authorization; reset role; reset all; select pg_advisory_unlock_all()"

_OTHERS = (
    "select count(*) from pg_stat_activity"
    " where datname = current_database() and pid <> pg_backend_pid() and xact_start is not null"
)


class SchemaStamp:
    """What a database's schema is like, as one value that is compared: for each catalog its last change and its size."""

    def __init__(self, session: psycopg.Connection) -> None:
        catalogs = session.execute(
            "select relname from pg_class where relnamespace = 'pg_catalog'::regnamespace and relkind = 'r' and not relisshared"
            " and relname <> all (%s) order by 1",
            (list(_UNSTEADY),),
        ).fetchall()
        each = sql.SQL("(select array[count(*), max(xmin::text::bigint)] from {})")
        parts = [each.format(sql.Identifier("pg_catalog", name)) for (name,) in catalogs]
        parts += [each.format(sql.SQL(name)) for name in ("pg_authid", "pg_auth_members", "pg_db_role_setting")]
        self._query = sql.SQL("select jsonb_build_array({})").format(sql.SQL(", ").join(parts))

    def read(self, session: psycopg.Connection) -> list[object]:
        """The value now. A dropped, changed or new object, role, right or comment changes it."""
        [value] = session.execute(self._query).fetchone()
        return value


def keep_rows(session: psycopg.Connection) -> sql.Composed:
    """Keep a copy of all rows. Returns the statement with which a superuser brings them back, whatever the tables hold by then.

    The tables come from the catalog, so that none is forgotten.
    """
    tables = session.execute(
        "select schemaname, tablename from pg_tables where schemaname = any(%s) order by 1, 2", (list(_SCHEMAS),)
    ).fetchall()
    names = [sql.Identifier(*each) for each in tables]
    statements = [sql.SQL("delete from {}").format(each) for each in names]
    session.execute("create schema kept")
    for number, name in enumerate(names):
        if session.execute(sql.SQL("select exists (select from {})").format(name)).fetchone() == (True,):
            kept = sql.Identifier("kept", f"table_{number}")
            session.execute(sql.SQL("create table {} as select * from {}").format(kept, name))
            statements.append(sql.SQL("insert into {} overriding system value select * from {}").format(name, kept))
    # People and links name a release by its number, so a test has to begin with the same one.
    statements.append(sql.SQL("alter sequence hangar.releases_id_seq restart"))
    # Otherwise the audit log refuses even this deletion.
    begin = sql.SQL(f"{_RESET}; begin; set local session_replication_role = replica; set local lock_timeout = '5s'")
    return sql.SQL("; ").join([begin, *statements, sql.SQL("commit")])


class SharedDatabase:
    """A live installation without users, with sessions that stay open for the next world. Never for two worlds at once."""

    def __init__(self, server: Postgres) -> None:
        self.url = fresh_database(server)
        self.host = open_host(self.url)
        self._idle: list[psycopg.Connection] = []
        self._empty = keep_rows(self.host)
        self._stamp = SchemaStamp(self.host)
        self._schema = self._stamp.read(self.host)

    def empty(self) -> None:
        """Reset to a live installation without users, rows and events."""
        self.host.execute(self._empty, prepare=False)
        plan_once(self.host)
        self._schema = self._stamp.read(self.host)

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

    def is_reusable(self) -> bool:
        """Whether nothing but rows has changed since it was emptied, and nobody is in a transaction."""
        if self.host.info.transaction_status != psycopg.pq.TransactionStatus.IDLE:
            return False
        try:
            self.host.execute(_RESET.encode(), prepare=False)
            [others] = self.host.execute(_OTHERS).fetchone()
            return others == 0 and self._stamp.read(self.host) == self._schema
        except psycopg.Error:
            return False  # the test has ended the session

    def close(self) -> None:
        """End every session and remove the database."""
        self.host.close()
        for session in self._idle:
            session.close()
        drop_database(self.url)


class SharedDatabases:
    """Lends a database to each world that lives at the same time."""

    def __init__(self) -> None:
        self._idle: dict[int, list[SharedDatabase]] = defaultdict(list)  # by the port of the server

    @contextlib.contextmanager
    def lend(self, server: Postgres) -> Iterator[SharedDatabase]:
        """A database of this server, until the end of the test."""
        idle = self._idle[server.port]
        database = idle.pop() if idle else SharedDatabase(server)
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
