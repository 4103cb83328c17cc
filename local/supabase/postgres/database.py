"""A database like that of a new Supabase project, with the host's tables and our migrations."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from psycopg import sql

from local.supabase.postgres.server import Postgres

BOOTSTRAP = Path(__file__).parent / "bootstrap"
SUPABASE = Path(__file__).parents[3] / "supabase"
_ROLES = "00_roles.sql"
_CRON = "50_cron.sql"
_HOST_TABLES = "90_host_tables.sql"
_HOST_POLICIES = BOOTSTRAP / "after" / "host_policies.sql"
_LOCK = 4_728_106_551  # an arbitrary number for an advisory lock


class MigrationError(RuntimeError):
    """A SQL file failed and was rolled back. The message names the file, the line and Postgres's error."""


def prepare(
    server: Postgres | str,
    *,
    dbname: str,
    migrations: bool = True,
    seed: bool = True,
    host_tables: bool = True,
    folder: Path = SUPABASE,
) -> str:
    """Make the database `dbname` (it must not exist) and return its URL as superuser.

    `server` is a Postgres or a superuser's URL. The real pg_cron is used if the server preloads it for this database.
    Migrations and seed come from `folder`, which may be empty, and run as the role `postgres`, which is not a superuser,
    as with `supabase db push`.
    """
    with maintenance(server) as connection:
        _run_file(connection, BOOTSTRAP / _ROLES)
        connection.execute(sql.SQL("create database {} owner postgres").format(sql.Identifier(dbname)))
    url = with_dbname(server, dbname)
    with psycopg.connect(url, autocommit=True) as connection:
        real_cron = "select current_setting('cron.database_name', true) = current_database()"
        has_cron = connection.execute(real_cron).fetchone() == (True,)
        for path in sorted(BOOTSTRAP.glob("*.sql")):
            if path.name != _ROLES and (host_tables or path.name != _HOST_TABLES):
                _run_file(connection, BOOTSTRAP / "fallback" / path.name if has_cron and path.name == _CRON else path)
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


def migrate(url: str, *, folder: Path = SUPABASE) -> list[str]:
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
                # The whole file as one statement, which the Supabase CLI would split.
                connection.execute(
                    "insert into supabase_migrations.schema_migrations (version, statements, name) values (%s, %s, %s)",
                    (version, [path.read_text()], name),
                )
        return [path.name.split("_")[0] for path in waiting]


@contextmanager
def maintenance(server: Postgres | str) -> Iterator[psycopg.Connection]:
    """A session that makes roles and databases; one at a time per server, because concurrent CREATE ROLE fails."""
    with psycopg.connect(with_dbname(server, "postgres"), autocommit=True) as connection:
        connection.execute("select pg_advisory_lock(%s)", (_LOCK,))
        yield connection


@contextmanager
def _as_postgres(url: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("set session authorization postgres")
        yield connection


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


def with_dbname(server: Postgres | str, dbname: str) -> str:
    """The URL of another database of the same server."""
    if isinstance(server, Postgres):
        return server.url(dbname)
    head, _, query = server.partition("?")
    root = re.sub(r"(?<=[^/])/[^/]*$", "", head) if head.count("/") > 2 else head
    return f"{root}/{dbname}" + (f"?{query}" if query else "")
