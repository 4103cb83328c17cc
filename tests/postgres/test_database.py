"""Databases are made as `supabase db push` makes them, and copies are fresh."""

import threading

import psycopg
import pytest

from local.supabase.postgres.database import MigrationError, migrate, prepare, with_dbname
from tests.support.databases import as_role, drop_database, fresh_database


@pytest.fixture
def folder(tmp_path):
    """A supabase folder with two migrations, written in the wrong order, and a seed."""
    (tmp_path / "migrations").mkdir()
    (tmp_path / "migrations" / "20260102000000_second.sql").write_text("insert into public.t (n) values (2);\n")
    (tmp_path / "migrations" / "20260101000000_first_of_all.sql").write_text(
        "-- a table; with a comment\ncreate table public.t (n int, who text default current_user);\nselect 1;\n"
    )
    (tmp_path / "migrations" / "notes.sql").write_text("this is no migration")
    (tmp_path / "seed.sql").write_text("insert into public.t (n) values (3);")
    return tmp_path


@pytest.mark.every_postgres
def test_migrations_run_in_order_as_postgres_and_are_recorded(postgres, folder, connect):
    url = prepare(postgres, dbname="in_order", folder=folder)
    try:
        session = connect(url)
        assert session.execute("select n, who from t order by n").fetchall() == [(2, "postgres"), (3, "postgres")]
        assert session.execute("select * from supabase_migrations.schema_migrations order by version").fetchall() == [
            (
                "20260101000000",
                [
                    "-- a table; with a comment\ncreate table public.t (n int, who text default current_user);\nselect 1;\n"
                ],
                "first_of_all",
            ),
            ("20260102000000", ["insert into public.t (n) values (2);\n"], "second"),
        ]
        assert migrate(url, folder=folder) == []
        (folder / "migrations" / "20260103000000_third.sql").write_text("delete from t")
        assert migrate(url, folder=folder) == ["20260103000000"]
    finally:
        drop_database(url)


def test_a_migration_that_fails_names_its_line_and_leaves_nothing(postgres, folder, connect):
    bad = folder / "migrations" / "20260103000000_bad.sql"
    bad.write_text("create table public.half (n int);\n\nselect nothing\nfrom nowhere;\n")
    with pytest.raises(MigrationError, match=r'20260103000000_bad.sql:4: relation "nowhere" does not exist'):
        prepare(postgres, dbname="failing", folder=folder)
    url = postgres.url("failing")
    try:
        session = connect(url)
        assert session.execute("select to_regclass('public.half'), to_regclass('public.t')").fetchone() == (None, "t")
        assert session.execute("select count(*) from supabase_migrations.schema_migrations").fetchone() == (2,)
    finally:
        drop_database(url)


def test_migrations_have_no_superuser_rights(postgres, folder):
    (folder / "migrations" / "20260103000000_bad.sql").write_text("create role mighty superuser")
    with pytest.raises(MigrationError, match="permission denied"):
        fresh_database(postgres, folder=folder)
    with psycopg.connect(postgres.url()) as session:
        left = session.execute("select datname from pg_database where datname like 'making%'").fetchall()
    assert left == []


def test_an_empty_folder_is_no_error(postgres, tmp_path, connect):
    url = prepare(postgres.url(), dbname="empty", host_tables=False, folder=tmp_path)
    try:
        assert connect(url).execute("select to_regclass('public.user_profiles')").fetchone() == (None,)
    finally:
        drop_database(url)


def test_copies_share_nothing_and_follow_the_files(postgres, folder, connect):
    one, two = fresh_database(postgres, folder=folder), fresh_database(postgres, folder=folder)
    connect(one).execute("delete from t")
    assert connect(two).execute("select count(*) from t").fetchone() == (2,)
    (folder / "seed.sql").write_text("select 1")
    changed = fresh_database(postgres, folder=folder)
    assert connect(changed).execute("select count(*) from t").fetchone() == (1,)
    for url in (one, two, changed):
        drop_database(url)
    with pytest.raises(psycopg.OperationalError, match="does not exist"):
        connect(one)


def test_several_threads_get_one_each(postgres, folder):
    urls: list[str] = []
    threads = [threading.Thread(target=lambda: urls.append(fresh_database(postgres, folder=folder))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(urls)) == 4
    for url in urls:
        drop_database(url)


def test_jobs_of_the_template_belong_to_the_copy(postgres, folder, connect):
    (folder / "migrations" / "20260103000000_job.sql").write_text("select cron.schedule('j', '* * * * *', 'select 1')")
    url = fresh_database(postgres, folder=folder)
    assert connect(url).execute("select database = current_database() from cron.job").fetchall() == [(True,)]
    drop_database(url)


def test_a_role_has_the_time_out_and_the_claims_of_a_request(bare_database, connect):
    """Supabase: anon 3 s, authenticated 8 s, service_role the 8 s of its login."""
    for role, limit in (("anon", "3s"), ("authenticated", "8s"), ("service_role", "8s")):
        session = connect(bare_database, role, {"sub": "00000000-0000-0000-0000-000000000001"})
        found = session.execute("select current_user, session_user, current_setting('statement_timeout'), auth.role()")
        assert found.fetchone() == (role, "authenticator", limit, role)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            session.execute("set role postgres")
    session = connect(bare_database)
    session.autocommit = False
    as_role(session, "anon")
    session.rollback()
    assert session.execute("select current_user").fetchone() == ("anon",)


def test_the_name_in_a_url_is_exchanged_whatever_else_it_says():
    base = "postgresql://a:b@127.0.0.1:5/"
    assert with_dbname(base + "one?sslmode=disable", "two") == base + "two?sslmode=disable"
    assert with_dbname("postgresql://a:b@127.0.0.1:5", "two") == base + "two"
    assert with_dbname(base, "two") == base + "two"
