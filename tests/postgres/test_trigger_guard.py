"""If anything of ours is broken, missing or locked, the host's write still commits in time and sync finds it."""

import threading

import pytest

# Far above what a busy machine adds to the 200 ms lock time-out, far below the host's 8 s statement limit.
LIMIT = "3s"


def upgrade(hangar, *users):
    """The host's own write, under a statement limit that it must not meet."""
    session = hangar.connect(hangar.url, "postgres")
    session.execute(f"set statement_timeout = '{LIMIT}'")
    session.execute("update user_subscriptions set tier = 'pro' where user_id = any(%s)", (list(users),))


def tiers(hangar, *users):
    rows = hangar.sql("select tier from user_subscriptions where user_id = any(%s)", list(users))
    return [row["tier"] for row in rows]


BREAKAGE = {
    "table dropped": "drop table public.user_fly_apps cascade",
    "column renamed": "alter table public.user_fly_apps rename column desired_state to wanted",
    "events dropped": "drop table public.user_fly_app_events cascade",
    "settings dropped": "drop table hangar.settings cascade",
    "settings empty": "delete from hangar.settings",
    "plans dropped": "drop table public.fly_plans cascade",
    "entitlements dropped": "drop function hangar.entitlements",
    "entitlements raises": "create or replace function hangar.now() returns timestamptz language plpgsql set search_path = ''"
    " as $$ begin raise exception 'broken'; end $$",
    "entitlements asserts": "create or replace function hangar.now() returns timestamptz language plpgsql set search_path = ''"
    " as $$ begin assert false; end $$",
    "sync_desired_state dropped": "drop function hangar.sync_desired_state",
    "schema dropped": "drop schema hangar cascade",
    "no rights": "revoke all on public.user_fly_apps from postgres",
}


@pytest.mark.parametrize("harm", BREAKAGE.values(), ids=BREAKAGE.keys())
def test_broken_hangar_never_fails_the_host(hangar, harm):
    """The UPDATE commits, whichever object is missing."""
    user = hangar.user()
    hangar.sql(harm)
    upgrade(hangar, user)
    assert tiers(hangar, user) == ["pro"]


def test_change_missed_by_a_broken_trigger_is_found(hangar):
    """After the repair, sync does what the trigger could not."""
    user = hangar.user()
    hangar.sql("alter function hangar.sync_desired_state(uuid, text, boolean) rename to synced")
    upgrade(hangar, user)
    assert hangar.row(user) is None
    hangar.sql("alter function hangar.synced(uuid, text, boolean) rename to sync_desired_state")
    assert hangar.rpc("fly_sync_entitlements")["inserted"] == 1
    assert hangar.live_row(user)["desired_state"] == "present"


@pytest.mark.parametrize(
    "lock",
    [
        "select 1 from user_fly_apps for update",
        "lock table user_fly_apps in access exclusive mode",
        "lock table hangar.settings in access exclusive mode",
        "lock table user_fly_app_events in access exclusive mode",
        "lock table fly_plans in access exclusive mode",
    ],
)
def test_lock_of_ours_never_hangs_the_host(hangar, lock):
    """Forty rows that we hold cost one lock time-out, not forty, and the change is found when we let go."""
    users = [hangar.user("elite") for _ in range(40)]
    holder = hangar.connect(hangar.url)
    with holder.transaction():
        holder.execute(lock)
        upgrade(hangar, *users)
        assert set(tiers(hangar, *users)) == {"pro"}
    assert hangar.live_row(users[0])["tier"] == "elite"
    assert hangar.rpc("fly_sync_entitlements")["changed"] == 40
    assert {hangar.live_row(user)["tier"] for user in users} == {"pro"}


def test_giving_way_ends_with_the_transaction(hangar):
    """The next transaction of the same session is served again."""
    user = hangar.user("pro")
    host = hangar.connect(hangar.url, "postgres")
    holder = hangar.connect(hangar.url)
    with holder.transaction():
        holder.execute("select 1 from user_fly_apps for update")
        host.execute("update user_subscriptions set tier = 'elite' where user_id = %s", (user,))
    assert hangar.live_row(user)["tier"] == "pro"
    host.execute("update user_subscriptions set tier = 'elite' where user_id = %s", (user,))
    assert hangar.live_row(user)["tier"] == "elite"


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
def test_broken_nudge_costs_nothing_but_time(hangar, harm):
    """Without pg_net or Vault, or with sick ones, the desired state is written all the same."""
    hangar.fill_vault()
    user = hangar.user()
    hangar.sql(harm)
    upgrade(hangar, user)
    assert hangar.live_row(user)["desired_state"] == "present"


@pytest.mark.parametrize("table", ["net.http_request_queue", "vault.secrets"])
def test_locked_neighbour_costs_one_time_out(hangar, table):
    """A lock on pg_net's queue or on Vault holds the host up once for 200 ms, and the desired state is written."""
    hangar.fill_vault()
    users = [hangar.user() for _ in range(30)]
    holder = hangar.connect(hangar.url)
    with holder.transaction():
        holder.execute(f"lock table {table} in access exclusive mode")
        upgrade(hangar, *users)
    assert all(hangar.live_row(user)["desired_state"] == "present" for user in users)


def test_repeatable_read_transaction_of_the_host(hangar):
    """With an old snapshot our row may not be changed: the trigger gives way and the host commits."""
    user = hangar.user("pro")
    host = hangar.connect(hangar.url, "postgres")
    host.execute("begin isolation level repeatable read")
    host.execute("select 1 from user_subscriptions")
    hangar.sql("update user_fly_apps set machine_region = 'fra'")
    host.execute("update user_subscriptions set tier = 'free' where user_id = %s", (user,))
    host.execute("commit")
    assert tiers(hangar, user) == ["free"]
    assert hangar.rpc("fly_sync_entitlements")["changed"] == 1


def test_thousand_rows_in_one_statement(hangar):
    """A thousand users upgraded at once, under the limits a role of Supabase has; each gets one row."""
    hangar.fill_vault()
    hangar.sql("insert into auth.users (email) select 'user-' || n || '@example.test' from generate_series(1, 1000) n")
    host = hangar.connect(hangar.url, "service_role")
    host.execute("update user_subscriptions set tier = 'pro'")
    assert hangar.one("select count(*) from user_fly_apps where desired_state = 'present'") == 1000
    assert len(hangar.queued()) == 6
    host.execute("update user_subscriptions set tier = 'free'")
    assert hangar.one("select count(*) from user_fly_apps where desired_state = 'absent'") == 1000


def test_cancel_while_we_hold_a_row(hangar):
    """A cancel that reaches the host's statement inside our trigger ends our part of it, never the host's write."""
    user = hangar.user("pro")
    host = hangar.connect(hangar.url, "postgres")
    holder = hangar.connect(hangar.url)
    hangar.sql("alter function hangar.on_user_tier_change() set lock_timeout = '60s'")
    with holder.transaction():
        holder.execute("select 1 from user_fly_apps for update")
        statement = "update user_subscriptions set tier = 'free' where user_id = %s"
        thread = threading.Thread(target=host.execute, args=(statement, (user,)))
        thread.start()
        hangar.wait_until_blocked(host)
        host.cancel_safe()
        thread.join(10)
        assert not thread.is_alive()
    assert tiers(hangar, user) == ["free"]
    assert hangar.rpc("fly_sync_entitlements")["changed"] == 1


def test_a_host_in_more_of_a_hurry_than_our_lock_time_out(hangar):
    """The host's own statement_timeout is shorter than our wait of 200 ms: our trigger gives way."""
    user = hangar.user("pro")
    host = hangar.connect(hangar.url, "postgres")
    host.execute("set statement_timeout = '100ms'")
    holder = hangar.connect(hangar.url)
    with holder.transaction():
        holder.execute("select 1 from user_fly_apps for update")
        host.execute("update user_subscriptions set tier = 'free' where user_id = %s", (user,))
    assert tiers(hangar, user) == ["free"]
    assert hangar.rpc("fly_sync_entitlements")["changed"] == 1
