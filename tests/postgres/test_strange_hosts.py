"""Hosts that Hangar has not met: zero values, flags for deleted users, exchanged tables, functions that fail, ids of nobody.

No paying user loses an app on doubt, nobody is left without one in silence, and one bad row harms only its user.
"""

import uuid

import pytest

from tests.postgres.ready_bindings import open_host

BIND = "select hangar.bind_subscriptions('public.seats', '{\"ends_at\": \"ends_at\"}', %s)"
PEOPLE = '{"table": "public.people"}'
FUNCTION = """
create or replace function private.seats(p_users uuid[]) returns table (user_id uuid, tier text, status text, ends_at timestamptz)
language plpgsql stable as $$begin %s return query select * from public.seats; end$$
"""


@pytest.fixture
def host(postgres, connect):
    """A host with a plan and a table of subscriptions that is not bound yet."""
    with open_host(postgres, connect) as host:
        host.plan("pro", 512)
        host.owner.execute("create table public.seats (user_id uuid, tier text, status text, ends_at timestamptz)")
        yield host


def bind(host, users="{}"):
    host.one(BIND, users)


def bind_function(host):
    host.owner.execute("create schema private")
    host.owner.execute(FUNCTION.replace("%s", ""))
    host.one("select hangar.bind_function('private.seats(uuid[])', p_watch => array['public.seats'::regclass])")


def pay(host, user):
    host.write("insert into public.seats (user_id, tier, status) values (%s, 'pro', 'active')", user)


def payers(host, count=3):
    """So many users of Supabase Auth who pay and have an app."""
    users = [host.sign_up(f"user-{number}") for number in range(count)]
    for user in users:
        pay(host, user)
    assert served(host, users) == count
    return users


def served(host, users):
    return sum(host.wants(user) is not None for user in users)


def look(host):
    """What a sweep does, also without a mark."""
    host.drain()
    host.sync()


DOUBTFUL_ENDS = [
    # the type of the column; values that programs write for "no time"; values that are times
    ("bigint", ["0", "-1", "20270131", "20270131235959", "9223372036854775807", "1700000000000000"], []),
    ("bigint", ["253402300799", "253402300799000", "1990000000", "1990000000000"], ["1700000000", "1700000000000"]),
    ("double precision", ["-1", "NaN", "1e300", "Infinity"], ["-Infinity", "1700000000.5"]),
    ("text", ["0", "-1", "0001-01-01T00:00:00Z", "1970-01-01T00:00:00.000Z", "0000-00-00", "253402300799"], ["-infinity"]),
    ("timestamptz", ["0001-01-01 00:00:00+00", "1970-01-01 00:00:00+00", "10000-01-01", "0044-03-15 BC"], ["-infinity"]),
    ("timestamptz", ["1970-01-01 00:00 America/New_York", "1970-01-01 00:00:01+00", "0001-01-01 00:00+02"], ["1999-12-31"]),
    ("timestamp", ["0001-01-01 00:00:00", "1970-01-01 01:00:00", "1969-12-31 19:00:00", "infinity"], ["-infinity", "2020-01-01"]),
    ("date", ["0001-01-01", "1900-01-01", "1899-12-30", "5874897-12-31"], ["1990-01-01", "2020-01-01"]),
    ("text", ["1970-01-01T01:00:00", "1970-01-21T13:46:40Z", "817000000", "20260131153000"], ["946684800", "20200131T153000Z"]),
    ("bigint", ["817000000", "32503680000", "253402214400000"], ["946684800", "1000000000000"]),
]  # fmt: skip


@pytest.mark.parametrize(("column", "kept", "ended"), DOUBTFUL_ENDS, ids=range(len(DOUBTFUL_ENDS)))
def test_ends_that_programs_write_for_no_time(host, column, kept, ended):
    """Zero values in any zone, -1, compact days and the last second of year 9999 take no app; a real time in the past does."""
    host.owner.execute(f"alter table public.seats alter column ends_at type {column} using null")
    bind(host)
    users = payers(host, len(kept) + len(ended))
    for user, value in zip(users, [*kept, *ended], strict=True):
        host.write(f"update public.seats set ends_at = %s::text::{column} where user_id = %s", value, user)
    look(host)
    assert [value for user, value in zip(users, [*kept, *ended], strict=True) if host.wants(user)] == kept


@pytest.mark.parametrize("end", ["202601311530", "20260131153000", "817000000", "7258118401", "253402300798"])
@pytest.mark.parametrize("column", ["bigint", "text", "double precision"])
def test_a_number_that_is_no_unix_time_is_not_read_as_a_far_year(host, column, end):
    """202601311530 is a minute of 2026 and, as seconds, the year 8390. Nobody gets an app for that, and the operator is told."""
    host.owner.execute(f"alter table public.seats alter column ends_at type {column} using null")
    bind(host)
    user = host.sign_up("user")
    host.write(f"insert into public.seats values (%s, 'pro', 'active', %s::text::{column})", user, end)
    look(host)
    assert host.wants(user) is None
    assert [kind for kind, _ in host.alerts()] == ["unreadable_end"]


@pytest.mark.parametrize(
    "end", ["253402300799", "253402300799999", "32503680000", "4102444800", "4102444800000", "7258118399"]
)
def test_a_new_user_with_an_end_far_ahead(host, end):
    """The last second of 9999, the year 3000, and all until 2199, in seconds and milliseconds: an app, and no alert."""
    host.owner.execute("alter table public.seats alter column ends_at type bigint using null")
    bind(host)
    user = host.sign_up("user")
    host.write("insert into public.seats values (%s, 'pro', 'active', %s)", user, end)
    look(host)
    assert (host.wants(user), host.alerts()) == ("pro", [])


FLAGS = [
    ("timestamptz", [None, "infinity", "2999-01-01", "0001-01-01 00:00:00+00"], ["2020-01-01"]),
    ("timestamp", ["infinity"], ["2020-01-01"]),
    ("date", ["2999-01-01"], ["2020-01-01"]),
    ("bigint", [None, "0", "1990000000"], ["1", "1700000000", "1700000000000"]),
    ("smallint", ["0"], ["1"]),
    ("boolean", [None, "false"], ["true"]),
    ("text", [None, "", "false", "0", "2999-01-01T00:00:00Z", "soon"], ["true", "1", "2020-01-01T00:00:00Z"]),
]


@pytest.mark.parametrize(("column", "present", "deleted"), FLAGS, ids=[flag[0] for flag in FLAGS])
def test_what_marks_a_deleted_user(host, column, present, deleted):
    """A flag, or a time that has come. A deletion that is planned, and the zero of a `bigint default 0`, delete nobody."""
    host.owner.execute(f"create table public.people (id uuid primary key, email text, deleted_at {column})")
    bind(host, PEOPLE)
    values = [*present, *deleted]
    users = [uuid.uuid4() for _ in values]
    for user, value in zip(users, values, strict=True):
        host.owner.execute(f"insert into public.people values (%s, 'e', %s::text::{column})", (user, value))
        host.write("insert into public.seats (user_id, tier, status) values (%s, 'pro', 'active')", user)
    assert [value for user, value in zip(users, values, strict=True) if host.wants(user)] == present


def test_a_planned_deletion_comes_on_time(host):
    """No write says that the time has come: the sweep finds it, and an update of the time is marked."""
    host.owner.execute("create table public.people (id uuid primary key, email text, deleted_at timestamptz)")
    bind(host, PEOPLE)
    later, now = uuid.uuid4(), uuid.uuid4()
    for user in (later, now):
        host.owner.execute("insert into public.people values (%s, 'e', now() + interval '1 day')", (user,))
        pay(host, user)
    assert served(host, [later, now]) == 2
    host.write("update public.people set deleted_at = now() where id = %s", now)
    assert (host.wants(later), host.wants(now)) == ("pro", None)
    host.shift_clock(2 * 86400)
    look(host)
    assert host.wants(later) is None


@pytest.mark.parametrize("emptied", ["truncate public.people", "delete from public.people"])
def test_an_emptied_table_of_users_is_held(host, emptied):
    """Like an emptied table of subscriptions: no app goes until an operator decides."""
    host.owner.execute("create table public.people (id uuid primary key, email text)")
    bind(host, PEOPLE)
    users = [uuid.uuid4() for _ in range(4)]
    for user in users:
        host.owner.execute("insert into public.people values (%s)", (user,))
        pay(host, user)
    host.owner.execute(emptied)
    look(host)
    assert served(host, users) == 4
    [alert] = host.sql("select message from hangar.alerts where kind = 'host_loss' and resolved_at is null")
    assert "no user is left in public.people" in alert["message"]
    for user in users:
        host.owner.execute("insert into public.people values (%s)", (user,))
    look(host)
    assert (served(host, users), host.alerts()) == (4, [])


def test_an_exchanged_table_is_followed_by_its_name(host):
    """Copy, rename the old table away, rename the new one: the old one concerns nobody, the new one is marked."""
    bind(host)
    users = payers(host)
    host.owner.execute("create table public.new (like public.seats); insert into public.new select * from public.seats")
    host.owner.execute("alter table public.seats rename to old; alter table public.new rename to seats")
    look(host)
    host.write("update public.old set ends_at = now() - interval '1 hour'")
    look(host)
    assert served(host, users) == 3
    late = host.sign_up("late")
    pay(host, late)
    host.write("delete from public.seats where user_id = %s", users[0])
    assert (host.wants(late), host.wants(users[0]), host.alerts()) == ("pro", None, [])
    # Another change of the host makes Hangar write its functions again: they must not return to the old table.
    host.owner.execute("alter table public.seats rename tier to plan")
    look(host)
    host.owner.execute("alter table public.seats rename plan to tier")
    look(host)
    assert (served(host, users), host.alerts()) == (2, [])


def test_a_function_that_is_made_again(host):
    """Migration tools drop a function and create it. Its arguments have names, as in our own examples."""
    bind_function(host)
    users = payers(host)
    host.owner.execute("drop function private.seats(uuid[])")
    look(host)
    assert (served(host, users), host.alerts()) == (3, [("host_binding", "subscriptions")])
    host.owner.execute(FUNCTION.replace("%s", ""))
    look(host)
    assert host.alerts() == []
    host.write("delete from public.seats where user_id = %s", users[0])
    assert served(host, users) == 2


FAILING = {
    "a subquery with two rows": "perform (select 1 from generate_series(1, 2));",
    "strict and no row": "declare x integer; begin select 1 into strict x where false; end;",
    "an assertion": "assert false, 'no';",
    "an error code of its own": "raise exception 'no' using errcode = 'PT404';",
    "a constraint": "raise exception 'no' using errcode = 'check_violation';",
    "a foreign server that is down": "raise exception 'no' using errcode = '08001';",
    "a materialised view without data": "raise exception 'no' using errcode = '55000';",
    "an internal error": "raise exception 'no' using errcode = 'XX000';",
    "a recursion": "raise exception 'no' using errcode = '54001';",
    "a library that is gone": "raise exception 'no' using errcode = '58P01';",
    "a disk that is full": "raise exception 'no' using errcode = '53100';",
    "no connection left on another server": "raise exception 'no' using errcode = '53300';",
    "a conflict with a transaction": "raise exception 'no' using errcode = '40001';",
    "a deadlock": "raise exception 'no' using errcode = '40P01';",
    "another server that shuts down": "raise exception 'no' using errcode = '57P01';",
    "another server that starts": "raise exception 'no' using errcode = '57P03';",
}


@pytest.mark.parametrize("code", FAILING.values(), ids=FAILING.keys())
def test_a_bound_function_that_fails(host, code):
    """Whatever it raises, Hangar works on, changes nobody and says so; and all is well when it works again."""
    bind_function(host)
    users = payers(host)
    host.owner.execute(FUNCTION.replace("%s", code))
    for _ in range(2):
        look(host)
        for user in users:
            host.claim(user, force=True)
            assert host.why(user) == "unreadable_host"
        assert (served(host, users), host.alerts()) == (3, [("host_binding", "subscriptions")])
    host.owner.execute(FUNCTION.replace("%s", ""))
    look(host)
    assert (served(host, users), host.alerts()) == (3, [])


def test_a_table_that_the_host_holds_locked(host):
    """A migration of the host, or the refresh of a materialised view: users wait, Hangar works on, and tells it."""
    bind(host)
    users = payers(host)
    session = host.host()
    with session.transaction():
        session.execute("lock table public.seats in access exclusive mode")
        look(host)
        host.claim(users[0], force=True)
        assert (served(host, users), host.alerts()) == (3, [("host_binding", "subscriptions")])
    look(host)
    assert (served(host, users), host.alerts()) == (3, [])


def test_locked_tables_do_not_hold_what_an_operator_reads(host):
    """Users are shown without their addresses, and doctor names the table that cannot be read."""
    host.owner.execute("create table public.people (id uuid, email text)")
    bind(host, PEOPLE)
    user = uuid.uuid4()
    host.write("insert into public.people values (%s, 'anna@example.com')", user)
    pay(host, user)
    look(host)
    find = "select public.fly_find_users(array[%s::uuid], array['anna@example.com'])"
    assert host.one(find, user)["users"] == [{"user_id": str(user), "email": "anna@example.com"}]
    host.sql("set statement_timeout = '10s'")
    session = host.host()
    with session.transaction():
        session.execute("lock table public.people, public.seats in access exclusive mode")
        assert host.one(find, user)["users"] == []
        [binding, statuses] = host.one("select public.fly_doctor(array['binding', 'statuses'], false)")["checks"]
        assert (binding["state"], "lock timeout" in binding["found"], statuses["state"]) == ("wrong", True, "ok")


def unknown_users(host):
    rows = host.sql("select metadata from hangar.alerts where kind = 'unknown_user' and resolved_at is null")
    return [(row["metadata"]["unreadable_ids"], row["metadata"]["absent_users"]) for row in rows]


def test_subscriptions_of_nobody(host):
    """Ids of another system, or of another table: these users pay and get nothing, and an alert says so."""
    host.owner.execute("alter table public.seats alter column user_id type text")
    bind(host)
    users = payers(host, 1)
    for user, status in (
        ("user_2abc", "active"),
        ("auth0|12", "past_due"),
        ("cus_1", "expired"),
        (str(uuid.uuid4()), "active"),
    ):
        host.write("insert into public.seats values (%s, 'pro', %s)", user, status)
    look(host)
    assert (unknown_users(host), served(host, users)) == ([(2, 1)], 1)
    host.write("delete from public.seats where length(user_id) = 36 and user_id <> %s", str(users[0]))
    look(host)
    assert unknown_users(host) == [(2, 0)]
    host.write("delete from public.seats where user_id <> %s", str(users[0]))
    look(host)
    assert unknown_users(host) == []


def test_a_deleted_user_who_had_an_app_is_no_stranger(host):
    """The row of the subscription outlives the user in many hosts."""
    bind(host)
    [user] = payers(host, 1)
    host.sql("delete from auth.users where id = %s", user)
    look(host)
    assert (served(host, [user]), unknown_users(host)) == (0, [])
