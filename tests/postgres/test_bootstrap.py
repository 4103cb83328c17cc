"""The guarantees of a new Supabase project, on every supported Postgres."""

import uuid

import psycopg
import pytest

pytestmark = pytest.mark.every_postgres


def add_user(session: psycopg.Connection, email: str) -> uuid.UUID:
    return session.execute("insert into auth.users (email) values (%s) returning id", (email,)).fetchone()[0]


def test_a_new_user_gets_a_profile_and_a_free_active_subscription(bare_database, connect):
    session = connect(bare_database)
    user = add_user(session, "user-1@example.test")
    assert session.execute("select email from user_profiles where id = %s", (user,)).fetchone() == (
        "user-1@example.test",
    )
    assert session.execute("select tier, status from user_subscriptions where user_id = %s", (user,)).fetchall() == [
        ("free", "active")
    ]


def test_a_new_table_is_closed_to_every_api_role(bare_database, connect):
    """Since 2026-05-30 new projects grant nothing on new tables, not even to service_role."""
    connect(bare_database, "postgres").execute("create table public.fresh (id int)")
    for role in ("anon", "authenticated", "service_role"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connect(bare_database, role).execute("select from public.fresh")


def test_a_new_function_is_open_to_everybody(bare_database, connect):
    """As in plain Postgres: EXECUTE must be revoked explicitly."""
    connect(bare_database, "postgres").execute("create function public.one() returns int language sql as 'select 1'")
    assert connect(bare_database, "anon").execute("select public.one()").fetchone() == (1,)


def test_migrations_are_not_run_by_a_superuser(bare_database, connect):
    session = connect(bare_database, "postgres")
    assert session.execute(
        "select current_user, session_user, rolsuper from pg_roles where rolname = current_user"
    ).fetchone() == ("postgres", "postgres", False)


def test_users_see_their_own_rows_and_the_built_in_traders(bare_database, connect):
    root = connect(bare_database)
    one, two = add_user(root, "user-1@example.test"), add_user(root, "user-2@example.test")
    root.execute("insert into traders (name, is_built_in) values ('built in', true)")
    for user in (one, two):
        root.execute("insert into traders (user_id, name) values (%s, %s)", (user, f"of {user}"))
    session = connect(bare_database, "authenticated", {"sub": str(one)})
    assert session.execute("select auth.uid(), auth.role()").fetchone() == (one, "authenticated")
    names = session.execute("select name from traders order by is_built_in").fetchall()
    assert names == [(f"of {one}",), ("built in",)]
    assert session.execute("select user_id from user_subscriptions").fetchall() == [(one,)]
    session.execute("insert into signals (user_id) values (%s)", (one,))
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        session.execute("insert into signals (user_id) values (%s)", (two,))


def test_an_admin_of_the_host_changes_tiers_by_plain_update(bare_database, connect):
    root = connect(bare_database)
    admin, user = add_user(root, "admin@example.test"), add_user(root, "user-1@example.test")
    root.execute("update user_profiles set is_admin = true where id = %s", (admin,))
    change = "update user_subscriptions set tier = 'pro' where user_id = %s"
    assert connect(bare_database, "authenticated", {"sub": str(user)}).execute(change, (user,)).rowcount == 0
    assert connect(bare_database, "authenticated", {"sub": str(admin)}).execute(change, (user,)).rowcount == 1


def test_anon_sees_nothing_of_the_host(bare_database, connect):
    for table in ("user_profiles", "user_subscriptions", "traders", "signals"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connect(bare_database, "anon").execute(f"select from {table}")
