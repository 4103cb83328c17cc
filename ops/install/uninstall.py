"""Removing Hangar from a database: everything that belongs to it and nothing else, in one transaction."""

from collections.abc import Callable, Sequence

import psycopg

from ops.install.belongings import OWN_RUNS, Belongings, find_belongings
from ops.install.connection import hold_lock, open_session
from ops.install.database_url import DatabaseUrl
from ops.install.errors import InstallError, InstallRefused
from ops.install.ledger import read_plan
from ops.install.original_tables import read_originals, restore_originals, strip_originals
from ops.install.schema_files import SchemaFile


def look(url: DatabaseUrl, files: Sequence[SchemaFile], report: Callable[[str], None]) -> Belongings | None:
    """What would be removed, or None if Hangar is not in this database. Changes nothing. Raises InstallError."""
    with open_session(url, []) as connection, hold_lock(connection, report):
        return _find(connection, files)


def uninstall(
    url: DatabaseUrl, files: Sequence[SchemaFile], *, notes: list[str], report: Callable[[str], None]
) -> Belongings | None:
    """Remove everything, or nothing: raises InstallRefused while apps may exist or the host's objects depend on Hangar's."""
    with open_session(url, []) as connection, hold_lock(connection, report):
        try:
            with connection.transaction():
                return _remove_all(connection, files, notes)
        except psycopg.errors.LockNotAvailable as error:
            raise InstallError(
                f"another session holds a lock on a table: {error.diag.message_primary}. Nothing was removed. Run this "
                "again when no sweep and no long transaction runs"
            ) from error
        except psycopg.Error as error:
            if connection.broken:
                raise
            raise InstallError(f"{error.diag.message_primary}. Nothing was removed") from error


def why_refused(found: Belongings) -> str | None:
    """Why these belongings must stay, in words with what to do, or None."""
    if found.live_apps or found.orphans:
        parts = [f"{found.live_apps} apps of users"] if found.live_apps else []
        parts += [f"{found.orphans} orphans"] if found.orphans else []
        return (
            f"{' and '.join(parts)} may exist on Fly, and Fly would still charge for them. Remove the apps first "
            "(docs/uninstall.md, Remove the apps) and wait until `hangar status` shows none"
        )
    if found.dependents:
        more = f" and {len(found.dependents) - 5} more" if len(found.dependents) > 5 else ""
        return f"objects that are not Hangar's depend on it: {'; '.join(found.dependents[:5])}{more}. Drop or change them first"
    return None


def _find(connection: psycopg.Connection, files: Sequence[SchemaFile]) -> Belongings | None:
    if connection.execute("select to_regnamespace('hangar') is null").fetchone() == (True,):
        return None
    return find_belongings(connection, read_plan(connection, files).applied)


def _remove_all(connection: psycopg.Connection, files: Sequence[SchemaFile], notes: list[str]) -> Belongings | None:
    # Before the look: no worker may create a row or an app after it.
    for table in ("public.user_fly_apps", "public.fly_orphans", "hangar.host_state"):
        if connection.execute("select to_regclass(%s) is not null", (table,)).fetchone() == (True,):
            connection.execute(f"lock table {table} in access exclusive mode".encode())
    found = _find(connection, files)
    if found is None:
        return None
    if reason := why_refused(found):
        raise InstallRefused(f"{reason}. Nothing was removed")
    for job in found.jobs:
        connection.execute("select cron.unschedule(%s)", (job,))
    _try(connection, f"delete from cron.job_run_details where {OWN_RUNS}", "cron.job_run_details")  # noqa: S608  a constant
    if connection.execute("select to_regprocedure('hangar.unbind()') is not null").fetchone() == (True,):
        connection.execute("select hangar.unbind()")
    originals = read_originals(connection) if found.kept else {}
    _drop(connection, found)
    strip_originals(connection, found.kept, originals, files)
    notes.extend(restore_originals(connection, found.kept, originals))
    _remove_outside(connection, found, notes)
    return found


def _remove_outside(connection: psycopg.Connection, found: Belongings, notes: list[str]) -> None:
    """Remove what lies in the schemas of others. What this role may not remove stays, with a note that says how to remove it."""
    secrets = "delete from vault.secrets where name = any (%s)"
    if found.vault_entries and not _try(connection, secrets, "vault.secrets", (found.vault_entries,)):
        notes.append(f"Vault still has {', '.join(found.vault_entries)}: delete them in Supabase's dashboard")
    history = "delete from supabase_migrations.schema_migrations where version = any (%s)"
    if found.history and not _try(connection, history, "supabase_migrations.schema_migrations", (found.history,)):
        versions = " ".join(found.history)
        notes.append(f"The Supabase CLI still records Hangar: supabase migration repair --status reverted {versions}")
    notes.extend(
        f"The extension {extension}, which Hangar enabled, stays because something else depends on it"
        for extension in found.extensions
        if not _try(connection, f"drop extension {extension}", None)  # without cascade
    )


def _drop(connection: psycopg.Connection, found: Belongings) -> None:
    """Drop what `find_belongings` named. Cascade reaches only Hangar's own, because nothing else depends on it."""
    for kind, names in (("function", found.procedures), ("view", found.views)):
        if names:
            connection.execute(f"drop {kind} {', '.join(names)} cascade".encode())
    connection.execute("drop schema hangar cascade")
    if found.tables:
        connection.execute(f"drop table {', '.join(found.tables)} cascade".encode())


def _try(
    connection: psycopg.Connection, statement: str, relation: str | None, values: Sequence[object] | None = None
) -> bool:
    """Run the statement if its relation exists. False if the role may not do it or something depends on it."""
    if relation and connection.execute("select to_regclass(%s) is null", (relation,)).fetchone() == (True,):
        return True
    try:
        with connection.transaction():
            connection.execute(statement.encode(), values)
    except (psycopg.errors.InsufficientPrivilege, psycopg.errors.DependentObjectsStillExist):
        return False
    return True
