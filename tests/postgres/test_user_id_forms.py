"""User ids that the host keeps as text: one user read alone and all users read at once are told the same, whatever the form."""

import uuid

import pytest

from tests.postgres.ready_bindings import open_host

FORMS = {
    "as it is": str,
    "upper case": lambda user: str(user).upper(),
    "mixed case": lambda user: "".join(x.upper() if n % 2 else x for n, x in enumerate(str(user))),
    "without hyphens": lambda user: user.hex,
    "in braces": lambda user: f"{{{user}}}",
    "upper case in braces": lambda user: f"{{{user}}}".upper(),
    "in braces without hyphens": lambda user: f"{{{user.hex}}}",
    "groups of four": lambda user: "-".join(user.hex[n : n + 4] for n in range(0, 32, 4)),
    "one hyphen": lambda user: f"{user.hex[:12]}-{user.hex[12:]}",
    "with spaces": lambda user: f"\t {user}\n",
}


@pytest.fixture
def host(postgres, connect):
    """A host with a plan, whose subscriptions and users have text ids. Both are bound."""
    with open_host(postgres, connect) as host:
        host.plan("pro", 512)
        host.owner.execute(
            "create table public.seats (user_id text, tier text, status text);"
            "create table public.people (id text, email text, deleted_at timestamptz);"
            "create index on public.seats (user_id); create index on public.people (id);"
            'select hangar.bind_subscriptions(\'public.seats\', \'{"ends_at": {"value": null}}\', \'{"table": "public.people"}\')'
        )
        yield host


def add(host, table, user_id, *values):
    marks = ", %s" * len(values)
    host.owner.execute(f"insert into public.{table} values (%s{marks})".encode(), (user_id, *values))


def answers(host, user):
    """Whether the user should have an app: after the marks, after a claim, after a sync, and after marks again."""
    found = []
    for step in (host.drain, lambda: host.claim(user, force=True), host.sync, lambda: mark(host, user)):
        step()
        found.append(host.wants(user) is not None)
    return set(found)


def mark(host, user):
    host.sql("insert into hangar.marks (user_id) values (%s)", user)
    host.drain()


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS.keys())
def test_every_form_that_postgres_reads(host, form):
    """In both tables. Postgres itself reads the form as this user."""
    user = uuid.uuid4()
    assert host.one("select btrim(%s, E' \\t\\n')::uuid", form(user)) == user
    add(host, "people", form(user), "ada@example.test")
    add(host, "seats", form(user), "pro", "active")
    assert answers(host, user) == {True}
    assert host.alerts() == []
    host.sql("update public.people set deleted_at = now()")
    assert answers(host, user) == {False}
    host.sql("update public.people set deleted_at = null")
    assert answers(host, user) == {True}
    host.sql("update public.seats set status = 'expired'")
    assert answers(host, user) == {False}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS.keys())
@pytest.mark.parametrize("first", ["active", "expired"])
def test_two_forms_of_one_id(host, form, first):
    """A user with a row in each form has both subscriptions, and is deleted only when both of their rows say so."""
    user = uuid.uuid4()
    other = "expired" if first == "active" else "active"
    add(host, "people", str(user), None, "2024-01-01")
    add(host, "people", form(user))
    add(host, "seats", str(user), "pro", first)
    add(host, "seats", form(user), "pro", other)
    assert answers(host, user) == {True}
    host.sql("update public.people set deleted_at = '2024-01-01'")
    assert answers(host, user) == {False}


def test_ids_that_change_their_form(host):
    """The host rewrites all of its ids: nobody is deleted."""
    users = [uuid.uuid4() for _ in range(3)]
    for user in users:
        add(host, "people", str(user))
        add(host, "seats", str(user), "pro", "active")
    host.drain()
    host.owner.execute(
        "update public.people set id = '{' || id || '}'; update public.seats set user_id = upper(user_id)"
    )
    for user in users:
        assert answers(host, user) == {True}
    assert host.alerts() == []


@pytest.mark.parametrize(
    "odd", ["", "{", "cus_123", "{}", "-", "0" * 31, "0" * 33, "not-a-uuid-but-as-long-as-one-is-000"]
)
def test_texts_that_name_nobody(host, odd):
    """They harm no other user, and are no user themselves."""
    user = uuid.uuid4()
    for table, values in (("people", ["e"]), ("seats", ["pro", "active"])):
        add(host, table, odd, *values)
        add(host, table, str(user), *values)
    assert answers(host, user) == {True}
    assert host.sql("select user_id from user_fly_apps") == [{"user_id": user}]


def test_many_users_at_once(host):
    """More users than are looked up one by one: some exist in another form, some not at all."""
    users = [uuid.uuid4() for _ in range(700)]
    for number, user in enumerate(users[:600]):
        add(host, "people", f"{{{user}}}" if number % 2 else str(user))
    for count in (700, 300):
        found = host.one("select hangar.existing_users(%s)", users[:count])
        assert set(found) == set(users[:600][:count])


def test_a_domain_over_a_domain(host):
    """Of uuid and of text: the id is read as what it is in the end."""
    host.owner.execute(
        "create domain public.key as uuid; create domain public.user_key as public.key;"
        "create domain public.word as text; create domain public.user_word as public.word;"
        "create table public.sold (user_id public.user_key, tier public.user_word, status public.user_word);"
        "create table public.members (id public.user_word)"
    )
    host.one(
        'select hangar.bind_subscriptions(\'public.sold\', \'{"ends_at": {"value": null}}\', \'{"table": "public.members"}\')'
    )
    user = uuid.uuid4()
    add(host, "members", f"{{{user}}}")
    add(host, "sold", user, "pro", "active")
    assert (answers(host, user), host.alerts()) == ({True}, [])
