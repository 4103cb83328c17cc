"""The databases that many tests share: a test finds nothing of the one before."""

import psycopg
import pytest

from tests.support.shared_database import SharedDatabases
from tests.support.world import World

CHANGES = (
    "drop trigger append_only on public.user_fly_app_events",
    "alter table public.user_subscriptions disable trigger user",
    "drop function public.fly_overview()",
    "create or replace function hangar.format_moment(p_at timestamptz) returns text language sql as 'select null'",
    "drop policy service_role_all on hangar.signing_keys",
    "alter table public.user_subscriptions drop constraint user_subscriptions_user_id_key",
    "create table public.left_over (id integer)",
    "create publication left_over",
    "grant delete on public.fly_plans to anon",
    "alter default privileges grant select on tables to anon",
    "comment on table public.fly_plans is 'changed'",
)


@pytest.fixture
def databases():
    made = SharedDatabases()
    yield made
    made.close()


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_schema_meets_no_other_test(databases, postgres, change):
    with databases.lend(postgres) as shared, World(shared.url, shared=shared) as world:
        first = shared.url
        world.host.execute(change)
    with databases.lend(postgres) as shared:
        assert shared.url != first


def test_rows_and_sessions_are_as_in_a_new_database(databases, postgres):
    with databases.lend(postgres) as shared, World(shared.url, shared=shared) as world:
        first = shared.url
        world.add_users(["pro"] * 2)
        world.sweep()
        world.sql("update hangar.settings set paused = true")
        world.sql("select pg_advisory_lock(7)")
        worker = world.store._session.connection
        worker.execute("reset role")
        worker.execute("set default_transaction_read_only = on")
        world.host.execute("set role authenticated")
        assert len(world.apps()) == 2
    with databases.lend(postgres) as shared, World(shared.url, shared=shared) as world:
        assert shared.url == first
        assert world.sql("select count(*) from public.user_fly_apps, auth.users") == [(0,)]
        assert world.sql("select live, paused from hangar.settings") == [(True, False)]
        assert world.sql("select count(*) from pg_locks where locktype = 'advisory'") == [(0,)]
        worker = world.store._session.connection
        assert worker.execute("select current_user, current_setting('default_transaction_read_only')").fetchone() == (
            "service_role",
            "off",
        )
        world.add_users(["pro"])
        world.sweep()
        assert len(world.apps()) == 1


def test_an_open_transaction_of_a_test_keeps_nobody_waiting(databases, postgres):
    with databases.lend(postgres) as shared, World(shared.url, shared=shared):
        first = shared.url
        other = psycopg.connect(shared.url)
        other.execute("update hangar.settings set paused = true")
    with databases.lend(postgres) as shared, World(shared.url, shared=shared) as world:
        assert shared.url != first
        assert world.sql("select paused from hangar.settings") == [(False,)]
    other.close()


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_schema_meets_no_other_session(databases, postgres, change):
    with databases.lend_plain(postgres) as shared:
        first = shared.url
        shared.sessions.open().execute(change)
    with databases.lend_plain(postgres) as shared:
        assert shared.url != first


def test_rows_numbers_clock_and_sessions_are_as_in_a_new_installation(databases, postgres):
    kept = (
        "select (select jsonb_agg(s) from hangar.settings s), (select jsonb_agg(p order by p.tier) from public.fly_plans p),"
        " (select count(*) from public.user_fly_app_events),"
        " (select prosrc from pg_proc where oid = 'hangar.now()'::regprocedure),"
        " (select jsonb_agg(array[sequencename, last_value::text] order by schemaname, sequencename) from pg_sequences)"
    )
    with databases.lend_plain(postgres) as shared:
        first, session, service = shared.url, shared.sessions.open(), shared.sessions.open("service_role")
        before = session.execute(kept).fetchone()
        session.execute(
            "create or replace function hangar.now() returns timestamptz language sql stable set search_path = ''"
            " as $$ select '2026-11-22'::timestamptz $$"
        )
        session.execute("update hangar.settings set paused = true, live = true")
        session.execute("delete from public.fly_plans")
        session.execute("insert into public.user_fly_app_events (event_type, status) values ('orphan_found', 'info')")
        session.execute("select pg_advisory_lock(7)")
        session.row_factory = psycopg.rows.dict_row
        service.execute("set statement_timeout = '1s'")
        service.execute("reset role")
        assert session.execute(kept).fetchone() != before
    with databases.lend_plain(postgres) as shared:
        session, service = shared.sessions.open(), shared.sessions.open("service_role")
        assert (shared.url, session.execute(kept).fetchone()) == (first, before)
        assert session.execute("select count(*) from pg_locks where locktype = 'advisory'").fetchone() == (0,)
        role = service.execute("select current_user, current_setting('statement_timeout')").fetchone()
        assert role == ("service_role", "8s")


@pytest.mark.parametrize(
    "change", ["grant execute on function hangar.now() to anon", "alter function hangar.now() owner to supabase_admin"]
)
def test_only_the_body_of_the_clock_may_change(databases, postgres, change):
    with databases.lend_plain(postgres) as shared:
        first = shared.url
        shared.sessions.open().execute(change)
    with databases.lend_plain(postgres) as shared:
        assert shared.url != first


def test_a_session_that_is_left_open_meets_no_other_test(databases, postgres):
    with databases.lend_plain(postgres) as shared:
        first = shared.url
        other = psycopg.connect(shared.url, autocommit=True)
    with databases.lend_plain(postgres) as shared:
        assert shared.url != first
    other.close()
