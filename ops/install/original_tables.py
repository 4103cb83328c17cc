"""Uninstalling from the tables of the original system: Hangar's parts go, the rows stay, and what was replaced is made again."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import psycopg

from ops.install.schema_files import SchemaFile

_ROLES = ("public", "anon", "authenticated", "service_role")
_POLICIES = ("own_row", "not_revoked", "service_role_all")
_INDEX = re.compile(r"\bcreate (?:unique )?index (?:if not exists )?(\w+)")


@dataclass
class Original:
    """What one table consisted of: the statements that remove what Hangar has added, and those that make the rest again."""

    remove: list[str] = field(default_factory=list)
    restore: list[tuple[str, str]] = field(default_factory=list)


def read_originals(connection: psycopg.Connection) -> dict[str, Original]:
    """By table; read before the schema hangar goes. A trigger that Hangar disabled is under the table that it is on."""
    found: dict[str, Original] = {}
    rows = connection.execute(
        "select case when kind = 'trigger' then table_name else 'public.' || table_name end, kind, name, restore"
        " from hangar.original_objects where kind <> 'column' order by nr"
    ).fetchall()
    for table, kind, name, restore in rows:
        original = found.setdefault(table, Original())
        if kind == "added":
            original.remove.insert(0, restore)  # a constraint before the columns that it is about
        else:
            original.restore.append((name, restore))
    return found


def strip_originals(
    connection: psycopg.Connection,
    tables: Sequence[str],
    originals: Mapping[str, Original],
    files: Sequence[SchemaFile],
) -> None:
    """Take Hangar's triggers, policies, rights, indexes, constraints and columns from these tables; the host's own stay."""
    for name in tables:
        for statement in (*_list_parts(connection, name, files), *originals[name].remove):
            connection.execute(statement.encode())
        if name == "public.user_fly_app_events":
            # What Hangar wrote about itself is about no app, which the original system's log could not hold.
            connection.execute("delete from public.user_fly_app_events where fly_app_id is null or user_id is null")
        connection.execute(f"revoke all on {name} from {', '.join(_ROLES)}".encode())
        connection.execute(f"alter table {name} reset (fillfactor)".encode())
        connection.execute(f"comment on table {name} is null".encode())


def restore_originals(
    connection: psycopg.Connection, tables: Sequence[str], originals: Mapping[str, Original]
) -> list[str]:
    """Make again what the tables had. What rows that Hangar made do not allow is left out, with a note that names it."""
    notes = [f"{table} stays with its rows, as the original system had it" for table in tables]
    for table, original in originals.items():
        for name, statement in original.restore:
            reason = _try(connection, statement)
            if reason and " add constraint " in statement and _try(connection, f"{statement} not valid") is None:
                notes.append(f"{name} of {table} holds for new rows only: {reason}")
            elif reason:
                notes.append(f"{name} of {table} was not restored: {reason}. To do it yourself: {statement}")
    return notes


def _try(connection: psycopg.Connection, statement: str) -> str | None:
    """Run the statement; why it failed, or None."""
    try:
        with connection.transaction():
            connection.execute(statement.encode())
    except psycopg.Error as error:
        if connection.broken:
            raise
        return error.diag.message_primary or type(error).__name__
    return None


def _list_parts(connection: psycopg.Connection, table: str, files: Sequence[SchemaFile]) -> list[str]:
    """Statements that drop Hangar's triggers, policies, foreign key and indexes."""
    indexes = [name for file in files for name in _INDEX.findall(file.text)]
    rows = connection.execute(
        "select statement from ("
        " select 1, format('drop trigger %%I on %%s', t.tgname, t.tgrelid::regclass)"
        "   from pg_trigger t join pg_proc p on p.oid = t.tgfoid"
        "  where t.tgrelid = %(table)s::regclass and not t.tgisinternal and p.pronamespace = to_regnamespace('hangar')"
        " union all select 2, format('drop policy %%I on %%s', p.polname, p.polrelid::regclass) from pg_policy p"
        "  where p.polrelid = %(table)s::regclass and p.polname = any (%(policies)s)"
        " union all select 3, format('alter table %%s drop constraint %%I', c.conrelid::regclass, c.conname)"
        "   from pg_constraint c where c.conrelid = %(table)s::regclass and c.conname = 'user_fly_app_events_fly_app_id_fkey'"
        " union all select 4, format('drop index %%s', i.indexrelid::regclass)"
        "   from pg_index i join pg_class c on c.oid = i.indexrelid"
        "  where i.indrelid = %(table)s::regclass and c.relname = any (%(indexes)s)"
        ") parts (place, statement) order by place, statement",
        {"table": table, "policies": list(_POLICIES), "indexes": indexes},
    )
    return [statement for (statement,) in rows.fetchall()]
