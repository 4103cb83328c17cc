"""Databases like that of a new Supabase project, with the host's tables and our migrations.

`prepare` makes one with a fixed name. `fresh_database` copies a template in a few hundredths of a second, so that every
test can have its own.
"""

import functools
import hashlib
import json
import re
import threading
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psycopg
from psycopg import conninfo, sql

from local.supabase.postgres.server import Postgres
from local.supabase.postgres.sqlsplit import split_statements

_BOOTSTRAP = Path(__file__).parent / "bootstrap"
_SUPABASE = Path(__file__).parents[3] / "supabase"
_ROLES = "00_roles.sql"
_CRON = "50_cron.sql"
_HOST_TABLES = "90_host_tables.sql"
_HOST_POLICIES = _BOOTSTRAP / "after" / "host_policies.sql"
_LOCK = 4_728_106_551  # an arbitrary number for an advisory lock
_templates = threading.Lock()


class MigrationError(RuntimeError):
    """A SQL file failed and was rolled back. The message names the file, the line and Postgres's error."""


def prepare(
    server: Postgres | str,
    *,
    dbname: str,
    migrations: bool = True,
    seed: bool = True,
    host_tables: bool = True,
    folder: Path = _SUPABASE,
) -> str:
    """Make the database `dbname` (it must not exist) and return its URL as superuser.

    `server` is a Postgres or a superuser's URL; if it preloads the real pg_cron for this database, that is used.
    Migrations and seed come from `folder` and run as the role `postgres`, which is not a superuser, as
    `supabase db push` does it. A folder without files is valid.
    """
    with _maintenance(server) as connection:
        _run_file(connection, _BOOTSTRAP / _ROLES)
        connection.execute(sql.SQL("create database {} owner postgres").format(sql.Identifier(dbname)))
    url = _with_dbname(server, dbname)
    with psycopg.connect(url, autocommit=True) as connection:
        real_cron = "select current_setting('cron.database_name', true) = current_database()"
        has_cron = connection.execute(real_cron).fetchone() == (True,)
        for path in sorted(_BOOTSTRAP.glob("*.sql")):
            if path.name != _ROLES and (host_tables or path.name != _HOST_TABLES):
                _run_file(connection, _BOOTSTRAP / "fallback" / path.name if has_cron and path.name == _CRON else path)
    if migrations:
        migrate(url, folder=folder)
        with _as_postgres(url) as connection:
            found = connection.execute("select to_regprocedure('hangar.token_is_valid()') is not null").fetchone()
            if host_tables and found == (True,):
                _run_file(connection, _HOST_POLICIES)
    seeds = folder / "seed.sql"
    if seed and seeds.exists():
        with _as_postgres(url) as connection:
            _run_file(connection, seeds)
    return url


def migrate(url: str, *, folder: Path = _SUPABASE) -> list[str]:
    """Run the unrecorded migrations in the order of their versions; returns the versions that ran."""
    with _as_postgres(url) as connection:
        connection.execute("create schema if not exists supabase_migrations")
        connection.execute(
            "create table if not exists supabase_migrations.schema_migrations"
            " (version text not null primary key, statements text[], name text)"
        )
        recorded = connection.execute("select version from supabase_migrations.schema_migrations").fetchall()
        waiting = [path for path in _migration_files(folder) if (path.name.split("_")[0],) not in recorded]
        for path in waiting:
            version, name = path.stem.split("_", 1)
            with connection.transaction():
                _run_file(connection, path)
                connection.execute(
                    "insert into supabase_migrations.schema_migrations (version, statements, name) values (%s, %s, %s)",
                    (version, split_statements(path.read_text()), name),
                )
        return [path.name.split("_")[0] for path in waiting]


def fresh_database(
    server: Postgres | str,
    *,
    migrations: bool = True,
    seed: bool = True,
    host_tables: bool = True,
    folder: Path = _SUPABASE,
) -> str:
    """A new database, as `prepare` makes it, copied from a template that the first call makes; returns its URL.

    The template is named after the content of all SQL files, so that an edited migration makes a new one. The removal hold
    is off.
    """
    flags = f"{migrations:d}{seed:d}{host_tables:d}"
    template = f"template_{flags}_{_fingerprint(folder)}"
    name = f"fresh_{uuid.uuid4().hex[:16]}"
    with psycopg.connect(_with_dbname(server, "postgres"), autocommit=True) as connection:
        with _templates:
            known = connection.execute("select 1 from pg_database where datname = %s", (template,)).fetchone()
            if not known:
                _make_template(
                    server, template, migrations=migrations, seed=seed, host_tables=host_tables, folder=folder
                )
        # A copy by file takes half as long as one through the log; Postgres before 15 knows no other way.
        strategy = sql.SQL(" strategy file_copy" if connection.info.server_version >= 150000 else "")
        copy = sql.SQL("create database {} template {} owner postgres{}")
        connection.execute(copy.format(sql.Identifier(name), sql.Identifier(template), strategy))
    url = _with_dbname(server, name)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("update cron.job set database = current_database()")
    return url


def drop_database(url: str) -> None:
    """Remove the database of this URL and end its sessions."""
    dbname = conninfo.conninfo_to_dict(url)["dbname"]
    with psycopg.connect(_with_dbname(url, "postgres"), autocommit=True) as connection:
        connection.execute(sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(str(dbname))))


def as_role(connection: psycopg.Connection, role: str, claims: Mapping[str, object] | None = None) -> None:
    """Make a superuser's session look like a request of PostgREST: role, its timeout and `request.jwt.claims`.

    The role holds until the session ends or `reset session authorization`; claims always carry the role.
    """
    login = "postgres" if role == "postgres" else "authenticator"
    connection.execute(sql.SQL("set session authorization {}").format(sql.Identifier(login)))
    connection.execute(sql.SQL("set role {}").format(sql.Identifier(role)))
    if role != "postgres":
        limit = "3s" if role == "anon" else "8s"  # service_role has no timeout, so the login role's 8 s apply
        document = json.dumps({"role": role, **(claims or {})})
        connection.execute("select set_config('statement_timeout', %s, false)", (limit,))
        connection.execute("select set_config('request.jwt.claims', %s, false)", (document,))
    if not connection.autocommit:
        connection.commit()


@contextmanager
def _maintenance(server: Postgres | str) -> Iterator[psycopg.Connection]:
    """A session that makes roles and databases; one at a time per server, because concurrent CREATE ROLE fails."""
    with psycopg.connect(_with_dbname(server, "postgres"), autocommit=True) as connection:
        connection.execute("select pg_advisory_lock(%s)", (_LOCK,))
        yield connection


@contextmanager
def _as_postgres(url: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("set session authorization postgres")
        yield connection


def _make_template(
    server: Postgres | str, name: str, *, migrations: bool, seed: bool, host_tables: bool, folder: Path
) -> None:
    """Make it under another name first, so that a template is always complete."""
    unfinished = f"making_{uuid.uuid4().hex[:16]}"
    try:
        prepare(server, dbname=unfinished, migrations=migrations, seed=seed, host_tables=host_tables, folder=folder)
    except MigrationError:
        drop_database(_with_dbname(server, unfinished))
        raise
    if migrations and host_tables and folder == _SUPABASE:
        _remove_hold(_with_dbname(server, unfinished))
    with _maintenance(server) as connection:
        _end_sessions(connection, unfinished)
        rename = sql.SQL("alter database {} rename to {}")
        connection.execute(rename.format(sql.Identifier(unfinished), sql.Identifier(name)))


def _remove_hold(url: str) -> None:
    """Let users lose their app at once in every copy; what tests the removal hold sets it. The change leaves no event."""
    with psycopg.connect(url) as connection:
        connection.execute("set session_replication_role = replica")
        connection.execute("update hangar.settings set removal_hold_s = 0")


def _migration_files(folder: Path) -> list[Path]:
    found = [path for path in (folder / "migrations").glob("*.sql") if re.match(r"\d+_", path.name)]
    return sorted(found, key=lambda path: path.name)


def _run_file(connection: psycopg.Connection, path: Path) -> None:
    """Run a whole file in one transaction (the caller's, if there is one)."""
    text = path.read_text()
    try:
        with connection.transaction():
            connection.execute(text.encode())
    except psycopg.Error as error:
        position = int(error.diag.statement_position or 0)
        line = text.count("\n", 0, position) + 1 if position else "?"
        context = f"\n{error.diag.context}" if error.diag.context else ""
        raise MigrationError(f"{path.name}:{line}: {error.diag.message_primary or error}{context}") from error


def _with_dbname(server: Postgres | str, dbname: str) -> str:
    if isinstance(server, Postgres):
        return server.url(dbname)
    head, _, query = server.partition("?")
    root = re.sub(r"(?<=[^/])/[^/]*$", "", head) if head.count("/") > 2 else head
    return f"{root}/{dbname}" + (f"?{query}" if query else "")


def _end_sessions(connection: psycopg.Connection, dbname: str) -> None:
    """A database in use cannot be renamed, and a closed session takes a moment to end at the server."""
    connection.execute("select pg_terminate_backend(pid, 5000) from pg_stat_activity where datname = %s", (dbname,))


def _fingerprint(folder: Path) -> str:
    paths = [*sorted(_BOOTSTRAP.glob("*.sql")), _HOST_POLICIES, *_migration_files(folder), folder / "seed.sql"]
    stamps = tuple((str(path), path.stat().st_mtime_ns) for path in paths if path.exists())
    return _digest(stamps)


@functools.lru_cache(maxsize=8)
def _digest(stamps: tuple[tuple[str, int], ...]) -> str:
    content = hashlib.sha256()
    for path, _ in stamps:
        content.update(path.encode() + b"\0" + Path(path).read_bytes() + b"\0")
    return content.hexdigest()[:16]
