"""If anything of ours is broken, missing or locked, the host's write still commits in time and sync finds it."""

import threading

import psycopg
import pytest
from psycopg import errors

# Far above what a busy machine adds to the 200 ms lock time-out, far below the host's 8 s statement limit.
LIMIT = "3s"
UPDATE = "update user_subscriptions set tier = 'pro' where user_id = any(%s)"


def upgrade(hangar, *users):
    """The host's own write, under a statement limit that it must not meet."""
    session = hangar.connect(hangar.url, "postgres")
    session.execute(f"set statement_timeout = '{LIMIT}'")
    session.execute(UPDATE, (list(users),))


def tiers(hangar, *users):
    rows = hangar.sql("select tier from user_subscriptions where user_id = any(%s)", list(users))
    return [row["tier"] for row in rows]


BREAKAGE = {
    "rows dropped": "drop table public.user_fly_apps cascade",
    "events dropped": "drop table public.user_fly_app_events cascade",
    "settings dropped": "drop table hangar.settings cascade",
    "plans dropped": "drop table public.fly_plans cascade",
    "entitlements dropped": "drop function hangar.entitlements",
    "clock raises": "create or replace function hangar.now() returns timestamptz language plpgsql set search_path = ''"
    " as $$ begin raise exception 'broken'; end $$",
    "marks dropped": "drop table hangar.marks cascade",
    "marks without rights": "revoke all on hangar.marks from postgres",
    "marks full": "alter table hangar.marks add constraint refused check (false) not valid",
    "binding dropped": "drop table hangar.binding cascade",
    "conversion dropped": "drop function hangar.to_uuid(uuid)",
    "wake-up dropped": "drop function hangar.wake_up",
    "schema dropped": "drop schema hangar cascade",
}


@pytest.mark.parametrize("harm", BREAKAGE.values(), ids=BREAKAGE.keys())
def test_broken_hangar_never_fails_the_host(hangar, harm):
    """The UPDATE commits, whichever object is missing."""
    user = hangar.user()
    hangar.sql(harm)
    upgrade(hangar, user)
    assert tiers(hangar, user) == ["pro"]


def test_a_change_without_a_mark_is_found(hangar):
    """After the repair, sync does what the mark could not."""
    user = hangar.user()
    hangar.follow()
    hangar.sql("alter table hangar.marks add constraint refused check (false) not valid")
    upgrade(hangar, user)
    hangar.sql("alter table hangar.marks drop constraint refused")
    assert hangar.marked() == set()
    assert hangar.rpc("fly_sync_entitlements")["inserted"] == 1
    assert hangar.live_row(user)["desired_state"] == "present"


@pytest.mark.slow
@pytest.mark.parametrize(
    "table", ["user_fly_apps", "user_fly_app_events", "fly_plans", "hangar.settings", "hangar.alerts"]
)
def test_no_lock_of_ours_concerns_the_host(hangar, table):
    """The host's statement reads and locks nothing of ours but the table of marks, so it does not even wait for a time-out."""
    users = [hangar.user("elite") for _ in range(40)]
    hangar.follow()
    holder = hangar.connect(hangar.url)
    with holder.transaction():
        holder.execute(f"lock table {table} in access exclusive mode")
        session = hangar.connect(hangar.url, "postgres")
        session.execute("set lock_timeout = '1ms'")
        session.execute(UPDATE, (users,))
        assert hangar.marked() == set(users)
    hangar.follow()
    assert {hangar.live_row(user)["tier"] for user in users} == {"pro"}


def test_a_lock_on_the_marks_costs_one_time_out(hangar):
    """Only an operator locks that table. The host waits 200 ms for a statement and commits; sync finds the change."""
    users = [hangar.user() for _ in range(30)]
    holder = hangar.connect(hangar.url)
    with holder.transaction():
        holder.execute("lock table hangar.marks in access exclusive mode")
        upgrade(hangar, *users)
    assert hangar.rpc("fly_sync_entitlements")["inserted"] == 30


@pytest.mark.parametrize(
    "harm",
    [
        "drop schema net cascade",
        "drop schema vault cascade",
        "drop view vault.decrypted_secrets",
        "revoke all on vault.decrypted_secrets from postgres",
        "alter table net.http_request_queue add constraint ill check (false)",
        "drop function hangar.hmac_sha256",
        "drop function hangar.call_function",
        "update vault.secrets set secret = 'bm90IGEgdXJs'",
    ],
)
def test_a_broken_nudge_leaves_the_mark(hangar, harm):
    """Without pg_net or Vault, or with sick ones, the change is marked all the same."""
    user = hangar.user()
    hangar.fill_vault()
    hangar.follow()
    hangar.sql(harm)
    upgrade(hangar, user)
    assert hangar.marked() == {user}


@pytest.mark.parametrize("table", ["net.http_request_queue", "vault.secrets"])
def test_locked_neighbour_costs_one_time_out(hangar, table):
    """A lock on pg_net's queue or on Vault holds the host up once for 200 ms, and the change is marked."""
    users = [hangar.user() for _ in range(30)]
    hangar.follow()
    hangar.fill_vault()
    holder = hangar.connect(hangar.url)
    with holder.transaction():
        holder.execute(f"lock table {table} in access exclusive mode")
        upgrade(hangar, *users)
    assert hangar.marked() == set(users)


def test_serializable_transactions_of_the_host(hangar):
    """B1: two transactions that change different users fail no more often than without Hangar, which is never."""
    users = [hangar.user() for _ in range(20)]
    hangar.follow()
    hangar.fill_vault()
    hosts = [hangar.host(), hangar.host()]
    for first, second in zip(users[::2], users[1::2], strict=True):
        for host, user in zip(hosts, (first, second), strict=True):
            host.execute("begin isolation level serializable")
            host.execute("update user_subscriptions set tier = 'pro' where user_id = %s", (user,))
        for host in hosts:
            host.execute("commit")
    assert hangar.marked() == set(users)
    hangar.follow()
    assert all(hangar.live_row(user)["tier"] == "pro" for user in users)


def test_repeatable_read_transaction_of_the_host(hangar):
    """Hangar may change its rows at any time while a transaction of the host with an old snapshot is open."""
    user = hangar.user("pro")
    host = hangar.connect(hangar.url, "postgres")
    host.execute("begin isolation level repeatable read")
    host.execute("select 1 from user_subscriptions")
    hangar.sql("update user_fly_apps set machine_region = 'fra'")
    host.execute("update user_subscriptions set tier = 'free' where user_id = %s", (user,))
    host.execute("commit")
    hangar.follow()
    assert hangar.live_row(user)["desired_state"] == "absent"


@pytest.mark.slow
def test_many_rows_in_one_statement(hangar):
    """Twenty thousand users upgraded at once, under the limits a role of Supabase has: each is marked, and one call is sent."""
    hangar.fill_vault()
    hangar.sql("insert into auth.users (email) select 'user-' || n || '@example.test' from generate_series(1, 20000) n")
    hangar.sql("delete from hangar.marks")
    hangar.sql("delete from net.http_request_queue")
    host = hangar.connect(hangar.url, "service_role")
    host.execute("update user_subscriptions set tier = 'pro'")
    assert hangar.one("select count(distinct user_id) from hangar.marks") == 20000
    assert len(hangar.queued()) == 1
    assert hangar.rpc("fly_apply_marks")["inserted"] == 500
    assert hangar.one("select count(*) from user_fly_apps where desired_state = 'present'") == 500


@pytest.mark.parametrize("how", ["cancel", "statement_timeout"])
def test_a_cancel_of_the_host_is_the_hosts(hangar, how):
    """B2: a cancel or time-out that arrives while our trigger waits ends the host's statement, as without Hangar."""
    user = hangar.user()
    host, holder = hangar.connect(hangar.url, "postgres"), hangar.connect(hangar.url)
    hangar.sql("alter function hangar.mark_subscriptions() set lock_timeout = '60s'")
    if how == "statement_timeout":
        host.execute("set statement_timeout = '300ms'")
    seen: list[psycopg.Error] = []

    def write():
        try:
            host.execute(UPDATE, ([user],))
        except psycopg.Error as error:
            seen.append(error)

    with holder.transaction():
        holder.execute("lock table hangar.marks in access exclusive mode")
        thread = threading.Thread(target=write)
        thread.start()
        if how == "cancel":
            hangar.wait_until_blocked(host)
            host.cancel_safe()
        thread.join(20)
        assert not thread.is_alive()
    assert [type(error) for error in seen] == [errors.QueryCanceled]
    assert tiers(hangar, user) == ["free"]
