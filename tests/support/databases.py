"""Databases for tests: each test has its own, copied from a template in a few hundredths of a second."""

import functools
import hashlib
import json
import threading
import uuid
from collections.abc import Mapping
from pathlib import Path

import psycopg
from psycopg import conninfo, sql

from local.supabase.postgres.database import (
    BOOTSTRAP,
    SUPABASE,
    MigrationError,
    maintenance,
    prepare,
    with_dbname,
)
from local.supabase.postgres.server import Postgres

_templates = threading.Lock()


def fresh_database(
    server: Postgres | str,
    *,
    migrations: bool = True,
    seed: bool = True,
    host_tables: bool = True,
    folder: Path = SUPABASE,
) -> str:
    """A new database, as `prepare` makes it, copied from a template that the first call makes; returns its URL.

    The template is named after the content of all SQL files, so that an edited migration makes a new one. The removal hold
    is off.
    """
    flags = f"{migrations:d}{seed:d}{host_tables:d}"
    template = f"template_{flags}_{_fingerprint(folder)}"
    name = f"fresh_{uuid.uuid4().hex[:16]}"
    with psycopg.connect(with_dbname(server, "postgres"), autocommit=True) as connection:
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
    url = with_dbname(server, name)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("update cron.job set database = current_database()")
    return url


def drop_database(url: str) -> None:
    """Remove the database of this URL and end its sessions."""
    dbname = conninfo.conninfo_to_dict(url)["dbname"]
    with psycopg.connect(with_dbname(url, "postgres"), autocommit=True) as connection:
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


def _make_template(
    server: Postgres | str, name: str, *, migrations: bool, seed: bool, host_tables: bool, folder: Path
) -> None:
    """Make it under another name first, so that a template is always complete."""
    unfinished = f"making_{uuid.uuid4().hex[:16]}"
    try:
        prepare(server, dbname=unfinished, migrations=migrations, seed=seed, host_tables=host_tables, folder=folder)
    except MigrationError:
        drop_database(with_dbname(server, unfinished))
        raise
    if migrations and host_tables and folder == SUPABASE:
        _remove_hold(with_dbname(server, unfinished))
    with maintenance(server) as connection:
        _end_sessions(connection, unfinished)
        rename = sql.SQL("alter database {} rename to {}")
        connection.execute(rename.format(sql.Identifier(unfinished), sql.Identifier(name)))


def _remove_hold(url: str) -> None:
    """Let users lose their app at once in every copy; what tests the removal hold sets it. The change leaves no event."""
    with psycopg.connect(url) as connection:
        connection.execute("set session_replication_role = replica")
        connection.execute("update hangar.settings set removal_hold_s = 0")


def _end_sessions(connection: psycopg.Connection, dbname: str) -> None:
    """A database in use cannot be renamed, and a closed session takes a moment to end at the server."""
    connection.execute("select pg_terminate_backend(pid, 5000) from pg_stat_activity where datname = %s", (dbname,))


def _fingerprint(folder: Path) -> str:
    files = sorted([*BOOTSTRAP.rglob("*.sql"), *folder.glob("migrations/*.sql"), *folder.glob("seed.sql")])
    return _digest(tuple((str(path), path.stat().st_mtime_ns) for path in files))


@functools.lru_cache(maxsize=8)
def _digest(stamps: tuple[tuple[str, int], ...]) -> str:
    content = hashlib.sha256()
    for path, _ in stamps:
        content.update(path.encode() + b"\0" + Path(path).read_bytes() + b"\0")
    return content.hexdigest()[:16]
