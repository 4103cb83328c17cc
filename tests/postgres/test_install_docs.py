"""docs/install.md and docs/uninstall.md from top to bottom, every command and block of SQL; beside it the real Supabase CLI."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import psycopg
import pytest

from local.supabase.postgres.database import migrate
from tests.postgres.installer import FILES, NAMES, as_owner, read_ledger, run
from tests.support.databases import drop_database, fresh_database

ROOT = Path(__file__).resolve().parents[2]
UNINSTALL = (ROOT / "docs" / "uninstall.md").read_text()
# What needs no checks is run by test_real_neighbours_docs.py.
PAGE = (ROOT / "docs" / "install.md").read_text() + UNINSTALL.partition("## Without the command line")[0]
STEPS = re.findall(r"^    (\S[^\n]*)$|^```sql\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
THEIRS = "20250101000000_first.sql"


@pytest.fixture
def folder(tmp_path):
    """The host's project with one migration of its own."""
    (tmp_path / "supabase" / "migrations").mkdir(parents=True)
    (tmp_path / "supabase" / "config.toml").write_text('project_id = "host"\n')
    (tmp_path / "supabase" / "migrations" / THEIRS).write_text(
        "create table public.host_notes (id integer primary key);\n"
    )
    return tmp_path


@pytest.fixture
def push(folder):
    """`push(url)`: the host's `supabase db push`, by Supabase's own command line. Returns what it says."""
    found = shutil.which("supabase") or shutil.which("supabase", path=str(ROOT / "node_modules" / ".bin"))
    if found is None:
        pytest.skip("there is no `supabase` command on PATH nor in node_modules")

    def run_push(url):
        ended = subprocess.run(
            [found, "db", "push", "--yes", f"--remote={as_owner(url)}?sslmode=disable"],
            cwd=folder,
            env={
                "PATH": os.environ["PATH"],
                "HOME": str(folder),
                "SUPABASE_TELEMETRY_DISABLED": "1",
                "DO_NOT_TRACK": "1",
            },
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        assert ended.returncode == 0, ended.stdout + ended.stderr
        return ended.stdout + ended.stderr

    return run_push


@pytest.mark.slow
def test_the_page_from_top_to_bottom(bare_database, folder):
    """`supabase db push` is our own runner here, which does the same; the tests below use the real one."""
    environ = {}
    assert len(STEPS) >= 10
    with psycopg.connect(as_owner(bare_database), autocommit=True) as session:
        for command, block in STEPS:
            words = command.replace("supabase/migrations", str(folder / "supabase" / "migrations")).split()
            if block:
                session.execute(block.encode())
            elif words[0] == "export":
                assert words[1].startswith("SUPABASE_DB_URL='postgresql://postgres:")
                environ = {"SUPABASE_DB_URL": as_owner(bare_database)}
            elif words[0] == "hangar":
                run(*words[1:], typed="yes\n", **environ)
            else:
                assert words == ["supabase", "db", "push"]
                migrate(bare_database, folder=folder / "supabase")
        assert session.execute("select to_regnamespace('hangar')").fetchone() == (None,)
        assert session.execute("select to_regclass('public.host_notes') is not null").fetchone() == (True,)


@pytest.mark.every_postgres
def test_the_hosts_own_push_works_before_and_after_hangar_install(bare_database, folder, push):
    push(bare_database)
    run("install", "--database-url", as_owner(bare_database))
    assert "up to date" in push(bare_database)
    (folder / "supabase" / "migrations" / "20260601000000_second.sql").write_text(
        "alter table public.host_notes add note text;\n"
    )
    push(bare_database)
    with psycopg.connect(bare_database) as session:
        versions = session.execute("select version from supabase_migrations.schema_migrations order by 1").fetchall()
    assert versions == [("20250101000000",), ("20260601000000",)]
    assert read_ledger(bare_database) == NAMES


@pytest.mark.every_postgres
def test_the_exported_files_are_pushed_and_recognised(postgres, folder, push):
    """Once into a database without Hangar, once into one where `hangar install` was first."""
    run("install", "--into", str(folder / "supabase" / "migrations"))
    for is_first in (True, False):
        url = fresh_database(postgres, migrations=False, seed=False)
        try:
            if not is_first:
                run("install", "--database-url", as_owner(url))
            push(url)
            assert read_ledger(url) == NAMES
            assert "up to date" in push(url)
            assert f"Up to date: all {len(FILES)} files" in run("install", "--database-url", as_owner(url))
        finally:
            drop_database(url)
