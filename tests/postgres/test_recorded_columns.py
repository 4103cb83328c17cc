"""What a binding has recorded about the host's columns and keys, when the host renames, drops or adds one later.

Nobody's app changes because of it, and an alert names what has gone or what is not obeyed.
"""

import json
import re
import uuid

import pytest

from tests.postgres.ready_bindings import hours, open_host

BIND = "select hangar.bind_subscriptions('public.seats', '{\"ends_at\": \"ends_at\"}', %s)"
UNREADABLE, CHANGED = ("host_binding", "subscriptions"), ("host_binding", "users")


@pytest.fixture
def host(postgres, connect):
    """A host with a plan, a table of subscriptions and one of users, which are not bound yet."""
    with open_host(postgres, connect) as host:
        host.plan("pro", 512)
        host.owner.execute("create table public.seats (user_id uuid, tier text, status text, ends_at timestamptz)")
        host.owner.execute("create table public.people (id uuid primary key, email text, deleted_at timestamptz)")
        yield host


def bind(host, **users):
    return host.one(BIND, json.dumps({"table": "public.people"} | users))


def payers(host, count):
    """So many users with an app."""
    users = [uuid.uuid4() for _ in range(count)]
    for user in users:
        host.owner.execute("insert into public.people (id, email) values (%s, 'ada@example.test')", (user,))
        host.write("insert into public.seats (user_id, tier, status) values (%s, 'pro', 'active')", user)
    look(host)
    assert served(host, users) == count
    return users


def served(host, users):
    return sum(host.wants(user) is not None for user in users)


def look(host):
    host.drain()
    host.sync()


def message(host, key):
    return host.one(
        "select message from hangar.alerts where kind = 'host_binding' and key = %s and resolved_at is null", key
    )


def doctor(host):
    [check] = host.one("select public.fly_doctor(array['binding'], false)")["checks"]
    return check


@pytest.mark.parametrize("ddl", ["rename deleted_at to removed_at", "drop column deleted_at"])
@pytest.mark.parametrize("mapped", [{}, {"deleted_at": "deleted_at"}], ids=["found", "mapped"])
def test_the_column_of_deleted_users_goes(host, ddl, mapped):
    """Deleted users whose subscription still says active get no new app, and everybody else keeps theirs."""
    bind(host, **mapped)
    users = payers(host, 3)
    host.write("update public.people set deleted_at = '2024-01-01' where id = any (%s)", users[:2])
    host.sql(
        "update user_fly_apps set status = 'deleted', deleted_at = now(), next_attempt_at = null where desired_state = 'absent'"
    )
    host.owner.execute(f"alter table public.people {ddl}")
    for _ in range(2):
        look(host)
        assert (served(host, users), host.alerts()) == (1, [UNREADABLE])
    assert "public.people has no column deleted_at" in message(host, "subscriptions")
    assert doctor(host)["state"] == "wrong"
    bind(host, deleted_at="removed_at" if "rename" in ddl else None)
    look(host)
    assert (served(host, users), host.alerts()) == (1 if "rename" in ddl else 3, [])


def test_a_column_of_deleted_users_that_is_added_later(host):
    """It may mean something else, so it is told and not obeyed until somebody binds again."""
    host.owner.execute("alter table public.people drop column deleted_at")
    bind(host)
    users = payers(host, 2)
    host.owner.execute("alter table public.people add column deleted_at timestamptz")
    host.write("update public.people set deleted_at = '2024-01-01' where id = %s", users[0])
    look(host)
    assert (served(host, users), host.alerts()) == (2, [CHANGED])
    assert "public.people has a column deleted_at" in message(host, "users")
    found = doctor(host)
    assert (found["state"], "does not obey it" in found["found"]) == ("warning", True)
    bind(host, deleted_at=None)  # the operator's decision to ignore it
    look(host)
    assert (served(host, users), host.alerts(), doctor(host)["state"]) == (2, [], "ok")
    host.owner.execute(found["remedy"])  # to obey it
    look(host)
    assert (host.wants(users[0]), host.wants(users[1]), host.alerts()) == (None, "pro", [])


def test_the_column_of_addresses_goes(host):
    """No app depends on it: the host's changes are followed, and operators are told why they see ids."""
    bind(host)
    users = payers(host, 2)
    assert host.email(users[0]) == "ada@example.test"
    host.owner.execute("alter table public.people rename email to mail")
    look(host)
    host.write("update public.seats set status = 'expired' where user_id = %s", users[0])
    look(host)
    assert (host.wants(users[0]), host.wants(users[1]), host.alerts()) == (None, "pro", [CHANGED])
    assert "public.people has no column email" in message(host, "users")
    assert (host.email(users[1]), doctor(host)["state"]) == (None, "warning")
    host.owner.execute("alter table public.people rename mail to email")
    look(host)
    assert (host.email(users[1]), host.alerts()) == ("ada@example.test", [])


GENERATED = """
select p.proname, p.prosrc, coalesce(p.proargnames, '{}') as arguments from pg_catalog.pg_proc p
 where p.pronamespace = 'hangar'::regnamespace and p.proname in ('list_subscriptions', 'read_subscriptions',
   'has_no_subscriptions', 'existing_users', 'list_users', 'has_no_users', 'read_emails', 'find_by_email', 'mark_subscriptions',
   'mark_users')"""
BOUND = {"user_id", "tier", "status", "ends_at", "id", "email", "deleted_at"}
FUNCTION = """
create schema private;
create function private.seats_of(p_users uuid[]) returns setof public.seats language sql stable
  as 'select s.* from public.seats s where s.user_id::text = any ($1::text[])';
create function private.seats_of_one(p_user uuid) returns setof public.seats language sql stable
  as 'select s.* from public.seats s where s.user_id::text = $1::text'"""
BINDINGS = {
    "uuid": "",
    "text": "alter table public.seats alter user_id type text; alter table public.people alter id type text",
    "function of users": "private.seats_of(uuid[])",
    "function of a user": "private.seats_of_one(uuid)",
}


@pytest.mark.parametrize("column_type", ["uuid", "uuid[]", "integer", "text"])
@pytest.mark.parametrize("binding", BINDINGS.values(), ids=BINDINGS.keys())
def test_columns_with_the_names_in_our_functions(host, binding, column_type):
    """Each word of the generated functions is a column of both tables: aliases, arguments, variables and all that comes later."""
    host.owner.execute(FUNCTION)
    is_function = binding.startswith("private")
    if is_function:
        statement = f"select hangar.bind_function('{binding}', %s, '{{public.seats}}')"
    else:
        statement = BIND
        host.owner.execute(binding or "select 1")
    host.one(statement, '{"table": "public.people"}')
    functions = host.sql(GENERATED)
    assert len(functions) == 10 - is_function
    words = {word for each in functions for word in re.findall(r"[a-z_]\w*", each["prosrc"])}
    words |= {word for each in functions for word in [each["proname"], *each["arguments"]]}
    assert {"h", "x", "wanted", "p_users"} <= words
    for table in ("seats", "people"):
        added = ", ".join(f'add column "{word}" {column_type}' for word in sorted(words - BOUND))
        host.owner.execute(f"alter table public.{table} {added}")
    host.one(statement, '{"table": "public.people"}')
    users = payers(host, 3)
    host.write("update public.seats set status = 'expired' where user_id::text = %s", str(users[0]))
    host.write("update public.people set deleted_at = '2024-01-01' where id::text = %s", str(users[1]))
    answers = [host.wants(user) for user in users]
    look(host)
    assert (answers, [host.wants(user) for user in users], host.alerts()) == (
        [None, None, "pro"],
        [None, None, "pro"],
        [],
    )
    assert (host.why(users[0]), host.why(users[1]), doctor(host)["state"]) == ("status_expired", "user_deleted", "ok")
    assert host.email(users[2]) == "ada@example.test"
    assert len(host.one("select hangar.search_emails('ada@%%', 9)")) == 3


@pytest.mark.parametrize("reader", ["read_subscriptions", "existing_users", "has_no_users", "has_no_subscriptions"])
def test_a_fault_of_one_reader_is_told(host, reader):
    """Whatever it is, the alert and doctor have the database's words, and the functions are written again."""
    bind(host)
    users = payers(host, 1)
    source = host.one("select pg_get_functiondef(p.oid) from pg_proc p where p.proname = %s", reader)
    host.sql(re.sub(r"\bbegin\n", "begin\nperform nothing;\n", source.replace("%", "%%"), count=1))
    assert 'column "nothing" does not exist' in doctor(host)["found"]
    problem = host.one("select problem from hangar.read_whole_host()")
    assert problem == 'column "nothing" does not exist'
    look(host)
    assert (served(host, users), host.alerts(), doctor(host)["state"]) == (1, [], "ok")


KEYS = {key: {"column": "data", "path": ["sold", key]} for key in ("tier", "status", "ends_at")}


def bind_json(host, **columns):
    host.owner.execute(
        "drop table if exists public.billing; create table public.billing (user_id uuid primary key, data jsonb)"
    )
    host.one("select hangar.bind_subscriptions('public.billing', %s)", json.dumps(KEYS | columns))


def sell(host, status, **more):
    user = host.sign_up(f"user-{uuid.uuid4()}")
    sold = {"tier": "pro", "status": status, **more}
    host.write("insert into public.billing values (%s, %s)", user, json.dumps({"sold": sold}))
    return user


def rename(host, key, new, where="true"):
    host.write(
        "update public.billing set data = jsonb_set(data #- %s, %s, data #> %s) where data #> %s is not null and " + where,
        ["sold", key], ["sold", new], ["sold", key], ["sold", key],
    )  # fmt: skip


def sell_to_many(host):
    """One user whose app ends later, one whose app has no end, and one whose subscription has ended."""
    users = [
        sell(host, "cancelled", ends_at=hours(480).isoformat()),
        sell(host, "active", ends_at=None),
        sell(host, "active", ends_at=hours(-480).isoformat()),
    ]
    look(host)
    assert [host.wants(user) for user in users] == ["pro", "pro", None]
    return users


@pytest.mark.parametrize("key", ["ends_at", "status", "tier"])
def test_a_key_of_a_json_column_is_renamed(host, key):
    """In every document: nothing changes for anybody, and the alert names the key. It ends when the new key is bound."""
    bind_json(host)
    users = sell_to_many(host)
    rename(host, key, "new")
    look(host)
    for _ in range(2):
        assert ([host.wants(user) for user in users], host.alerts()) == (["pro", "pro", None], [UNREADABLE])
        host.claim(users[0], force=True)
        look(host)
    assert f"no row of public.billing has the key sold.{key} in column data" in message(host, "subscriptions")
    columns = json.dumps(KEYS | {key: {"column": "data", "path": ["sold", "new"]}})
    host.one("select hangar.bind_subscriptions('public.billing', %s)", columns)
    look(host)
    assert ([host.wants(user) for user in users], host.alerts()) == (["pro", "pro", None], [])


def test_a_parent_key_is_renamed(host):
    """The whole subscription moves inside the document."""
    bind_json(host)
    users = sell_to_many(host)
    host.write("update public.billing set data = jsonb_build_object('bought', data -> 'sold')")
    look(host)
    assert ([host.wants(user) for user in users], host.alerts()) == (["pro", "pro", None], [UNREADABLE])


def test_the_key_returns(host):
    """The host takes its change back: the alert ends, and nobody has to do anything."""
    bind_json(host)
    users = sell_to_many(host)
    rename(host, "ends_at", "new")
    look(host)
    rename(host, "new", "ends_at")
    look(host)
    assert ([host.wants(user) for user in users], host.alerts()) == (["pro", "pro", None], [])


def test_keys_that_are_left_out_mean_no_end(host):
    """A host that writes an end only for cancelled subscriptions: its only end, and then the last of several, go for good."""
    bind_json(host)
    paying = sell(host, "active")
    leaving = sell(host, "cancelled", ends_at=hours(24).isoformat())
    look(host)
    assert (host.wants(paying), host.wants(leaving), host.alerts()) == ("pro", "pro", [])
    host.write("delete from public.billing where user_id = %s", leaving)
    look(host)
    assert (host.wants(paying), host.wants(leaving), host.alerts()) == ("pro", None, [])
    others = [sell(host, "cancelled", ends_at=hours(24).isoformat()) for _ in range(2)]
    look(host)
    for user in others:
        host.write("delete from public.billing where user_id = %s", user)
        look(host)
        assert (host.wants(paying), host.wants(user), host.alerts()) == ("pro", None, [])


def test_a_key_that_some_rows_lack_says_nothing_about_them_only(host):
    """Without a status or tier nothing changes for the user; without an end the subscription has none."""
    bind_json(host)
    users = [sell(host, "active", ends_at=hours(-1).isoformat()) for _ in range(2)]
    users += [sell(host, "active", ends_at=None) for _ in range(3)]
    look(host)
    for user, key in ((users[2], "status"), (users[3], "tier"), (users[0], "ends_at")):
        host.write("update public.billing set data = data #- %s where user_id = %s", ["sold", key], user)
    look(host)
    assert [host.wants(user) for user in users] == ["pro", None, "pro", "pro", "pro"]
    assert host.alerts() == [("unknown_status", "null"), ("unknown_tier", "null")]
