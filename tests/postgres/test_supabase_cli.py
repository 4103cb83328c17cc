"""`supabase db push` and our own runner leave the same database; runs where the Supabase CLI is on the PATH."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from local.supabase.postgres.database import migrate, prepare
from tests.support.databases import drop_database
from tests.support.sqlsplit import split_statements

pytestmark = [pytest.mark.every_postgres]
HISTORY = "select version, name, statements from supabase_migrations.schema_migrations order by version"


def test_push_applies_every_migration_as_our_runner_does(postgres, connect, tmp_path):
    """The CLI logs in as `postgres`, which is no superuser; also its cut into statements is the one of our tests."""
    cli = shutil.which("supabase")
    if cli is None:
        pytest.skip("no Supabase CLI on the PATH (npm install supabase)")
    ours = prepare(postgres, dbname="pushed_by_us", seed=False)
    theirs = prepare(postgres, dbname="pushed_by_cli", migrations=False, seed=False)
    try:
        # A copy, because the CLI writes a .temp folder beside what it reads.
        shutil.copytree(Path(__file__).parents[2] / "supabase", tmp_path / "supabase")
        remote = postgres.url("pushed_by_cli", user="postgres") + "?sslmode=disable"
        pushed = subprocess.run(
            [cli, "db", "push", "--yes", f"--remote={remote}"],
            cwd=tmp_path,
            env={**os.environ, "HOME": str(tmp_path), "DO_NOT_TRACK": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert pushed.returncode == 0, pushed.stderr
        recorded = connect(ours).execute(HISTORY).fetchall()
        cut = [(version, name, split_statements(text)) for version, name, [text] in recorded]
        assert connect(theirs).execute(HISTORY).fetchall() == cut
        assert migrate(theirs) == []
    finally:
        drop_database(ours)
        drop_database(theirs)
