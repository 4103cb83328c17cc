"""`hangar install --into`: the host's own tool applies the files, and `hangar install` and they know each other."""

import subprocess

import psycopg
import pytest

from local.supabase.postgres.database import migrate
from tests.postgres import public_interface
from tests.postgres.installer import (
    FILES,
    NAMES,
    as_owner,
    dump,
    install,
    read_ledger,
    run,
    slow_statements,
    start,
    wait_for,
)
from tests.support.databases import fresh_database

HOW = "select distinct how from hangar.schema_migrations"


@pytest.fixture
def project(tmp_path):
    """The host's folder with one migration of its own and Hangar's files."""
    folder = tmp_path / "migrations"
    folder.mkdir()
    (folder / "20250101000000_first.sql").write_text("create table public.host_notes (id integer primary key);\n")
    assert f"{len(FILES)} files written" in run("install", "--into", str(folder))
    return tmp_path


@pytest.mark.every_postgres
@pytest.mark.slow
def test_both_ways_end_in_the_same_schema(project, bare_database, connect, postgres):
    migrate(bare_database, folder=project)
    other = fresh_database(postgres, migrations=False, seed=False)
    connect(other, "postgres").execute((project / "migrations" / "20250101000000_first.sql").read_text())
    install(other)
    assert public_interface.dump(connect(bare_database)) == public_interface.dump(connect(other))
    # pg_dump from an older server's folder lists grants in another order; what it dumps is the same.
    schema = ("--schema-only", "--exclude-schema=supabase_migrations")
    assert dump(postgres, bare_database, *schema) == dump(postgres, other, *schema)


@pytest.mark.slow
def test_what_the_hosts_tool_applied_is_recognised(project, bare_database, connect, postgres):
    migrate(bare_database, folder=project)
    assert read_ledger(bare_database) == NAMES
    assert connect(bare_database).execute(HOW).fetchall() == [("folder",)]
    before = dump(postgres, bare_database)
    assert f"Up to date: all {len(NAMES)} files" in install(bare_database)
    assert dump(postgres, bare_database) == before


@pytest.mark.slow
def test_the_files_do_nothing_after_hangar_install(project, bare_database, connect, postgres):
    install(bare_database)
    before = dump(postgres, bare_database, "--exclude-schema=supabase_migrations", "--exclude-table=public.host_notes")
    assert len(migrate(bare_database, folder=project)) == len(FILES) + 1
    assert connect(bare_database).execute(HOW).fetchall() == [("install",)]
    options = ("--exclude-schema=supabase_migrations", "--exclude-table=public.host_notes")
    assert dump(postgres, bare_database, *options) == before


@pytest.mark.slow
def test_half_by_the_one_and_half_by_the_other(project, bare_database, connect, tmp_path):
    some = tmp_path / "some" / "migrations"
    some.mkdir(parents=True)
    for path in sorted((project / "migrations").iterdir())[:21]:
        (some / path.name).write_text(path.read_text())
    migrate(bare_database, folder=tmp_path / "some")
    assert read_ledger(bare_database) == NAMES[:20]
    install(bare_database)
    assert read_ledger(bare_database) == NAMES
    assert len(migrate(bare_database, folder=project)) == len(FILES) - 20


def test_a_tool_without_transactions_applies_a_file_in_full_or_not_at_all(project, bare_database, connect, postgres):
    """Psql runs each statement by itself; a file of ours is one statement."""
    connect(bare_database, "postgres").execute("create table public.fly_plans (mine integer)")
    for path in sorted((project / "migrations").iterdir()):
        applied = subprocess.run(
            [str(postgres.binaries / "psql"), "-q", "-v", "ON_ERROR_STOP=1", "-f", str(path), as_owner(bare_database)],
            capture_output=True,
            text=True,
            check=False,
        )
        if applied.returncode:
            break
    assert 'relation "fly_plans" already exists' in applied.stderr
    failed = next(file for file in FILES if "create table public.fly_plans" in file.text)
    assert read_ledger(bare_database) == NAMES[: FILES.index(failed)]
    assert connect(bare_database).execute("select to_regclass('hangar.settings')").fetchone() == (None,)


@pytest.mark.slow
def test_the_hosts_tool_and_hangar_install_at_the_same_time(project, bare_database, connect):
    with slow_statements(connect(bare_database)):
        installing = start("install", "--database-url", as_owner(bare_database))
        wait_for(lambda: len(read_ledger(bare_database)) >= 3)
        migrate(bare_database, folder=project)
        assert installing.communicate(timeout=120)[1] == ""
    assert installing.returncode == 0
    # The tool waited for the command, and then had nothing left to do.
    assert connect(bare_database).execute(HOW).fetchall() == [("install",)]
    assert read_ledger(bare_database) == NAMES
    recorded = connect(bare_database).execute("select count(*) from supabase_migrations.schema_migrations").fetchone()
    assert recorded == (len(FILES) + 1,)


@pytest.mark.slow
def test_a_file_that_was_applied_with_another_text_says_so(project, bare_database, connect):
    install(bare_database)
    session = connect(bare_database)
    session.execute(
        "update hangar.schema_migrations set checksum = repeat('0', 64) where version = %s", (FILES[4].version,)
    )
    (path,) = (project / "migrations").glob(f"*_hangar_{FILES[4].name}.sql")
    with pytest.raises(psycopg.errors.RaiseException, match=f"{FILES[4].version}_{FILES[4].name} was applied before"):
        session.execute(path.read_text())
