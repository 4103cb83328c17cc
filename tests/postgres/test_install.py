"""`hangar install`: repeated, interrupted, run twice at once, beside the host's migrations and after the Supabase CLI."""

import random

import psycopg
import pytest

from local.supabase.postgres.database import migrate, prepare
from local.supabase.postgres.server import Postgres
from ops.install.conflicts import refuse_conflicts
from ops.install.errors import InstallRefused
from ops.install.schema_files import SchemaFile
from tests.postgres import installer, public_interface
from tests.postgres.installer import (
    FILES,
    NAMES,
    as_owner,
    dump,
    install,
    kill,
    read_ledger,
    run,
    run_json,
    slow_statements,
    start,
)
from tests.support.databases import fresh_database
from tests.support.sizes import size
from tests.support.sqlsplit import split_statements

HISTORY = "select * from supabase_migrations.schema_migrations order by version"


@pytest.fixture
def host(bare_database, connect):
    """A host with forty migrations of its own in the Supabase CLI's history."""
    session = connect(bare_database, "postgres")
    session.execute("create schema supabase_migrations")
    session.execute(
        "create table supabase_migrations.schema_migrations (version text not null primary key, statements text[], name text)"
    )
    for number in range(40):
        statement = f"create table public.host_{number} (id integer primary key)"
        session.execute(statement)
        session.execute(
            "insert into supabase_migrations.schema_migrations values (%s, %s, %s)",
            (f"202501010000{number:02}", [statement], f"host_{number}"),
        )
    return bare_database


def read_interface(connect, url):
    """All that outsiders see, but for the policies that the local cloud's host adds to its own tables."""
    lines = public_interface.dump(connect(url)).splitlines()
    return [line for line in lines if " not_revoked restrictive " not in line]


@pytest.mark.every_postgres
@pytest.mark.slow
def test_it_makes_the_same_schema_as_the_supabase_cli_and_leaves_the_hosts_history_alone(host, connect, postgres):
    before = connect(host).execute(HISTORY).fetchall()
    printed = install(host)
    assert read_ledger(host) == NAMES
    assert f"Installed: {len(NAMES)} files applied" in printed
    assert "hangar.bind_subscriptions" not in printed  # public.user_subscriptions is bound
    assert "public.fly_plans" in printed
    assert connect(host).execute(HISTORY).fetchall() == before
    pushed = fresh_database(postgres, seed=False)
    # A template has no removal hold, which is a setting of the tests.
    connect(pushed).execute("update hangar.settings set removal_hold_s = default")
    assert read_interface(connect, host) == read_interface(connect, pushed)


@pytest.mark.slow
def test_a_second_run_changes_nothing(host, connect, postgres):
    install(host)
    before = installer.dump(postgres, host)
    assert f"Up to date: all {len(NAMES)} files" in install(host)
    assert installer.dump(postgres, host) == before


@pytest.mark.slow
def test_a_dry_run_lists_every_file_and_changes_nothing(host, postgres):
    before = installer.dump(postgres, host)
    printed = install(host, "--dry-run")
    assert [
        line.removeprefix("Would apply ") for line in printed.splitlines() if line.startswith("Would apply ")
    ] == NAMES
    assert run_json("install", "--database-url", as_owner(host), "--dry-run")["applied"] == NAMES
    assert installer.dump(postgres, host) == before


@pytest.mark.slow
def test_json_says_what_was_applied_and_what_comes_next(host):
    first = run_json("install", "--database-url", as_owner(host))
    assert (first["applied"], first["already"], first["dry_run"]) == (NAMES, [], False)
    assert first["binding"] == "public.user_subscriptions"
    assert first["next"]


@pytest.mark.slow
def test_a_host_without_the_default_table_is_told_to_bind_its_own(host, connect):
    connect(host).execute("drop table public.user_subscriptions cascade")
    printed = install(host)
    assert "Note: there is no table public.user_subscriptions" in printed
    assert "Next: bind the table" in printed


@pytest.mark.parametrize("schema", ["net", "vault", "cron"])
@pytest.mark.slow
def test_a_missing_extension_is_a_note_and_no_error(host, connect, schema):
    connect(host).execute(f"drop schema {schema} cascade")
    printed = install(host)
    assert read_ledger(host) == NAMES
    assert {"net": "pg_net", "vault": "Vault", "cron": "pg_cron"}[schema] + " is not enabled" in printed


@pytest.mark.sized
@pytest.mark.slow
def test_killed_between_files_and_within_them_it_continues_where_it_was(host, connect, postgres):
    """An event trigger makes every statement slow, so that most kills come in the middle of a file."""
    seed = random.Random(7)  # noqa: S311  no secret
    goals = [1, *sorted(seed.sample(range(2, len(NAMES)), size("INSTALLS_KILLED") - 1))]
    looks = connect(host)
    with slow_statements(connect(host)):
        for goal in goals:
            process = start("install", "--database-url", as_owner(host))
            installer.wait_for(
                lambda goal=goal, process=process: (
                    len(installer.list_ledger(looks)) >= goal or process.poll() is not None
                )
            )
            kill(process)
            assert read_ledger(host) == NAMES[: len(read_ledger(host))]
    assert "Installed" in install(host)
    assert read_ledger(host) == NAMES
    pushed = fresh_database(postgres, seed=False)
    connect(pushed).execute("update hangar.settings set removal_hold_s = default")
    assert read_interface(connect, host) == read_interface(connect, pushed)


@pytest.mark.slow
def test_two_at_the_same_time_apply_every_file_once(host):
    both = [start("install", "--database-url", as_owner(host)) for _ in range(2)]
    ended = [process.communicate(timeout=120) for process in both]
    assert [process.returncode for process in both] == [0, 0], ended
    assert read_ledger(host) == NAMES
    applied = [line for output, _ in ended for line in output.splitlines() if line.startswith("Applied ")]
    assert sorted(applied) == [f"Applied {name}" for name in NAMES]


@pytest.mark.slow
def test_what_the_supabase_cli_applied_is_recorded_and_not_applied_again(database, connect, postgres):
    before = installer.dump(postgres, database, "--exclude-table-data=hangar.schema_migrations")
    printed = install(database)
    assert f"{len(NAMES)} files were applied by the Supabase CLI; recorded" in printed
    assert connect(database).execute("select distinct how from hangar.schema_migrations").fetchall() == [("supabase",)]
    assert read_ledger(database) == NAMES
    assert installer.dump(postgres, database, "--exclude-table-data=hangar.schema_migrations") == before
    assert "Up to date" in install(database)


@pytest.mark.slow
def test_a_push_that_stopped_is_completed(bare_database, connect, tmp_path):
    (tmp_path / "migrations").mkdir()
    for file in FILES[:20]:
        (tmp_path / "migrations" / file.file_name).write_text(file.text)
    migrate(bare_database, folder=tmp_path)
    record = "update supabase_migrations.schema_migrations set statements = %s where version = %s"
    for file in FILES[:10]:  # as the Supabase CLI records them
        connect(bare_database).execute(record, (split_statements(file.text), file.version))
    assert run_json("install", "--database-url", as_owner(bare_database), "--dry-run")["recognised"] == NAMES[:20]
    install(bare_database)
    how = "select how, count(*) from hangar.schema_migrations group by how order by how"
    assert connect(bare_database).execute(how).fetchall() == [("install", len(NAMES) - 20), ("supabase", 20)]


@pytest.mark.slow
def test_a_history_without_statements_is_believed(database, connect):
    """`supabase migration repair --status applied` records no statements."""
    connect(database).execute("update supabase_migrations.schema_migrations set statements = null")
    install(database)
    assert read_ledger(database) == NAMES


@pytest.mark.slow
def test_a_file_of_the_host_with_one_of_our_versions_is_none_of_ours(host, connect):
    connect(host).execute(
        "insert into supabase_migrations.schema_migrations values (%s, '{select 1}', 'their_own')", (FILES[3].version,)
    )
    install(host)
    assert read_ledger(host) == NAMES


@pytest.mark.parametrize("dry", [(), ("--dry-run",)])
@pytest.mark.slow
def test_a_file_with_another_checksum_is_named_and_nothing_is_changed(host, connect, postgres, dry):
    """Also when other files are missing: the check comes first."""
    install(host)
    session = connect(host)
    session.execute(
        "update hangar.schema_migrations set checksum = repeat('0', 64) where version = %s", (FILES[5].version,)
    )
    session.execute("delete from hangar.schema_migrations where version = %s", (FILES[-1].version,))
    before = installer.dump(postgres, host)
    assert FILES[5].file_name in install(host, *dry, exits=3)
    assert installer.dump(postgres, host) == before


@pytest.mark.slow
def test_another_text_in_the_history_of_the_supabase_cli_is_named(database, connect, postgres):
    connect(database).execute(
        "update supabase_migrations.schema_migrations set statements[1] = 'select 1' where version = %s",
        (FILES[2].version,),
    )
    before = installer.dump(postgres, database)
    assert FILES[2].file_name in install(database, exits=3)
    assert installer.dump(postgres, database) == before


@pytest.mark.slow
def test_a_database_of_a_newer_version_is_left_alone(host, connect):
    install(host)
    connect(host).execute(
        "insert into hangar.schema_migrations (version, name, checksum, how)"
        " values ('20991231000000', 'newer', repeat('0', 64), 'install')"
    )
    assert "20991231000000_newer.sql" in install(host, exits=3)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("made", "said"),
    [
        ("create schema hangar", "without the table hangar.schema_migrations"),
        ("create schema hangar create table schema_migrations (version text, name text, checksum text)", "neither"),
    ],
)
def test_a_schema_of_unknown_origin_is_left_alone(host, connect, made, said):
    connect(host, "postgres").execute(made)
    assert said in install(host, exits=3)


@pytest.mark.slow
def test_a_failing_file_is_named_and_the_files_before_it_stay(host, connect):
    session = connect(host)
    session.execute(installer.REFUSE_PLANS.encode())
    printed = install(host, exits=1)
    failed = next(file for file in FILES if "create table public.fly_plans" in file.text)
    assert f"{failed.file_name} failed: no plans here" in printed
    assert read_ledger(host) == NAMES[: FILES.index(failed)]
    session.execute(installer.ALLOW_PLANS.encode())
    install(host)
    assert read_ledger(host) == NAMES


@pytest.mark.slow
@pytest.mark.parametrize("role", ["service_role", "authenticator", "anon"])
def test_a_role_that_is_not_the_owner_is_told_who_is(host, connect, role, postgres):
    admin = connect(host)
    login = f"{role}_login"
    admin.execute(f"create role {login} login in role {role}")
    try:
        printed = run("install", "--database-url", host.replace("supabase_admin@", f"{login}@"), exits=2)
    finally:
        admin.execute(f"drop role {login}")
    assert f"role {login} may not create" in printed
    assert "postgres" in printed
    assert read_ledger(host) == []


@pytest.mark.slow
def test_a_superuser_installs_as_the_owner_of_the_database(host, connect):
    run("install", "--database-url", host)
    owners = "select distinct relowner::regrole::text from pg_class where relnamespace = 'hangar'::regnamespace"
    assert connect(host).execute(owners).fetchall() == [("postgres",)]


CONFLICTS = {
    "create function public.fly_overview() returns jsonb language sql as 'select null::jsonb'": "function public.fly_overview()",
    "create function public.fly_claim(integer) returns integer language sql as 'select 1'": "function public.fly_claim(integer)",
    "create view public.fly_failures as select 1 as x": "view public.fly_failures",
    "create table public.fly_plans (id integer)": "table public.fly_plans",
    "create type public.fly_orphans as enum ('a')": "type public.fly_orphans",
    "create schema hangar; create table hangar.schema_migrations (version bigint, dirty boolean)": "is not Hangar's",
}


@pytest.mark.slow
@pytest.mark.parametrize(("made", "said"), CONFLICTS.items(), ids=CONFLICTS.values())
@pytest.mark.parametrize("dry_run", [True, False])
def test_an_object_of_the_host_with_a_name_of_ours_is_named_before_anything_is_changed(
    host, connect, postgres, made, said, dry_run
):
    """A part of the schema stayed behind, or the error named a column."""
    connect(host, "postgres").execute(made.encode())
    before = dump(postgres, host)
    printed = install(host, *(["--dry-run"] if dry_run else []), exits=3)
    assert said in printed
    assert "Nothing was changed" in printed
    assert dump(postgres, host) == before


@pytest.mark.slow
def test_our_own_procedures_without_their_comments_are_no_conflict(host, connect):
    """A copy of the database has lost the comments, and the next version replaces a procedure."""
    install(host)
    connect(host).execute("comment on function public.fly_overview() is null")
    [file] = [file for file in FILES if "create function public.fly_overview()" in file.text]
    newer = SchemaFile(
        "20991231000000",
        "newer",
        file.text.replace("create function public.fly_overview", "create or replace function public.fly_overview"),
    )
    refuse_conflicts(connect(host), [newer], [*FILES, newer])
    connect(host).execute("create function public.fly_overview(integer) returns integer language sql as 'select 1'")
    with pytest.raises(InstallRefused, match="fly_overview"):
        refuse_conflicts(connect(host), [newer], [*FILES, newer])


@pytest.mark.slow
@pytest.mark.parametrize(
    "setting",
    ["idle_session_timeout", "statement_timeout", "idle_in_transaction_session_timeout", "transaction_timeout"],
)
def test_a_time_limit_of_the_role_does_not_end_the_installation(host, connect, setting):
    """The limits are for the host's own requests."""
    admin = connect(host)
    if not admin.execute("select 1 from pg_settings where name = %s", (setting,)).fetchone():
        pytest.skip(f"this Postgres has no {setting}")
    role = "limited_by_" + setting
    admin.execute(f"create role {role} login in role postgres; alter role {role} set {setting} = '150ms'".encode())
    try:
        run("install", "--database-url", host.replace("supabase_admin@", f"{role}@"))
    finally:
        admin.execute(f"drop owned by {role}; drop role {role}".encode())
    assert read_ledger(host) == NAMES


@pytest.mark.slow
def test_a_lock_that_another_session_holds_is_waited_for(host, connect):
    """The lock of a killed `hangar install`, or of a host's tool that applies the exported files."""
    holder = psycopg.connect(host)
    holder.execute("select pg_advisory_xact_lock(4728106552)")
    process = start("install", "--database-url", as_owner(host))
    line = process.stdout.readline()
    assert f"Postgres process {holder.info.backend_pid}" in line
    holder.close()
    assert process.communicate(timeout=120)[1] == ""
    assert process.returncode == 0
    assert read_ledger(host) == NAMES


@pytest.fixture
def guarded(server_folder):
    """A server that asks for passwords, with a database of its own; the URL of the role postgres with the right one."""
    server = Postgres(server_folder, fsync=False).start()
    try:
        url = prepare(server, dbname="app", migrations=False, seed=False)
        with psycopg.connect(url, autocommit=True) as session:
            session.execute("alter role postgres password 'Tr0ub4dor'")
            (server.data / "pg_hba.conf").write_text("host all all 127.0.0.1/32 scram-sha-256\n")
            session.execute("select pg_reload_conf()")
        yield url.replace("supabase_admin@", "postgres:Tr0ub4dor@")
    finally:
        server.stop()


@pytest.mark.slow
def test_a_wrong_password_role_or_database_is_named_and_no_password_is_shown(guarded):
    for url, said in (
        (guarded.replace("Tr0ub4dor", "Wr0ng-0ne"), "the password or the role is wrong"),
        (guarded.replace(":Tr0ub4dor", ""), "the password or the role is wrong"),
        (guarded.replace("postgres:Tr0ub4dor", "nobody:Wr0ng-0ne"), "the password or the role is wrong"),
        (guarded.replace("/app", "/nowhere"), "this database does not exist"),
    ):
        printed = run("install", exits=2, SUPABASE_DB_URL=url)
        assert said in printed
        assert "Nothing was changed" in printed
        assert "Tr0ub4dor" not in printed
        assert "Wr0ng-0ne" not in printed
    assert "Tr0ub4dor" not in run("install", SUPABASE_DB_URL=guarded)
    assert "Tr0ub4dor" not in run("uninstall", "--yes", DATABASE_URL=guarded)


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ["SQL_ASCII", "LATIN1"])
@pytest.mark.parametrize("place", ["client_encoding={}", "options=-c%20client_encoding%3D{}", "PGCLIENTENCODING"])
def test_another_encoding_of_the_client_changes_nothing(bare_database, encoding, place):
    """SQL_ASCII ended the command with a traceback, and LATIN1 refused a character of the files."""
    url, environ = as_owner(bare_database), {}
    if place == "PGCLIENTENCODING":
        environ = {place: encoding}
    else:
        url = f"{url}?{place.format(encoding)}"
    assert f"{len(FILES)} would be applied" in run("install", "--dry-run", "--database-url", url, **environ)
