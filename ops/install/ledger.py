"""Which files of the schema a database has: from our own ledger, and from the history of the Supabase CLI."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import psycopg

from ops.install.errors import InstallRefused
from ops.install.schema_files import SchemaFile, normalise_text

# What the Supabase CLI leaves out of its record: the ends of statements, and comments between them.
_BETWEEN = re.compile(r"(?:\s|;|--[^\n]*(?:\n|\Z)|/\*.*?\*/)*", re.DOTALL)


@dataclass(frozen=True)
class Plan:
    """What a database has and lacks. `recognised` was applied by the Supabase CLI and is not in the ledger yet."""

    recorded: tuple[SchemaFile, ...]
    recognised: tuple[SchemaFile, ...]
    pending: tuple[SchemaFile, ...]

    @property
    def applied(self) -> tuple[SchemaFile, ...]:
        return (*self.recorded, *self.recognised)


def read_plan(connection: psycopg.Connection, files: Sequence[SchemaFile]) -> Plan:
    """Compare the database with these files; reads only. Raises InstallRefused if other files were applied."""
    if _is_missing(connection, "to_regnamespace('hangar')"):
        # The history may remember an installation that is gone. Without the schema it says nothing.
        return Plan((), (), tuple(files))
    if _is_missing(connection, "to_regclass('hangar.schema_migrations')"):
        raise InstallRefused(
            "this database has a schema named hangar without the table hangar.schema_migrations: an older version of Hangar made "
            "it, or it is not Hangar's. Nothing was changed. To remove an older Hangar, follow docs/deploy.md of that version"
        )
    if not _has_columns(connection):
        raise InstallRefused(
            "this database has a schema named hangar whose table schema_migrations is not Hangar's. Nothing was changed. Rename "
            "that schema, or install into another database"
        )
    recorded = _read_ledger(connection, files)
    recognised = [file for file in _read_history(connection, files) if file.version not in recorded]
    done = recorded | {file.version for file in recognised}
    if not done:
        raise InstallRefused(
            "this database has Hangar's schema, but neither hangar.schema_migrations nor the history of the Supabase CLI says "
            "which files were applied. Nothing was changed. Restore the rows of hangar.schema_migrations from a backup"
        )
    return Plan(
        tuple(file for file in files if file.version in recorded),
        tuple(recognised),
        tuple(file for file in files if file.version not in done),
    )


def record_file(connection: psycopg.Connection, file: SchemaFile, how: str) -> None:
    """Add the file to the ledger, in the caller's transaction."""
    connection.execute(
        "insert into hangar.schema_migrations (version, name, checksum, how) values (%s, %s, %s, %s)",
        (file.version, file.name, file.checksum, how),
    )


def _is_missing(connection: psycopg.Connection, expression: str) -> bool:
    return connection.execute(f"select {expression} is null".encode()).fetchone() == (True,)


def _has_columns(connection: psycopg.Connection) -> bool:
    query = (
        "select count(*) from pg_attribute where attrelid = 'hangar.schema_migrations'::regclass and not attisdropped"
        " and attname in ('version', 'name', 'checksum')"
    )
    return connection.execute(query).fetchone() == (3,)


def _read_ledger(connection: psycopg.Connection, files: Iterable[SchemaFile]) -> set[str]:
    """The recorded versions. Raises InstallRefused for a file with another checksum, or one that these files lack."""
    rows = connection.execute(
        "select version, name, checksum from hangar.schema_migrations order by version"
    ).fetchall()
    known = {file.version: file for file in files}
    if unknown := [f"{version}_{name}.sql" for version, name, _ in rows if version not in known]:
        raise InstallRefused(
            f"this database has {_list(unknown)}, which this version of Hangar does not have: a newer version installed it. "
            "Nothing was changed. Upgrade this command to that version"
        )
    changed = [known[version].file_name for version, _, checksum in rows if checksum != known[version].checksum]
    _refuse_changed(changed, "hangar.schema_migrations has another checksum for")
    return {version for version, *_ in rows}


def _read_history(connection: psycopg.Connection, files: Iterable[SchemaFile]) -> list[SchemaFile]:
    """Our files in the history of the Supabase CLI; another file of the host may have the same version.

    Raises InstallRefused if a recorded text differs. A record without statements (`supabase migration repair`) is believed.
    """
    if _is_missing(connection, "to_regclass('supabase_migrations.schema_migrations')"):
        return []
    rows = connection.execute("select version, name, statements from supabase_migrations.schema_migrations").fetchall()
    history = {(version, name): statements for version, name, statements in rows}
    found = [file for file in files if (file.version, file.name) in history]
    changed = [
        file.file_name
        for file in found
        if (statements := history[file.version, file.name]) and not _has_statements(file.text, statements)
    ]
    _refuse_changed(changed, "the history of the Supabase CLI has another text for")
    return found


def _refuse_changed(changed: list[str], what: str) -> None:
    if changed:
        raise InstallRefused(
            f"{what} {_list(changed)}: the database was installed from other files than those of this version of Hangar. "
            "Nothing was changed. Use the version of Hangar that installed it, or install into a new database"
        )


def _has_statements(text: str, statements: Iterable[str]) -> bool:
    """Whether the text consists of these statements, with nothing but comments between them."""
    at = 0
    for statement in statements:
        wanted = normalise_text(statement).strip()
        begin = text.find(wanted, at)
        if begin < 0 or not _BETWEEN.fullmatch(text, at, begin):
            return False
        at = begin + len(wanted)
    return _BETWEEN.fullmatch(text, at) is not None


def _list(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
