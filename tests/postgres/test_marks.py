"""Which users the host's writes mark, and that a mark is never lost, whoever takes it."""

import time
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest

pytestmark = pytest.mark.every_postgres

TABLE = "user_subscriptions"


@pytest.fixture
def host(hangar):
    """A host that keeps several subscriptions of a user, and writes their tiers as it likes. Nothing is marked yet."""
    hangar.sql(f"alter table {TABLE} drop constraint user_subscriptions_user_id_key")
    return hangar


def users_of(hangar, count, tier="free"):
    users = [hangar.user(tier) for _ in range(count)]
    hangar.follow()
    return users


def wants(hangar, user):
    row = hangar.row(user)
    return row["tier"] if row and row["desired_state"] == "present" else None


def test_insert_update_delete(host):
    """Each marks the users of the changed rows, and no other."""
    one, two, other = users_of(host, 3)
    host.sql(f"insert into {TABLE} (user_id, tier) values (%s, 'pro'), (%s, 'elite')", one, two)
    assert host.marked() == {one, two}
    host.follow()
    assert (wants(host, one), wants(host, two)) == ("pro", "elite")
    host.sql(f"update {TABLE} set tier = 'free' where user_id = %s", one)
    assert host.marked() == {one}
    host.follow()
    host.sql(f"delete from {TABLE} where user_id = %s", two)
    assert host.marked() == {two}
    host.follow()
    assert (wants(host, one), wants(host, two), wants(host, other)) == (None, None, None)


@pytest.mark.parametrize(
    "change",
    [
        "custom_signals_count = 5",
        "tier = tier, status = status, expires_at = expires_at",
        "stripe_customer_id = 'cus_1', updated_at = now()",
    ],
)
def test_what_says_nothing_about_entitlement_marks_nobody(host, change):
    """An UPDATE of other columns, or to the same values."""
    users_of(host, 2, "pro")
    host.sql(f"update {TABLE} set {change}")
    assert host.marked() == set()


@pytest.mark.parametrize(
    "change", ["tier = 'elite'", "status = 'cancelled'", "expires_at = now()", "expires_at = 'infinity'"]
)
def test_each_bound_column_marks(host, change):
    """Tier, status and end, from null too."""
    [user, _] = users_of(host, 2, "pro")
    host.sql(f"update {TABLE} set {change} where user_id = %s", user)
    assert host.marked() == {user}


@pytest.mark.parametrize("statement", [f"truncate {TABLE}", "truncate auth.users cascade"])
def test_truncate_marks_everybody(host, statement):
    """A truncated table names nobody, so every user is looked at. One app alone is no mass loss, so it goes."""
    [user] = users_of(host, 1, "pro")
    host.sql(statement)
    assert None in host.marked()
    assert host.rpc("fly_apply_marks")["everybody"]
    host.rpc("fly_sync_entitlements")
    assert wants(host, user) is None


def test_a_changed_user_id_marks_both(host):
    """A10, an account merge: the old user loses the app and the new one gets one at once."""
    old, new = host.user("pro"), host.user()
    host.sql(f"delete from {TABLE} where user_id = %s", new)
    host.follow()
    host.sql(f"update {TABLE} set user_id = %s where user_id = %s", new, old)
    assert host.marked() == {old, new}
    host.follow()
    assert (wants(host, old), wants(host, new)) == (None, "pro")


def test_a_trigger_of_the_host_that_changes_the_tier(host):
    """A10: what is stored counts, not what the statement says."""
    host.sql(
        "create function public.upgrade() returns trigger language plpgsql as"
        " $$ begin new.tier := 'elite'; return new; end $$"
    )
    host.sql(f"create trigger a_host before update on {TABLE} for each row execute function public.upgrade()")
    [user] = users_of(host, 1)
    host.sql(f"update {TABLE} set custom_signals_count = 1 where user_id = %s", user)
    assert host.marked() == {user}
    host.follow()
    assert wants(host, user) == "elite"


def test_upsert(host):
    """Both halves of INSERT … ON CONFLICT, and the one that does nothing."""
    there, new, same = users_of(host, 3)
    host.sql(f"delete from {TABLE} where user_id = %s", new)
    host.follow()
    host.sql(f"create unique index on {TABLE} (user_id)")
    upsert = f"insert into {TABLE} (user_id, tier) select u, %s from unnest(%s::uuid[]) u on conflict (user_id) do "
    host.sql(upsert + "update set tier = excluded.tier", "pro", [there, new])
    assert host.marked() == {there, new}
    host.follow()
    assert (wants(host, there), wants(host, new)) == ("pro", "pro")
    host.sql(upsert + "nothing", "elite", [same])
    assert host.marked() == set()


def test_merge(host):
    """MERGE inserts, updates and deletes in one statement, and each of its users is marked."""
    change, leave, new = host.user("free"), host.user("pro"), host.user()
    host.sql(f"delete from {TABLE} where user_id = %s", new)
    host.follow()
    host.sql(
        f"merge into {TABLE} s using (values (%s::uuid, 'pro'), (%s, null), (%s, 'elite')) v (u, tier) on s.user_id = v.u"
        " when matched and v.tier is null then delete when matched then update set tier = v.tier"
        " when not matched then insert (user_id, tier) values (v.u, v.tier)",
        change, leave, new,
    )  # fmt: skip
    assert host.marked() == {change, leave, new}
    host.follow()
    assert (wants(host, change), wants(host, leave), wants(host, new)) == ("pro", None, "elite")


def test_copy(host):
    """A bulk load."""
    users = users_of(host, 3)
    host.sql(f"delete from {TABLE}")
    host.follow()
    with host.admin.cursor().copy(f"copy {TABLE} (user_id, tier) from stdin") as copy:
        for user in users:
            copy.write_row((user, "pro"))
    assert host.marked() == set(users)
    host.follow()
    assert [wants(host, user) for user in users] == ["pro"] * 3


def test_a_deleted_user(host):
    """The row of auth.users goes and takes the subscription with it."""
    [user, _] = users_of(host, 2, "pro")
    host.sql("delete from auth.users where id = %s", user)
    assert host.marked() == {user}
    host.follow()
    assert wants(host, user) is None


def test_a_subscription_before_its_user(host):
    """A10: the subscription is written first. The user who then signs up is marked and gets the app."""
    user = uuid.uuid4()
    host.sql(f"alter table {TABLE} drop constraint user_subscriptions_user_id_fkey")
    host.sql(f"insert into {TABLE} (user_id, tier) values (%s, 'pro')", user)
    host.follow()
    assert wants(host, user) is None
    host.sql("insert into auth.users (id, email) values (%s, 'late@example.test')", user)
    assert host.marked() == {user}
    host.follow()
    assert wants(host, user) == "pro"


def test_savepoints(host):
    """A change that was rolled back to a savepoint leaves no mark; the others of its transaction do."""
    kept, undone = users_of(host, 2)
    update = f"update {TABLE} set tier = 'pro' where user_id = %s"
    with host.admin.transaction():
        host.sql(update, kept)
        with host.admin.transaction(force_rollback=True):
            host.sql(update, undone)
            assert host.marked() == {kept, undone}
    assert host.marked() == {kept}
    host.follow()
    assert (wants(host, kept), wants(host, undone)) == ("pro", None)


def test_a_claim_takes_the_marks_of_its_user(host):
    """And of nobody else; a mark for everybody stays for the sync."""
    one, two = users_of(host, 2)
    host.sql(f"update {TABLE} set tier = 'pro'")
    host.sql("insert into hangar.marks (user_id) values (%s), (null)", one)
    assert host.claim(one)["row"]["tier"] == "pro"
    assert host.marked() == {two, None}


def test_one_call_takes_at_most_its_limit(host):
    """The rest is left, and reported."""
    users = users_of(host, 5)
    host.sql(f"update {TABLE} set tier = 'pro'")
    assert host.rpc("fly_apply_marks", limit=2) == {
        "users": 2,
        "changed": 0,
        "inserted": 2,
        "left": 3,
        "everybody": False,
    }
    host.follow()
    assert [wants(host, user) for user in users] == ["pro"] * 5


def test_two_consumers_share_the_marks(host):
    """The second neither waits for the first nor takes its marks, and both together follow every user."""
    users = users_of(host, 6)
    host.sql(f"update {TABLE} set tier = 'pro'")
    first, second = host.worker(), host.worker()
    first.execute("begin")
    assert host.rpc("fly_apply_marks", via=first, limit=3)["inserted"] == 3
    assert host.rpc("fly_apply_marks", via=second)["inserted"] == 3
    first.execute("commit")
    assert (host.marked(), [wants(host, user) for user in users]) == (set(), ["pro"] * 6)


def test_a_consumer_that_dies_leaves_its_marks(host):
    """What it took comes back with its rollback."""
    [user] = users_of(host, 1)
    host.sql(f"update {TABLE} set tier = 'pro'")
    session = host.worker()
    session.execute("begin")
    host.rpc("fly_apply_marks", via=session)
    session.close()
    host.follow()
    assert wants(host, user) == "pro"


def test_a_row_that_somebody_holds(host):
    """Its user's mark is put back at once, the other users are followed, and the next drain succeeds."""
    held, other = users_of(host, 2, "pro")
    host.sql(f"update {TABLE} set tier = 'elite'")
    holder = host.connect(host.url)
    with holder.transaction():
        holder.execute("select 1 from user_fly_apps where user_id = %s for update", (held,))
        started = time.monotonic()
        answer = host.rpc("fly_apply_marks")
        assert time.monotonic() - started < 2
        assert (answer["changed"], answer["left"]) == (1, 1)
        assert host.marked() == {held}
        assert (wants(host, held), wants(host, other)) == ("pro", "elite")
    host.follow()
    assert wants(host, held) == "elite"


@pytest.mark.parametrize("consumer", ["fly_apply_marks", "fly_claim", "fly_sync_entitlements"])
def test_a_change_committed_while_its_mark_is_taken(host, consumer):
    """The consumer has taken an older mark and waits; the host commits another change. Its mark or its value is seen."""
    [user] = users_of(host, 1, "pro")
    host.sql(f"update {TABLE} set tier = 'elite' where user_id = %s", user)
    holder, session = host.connect(host.url), host.worker()
    session.execute("begin")
    holder.execute("begin")
    args = {"user": user} if consumer == "fly_claim" else {}
    with ThreadPoolExecutor(1) as pool:
        # The claim waits for the row, with the mark already taken. The other two do not wait, but have not committed.
        holder.execute("select 1 from user_fly_apps where user_id = %s for update", (user,))
        done = pool.submit(lambda: host.rpc(consumer, via=session, **args))
        if consumer == "fly_claim":
            host.wait_until_blocked(session)
        else:
            done.result(timeout=20)
        host.host().execute(f"update {TABLE} set tier = 'free' where user_id = %s", (user,))
        holder.execute("rollback")
        done.result(timeout=20)
    session.execute("commit")
    assert host.marked() == {user}
    host.follow()
    assert wants(host, user) is None


def test_marks_of_an_open_transaction_are_left(host):
    """A drain neither sees nor waits for what the host has not committed; after the commit it is followed."""
    [user] = users_of(host, 1)
    session = host.host()
    session.execute("begin")
    session.execute(f"update {TABLE} set tier = 'pro' where user_id = %s", (user,))
    assert host.rpc("fly_apply_marks")["users"] == 0
    session.execute("commit")
    host.follow()
    assert wants(host, user) == "pro"
