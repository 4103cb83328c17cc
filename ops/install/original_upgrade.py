"""What `hangar install` will do with the tables of the original system, and what forbids it, before anything is changed.

It runs the schema files up to the one that checks these tables, in a transaction that is rolled back. These files create objects
in the schema `hangar` only. They read the host's tables and never block the host's own statements.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import psycopg

from ops.install.schema_files import SchemaFile

TABLES = ("user_fly_apps", "user_fly_app_events")
# The file that judges the tables, and the one that upgrades them.
_JUDGES, _UPGRADES = "original_system", "app_tables"
_ROWS = {
    "user_fly_apps": "select count(*), count(*) filter (where status <> 'deleted') from public.user_fly_apps",
    "user_fly_app_events": "select count(*), 0 from public.user_fly_app_events",
}
_PARTS = """
  select o.kind, o.name from hangar.original_objects o where o.table_name = %s and o.kind in ('policy', 'grant') order by o.nr
"""


@dataclass
class TableUpgrade:
    """One table of the original system: its rows, and what is replaced on it by kind. `legacy`: rows that are not deleted."""

    table: str
    rows: int
    legacy: int
    replaced: dict[str, list[str]] = field(default_factory=dict)


@dataclass
class OriginalUpgrade:
    """The tables, the triggers that are disabled, whether a cron job is replaced; or why the upgrade is refused."""

    tables: list[TableUpgrade] = field(default_factory=list)
    triggers: list[str] = field(default_factory=list)
    replaces_job: bool = False
    refused: str | None = None


def find_original_upgrade(connection: psycopg.Connection, pending: Sequence[SchemaFile]) -> OriginalUpgrade | None:
    """What the upgrade will do, or why it is refused. None if there is nothing to upgrade. Changes nothing."""
    tables = [name for name in TABLES if _exists(connection, f"public.{name}")]
    if not tables or not any(file.name == _UPGRADES for file in pending):
        return None
    last = max((nr for nr, file in enumerate(pending) if file.name == _JUDGES), default=-1)
    found = OriginalUpgrade()
    with connection.transaction():
        found.refused = _judge(connection, pending[: last + 1], tables)
        if found.refused is None:
            _describe(connection, tables, found)
        raise psycopg.Rollback
    return found


def _judge(connection: psycopg.Connection, files: Sequence[SchemaFile], tables: Sequence[str]) -> str | None:
    """Why a table cannot be upgraded; None if each can."""
    try:
        with connection.transaction():
            for file in files:
                connection.execute(file.text.encode())
    except psycopg.errors.DuplicateTable as error:  # the error of the file that judges
        return ". ".join(filter(None, (error.diag.message_primary, error.diag.message_hint)))
    for table in tables:  # again, because an earlier run may have applied that file
        row = connection.execute("select hangar.explain_not_original(%s)", (table,)).fetchone()
        if row and row[0]:
            return f"public.{table} cannot be upgraded in place: {row[0]}"
    return None


def _describe(connection: psycopg.Connection, tables: Sequence[str], found: OriginalUpgrade) -> None:
    for name in tables:
        row = connection.execute(_ROWS[name].encode()).fetchone() or (0, 0)
        upgrade = TableUpgrade(f"public.{name}", int(row[0]), int(row[1]))
        connection.execute("select hangar.record_original(%s)", (name,))
        for kind, part in connection.execute(_PARTS.encode(), (name,)).fetchall():
            upgrade.replaced.setdefault(kind, []).append(part)
        found.tables.append(upgrade)
    triggers = connection.execute("select name || ' on ' || relation from hangar.find_original_triggers() order by 1")
    found.triggers = [name for (name,) in triggers.fetchall()]
    if _exists(connection, "cron.job"):
        query = "select exists (select 1 from cron.job where jobname = 'check-fly-apps-health' and command not like '%hangar.%')"
        found.replaces_job = connection.execute(query.encode()).fetchone() == (True,)


def describe_upgrade(found: OriginalUpgrade) -> list[str]:
    """Lines for the operator."""
    lines = []
    for table in found.tables:
        lines.append(f"Would upgrade {table.table} of the original system in place: {_describe_rows(table)}")
        lines.append("  adds columns, and replaces the constraints and indexes that are about original columns only")
        for kind, names in table.replaced.items():
            lines.append(f"  {_REPLACED[kind]}: {', '.join(dict.fromkeys(names))}")
    lines += [
        f"Would disable the trigger {name}, which calls the functions of the original system" for name in found.triggers
    ]
    if found.replaces_job:
        lines.append("Would replace the cron job check-fly-apps-health of the original system")
    return lines


_REPLACED = {
    "policy": "replaces the policies",
    "grant": "replaces the rights of anon, authenticated and service_role",
}


def _describe_rows(table: TableUpgrade) -> str:
    if table.table.endswith("_events"):
        return f"its {table.rows} entries stay as they are"
    return (
        f"its {table.rows} rows stay, {table.legacy} of them as legacy apps, with which Hangar does nothing until "
        f"`hangar adopt`; {table.rows - table.legacy} are deleted and stay as history"
    )


def _exists(connection: psycopg.Connection, name: str) -> bool:
    return connection.execute("select to_regclass(%s) is not null", (name,)).fetchone() == (True,)
