"""Bindings to other tables: bad ones change nothing and say what is wrong; odd user ids, JSON, constants, views; unbinding."""

import psycopg
import pytest
from psycopg.types.json import Jsonb

from tests.postgres.ready_bindings import open_host

pytestmark = pytest.mark.every_postgres

SUBSCRIPTIONS = "public.subs"


@pytest.fixture
def host(hangar):
    """A host whose subscriptions are in a table of its own, with text ids. The default binding is still in force."""
    session = hangar.host()
    session.execute(
        "create table public.subs (id serial primary key, account text, plan text, state text, data jsonb,"
        " until timestamptz, paid boolean);"
        "create table public.profiles (uid uuid primary key, mail text, gone_at timestamptz)"
    )
    return hangar


COLUMNS = {"user_id": "account", "tier": "plan", "status": "state", "ends_at": "until"}


def bind(host, table=SUBSCRIPTIONS, columns=COLUMNS, users=None):
    session = host.host()
    query = "select hangar.bind_subscriptions(%s, %s, %s)"
    row = session.execute(query, (table, Jsonb(columns), Jsonb({} if users is None else users))).fetchone()
    assert row is not None
    return row[0]


def put(host, account, plan="pro", state="active", data=None):
    host.sql(
        "insert into subs (account, plan, state, data) values (%s, %s, %s, %s)", account, plan, state, Jsonb(data or {})
    )


def everything(host):
    """What a binding changes: the binding, the generated functions, the triggers on the host's tables, rules and marks."""
    return [
        host.sql("select * from hangar.binding"),
        host.sql(
            "select proname, prosrc, proconfig from pg_proc where pronamespace = 'hangar'::regnamespace order by oid"
        ),
        host.sql("select tgname, tgrelid, tgfoid from pg_trigger where not tgisinternal order by tgrelid, tgname"),
        host.sql("select * from hangar.status_rules order by status"),
        host.sql("select user_id from hangar.marks"),
        host.sql("select count(*) from public.user_fly_app_events"),
    ]


def wants(host, user):
    row = host.row(user)
    return row["tier"] if row and row["desired_state"] == "present" else None


def sync(host):
    host.follow()
    host.rpc("fly_sync_entitlements")


NO_STATUS = {key: value for key, value in COLUMNS.items() if key != "status"}

TO_SUBS = "select hangar.bind_subscriptions('public.subs', %s)"
TO_USERS = "select hangar.bind_subscriptions('public.user_subscriptions', '{}', %s)"

BAD = {
    # the statement, and what its message and hint must name
    "no such table": ("select hangar.bind_subscriptions('public.nothing')", ["public.nothing"]),
    "null table": ("select hangar.bind_subscriptions(null)", ["p_table"]),
    "an index": ("select hangar.bind_subscriptions('public.subs_pkey')", ["subs_pkey", "table or view"]),
    "a sequence": ("select hangar.bind_subscriptions('public.subs_id_seq')", ["subs_id_seq", "table or view"]),
    "no default columns": ("select hangar.bind_subscriptions('public.subs')", ["subs", "user_id", "account", "plan"]),
    "no such column": (TO_SUBS, ["subs", "rank", "tier", "account"], COLUMNS | {"tier": "rank"}),
    "upper case": (TO_SUBS, ["Plan", "plan"], COLUMNS | {"tier": "Plan"}),
    "no status": (TO_SUBS, ["status", '"value": "active"'], NO_STATUS),
    "unknown key": (TO_SUBS, ["expires_at", "ends_at"], COLUMNS | {"expires_at": "until"}),
    "an end that may be elsewhere": (TO_SUBS, ["until", "ends_at", '{"value": null}'],
                                     {"user_id": "account", "tier": "plan", "status": "state"}),
    "a list": (TO_SUBS, ["p_columns", "object"], ["account"]),
    "a number": (TO_SUBS, ["tier", "column"], COLUMNS | {"tier": 5}),
    "two answers": (TO_SUBS, ["tier"], COLUMNS | {"tier": {"value": "pro", "column": "plan"}}),
    "constant user": (TO_SUBS, ["user_id"], COLUMNS | {"user_id": {"value": "x"}}),
    "user of a number": (TO_SUBS, ["id", "user_id", "integer", "uuid"], COLUMNS | {"user_id": "id"}),
    "JSON without path": (TO_SUBS, ["data", "path"], COLUMNS | {"tier": "data"}),
    "path without JSON": (TO_SUBS, ["plan", "json"], COLUMNS | {"tier": {"column": "plan", "path": ["x"]}}),
    "a boolean end": (TO_SUBS, ["subs", "read"], COLUMNS | {"ends_at": "paid"}),
    "null columns": ("select hangar.bind_subscriptions('public.subs', null)", ["p_columns"]),
    "null users": ("select hangar.bind_subscriptions('public.user_subscriptions', '{}', null)", ["p_users"]),
    "no such users": (TO_USERS, ["public.people"], {"table": "public.people"}),
    "unknown key of users": (TO_USERS, ["mail", "email"],
                             {"table": "public.profiles", "id": "uid", "mail": "mail"}),
    "no such id": (TO_USERS, ["profiles", "id"], {"table": "public.profiles"}),
    "no such function": ("select hangar.bind_function('public.nothing()')", ["nothing"]),
    "null function": ("select hangar.bind_function(null)", ["p_function"]),
    "a scalar": ("select hangar.bind_function('pg_catalog.now()')", ["now()", "rows", "user_id uuid, tier text"]),
    "other columns": ("select hangar.bind_function('public.wrong()')", ["user_id", "plan", "tier", "ends_at"]),
    "other arguments": ("select hangar.bind_function('public.many(integer)')", ["integer", "uuid[]"]),
    "a function that fails": ("select hangar.bind_function('public.fails()')", ["fails", "division"]),
    "no such provider": ("select hangar.use_status_rules('chargebee')", ["chargebee", "stripe"]),
    "null provider": ("select hangar.use_status_rules(null)", ["null", "stripe"]),
    "an odd rule": ("insert into hangar.status_rules values ('odd', 'maybe')", ["odd", "maybe", "until_end"]),
    "a null rule": ("insert into hangar.status_rules values ('odd', null)", ["odd", "until_end"]),
    "an empty status": ("insert into hangar.status_rules values (E' \\t', 'no')", ["status"]),
    "a changed rule": ("update hangar.status_rules set rule = 'yes' where status = 'active'", ["active", "yes"]),
}  # fmt: skip

FUNCTIONS = """
create function public.wrong() returns table (user_id uuid, plan text) language sql as 'select null::uuid, null::text';
create function public.many(n integer) returns table (user_id uuid, tier text, status text, ends_at timestamptz)
  language sql as 'select null::uuid, null::text, null::text, null::timestamptz';
create function public.fails() returns table (user_id uuid, tier text, status text, ends_at timestamptz)
  language plpgsql as 'begin perform 1 / 0; end'
"""


@pytest.mark.parametrize("case", BAD.values(), ids=BAD.keys())
def test_bad_input_changes_nothing(host, case):
    """A clear error that names what is wrong; binding, functions, triggers, rules, marks and log are as before."""
    statement, named, *values = case
    host.host().execute(FUNCTIONS)
    user = host.user("pro")
    before = everything(host)
    with pytest.raises(psycopg.Error) as failed:
        host.host().execute(statement, [Jsonb(value) for value in values] or None)
    message = f"{failed.value.diag.message_primary} {failed.value.diag.message_hint}"
    assert [word for word in named if word not in message] == [], message
    assert failed.value.sqlstate in ("22023", "42P01", "42883"), failed.value.sqlstate
    assert everything(host) == before
    host.subscribe(user, tier="elite")
    assert wants(host, user) == "elite"


FORMS = {
    "as it is": str,
    "upper case": lambda user: str(user).upper(),
    "without hyphens": lambda user: user.hex,
    "upper case without hyphens": lambda user: user.hex.upper(),
    "in braces": lambda user: f"{{{user}}}",
    "with spaces": lambda user: f" {user}\n",
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS.keys())
def test_user_ids_as_text(host, form):
    """Each form of a uuid names its user, for marks, claims and syncs. What is no uuid harms nobody."""
    user = host.user()
    bind(host)
    sync(host)
    for odd in ("", "cus_123", "{" + user.hex[1:], f"{user}0", "\t", None):
        put(host, odd, "elite")
    put(host, form(user))
    assert host.marked() - {None} in ({user}, set())
    assert host.claim(user)["row"]["tier"] == "pro"
    sync(host)
    assert host.sql("select 1 from hangar.alerts where kind = 'host_binding'") == []
    host.sql("update subs set plan = 'elite' where account = %s", form(user))
    assert host.marked() == {user}
    sync(host)
    assert wants(host, user) == "elite"
    host.sql("delete from subs where account = %s", form(user))
    host.rpc("fly_sync_entitlements")
    assert wants(host, user) is None


def test_values_in_a_json_column(host):
    """Tier, status and end at a path. A change of another key marks nobody; a missing key is null."""
    path = {key: {"column": "data", "path": ["sub", key]} for key in ("tier", "status", "end")}
    one, two = host.user(), host.user()
    bind(host, columns={"user_id": "account", "tier": path["tier"], "status": path["status"], "ends_at": path["end"]})
    put(host, one, data={"sub": {"tier": "pro", "status": "active", "end": "2099-01-01T00:00:00Z"}})
    put(host, two, data={"sub": {"tier": "pro"}})
    sync(host)
    assert (wants(host, one), wants(host, two)) == ("pro", None)
    host.sql("update subs set data = data || '{\"seen\": 1}'")
    assert host.marked() == set()
    host.sql("update subs set data = jsonb_set(data, '{sub,end}', '\"2001-01-01\"')")
    assert host.marked() == {one, two}
    host.follow()
    assert (wants(host, one), host.rpc("fly_user_status", user=two)["why"]) == (None, "no_status")


def test_constants(host):
    """A host without statuses, ends or tiers: whoever has a row is a customer."""
    user = host.user()
    constant = {"tier": {"value": "elite"}, "status": {"value": "active"}, "ends_at": {"value": None}}
    bind(host, columns={"user_id": "account", **constant})
    put(host, user, None, None)
    assert host.marked() - {None} == {user}
    sync(host)
    assert wants(host, user) == "elite"


def test_a_view(host):
    """It can have no triggers: `polled` says so, and every drain asks for a sync."""
    user = host.user()
    session = host.host()
    session.execute(
        "create view public.v as select account::uuid as user_id, plan as tier, state as status, until as expires_at from subs"
    )
    answer = bind(host, "public.v", {})
    assert "not a table" in answer["polled"]
    put(host, user)
    assert host.rpc("fly_apply_marks")["everybody"]
    sync(host)
    assert wants(host, user) == "pro"


def test_users_of_another_table(host):
    """Who exists, and at which address, is read from the bound table of users; its changes are marked too."""
    user = host.user()
    users = {"table": "public.profiles", "id": "uid", "email": "mail", "deleted_at": "gone_at"}
    bind(host, users=users)
    put(host, user)
    sync(host)
    assert wants(host, user) is None
    host.sql("insert into profiles (uid, mail) values (%s, 'her@example.test')", user)
    assert host.marked() == {user}
    sync(host)
    assert (wants(host, user), host.one("select hangar.user_email(%s)", user)) == ("pro", "her@example.test")
    known = {"users": [{"user_id": str(user), "email": "her@example.test"}]}
    assert host.rpc("fly_find_users", users=[user]) == known
    addresses = ["Her@Example.test ", "h%@example.test", "nobody@example.test"]
    assert host.one("select public.fly_find_users(p_emails => %s)", addresses) == known
    host.sql("update profiles set gone_at = now()")
    assert host.marked() == {user}
    host.follow()
    assert wants(host, user) is None


def test_binding_again_is_safe(host):
    """The second time changes neither function nor trigger, and no app."""
    user = host.user()
    put(host, user)
    first = bind(host)
    sync(host)
    before = everything(host)[1:4]
    assert bind(host) == first
    assert everything(host)[1:4] == before
    sync(host)
    assert (wants(host, user), host.live_row(user)["generation"]) == ("pro", 1)


def test_a_new_binding_leaves_the_old_table(host):
    """The triggers move, and users are judged by the new table alone."""
    old, new = host.user("pro"), host.user()
    put(host, new, "elite")
    bind(host)
    sync(host)
    assert (wants(host, old), wants(host, new)) == (None, "elite")
    triggers = "select count(*) from pg_trigger where tgname like 'hangar%%' and tgrelid = %s::regclass"
    assert (host.one(triggers, "public.user_subscriptions"), host.one(triggers, "public.subs")) == (0, 4)


def test_unbind(host):
    """Nothing of ours is left on the host's tables, nobody changes, and a new binding finds everything as it was."""
    user, other = host.user("pro"), host.user("pro")
    host.host().execute("select hangar.unbind()")
    on_the_host = "select tgname from pg_trigger where tgname like 'hangar%%' and not tgisinternal"
    assert (
        host.sql(
            on_the_host + " and tgrelid <> all (select oid from pg_class where relnamespace = 'hangar'::regnamespace)"
        )
        == []
    )
    host.sql("delete from user_subscriptions")
    host.sql("delete from auth.users where id = %s", other)
    sync(host)
    assert (wants(host, user), wants(host, other)) == ("pro", "pro")
    assert host.rpc("fly_user_status", user=user)["why"] == "not_bound"
    host.host().execute("select hangar.unbind()")
    host.sql("insert into user_subscriptions (user_id, tier) values (%s, 'elite')", user)
    host.host().execute("select hangar.bind_subscriptions('public.user_subscriptions')")
    sync(host)
    assert (wants(host, user), wants(host, other)) == ("elite", None)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["table", "function"])
def test_a_binding_made_after_the_installation_gives_nobody_a_right(postgres, connect, kind):
    """Postgres lets everybody run a new function, and no migration runs after this binding."""
    allowed = "('hangar.now()', 'hangar.user_email(uuid)', 'hangar.token_is_valid()')"
    with open_host(postgres, connect) as host:
        host.owner.execute("create table public.seats (member uuid, plan text, state text)")
        if kind == "table":
            columns = '{"user_id": "member", "tier": "plan", "status": "state", "ends_at": {"value": null}}'
            host.owner.execute("select hangar.bind_subscriptions('public.seats', %s)", (columns,))
        else:
            host.owner.execute(
                "create function public.seats_of(p_users uuid[]) returns table (user_id uuid, tier text, status text, ends_at"
                " timestamptz) language sql as 'select member, plan, state, null::timestamptz from public.seats'"
            )
            host.owner.execute("select hangar.bind_function('public.seats_of(uuid[])', p_watch => '{public.seats}')")
        runnable = host.sql(
            "select p.oid::regprocedure::text as name, r as role"
            " from pg_proc p, unnest('{anon,authenticated,service_role}'::text[]) r"
            f" where p.pronamespace = 'hangar'::regnamespace and p.oid::regprocedure::text not in {allowed}"
            " and has_function_privilege(r, p.oid, 'execute')"
        )
        assert runnable == []
