"""`hangar.bind_function` with tables to watch: a change in one of them is a mark for everybody, and nothing more."""

import pytest
from psycopg import errors

from tests.postgres.ready_bindings import open_host

pytestmark = pytest.mark.every_postgres
FUNCTION = """
create table public.deals (id int primary key, owner uuid, plan text);
create table public.notes (id int);
create schema private;
create function private.paid() returns table (user_id uuid, tier text, status text, ends_at timestamptz)
language plpgsql stable set search_path = '' as $$
begin return query select d.owner, d.plan, 'active', null::timestamptz from public.deals d; end $$;
"""
WATCH = "select hangar.bind_function('private.paid()', p_watch => array['public.deals'::regclass])"
TRIGGERS = "select tgrelid::regclass::text as name from pg_trigger where tgname = 'hangar_mark_watched'"


@pytest.fixture
def host(postgres, connect):
    with open_host(postgres, connect) as host:
        host.owner.execute(FUNCTION)
        host.plans(pro=512)
        yield host


def everybody(host):
    return host.rpc("fly_apply_marks")["everybody"]


def test_only_a_change_of_a_watched_table_asks_for_a_look_at_everybody(host):
    """Insert, update, delete and truncate, each once. Without p_watch every drain looks at everybody."""
    host.owner.execute("select hangar.bind_function('private.paid()')")
    assert [everybody(host), everybody(host)] == [True, True]
    answer = host.owner.execute(WATCH).fetchone()[0]
    assert answer["polled"] is None
    assert [everybody(host), everybody(host)] == [True, False]
    user = host.sign_up("ada")
    host.drain()
    for change in (
        f"insert into public.deals values (1, '{user}', 'pro')",
        "update public.deals set plan = 'pro'",
        "delete from public.deals",
        "truncate public.deals",
    ):
        host.owner.execute(change.encode())
        assert [everybody(host), everybody(host)] == [True, False], change
    host.owner.execute("insert into public.notes values (1)")
    assert everybody(host) is False
    host.write(f"insert into public.deals values (1, '{user}', 'pro')")
    assert host.wants(user) == "pro"


def test_another_binding_or_none_leaves_nothing_on_the_watched_table(host):
    host.owner.execute(WATCH)
    assert [row["name"] for row in host.sql(TRIGGERS)] == ["deals"]
    host.owner.execute("select hangar.bind_function('private.paid()', p_watch => array['public.notes'::regclass])")
    assert [row["name"] for row in host.sql(TRIGGERS)] == ["notes"]
    host.owner.execute("select hangar.bind_function('private.paid()', '{}')")
    assert host.sql(TRIGGERS) == []
    host.owner.execute(WATCH)
    host.owner.execute("select hangar.unbind()")
    assert host.one("select count(*) from pg_trigger where tgname like 'hangar_mark%%'") == 0


def test_a_table_binding_after_a_function_binding_leaves_the_old_tables_alone(host):
    """And the other way round: the triggers of a bound table end with its binding."""
    columns = '{"user_id": "owner", "tier": "plan", "status": {"value": "active"}}'
    table = f"select hangar.bind_subscriptions('public.deals', '{columns}')"
    host.owner.execute(table.encode())
    host.owner.execute(WATCH)
    names = "select tgname as name from pg_trigger where tgrelid = 'public.deals'::regclass and tgname like 'hangar%%' order by 1"
    assert [row["name"] for row in host.sql(names)] == ["hangar_mark_watched"]
    host.owner.execute(table.encode())
    events = ("delete", "insert", "truncate", "update")
    assert [row["name"] for row in host.sql(names)] == [f"hangar_mark_{event}" for event in events]


def test_a_watched_table_that_is_dropped_and_created_again(host):
    """Until the next sync every drain looks at everybody, then the new table is watched."""
    host.owner.execute(WATCH)
    user = host.sign_up("ada")
    host.write("insert into public.deals values (1, %s, 'pro')", user)
    host.owner.execute("drop table public.deals")
    host.drain()
    assert (host.wants(user), host.why(user)) == ("pro", "unreadable_host")
    assert everybody(host) is True
    host.owner.execute("create table public.deals (id int primary key, owner uuid, plan text)")
    host.write("insert into public.deals values (1, %s, 'pro')", user)
    assert (host.wants(user), host.why(user), everybody(host)) == ("pro", "active", False)
    host.write("delete from public.deals where id = %s", 1)
    assert host.wants(user) is None


def test_marking_waits_for_nothing_and_fails_nobody(host):
    """A host statement beside a locked table of marks: it commits, and the next sync finds the change."""
    host.owner.execute(WATCH)
    user = host.sign_up("ada")
    host.drain()
    holder = host.connect(host.url)
    with holder.transaction():
        holder.execute("lock table hangar.marks in access exclusive mode")
        host.owner.execute(f"insert into public.deals values (1, '{user}', 'pro')".encode())
    assert everybody(host) is False
    host.sync()
    assert host.wants(user) == "pro"


def test_only_tables_can_be_watched(host):
    """A view has no rows of its own: refused with the remedy, and nothing is changed."""
    host.owner.execute("create view public.seen as select 1 as one")
    with pytest.raises(
        errors.InvalidParameterValue, match=r"p_watch names public\.seen, which is not a table"
    ) as refused:
        host.owner.execute("select hangar.bind_function('private.paid()', p_watch => array['public.seen'::regclass])")
    assert "look" in refused.value.diag.message_hint
    assert host.one("select count(*) from hangar.binding") == 0
