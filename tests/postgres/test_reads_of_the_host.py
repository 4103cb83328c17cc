"""How often a bound function is read: its cost is about the same for one user as for all, so each batch reads it once."""

import uuid

import pytest

from tests.postgres.ready_bindings import open_host

pytestmark = pytest.mark.every_postgres


@pytest.fixture
def host(postgres, connect):
    """A host whose subscriptions come from a function that counts its calls."""
    with open_host(postgres, connect) as host:
        host.plans(pro=512, team=1024)
        host.owner.execute(
            """create table public.sold (user_id uuid, tier text);
               create sequence public.reads;
               create function public.sold_to(p_users uuid[])
               returns table (user_id uuid, tier text, status text, ends_at timestamptz)
               language plpgsql stable as $$
               begin
                 perform nextval('public.reads');
                 return query select s.user_id, s.tier, 'active', null::timestamptz
                   from public.sold s where s.user_id = any (p_users);
               end $$"""
        )
        host.owner.execute(
            "select hangar.bind_function('public.sold_to(uuid[])', p_watch => array['public.sold'::regclass])"
        )
        host.sql("grant usage on sequence public.reads to public")
        yield host


def reads(host):
    return host.one("select case when is_called then last_value else 0 end from public.reads")


def sell(host, count):
    users = sorted(uuid.uuid4() for _ in range(count))
    for user in users:
        host.sql("insert into auth.users (id) values (%s)", user)
        host.sql("insert into public.sold values (%s, 'pro')", user)
    host.sql("delete from hangar.marks")
    return users


def page(host, after=None, limit=10):
    """One page of a sync: its answer, and how often it read the host."""
    before = reads(host)
    return host.rpc("fly_sync_entitlements", after=after, limit=limit), reads(host) - before


def test_a_batch_reads_the_host_once(host):
    """The first page reads everybody, one user to try it, and its own ten users with locks. Each later page reads its users."""
    users = sell(host, 25)
    first, cost = page(host)
    assert (first["examined"], first["inserted"], first["next"], cost) == (25, 10, str(users[9]), 3)
    second, cost = page(host, first["next"])
    assert (second["inserted"], second["next"], cost) == (10, str(users[19]), 1)
    third, cost = page(host, second["next"])
    assert (third["inserted"], third["next"], cost) == (5, None, 1)
    assert [host.wants(user) for user in users] == ["pro"] * 25
    assert host.marked() == set()
    assert page(host)[1] == 2
    host.sql("update public.sold set tier = 'team'")
    host.sql("delete from hangar.marks")
    host.sql("insert into hangar.marks (user_id) select unnest(%s::uuid[])", users)
    before = reads(host)
    assert host.rpc("fly_apply_marks")["changed"] == 25
    assert reads(host) - before == 1
    before = reads(host)
    assert len(host.rpc("fly_claim_due", limit=20)["claimed"]) == 20
    assert reads(host) - before <= 2  # one for each queue


def test_a_drain_follows_what_a_sync_left(host):
    """A sync that ends after its first page loses nothing: the users whom it found are marked."""
    users = sell(host, 25)
    page(host)
    page(host)
    assert host.marked() == set(users[20:])
    host.drain()
    assert [host.wants(user) for user in users] == ["pro"] * 25


def test_an_interrupted_sync_marks_nobody_twice(host):
    sell(host, 25)
    for left in (24, 23, 22):
        page(host, limit=1)
        assert host.one("select count(*) from hangar.marks") == left
    assert host.one("select count(*) = count(distinct user_id) from hangar.marks")


def test_losses_that_a_sync_has_weighed_are_not_weighed_again(host):
    """Four of ten apps may go at once; that they wait for the sync's next page must not hold the next loss."""
    host.sql("update hangar.settings set host_loss_floor = 1")
    users = sell(host, 10)
    page(host)
    host.sql("delete from public.sold where user_id = any (%s)", users[:4])
    host.sql("delete from hangar.marks")
    answer, _ = page(host, limit=1)
    assert (answer["changed"], host.alerts()) == (1, [])
    host.sql("delete from public.sold where user_id = %s", users[9])
    host.sql("delete from hangar.marks where user_id is null")
    assert host.rpc("fly_claim", user=users[9])["row"]["desired_state"] == "absent"
    host.drain()
    assert ([host.wants(user) for user in users], host.alerts()) == ([None] * 4 + ["pro"] * 5 + [None], [])
