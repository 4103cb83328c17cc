"""Applying the schema: each file and its ledger row in one transaction, one command at a time."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import psycopg

from ops.install.conflicts import refuse_conflicts
from ops.install.connection import hold_lock, open_session
from ops.install.database_url import DatabaseUrl
from ops.install.errors import InstallError, InstallRefused
from ops.install.ledger import read_plan, record_file
from ops.install.original_upgrade import OriginalUpgrade, find_original_upgrade
from ops.install.schema_files import SchemaFile

# What works only with an extension, and what happens without it.
_OPTIONAL = (
    ("to_regprocedure('net.http_post(text,jsonb,jsonb,jsonb,integer)')",
     "pg_net is not enabled: the database cannot call the functions. Enable it, or use another scheduler (docs/deploy.md)"),
    ("to_regclass('vault.decrypted_secrets')",
     "Vault is not enabled: the database cannot call the functions. Enable it, or use another scheduler (docs/deploy.md)"),
    ("to_regprocedure('cron.schedule(text,text,text)')",
     "pg_cron is not enabled: the database has no schedule. Enable it, or use another scheduler (docs/deploy.md)"),
)  # fmt: skip


@dataclass
class Installed:
    """What one run did. In a dry run `applied` and `recognised` are what it would do."""

    database: str
    already: list[str] = field(default_factory=list)
    recognised: list[str] = field(default_factory=list)
    applied: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    binding: str | None = None
    plans: int = 0
    # Where the subscriptions may be, if nothing is bound: lines for the operator.
    proposal: list[str] = field(default_factory=list)
    # What the upgrade does with tables of the original system; None without them or after it.
    original: OriginalUpgrade | None = None


def install(
    url: DatabaseUrl,
    files: Sequence[SchemaFile],
    *,
    dry_run: bool,
    report: Callable[[str], None],
    describe_unbound: Callable[[psycopg.Connection], list[str]],
) -> Installed:
    """Apply what is missing. Safe to repeat, to interrupt and to run twice at the same time. Raises InstallError.

    `describe_unbound` says where the subscriptions may be, if nothing is bound.
    """
    result = Installed(url.label)
    with open_session(url, result.notes) as connection:
        # Also in a dry run: what another command is changing cannot be read.
        with hold_lock(connection, report):
            if dry_run:
                _look(connection, files, result)
            else:
                _apply(connection, files, result, report)
        if not dry_run:
            # For PostgREST on a server without Supabase's event trigger.
            connection.execute("notify pgrst, 'reload schema'")
        _read_state(connection, result)
        if not result.binding and not dry_run:
            result.proposal = describe_unbound(connection)
    return result


def _look(connection: psycopg.Connection, files: Sequence[SchemaFile], result: Installed) -> None:
    plan = read_plan(connection, files)
    result.already = [file.file_name for file in plan.recorded]
    result.recognised = [file.file_name for file in plan.recognised]
    result.applied = [file.file_name for file in plan.pending]
    refuse_conflicts(connection, plan.pending, files)
    result.original = find_original_upgrade(connection, plan.pending)


def _apply(
    connection: psycopg.Connection, files: Sequence[SchemaFile], result: Installed, report: Callable[[str], None]
) -> None:
    plan = read_plan(connection, files)
    result.already = [file.file_name for file in plan.recorded]
    refuse_conflicts(connection, plan.pending, files)
    upgrade = find_original_upgrade(connection, plan.pending)
    if upgrade and upgrade.refused:
        raise InstallRefused(f"{upgrade.refused.rstrip('.')}. Nothing was changed")
    if plan.recognised:
        with connection.transaction():
            for file in plan.recognised:
                record_file(connection, file, "supabase")
        result.recognised = [file.file_name for file in plan.recognised]
        report(f"{len(plan.recognised)} files were applied by the Supabase CLI; recorded")
    for file in plan.pending:
        _apply_file(connection, file)
        result.applied.append(file.file_name)
        report(f"Applied {file.file_name}")


def _apply_file(connection: psycopg.Connection, file: SchemaFile) -> None:
    try:
        with connection.transaction():
            connection.execute(file.text.encode())
            record_file(connection, file, "install")
    except psycopg.errors.LockNotAvailable as error:
        raise InstallError(
            f"{file.file_name} waited too long for a lock that another session holds: {_describe(error, file)}. "
            "Nothing of this file was "
            "applied; the files before it stay. End the long transaction, or run `hangar install` again later"
        ) from error
    except psycopg.Error as error:
        if connection.broken:
            raise
        raise InstallError(
            f"{file.file_name} failed: {_describe(error, file)}. Nothing of this file was applied; the files before it stay. "
            "Remove the cause, then run `hangar install` again"
        ) from error


def _describe(error: psycopg.Error, file: SchemaFile) -> str:
    position = int(error.diag.statement_position or 0)
    line = f" (line {file.text.count(chr(10), 0, position) + 1})" if position else ""
    return f"{error.diag.message_primary or type(error).__name__}{line}"


def _read_state(connection: psycopg.Connection, result: Installed) -> None:
    """What an operator has to know next: the binding, the plans, and what is missing on this server."""
    for expression, note in _OPTIONAL:
        if connection.execute(f"select {expression} is null".encode()).fetchone() == (True,):
            result.notes.append(note)
    if connection.execute("select to_regclass('hangar.binding') is not null").fetchone() == (True,):
        row = connection.execute("select source from hangar.binding").fetchone()
        result.binding = row[0] if row else None
    if connection.execute("select to_regclass('public.fly_plans') is not null").fetchone() == (True,):
        row = connection.execute("select count(*) from public.fly_plans").fetchone()
        result.plans = int(row[0]) if row else 0
