"""Tables in which Hangar can read nobody any more: they have rows, and are as good as empty. The alert names the cause."""

import uuid

import pytest

from tests.postgres.losses import look as look_at
from tests.postgres.ready_bindings import open_host

BIND = "select hangar.bind_subscriptions('public.seats', '{\"ends_at\": \"ends_at\"}', %s)"
PEOPLE = '{"table": "public.people"}'


@pytest.fixture
def host(postgres, connect):
    """A host with a plan, a table of subscriptions that is bound, and a spare column of ids."""
    with open_host(postgres, connect) as host:
        host.plan("pro", 512)
        host.owner.execute(
            "create table public.seats (user_id uuid, tier text, status text, ends_at timestamptz,"
            " other_id uuid default gen_random_uuid())"
        )
        host.one(BIND, "{}")
        yield host


def pay(host, user):
    host.write("insert into public.seats (user_id, tier, status) values (%s, 'pro', 'active')", user)


def payers(host, count):
    users = [host.sign_up(f"user-{number}") for number in range(count)]
    for user in users:
        pay(host, user)
    assert served(host, users) == count
    return users


def served(host, users):
    return sum(host.wants(user) is not None for user in users)


def look(host):
    host.drain()
    host.sync()


def message(host):
    [row] = host.sql("select message from hangar.alerts where kind = 'host_loss' and resolved_at is null")
    return row["message"]


VIEW = "create view public.v as select {} as user_id, tier, status, ends_at from public.seats"
UNREADABLE = {
    "nulled": ["update public.seats set user_id = null"],
    "text that holds no uuid": [
        "alter table public.seats alter column user_id type text using 'usr_' || user_id::text",
    ],
    "a new column that is not filled yet": [
        "alter table public.seats add column new_id uuid",
        "alter table public.seats drop column user_id",
        "alter table public.seats rename new_id to user_id",
    ],
    "another column is bound": [
        """select hangar.bind_subscriptions('public.seats', '{"user_id": "other_id", "ends_at": "ends_at"}')""",
    ],
    "a view without users": [
        VIEW.format("null::uuid"),
        """select hangar.bind_subscriptions('public.v', '{"ends_at": "ends_at"}')""",
    ],
}


@pytest.mark.parametrize("count", [2, 8])
@pytest.mark.parametrize("statements", UNREADABLE.values(), ids=UNREADABLE.keys())
def test_subscriptions_that_name_nobody(host, statements, count):
    """The rows are there, and no id in them is one of a user whom Hangar knows."""
    users = payers(host, count)
    for statement in statements:
        host.sql(statement.replace("%", "%%"))
    look(host)
    assert served(host, users) == count
    assert f"{count} of {count} apps" in message(host)
    assert "names a user whom Hangar knows" in message(host)


def test_a_view_that_is_made_again_without_users(host):
    """A migration of the host replaces the view. The alert ends when its rows name the users again."""
    host.owner.execute(VIEW.format("user_id"))
    host.one("""select hangar.bind_subscriptions('public.v', '{"ends_at": "ends_at"}')""")
    users = [host.sign_up(str(number)) for number in range(3)]
    for user in users:
        pay(host, user)
    look(host)
    assert served(host, users) == 3
    host.owner.execute("drop view public.v; " + VIEW.format("null::uuid"))
    look(host)
    assert served(host, users) == 3
    host.owner.execute("drop view public.v; " + VIEW.format("user_id"))
    look(host)
    assert (served(host, users), host.alerts()) == (3, [])


def test_leavers_of_a_table_with_other_users_are_obeyed(host):
    """Two customers leave at the same time. The table still names people whom Hangar knows, so nothing is wrong with it."""
    users = payers(host, 2)
    reader = host.sign_up("reader")
    host.write("insert into public.seats (user_id, tier, status) values (%s, 'free', 'active')", reader)
    host.write("delete from public.seats where user_id = any(%s)", users)
    look(host)
    assert served(host, users) == 0


NOBODY_LEFT = {
    "update public.people set deleted_at = now()": "no user is left in public.people",
    "truncate public.people": "no user is left in public.people",
    "alter table public.people alter id type text using 'usr_' || id": "no row of public.people has the id of a user",
    "update public.people set id = gen_random_uuid()": "no row of public.people has the id of a user",
}


@pytest.mark.parametrize(("statement", "says"), NOBODY_LEFT.items())
def test_users_of_whom_nobody_is_left(host, statement, says):
    """A deleted user loses the app at once, so that a table of users without anybody is held with more reason."""
    host.owner.execute("create table public.people (id uuid primary key, email text, deleted_at timestamptz)")
    host.one(BIND, PEOPLE)
    users = [uuid.uuid4() for _ in range(4)]
    for user in users:
        host.owner.execute("insert into public.people values (%s)", (user,))
        pay(host, user)
    assert served(host, users) == 4
    host.owner.execute(statement)
    look(host)
    assert served(host, users) == 4
    assert says in message(host)


def test_a_table_of_users_that_is_exchanged_and_filled_row_by_row(host):
    """The first rows that are copied do not end the hold."""
    host.owner.execute("create table public.people (id uuid primary key, email text)")
    host.one(BIND, PEOPLE)
    users = [uuid.uuid4() for _ in range(8)]
    for user in users:
        host.owner.execute("insert into public.people values (%s)", (user,))
        pay(host, user)
    look(host)
    host.owner.execute("alter table public.people rename to former")
    host.owner.execute("create table public.people (id uuid primary key, email text)")
    look(host)
    for user in users:
        assert (served(host, users), host.alerts()) == (8, [("host_loss", "subscriptions")])
        host.owner.execute("insert into public.people values (%s)", (user,))
        look(host)
    assert (served(host, users), host.alerts()) == (8, [])


def test_subscriptions_without_a_user_are_told(host):
    """A row that entitles and has no user id belongs to somebody who pays and gets no app."""
    [user] = payers(host, 1)
    for status in ("active", "active", "expired"):
        host.write("insert into public.seats (tier, status) values ('pro', %s)", status)
    look(host)
    [alert] = host.sql(
        "select message, metadata from hangar.alerts where kind = 'unknown_user' and resolved_at is null"
    )
    assert alert["metadata"]["unreadable_ids"] == 2
    assert "2 subscription(s) entitle a user whose id is missing or not a uuid" in alert["message"]
    host.write("delete from public.seats where user_id is null")
    look(host)
    assert (host.wants(user), host.alerts()) == ("pro", [])


HAS_ENDED = "and the end has come or is missing"
CAUSES = {
    "subscriptions": (
        *("delete from user_subscriptions", "no_subscription"),
        *("no subscription in public.user_subscriptions", "restore the rows of public.user_subscriptions"),
    ),
    "users": (
        *("update auth.users set deleted_at = now()", "user_deleted"),
        *("not in auth.users, or marked as deleted there", "restore the users in auth.users"),
    ),
    "a status": (
        *("update user_subscriptions set status = 'cancelled'", "cancelled"),
        *(f"the status 'cancelled', {HAS_ENDED}", "correct the statuses and ends in public.user_subscriptions"),
    ),
    "a rule": (
        *("update hangar.status_rules set rule = 'no' where status = 'active'", "status_active"),
        *("the status 'active'.", "the rule in hangar.status_rules"),
    ),
    "a rule of ends": (
        *("update hangar.status_rules set rule = 'until_end' where status = 'active'", "active"),
        *(f"the status 'active', {HAS_ENDED}", "the rule in hangar.status_rules"),
    ),
    "ends": (
        *("update user_subscriptions set expires_at = now() - interval '1 hour'", "expired"),
        *("the end of the subscription has come", "correct the ends in public.user_subscriptions"),
    ),
    "a plan": (
        *("update fly_plans set dedicated = false where tier = 'pro'", "plan_not_dedicated"),
        *("a plan with dedicated = false", "correct fly_plans.dedicated"),
    ),
}


@pytest.mark.parametrize("cause", CAUSES.values(), ids=CAUSES.keys())
def test_the_alert_names_the_cause(hangar, cause):
    """What changed, for how many apps, and what to correct: no advice to restore rows that are there."""
    statement, why, says, advises = cause
    for _ in range(12):
        hangar.user("pro")
    hangar.sql(statement)
    look_at(hangar)
    hangar.rpc("fly_sync_entitlements")
    [alert] = hangar.sql("select message, metadata from hangar.alerts where kind = 'host_loss' and resolved_at is null")
    assert alert["metadata"]["causes"] == {why: 12}
    assert f"12 of them: {says}" in alert["message"]
    assert advises in alert["message"]
    assert ("restore the rows" in alert["message"]) == (why == "no_subscription")


def test_the_alert_names_several_causes_with_their_numbers(hangar):
    """The most frequent one first."""
    users = [hangar.user("pro") for _ in range(20)]
    with hangar.admin.transaction():
        hangar.sql("delete from user_subscriptions where user_id = any(%s)", users[:3])
        hangar.sql("update auth.users set deleted_at = now() where id = any(%s)", users[3:12])
    look_at(hangar)
    [alert] = hangar.sql("select message, metadata from hangar.alerts where kind = 'host_loss' and resolved_at is null")
    assert alert["metadata"]["causes"] == {"user_deleted": 9, "no_subscription": 3}
    assert alert["message"].index("9 of them") < alert["message"].index("3 of them")
    assert "12 of 20 apps" in alert["message"]
