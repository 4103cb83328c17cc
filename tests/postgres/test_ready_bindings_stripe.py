"""examples/bindings/stripe_sync_engine.sql on both generations of the engine's tables, and through its upgrades.

Column names and types are those of the engine's migrations: typed columns up to 0041, `_raw_data` with generated columns after.
"""

import json

import pytest

from tests.postgres.ready_bindings import NOW, hours, open_host

pytestmark = pytest.mark.every_postgres

TYPED = """
create schema stripe;
create type stripe.subscription_status as enum
  ('trialing', 'active', 'canceled', 'incomplete', 'incomplete_expired', 'past_due', 'unpaid');
create type stripe.pricing_type as enum ('one_time', 'recurring');
create table stripe.customers (
  id text primary key, object text, email text, metadata jsonb, name text, created integer, delinquent boolean, livemode boolean,
  deleted boolean not null default false, updated_at timestamptz not null default now(), last_synced_at timestamptz
);
create table stripe.prices (
  id text primary key, object text, active boolean, currency text, metadata jsonb, recurring jsonb, type stripe.pricing_type,
  unit_amount integer, created integer, livemode boolean, lookup_key text, product text,
  updated_at timestamptz not null default now()
);
create table stripe.subscriptions (
  id text primary key, object text, cancel_at_period_end boolean, current_period_end integer, current_period_start integer,
  items jsonb, metadata jsonb, status stripe.subscription_status, cancel_at integer, canceled_at integer, created integer,
  ended_at integer, livemode boolean, pause_collection jsonb, start_date integer, trial_end jsonb, trial_start jsonb,
  customer text, latest_invoice text, plan text, updated_at timestamptz not null default now(), last_synced_at timestamptz
);
create table stripe.subscription_items (
  id text primary key, object text, created integer, deleted boolean, metadata jsonb, quantity integer, price text,
  subscription text, current_period_end integer, current_period_start integer, last_synced_at timestamptz
);
"""
FIELDS = {
    "customers": "object text, email text, metadata jsonb, name text, created bigint, "
    "delinquent boolean, livemode boolean, deleted boolean",
    "prices": "object text, active boolean, unit_amount bigint, livemode boolean, lookup_key text, product text",
    "subscriptions": "object text, cancel_at_period_end boolean, current_period_end bigint, items jsonb, metadata jsonb, "
    "status text, "
    "cancel_at bigint, canceled_at bigint, created bigint, ended_at bigint, livemode boolean, trial_end jsonb, customer text",
    "subscription_items": "object text, deleted boolean, quantity bigint, price text, subscription text, "
    "current_period_end bigint",
}


def generated(table, raw="_raw_data", key="id"):
    """The columns of one table of the second generation, after the raw document."""
    columns = [f"{key} text generated always as (({raw} ->> 'id')::text) stored primary key"]
    for field in FIELDS[table].split(", "):
        name, kind = field.split(" ")
        value = f"{raw} -> '{name}'" if kind == "jsonb" else f"({raw} ->> '{name}')::{kind}"
        columns.append(f"{name} {kind} generated always as ({value}) stored")
    return columns


def second_generation():
    yield "create schema stripe"
    for table in FIELDS:
        yield (
            f"create table stripe.{table} (_raw_data jsonb, _account_id text, _updated_at timestamptz default now(),"
            f" _last_synced_at timestamptz, {', '.join(generated(table))})"
        )


class Stripe:
    """What the engine writes when Stripe's webhooks arrive."""

    def __init__(self, host, generation):
        self.host, self.generation = host, generation
        statements = [TYPED] if generation == "typed" else second_generation()
        for statement in statements:
            host.owner.execute(statement.encode())

    def save(self, table, **fields):
        """One object of Stripe, as the engine upserts it."""
        values = {name: json.dumps(value) if isinstance(value, dict) else value for name, value in fields.items()}
        if self.generation == "typed":
            sets = ", ".join(f"{name} = excluded.{name}" for name in values)
            places = ", ".join(["%s"] * len(values))
            query = f"insert into stripe.{table} ({', '.join(values)}) values ({places}) on conflict (id) do update set {sets}"
            self.host.write(query, *values.values())
        else:
            query = (
                f"insert into stripe.{table} (_raw_data, _account_id) values (%s, 'acct_1')"
                " on conflict (id) do update set _raw_data = excluded._raw_data"
            )
            self.host.write(query, json.dumps(fields))

    def customer(self, user, name="cus_1", **fields):
        self.save("customers", id=name, email=f"{name}@example.test", **({"metadata": {"user_id": str(user)}} | fields))

    def subscribe(self, status="active", *, price="price_pro", name="sub_1", customer="cus_1", items=None, **fields):
        """The subscription with one item at this price, or with these items."""
        items = items or [item(price)]
        document = {"object": "list", "data": items, "has_more": False}
        whole = {"livemode": True, "cancel_at_period_end": False, "items": document, **fields}
        self.save("subscriptions", id=name, customer=customer, status=status, **whole)


def item(price, **more):
    return {
        "id": f"si_{price}",
        "object": "subscription_item",
        "price": {"id": price, "object": "price", **more.pop("of_price", {})},
        **more,
    }


def epoch(time_):
    return int(time_.timestamp())


@pytest.fixture(params=["typed", "generated"])
def stripe(request, postgres, connect):
    with open_host(postgres, connect) as host:
        stripe = Stripe(host, request.param)
        host.plans(price_pro=512, price_team=1024, price_free=0)
        host.bind("stripe_users_by_metadata.sql", "stripe_sync_engine.sql")
        yield stripe


@pytest.fixture
def user(stripe):
    user = stripe.host.sign_up("ada")
    stripe.customer(user)
    return user


def test_the_life_of_a_subscription(stripe, user):
    """Trial, payment, plan change, failed card, renewal, cancellation; each by one webhook and one drain."""
    host = stripe.host
    assert (host.wants(user), host.email(user)) == (None, "ada@example.test")
    stripe.subscribe("incomplete")
    assert host.wants(user) is None
    stripe.subscribe("trialing", trial_end=None)
    assert host.wants(user) == "price_pro"
    stripe.subscribe("active", price="price_team")
    assert host.wants(user) == "price_team"
    stripe.subscribe("past_due", price="price_team", current_period_end=epoch(hours(-200)))
    assert host.wants(user) == "price_team"
    stripe.subscribe("unpaid", price="price_team")
    assert host.wants(user) is None
    stripe.subscribe("active", current_period_end=epoch(hours(700)))
    assert host.wants(user) == "price_pro"
    stripe.subscribe("canceled", ended_at=epoch(NOW), current_period_end=epoch(hours(700)))
    assert (host.wants(user), host.why(user)) == (None, "status_canceled")
    stripe.subscribe("active", price="price_free", name="sub_2")
    assert host.wants(user) is None
    host.sql("delete from auth.users where id = %s", user)
    host.drain()
    assert (host.why(user), host.alerts()) == ("user_deleted", [])


@pytest.mark.parametrize("where", ["subscription", "item"])
def test_a_renewal_that_arrives_late_cuts_nobody_off(stripe, user, where):
    """The period of an active subscription is over for some minutes at each renewal."""
    past = {"current_period_end": epoch(hours(-0.2))}
    stripe.subscribe(**(past if where == "subscription" else {"items": [item("price_pro", **past)]}))
    assert stripe.host.wants(user) == "price_pro"


@pytest.mark.parametrize("end", ["cancel_at", "subscription", "item"])
def test_a_cancellation_for_later_holds_until_then(stripe, user, end):
    """cancel_at, or the end of the period, which newer API versions keep on the items."""
    ends = epoch(hours(1))
    if end == "cancel_at":
        stripe.subscribe(cancel_at=ends)
    elif end == "subscription":
        stripe.subscribe(cancel_at_period_end=True, current_period_end=ends)
    else:
        stripe.subscribe(
            cancel_at_period_end=True,
            items=[item("price_pro", current_period_end=ends), item("addon", current_period_end=ends - 9000)],
        )
    assert stripe.host.wants(user) == "price_pro"
    stripe.host.shift_clock(3700)
    stripe.host.sync()
    assert (stripe.host.wants(user), stripe.host.why(user)) == (None, "expired")


def test_the_plan_is_a_price_a_product_or_a_lookup_key(stripe, user):
    """The first that fly_plans knows, from the item or from the table of prices; else the alert names the price."""
    host = stripe.host
    host.plans(prod_7=512, team_monthly=1024, prod_8=2048)
    stripe.subscribe(items=[item("price_7", of_price={"product": "prod_7", "lookup_key": "unused"})])
    assert host.wants(user) == "prod_7"
    stripe.subscribe(items=[item("price_9", of_price={"product": "prod_9", "lookup_key": "team_monthly"})])
    assert host.wants(user) == "team_monthly"
    stripe.save("prices", id="price_8", product="prod_8")
    stripe.subscribe(items=[item("price_8")])
    assert host.wants(user) == "prod_8"
    stripe.subscribe(items=[item("price_new", of_price={"product": "prod_new"})])
    host.sync()
    assert (host.wants(user), host.why(user)) == ("prod_8", "unknown_tier")
    assert host.alerts() == [("unknown_tier", "price_new")]
    host.plans(prod_new=512)
    host.sync()
    assert (host.wants(user), host.alerts()) == ("prod_new", [])


def test_several_items_and_several_subscriptions(stripe, user):
    """Add-ons raise no alert beside a known plan; the best plan of all subscriptions counts; a removed item does not."""
    host = stripe.host
    stripe.subscribe(items=[item("price_seat"), item("price_pro"), item("price_free")])
    host.sync()
    assert (host.wants(user), host.alerts()) == ("price_pro", [])
    stripe.subscribe(name="sub_2", price="price_team")
    assert host.wants(user) == "price_team"
    stripe.subscribe("canceled", name="sub_2", price="price_team")
    assert host.wants(user) == "price_pro"
    stripe.subscribe(items=[item("price_seat"), item("price_pro", deleted=True), item("price_free")])
    assert host.wants(user) is None


def test_items_that_only_their_own_table_has(stripe, user):
    stripe.save("subscription_items", id="si_1", subscription="sub_1", price="price_team", deleted=True)
    stripe.save(
        "subscription_items", id="si_2", subscription="sub_1", price="price_pro", current_period_end=epoch(hours(1))
    )
    stripe.save("subscriptions", id="sub_1", customer="cus_1", status="active", cancel_at_period_end=True)
    assert stripe.host.wants(user) == "price_pro"
    stripe.host.shift_clock(3700)
    stripe.host.sync()
    assert stripe.host.wants(user) is None


def test_a_deleted_customer_and_a_test_subscription_give_no_app(stripe, user):
    host = stripe.host
    stripe.subscribe()
    assert host.wants(user) == "price_pro"
    stripe.customer(user, deleted=True)
    assert (host.wants(user), host.why(user)) == (None, "status_canceled")
    stripe.customer(user, deleted=False)
    assert host.wants(user) == "price_pro"
    stripe.subscribe(livemode=False)
    assert (host.wants(user), host.why(user)) == (None, "no_subscription")


def test_users_are_linked_by_the_hosts_table(stripe):
    """public.customers of the usual starter, for customers without metadata."""
    host = stripe.host
    host.owner.execute(
        "create table public.customers (id uuid primary key references auth.users (id), stripe_customer_id text)"
    )
    host.bind("stripe_users_by_table.sql")
    user, stranger = host.sign_up("ada"), host.sign_up("bob")
    stripe.customer(stranger, "cus_9", metadata={})
    stripe.subscribe(customer="cus_9")
    assert (host.wants(user), host.wants(stranger)) == (None, None)
    host.write("insert into public.customers values (%s, 'cus_9')", user)
    host.sync()
    assert (host.wants(user), host.wants(stranger)) == ("price_pro", None)


@pytest.mark.slow
def test_the_engine_upgrades_while_bound(postgres, connect):
    """0039 adds a status, 0042 drops and creates columns, 0048 and 0050 rename the key: nobody loses an app."""
    with open_host(postgres, connect) as host:
        stripe = Stripe(host, "typed")
        host.plans(price_pro=512)
        host.bind("stripe_users_by_metadata.sql", "stripe_sync_engine.sql")
        users = [host.sign_up(f"user-{number}") for number in range(3)]
        for number, user in enumerate(users):
            stripe.customer(user, f"cus_{number}")
            stripe.subscribe(customer=f"cus_{number}", name=f"sub_{number}")
        documents = {
            table: host.sql(f"select id, to_jsonb(t) as raw from stripe.{table} t")
            for table in ("customers", "subscriptions")
        }

        def assert_kept(*alerts):
            host.drain()
            host.sync()
            assert [host.wants(user) for user in users] == ["price_pro"] * 3
            assert host.alerts() == list(alerts)

        host.owner.execute("alter type stripe.subscription_status add value 'paused'")
        assert_kept()
        unreadable = ("host_binding", "subscriptions")
        for table in FIELDS:
            host.owner.execute(f"alter table stripe.{table} add column raw_data jsonb".encode())
            for column in generated(table, "raw_data")[1:]:
                name = column.split(" ")[0]
                host.owner.execute(f"alter table stripe.{table} drop column if exists {name}".encode())
                host.owner.execute(f"alter table stripe.{table} add column {column}".encode())
        assert_kept(unreadable)
        for table in FIELDS:
            host.owner.execute(f"alter table stripe.{table} rename column id to _id".encode())
            host.owner.execute(f"alter table stripe.{table} rename column raw_data to _raw_data".encode())
        assert_kept(unreadable)
        for table in FIELDS:
            host.owner.execute(f"alter table stripe.{table} rename column _id to id".encode())
        assert_kept(unreadable)
        for table, rows in documents.items():
            for row in rows:
                host.owner.execute(
                    f"update stripe.{table} set _raw_data = %s where id = %s".encode(),
                    (json.dumps(row["raw"]), row["id"]),
                )
        assert_kept()


def test_the_engine_makes_its_schema_again_while_bound(stripe, user):
    """A dropped schema and new tables by the same names: nobody loses an app, and the new tables are followed at once again."""
    host = stripe.host
    stripe.subscribe()
    host.owner.execute("drop schema stripe cascade")
    host.drain()
    assert (host.wants(user), host.why(user), host.alerts()) == (
        "price_pro",
        "unreadable_host",
        [("host_binding", "subscriptions")],
    )
    again = Stripe(host, stripe.generation)
    again.customer(user)
    again.subscribe()
    host.sync()
    assert (host.wants(user), host.alerts()) == ("price_pro", [])
    host.owner.execute(
        "update stripe.subscriptions set {} = {}".format(
            *(
                ("status", "'canceled'")
                if stripe.generation == "typed"
                else ("_raw_data", '_raw_data || \'{"status": "canceled"}\'')
            )
        )
    )
    assert host.rpc("fly_apply_marks")["everybody"] is True
    host.sync()
    assert host.wants(user) is None


@pytest.mark.slow
def test_reading_everybody_costs_no_more_per_user_in_a_large_project(stripe):
    """A sync of 3,000 subscriptions ends within the statement timeout of service_role: reading is not quadratic."""
    host = stripe.host
    host.sql(
        "insert into auth.users (id, email) select gen_random_uuid(), g || '@example.test' from generate_series(1, 3000) g"
    )
    customer = "jsonb_build_object('id', 'cus_' || u.id, 'metadata', jsonb_build_object('user_id', u.id))"
    items = """'{"data": [{"id": "si", "price": {"id": "price_free"}}]}'::jsonb"""
    subscription = (
        f"jsonb_build_object('id', 'sub_' || u.id, 'customer', 'cus_' || u.id, 'status', 'active', 'items', {items})"
    )
    for table, document in (("customers", customer), ("subscriptions", subscription)):
        more = """{"deleted": false, "updated_at": "2026-01-01"}"""
        record = f"jsonb_populate_record(null::stripe.{table}, {document} || '{more}')"
        typed = f"insert into stripe.{table} select r.* from auth.users u, {record} r"
        raw = f"insert into stripe.{table} (_raw_data) select {document} from auth.users u"
        host.sql(typed if stripe.generation == "typed" else raw)
    assert host.rpc("fly_sync_entitlements")["inserted"] == 0
    assert host.one("select count(*) from hangar.list_subscriptions()") == 3000
