"""`python -m ops.dev.psql`: opens psql on the database of the running local cloud. Further arguments go to psql."""

import json
import os
import shutil
import sys
from pathlib import Path

from local.supabase.postgres.server import PostgresError, find_binaries
from ops.connection import DEV_FILE

EXIT_USAGE = 2


class PsqlError(Exception):
    """psql cannot be opened. The message says what is missing and what to do."""


def find_psql() -> str:
    """The psql of the Postgres that the local cloud uses, else the one on PATH. Raises PsqlError."""
    try:
        beside = find_binaries() / "psql"
    except PostgresError:
        beside = None
    if beside is not None and beside.exists():
        return str(beside)
    if found := shutil.which("psql"):
        return found
    raise PsqlError("psql is not installed: install a PostgreSQL client (Debian: postgresql-client)")


def read_database_url(dev_file: Path = DEV_FILE) -> str:
    """The database of the local cloud that wrote `dev_file`. Raises PsqlError when it is not running."""
    try:
        known = json.loads(dev_file.read_text())
        os.kill(known["pid"], 0)
        return str(known["database_url"])
    except PermissionError:
        raise PsqlError(f"the local cloud of {dev_file} belongs to another user") from None
    except (OSError, ValueError, KeyError, TypeError):
        raise PsqlError("the local cloud is not running: start it with `make dev` in another terminal") from None


def main(arguments: list[str]) -> None:
    """Replace this process by psql, or exit with 2 after one line about what is missing."""
    try:
        psql, url = find_psql(), read_database_url()
    except PsqlError as error:
        sys.stderr.write(f"hangar: {error}\n")
        sys.exit(EXIT_USAGE)
    os.execv(psql, [psql, url, *arguments])  # noqa: S606  psql takes over this terminal


if __name__ == "__main__":
    main(sys.argv[1:])
