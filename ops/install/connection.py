"""The session that installs: opened as the owner of the database, with an error in plain words if it cannot be."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psycopg
from psycopg import sql

from ops.install.database_url import DatabaseUrl
from ops.install.errors import InstallError, WrongInput

# The files of `hangar install --into` take the same lock for the length of their transaction.
LOCK = 4_728_106_552
_CONNECT_S = 10
_LOCK_TIMEOUT = "10s"  # for the host's tables: a longer wait would hold up the host's own statements behind ours
_TURN_S = 300
_ROLES = ("anon", "authenticated", "service_role")

# What libpq or Supabase's pooler says, and what to do. The host's name and the role are safe to show, the rest is not quoted.
_REASONS = (
    (r"password authentication failed|no password supplied|SASL|authentication failed",
     "the password or the role is wrong. Supabase: Project Settings, Database, Reset database password"),
    (r"tenant or user not found",
     "the pooler does not know this role. There the role is postgres.PROJECT_REF, and the host names the project's region"),
    (r"translate host name|resolve host|name or service not known|nodename nor servname|no address associated",
     "the host's name is not known. Check it; a paused Supabase project has none"),
    (r"network is unreachable|no route to host",
     "the host cannot be reached from here. Supabase's direct connection needs IPv6; the session pooler works with IPv4"),
    (r"connection refused", "nothing listens at this address. Check host and port, and that the database runs"),
    (r"timeout|timed out", f"no answer within {_CONNECT_S} s. Check host, port and firewall (Supabase: network restrictions)"),
    (r'database ".*" does not exist', "this database does not exist on the server. On Supabase its name is postgres"),
    (r'role ".*" does not exist', "this role does not exist on the server. On Supabase the owner is postgres"),
    (r"too many|remaining connection slots|max client", "the server has no free connection. Try again later"),
    (r"ssl|certificate", "the encrypted connection failed. Check sslmode and sslrootcert in the URL"),
    (r"no pg_hba.conf entry", "the server does not let this role in from here. Check its pg_hba.conf, or sslmode=require"),
    (r"starting up|shutting down|recovery mode", "the server is starting or stopping. Try again in a minute"),
)  # fmt: skip


@contextmanager
def open_session(url: DatabaseUrl, notices: list[str]) -> Iterator[psycopg.Connection]:
    """A session of the role that owns, or will own, Hangar's objects. What the server remarks goes to `notices`.

    Raises WrongInput if the server, the role or the database is not the right one, InstallError if the session breaks.
    """
    connection = connect(url, application_name="hangar install")
    connection.add_notice_handler(lambda notice: _keep_notice(notice, notices))
    with connection:
        try:
            # A plan is never reused, and a file may take longer than the role's usual limit.
            connection.prepare_threshold = None
            connection.execute(
                "select set_config(name, '0', false) from pg_settings where name in ('statement_timeout', 'transaction_timeout',"
                " 'idle_in_transaction_session_timeout', 'idle_session_timeout')"
            )
            connection.execute("select set_config('lock_timeout', %s, false)", (_LOCK_TIMEOUT,))
            _become_owner(connection, url)
            yield connection
        except psycopg.Error as error:
            if not connection.broken:
                reason = url.hide_password(error.diag.message_primary or type(error).__name__)
                raise InstallError(
                    f"{url.label} refused a statement: {reason}. What was applied before stays"
                ) from error
            raise InstallError(
                f"the connection to {url.label} was lost. A file is applied in full or not at all: run the same command again"
            ) from error


@contextmanager
def hold_lock(connection: psycopg.Connection, report: Callable[[str], None]) -> Iterator[None]:
    """Let one command at a time change this database. Waits five minutes for another one, then raises InstallError."""
    if connection.execute("select pg_try_advisory_lock(%s)", (LOCK,)).fetchone() != (True,):
        holder = connection.execute(
            "select coalesce(string_agg(pid::text, ', '), 'unknown') from pg_locks where locktype = 'advisory' and granted"
            " and classid = (%s::bigint >> 32) and objid = (%s::bigint & 4294967295)"
            " and database = (select oid from pg_database where datname = current_database())",
            (LOCK, LOCK),
        ).fetchone()
        pid = holder[0] if holder else "unknown"
        report(f"Waiting: another session (Postgres process {pid}) installs or uninstalls Hangar in this database")
        try:
            with connection.transaction():
                connection.execute("select set_config('lock_timeout', %s, true)", (f"{_TURN_S}s",))
                connection.execute("select pg_advisory_lock(%s)", (LOCK,))
        except psycopg.errors.LockNotAvailable:
            raise InstallError(
                f"another session (Postgres process {pid}) has been installing or uninstalling Hangar for {_TURN_S} s. "
                f"Nothing was changed. If that session is dead, end it with `select pg_terminate_backend({pid})`, then run this "
                "again"
            ) from None
    try:
        yield
    finally:
        if not connection.broken and not connection.closed:
            connection.execute("select pg_advisory_unlock(%s)", (LOCK,))


def connect(url: DatabaseUrl, application_name: str) -> psycopg.Connection:
    """A session of the URL's role, in which each statement commits. Raises WrongInput with what to do.

    The server shows `application_name` to those who ask who holds a lock.
    """
    # In another encoding, of the URL or PGCLIENTENCODING, the server cannot send or take every character of our files.
    parameters = {
        "connect_timeout": _CONNECT_S,
        "application_name": application_name,
        **url.parameters,
        "client_encoding": "UTF8",
    }
    try:
        return psycopg.connect(**parameters, autocommit=True)
    except psycopg.Error as error:
        raise WrongInput(f"cannot connect to {url.label}: {_explain(error, url)}. Nothing was changed") from None


def _explain(error: psycopg.Error, url: DatabaseUrl) -> str:
    text = str(error)
    for pattern, advice in _REASONS:
        if re.search(pattern, text, re.IGNORECASE):
            return advice
    return url.hide_password(" ".join(text.split())).rstrip(".")


def _keep_notice(notice: psycopg.errors.Diagnostic, notices: list[str]) -> None:
    """Keep what our own files remark; Postgres's own remarks are about statements, not for operators."""
    text = notice.message_primary or ""
    if text.startswith("Hangar:") and text not in notices:
        notices.append(text.removeprefix("Hangar:").strip())


def _become_owner(connection: psycopg.Connection, url: DatabaseUrl) -> None:
    """Act as the owner of Hangar's schema, else as the database's owner, if the role may; and check its rights."""
    row = connection.execute(
        "select current_user::text, o.rolname::text, pg_has_role(o.oid, 'member'),"
        " (select n.nspowner::regrole::text from pg_namespace n where n.nspname = 'hangar'),"
        " pg_is_in_recovery(), current_setting('transaction_read_only') = 'on'"
        " from pg_database d join pg_roles o on o.oid = d.datdba where d.datname = current_database()"
    ).fetchone()
    assert row is not None  # noqa: S101  the database of this session exists
    role, owner, is_member, installed_by, is_replica, is_read_only = row
    if is_replica:
        raise WrongInput(f"{url.label} is a read replica: use the URL of the primary database")
    if is_read_only:
        raise WrongInput(
            f"{url.label} is read-only. Supabase does that when the disk is full: free some space first. Nothing was changed"
        )
    wanted = installed_by or (owner if is_member else role)
    if wanted != role:
        try:
            connection.execute(sql.SQL("set role {}").format(sql.Identifier(wanted)))
        except psycopg.Error:
            raise WrongInput(
                f"role {role} may not change Hangar in {url.label}: its schema belongs to {wanted}. Connect as {wanted}"
            ) from None
    _check_rights(connection, url, wanted, owner)


def _check_rights(connection: psycopg.Connection, url: DatabaseUrl, role: str, owner: str) -> None:
    rights = connection.execute(
        "select has_database_privilege(current_database(), 'create'), has_schema_privilege('public', 'create')"
    ).fetchone()
    if rights != (True, True):
        raise WrongInput(
            f"role {role} may not create a schema or tables in {url.label}. Connect as the owner of the database, {owner} "
            "(on Supabase: postgres, not service_role, authenticator or anon). Nothing was changed"
        )
    missing = connection.execute(
        "select coalesce(string_agg(r, ', '), '') from unnest(%s::text[]) r"
        " where not exists (select 1 from pg_roles where rolname = r)",
        (list(_ROLES),),
    ).fetchone()
    if missing and missing[0]:
        raise WrongInput(
            f"{url.label} lacks the roles {missing[0]}, which every Supabase project has: is this the right database? "
            "Nothing was changed"
        )
