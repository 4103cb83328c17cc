"""Each kind of host: what is proposed for it, that the SQL runs as it is printed, and that the sample judgements come true."""

import uuid

import psycopg
import pytest
from psycopg.types.json import Jsonb

from ops.binding_catalog import read_catalog
from ops.binding_proposal import propose
from ops.binding_samples import find_paths, read_rules, read_samples
from ops.binding_text import describe_host
from tests.postgres.installer import as_owner, install
from tests.postgres.ready_bindings import hours, open_host
from tests.postgres.test_ready_bindings_stripe import TYPED, second_generation

PRESETS = ("default", "stripe", "paddle", "lemon_squeezy", "revenuecat")


@pytest.fixture
def host(postgres, connect):
    with open_host(postgres, connect) as opened:
        yield opened


def proposals(host):
    return [find_paths(host.owner, each) for each in propose(read_catalog(host.owner))]


def bind_first(host):
    """What an operator does with the first proposal: run every line of it, as it is printed."""
    first = proposals(host)[0]
    printed = "\n".join(describe_host(host.owner))
    for statement in first.statements:
        assert f"       {statement}\n" in printed + "\n"
        host.owner.execute(statement.encode())
    for name in first.files:
        assert f"examples/bindings/{name}" in printed
        host.bind(name)
    host.sync()
    return first


def users(host, *names):
    return [host.sign_up(name) for name in names]


def test_a_generic_table_with_two_candidates_is_bound_by_the_first_proposal(host):
    host.plans(pro=512)
    host.owner.execute("create table public.tasks (user_id uuid, status text)")
    host.owner.execute(
        "create table public.seats (member_id uuid references auth.users, plan text, state text, valid_until date)"
    )
    [user] = users(host, "a")
    host.owner.execute("insert into public.seats values (%s, 'pro', 'active', %s)", (user, hours(48).date()))
    printed = "\n".join(describe_host(host.owner))
    assert "2 candidates, the best first. None of them is chosen for you" in printed
    assert printed.index("1. public.seats") < printed.index("2. public.tasks")
    assert host.sql("select * from hangar.binding") == []
    bind_first(host)
    assert host.wants(user) == "pro"
    assert describe_host(host.owner) == ["Your subscriptions: public.seats is bound."]


UGLY = '''public."it's ""my"" plans"'''


def test_names_with_spaces_quotes_and_capitals_are_quoted(host):
    host.plans(pro=512)
    columns = '"User ""Id""" uuid, "Pl\'an" text, "sta%tus" text, "Ends At" bigint'
    host.owner.execute(f"create table {UGLY} ({columns})".encode())
    [user] = users(host, "a")
    until = int(hours(5).timestamp())
    host.owner.execute(f"insert into {UGLY} values ('{user}', 'pro', 'active', {until})".encode())
    bind_first(host)
    assert host.wants(user) == "pro"


@pytest.mark.parametrize("id_type", ["uuid", "text"])
def test_tables_of_prisma(host, id_type):
    host.plans(pro=512)
    host.owner.execute(
        f"""create type public."Status" as enum ('ACTIVE', 'CANCELED');
        create table public."User" ("id" {id_type} primary key, "email" text);
        create table public."Subscription" ("id" text, "userId" {id_type} references public."User", "planId" text,
          "status" public."Status", "currentPeriodEnd" timestamp(3))""".encode()
    )
    user = uuid.uuid4()
    host.owner.execute(f"insert into public.\"User\" values (%s::text::{id_type}, 'a@example.test')".encode(), (user,))
    host.owner.execute(
        f"insert into public.\"Subscription\" values ('s', %s::text::{id_type}, 'pro', 'ACTIVE', %s)".encode(),
        (user, hours(5).replace(tzinfo=None)),
    )
    assert bind_first(host).users == {"table": 'public."User"', "id": "id", "email": "email"}
    assert host.wants(user) == "pro"
    assert host.email(user) == "a@example.test"


def test_text_ids_that_are_no_uuids_belong_to_no_user(host):
    host.owner.execute("create table public.subscriptions (user_id text, plan text, status text)")
    host.owner.execute("insert into public.subscriptions values ('ckx9v2m3q0000', 'pro', 'active')")
    assert "belongs to no user: the id is no uuid" in "\n".join(describe_host(host.owner))


@pytest.mark.parametrize("kind", ["json", "jsonb"])
def test_the_paths_of_a_json_column_are_found_in_its_rows(host, kind):
    host.plans(pro=512)
    host.owner.execute(f"create table public.billing_accounts (user_id uuid, data {kind})".encode())
    [user] = users(host, "a")
    host.owner.execute(
        "insert into public.billing_accounts values"
        """ (%s, '{"seats": [1], "subscription": {"plan": "pro", "status": "active", "ends_at": "2999-01-01"}}'), (null, '[]')""",
        (user,),
    )
    first = bind_first(host)
    assert first.columns["status"] == {"column": "data", "path": ["subscription", "status"]}
    assert host.wants(user) == "pro"


def test_a_path_is_recognised_by_its_last_two_keys_together(host):
    host.owner.execute("create table public.billing (account_id uuid, meta jsonb)")
    host.owner.execute(
        """insert into public.billing values (gen_random_uuid(), '{"plan": {"id": "pro"}, "state": "active"}')"""
    )
    [proposal] = proposals(host)
    assert proposal.columns["tier"] == {"column": "meta", "path": ["plan", "id"]}
    assert proposal.columns["ends_at"] == {"value": None}


def test_a_json_column_without_rows_names_the_file_to_change(host):
    host.owner.execute("create table public.billing_accounts (user_id uuid, data jsonb)")
    printed = "\n".join(describe_host(host.owner))
    assert "examples/bindings/json_column.sql" in printed
    assert "hangar.bind_subscriptions" not in printed


@pytest.mark.parametrize("second", [False, True])
def test_stripe_sync_engine(host, second):
    host.plans(pro=512)
    for statement in second_generation() if second else [TYPED]:
        host.owner.execute(statement.encode())
    host.owner.execute(
        "create table public.customers (id uuid primary key references auth.users, stripe_customer_id text)"
    )
    [user] = users(host, "a")
    host.owner.execute("insert into public.customers values (%s, 'cus_1')", (user,))
    customer = {"id": "cus_1"}
    paid = {"id": "sub_1", "customer": "cus_1", "status": "active", "items": {"data": [{"price": {"id": "pro"}}]}}
    for name, document in (("customers", customer), ("subscriptions", paid)):
        if second:
            host.owner.execute(f"insert into stripe.{name} (_raw_data) values (%s)".encode(), (Jsonb(document),))
        else:
            read = f"insert into stripe.{name} ({', '.join(document)}) select {', '.join(document)}"
            host.owner.execute(
                f"{read} from jsonb_populate_record(null::stripe.{name}, %s)".encode(), (Jsonb(document),)
            )
    printed = "\n".join(describe_host(host.owner))
    assert "Status words in the first 10000 rows: active 1" in printed
    assert ("second (_raw_data)" if second else "first (typed columns)") in printed
    bind_first(host)
    assert host.wants(user) == "pro"


def test_a_view_is_said_to_be_polled(host):
    host.plans(pro=512)
    host.owner.execute("create table public.raw (who uuid, what text, word text)")
    host.owner.execute(
        "create view public.subscriptions as select who as user_id, what as plan, word as status from public.raw"
    )
    [user] = users(host, "a")
    host.owner.execute("insert into public.raw values (%s, 'pro', 'trialing')", (user,))
    assert "has no triggers: Hangar looks at every user each minute" in "\n".join(describe_host(host.owner))
    bind_first(host)
    assert host.wants(user) == "pro"


def test_a_boolean_status_is_bound_with_its_rules(host):
    host.plans(pro=512)
    host.owner.execute("create table public.licences (user_id uuid, plan text, is_active boolean)")
    one, two = users(host, "a", "b")
    host.owner.execute("insert into public.licences values (%s, 'pro', true), (%s, 'pro', false)", (one, two))
    bind_first(host)
    assert (host.wants(one), host.wants(two)) == ("pro", None)


def test_an_empty_table_is_proposed_and_has_nothing_to_judge(host):
    host.owner.execute("create table public.subscriptions (user_id uuid, plan text, status text)")
    assert "It has no rows, so there is nothing to judge." in "\n".join(describe_host(host.owner))
    bind_first(host)


def test_no_right_to_read_is_a_line_and_the_other_candidates_follow(bare_database, connect):
    """`postgres` reads every table of a Supabase project, so this is another role, which may read one of the two tables."""
    admin, reader = connect(bare_database), connect(bare_database, "service_role")
    admin.execute("drop table public.user_subscriptions cascade")
    admin.execute("create table public.subscriptions (user_id uuid, plan text, status text, ends_at date)")
    admin.execute("revoke all on public.subscriptions from public, service_role")
    admin.execute("create table public.seats (user_id uuid, plan text)")
    admin.execute("grant select on public.seats to service_role")
    admin.execute("create schema secret; create table secret.plans (user_id uuid, plan text)")
    printed = "\n".join(describe_host(reader))
    assert "Note: its rows could not be read: permission denied for table subscriptions" in printed
    assert "`grant select on public.subscriptions to service_role;`" in printed
    assert "`grant usage on schema secret to service_role; grant select on secret.plans to service_role;`" in printed
    assert "public.seats\n" in printed
    admin.execute("grant select on public.subscriptions to service_role")
    assert "could not be read: permission denied for table" not in "\n".join(describe_host(reader))


def test_row_level_security_is_said(bare_database, connect):
    admin, reader = connect(bare_database), connect(bare_database, "authenticated")
    admin.execute("drop table public.user_subscriptions cascade")
    admin.execute("create table public.subscriptions (user_id uuid, plan text, status text)")
    admin.execute("alter table public.subscriptions enable row level security")
    admin.execute("grant select on public.subscriptions to authenticated, service_role")
    assert "Hangar may not see every row" in "\n".join(describe_host(reader))
    assert "Hangar may not see every row" not in "\n".join(describe_host(connect(bare_database, "service_role")))


def test_a_slow_view_is_a_line(host, monkeypatch):
    monkeypatch.setattr("ops.binding_samples.TIMEOUT_S", 1)
    host.owner.execute(
        "create view public.subscriptions as"
        " select gen_random_uuid() as user_id, 'pro'::text as plan, 'active'::text as status where pg_sleep(30)::text = 'x'"
    )
    printed = "\n".join(describe_host(host.owner))
    assert "Note: its rows could not be read: no answer within" in printed
    assert "select hangar.bind_subscriptions('public.subscriptions'" in printed


def test_a_view_that_writes_is_refused(host):
    host.owner.execute("create table public.reads (at timestamptz)")
    host.owner.execute(
        "create function public.writing() returns text language plpgsql as"
        " $$ begin insert into public.reads values (now()); return 'active'; end $$;"
        "create view public.subscriptions as select gen_random_uuid() as user_id, 'pro' as plan, public.writing() as status"
    )
    assert "read-only transaction" in "\n".join(describe_host(host.owner))
    assert host.sql("select * from public.reads") == []


def test_a_host_without_subscriptions_is_told_so(host):
    host.owner.execute("create table public.notes (user_id uuid, body text)")
    [line] = describe_host(host.owner)
    assert "No table or view looks like subscriptions" in line
    assert "it then provisions and changes no user" in line


def test_the_rules_are_those_of_the_schema(host):
    for preset in PRESETS:
        expected = host.sql("select status, rule from hangar.status_rules_of(%s)", preset)
        assert read_rules(host.owner, preset) == {each["status"]: each["rule"] for each in expected}


@pytest.mark.slow
@pytest.mark.parametrize("end_type", ["timestamptz", "timestamp", "date", "bigint", "text"])
def test_every_sample_judgement_comes_true(host, end_type):
    """Each status with each end, judged before binding, against what the installed Hangar says."""
    host.plans(pro=512)
    host.owner.execute(
        f"create table public.subscriptions (user_id uuid, plan text, status text, ends_at {end_type})".encode()
    )
    value = {"bigint": lambda at: int(at.timestamp()), "text": lambda at: at.isoformat()}.get(
        end_type, lambda at: at.replace(tzinfo=None) if end_type == "timestamp" else at
    )
    ends = [None, value(hours(-48)), value(hours(48))] + (["01/02/2030"] if end_type == "text" else [])
    statuses = ["active", " Past_Due ", "cancelled", "expired", "lifetime", "", None]
    compared = 0
    for end in ends:
        for status in statuses:
            for plan in ("pro", None):
                host.owner.execute("truncate public.subscriptions")
                [user] = users(host, f"u{uuid.uuid4().hex}")
                host.owner.execute(
                    "insert into public.subscriptions values (%s, %s, %s, %s)", (user, plan, status, end)
                )
                [proposal] = proposals(host)
                samples = read_samples(host.owner, proposal, read_rules(host.owner, "default"))
                said = samples.rows[0].answer
                for statement in proposal.statements:
                    host.owner.execute(statement.encode())
                verdict = host.one("select to_json(e.entitled) as e from hangar.entitlements(array[%s::uuid]) e", user)
                expected = {True: "entitled", False: "no", None: "unknown"}[verdict]
                assert said.partition(":")[0].split()[0] == expected, (status, end, plan, said)
                host.owner.execute("select hangar.unbind()")
                compared += 1
    assert compared >= 42


def test_different_statuses_come_first(host):
    host.owner.execute("create table public.subscriptions (user_id uuid, plan text, status text)")
    host.owner.execute(
        "insert into public.subscriptions select gen_random_uuid(), 'pro', 'active' from generate_series(1, 50)"
    )
    host.owner.execute("insert into public.subscriptions values (gen_random_uuid(), 'pro', 'lifetime')")
    [proposal] = proposals(host)
    samples = read_samples(host.owner, proposal, read_rules(host.owner, "default"))
    assert [each.status for each in samples.rows] == ["active", "lifetime", "active", "active", "active"]
    assert (samples.words, samples.unruled) == ({"active": 50, "lifetime": 1}, ["lifetime"])


@pytest.mark.slow
def test_hangar_install_prints_the_sql_of_the_proposal(bare_database, connect):
    owner = connect(bare_database, "postgres")
    connect(bare_database).execute("drop table public.user_subscriptions cascade")
    owner.execute("create table public.seats (member_id uuid, plan text, state text, valid_until date)")
    printed = install(bare_database)
    [statement] = [line.strip() for line in printed.splitlines() if "select hangar.bind_subscriptions(" in line]
    owner.execute(statement.encode())
    with psycopg.connect(as_owner(bare_database)) as session:
        assert describe_host(session) == ["Your subscriptions: public.seats is bound."]
    assert "select hangar.bind_subscriptions(" not in install(bare_database)


def test_the_table_of_the_original_system_needs_no_statement(bare_database, connect):
    printed = "\n".join(describe_host(connect(bare_database, "postgres")))
    assert "1. public.user_subscriptions\n     `hangar install` binds this table" in printed
