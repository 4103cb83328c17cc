"""The files of examples/bindings for hosts with one table, each from the host's own writes to the app that Hangar wants.

The tables are as Prisma, Drizzle, the providers' own tutorials and small hosts make them. Stripe: test_ready_bindings_stripe.py.
"""

import json
import uuid
from datetime import timedelta

import pytest

from tests.postgres.ready_bindings import BINDINGS, NOW, hours, open_host


@pytest.fixture
def host(postgres, connect):
    with open_host(postgres, connect) as host:
        yield host


def test_the_default_binding_follows_this_seeds_tables(hangar, connect):
    """The file returns to what the migrations bind."""
    owner = connect(hangar.url, "postgres")
    owner.execute("select hangar.unbind()")
    user = hangar.user("pro")
    assert hangar.row(user) is None
    owner.execute((BINDINGS / "user_subscriptions.sql").read_bytes())
    assert hangar.rpc("fly_apply_marks")["everybody"] is True
    hangar.rpc("fly_sync_entitlements")
    assert hangar.live_row(user)["desired_state"] == "present"
    hangar.subscribe(user, status="cancelled", expires_at=hours(2))
    assert hangar.live_row(user)["desired_state"] == "present"
    hangar.subscribe(user, expires_at=hours(-1))
    assert hangar.live_row(user)["desired_state"] == "absent"
    assert hangar.one("select hangar.user_email(%s)", user).startswith("user-")


PRISMA = """
create type public."SubscriptionStatus" as enum ('ACTIVE', 'TRIALING', 'PAST_DUE', 'CANCELED', 'UNPAID');
create table public."User" (
  "id" {id} not null primary key, "email" text not null unique, "name" text,
  "createdAt" timestamp(3) not null default current_timestamp
);
create table public."Subscription" (
  "id" text not null primary key,
  "userId" {id} not null references public."User" ("id") on delete cascade on update cascade,
  "planId" text not null,
  "status" public."SubscriptionStatus" not null default 'ACTIVE',
  "currentPeriodEnd" timestamp(3),
  "updatedAt" timestamp(3) not null
);
create index "Subscription_userId_idx" on public."Subscription" ("userId");
"""


def naive(time):
    """As Prisma writes a time: UTC, without saying so."""
    return time.replace(tzinfo=None)


@pytest.mark.parametrize("id_type", ["text", "uuid"])
def test_a_prisma_host(host, id_type):
    """An enum status in capitals, naive UTC times under another time zone, users in a table of its own."""
    host.owner.execute("set timezone = 'Asia/Tokyo'")
    host.owner.execute(PRISMA.format(id=id_type).encode())
    host.plans(pro=512, team=1024)
    host.bind("prisma.sql")
    user, other = uuid.uuid4(), uuid.uuid4()
    for one, name in ((user, "ada"), (other, "bob")):
        host.write(
            """insert into public."User" ("id", "email") values (%s::text::""" + id_type + ", %s)",
            one,
            f"{name}@example.test",
        )
    assert host.wants(user) is None

    host.write(
        """insert into public."Subscription" values ('s1', %s::text::"""
        + id_type
        + """, 'pro', 'ACTIVE', %s, now())""",
        user,
        naive(hours(3)),
    )
    assert (host.wants(user), host.email(user)) == ("pro", "ada@example.test")
    assert host.one("select hangar.search_emails(%s, 10)", "ada@%") == [user]

    host.write("""update public."Subscription" set "planId" = 'team'""")
    assert host.wants(user) == "team"
    host.write("""update public."Subscription" set "status" = 'PAST_DUE'""")
    assert host.wants(user) == "team"
    host.write("""update public."Subscription" set "status" = 'CANCELED'""")
    assert (host.wants(user), host.why(user)) == ("team", "canceled_until")
    host.write("""update public."Subscription" set "status" = 'ACTIVE', "currentPeriodEnd" = %s""", naive(hours(700)))
    assert (host.wants(user), host.why(user)) == ("team", "active")
    host.write("""update public."Subscription" set "userId" = %s::text::""" + id_type, other)
    assert (host.wants(user), host.wants(other)) == (None, "team")
    host.write("""delete from public."User" where "id" = %s::text::""" + id_type, other)
    assert (host.wants(other), host.why(other)) == (None, "user_deleted")
    assert host.alerts() == []


def test_a_prisma_host_whose_subscription_ends_without_a_write(host):
    host.owner.execute(PRISMA.format(id="text").encode())
    host.plans(pro=512)
    host.bind("prisma.sql")
    user = uuid.uuid4()
    host.write("""insert into public."User" ("id", "email") values (%s::text, 'a@example.test')""", user)
    host.write(
        """insert into public."Subscription" values ('s', %s::text, 'pro', 'CANCELED', %s, now())""",
        user,
        naive(hours(1)),
    )
    assert host.wants(user) == "pro"
    host.shift_clock(3700)
    host.sync()
    assert host.wants(user) is None


def test_a_json_column(host):
    """The document is replaced as a whole; a document without a subscription says nothing about entitlement."""
    host.owner.execute(
        "create table public.billing_accounts"
        " (user_id uuid primary key references auth.users (id) on delete cascade, data jsonb not null default '{}')"
    )
    host.plans(pro=512, team=1024)
    host.bind("json_column.sql")
    user = host.sign_up("ada")
    save = (
        "insert into public.billing_accounts values (%s, %s) on conflict (user_id) do update set data = excluded.data"
    )

    def put(**subscription):
        host.write(save, user, json.dumps({"seats": 3, "subscription": subscription}))
        return host.wants(user)

    assert put(plan="pro", status="active") == "pro"
    assert host.email(user) == "ada@example.test"
    assert put(plan="team", status="active", ends_at=hours(24).isoformat()) == "team"
    assert put(plan="team", status="past_due") == "team"
    assert put(plan="team", status="cancelled", ends_at=int(hours(24).timestamp())) == "team"
    assert put(plan="team", status="cancelled", ends_at=int(hours(-24).timestamp())) is None
    assert put(plan="pro", status="active", ends_at=None) == "pro"
    host.write(save, user, json.dumps({}))
    assert (host.wants(user), host.why(user)) == ("pro", "no_status")
    host.sync()
    assert ("unknown_status", "null") in host.alerts()
    host.sql("delete from auth.users where id = %s", user)
    host.drain()
    assert host.wants(user) is None


def test_lemon_squeezy(host):
    """A cancelled subscription is paid until ends_at, which is null while it renews. Ids of variants are numbers."""
    host.owner.execute(
        """create table public.lemon_squeezy_subscriptions (
             id bigint primary key, user_id uuid not null references auth.users (id), variant_id bigint not null,
             status text not null, renews_at timestamptz, ends_at timestamptz, trial_ends_at timestamptz)"""
    )
    host.plan("111", 512)
    host.plan("222", 1024)
    host.bind("lemon_squeezy.sql")
    user = host.sign_up("ada")
    host.write("insert into public.lemon_squeezy_subscriptions values (1, %s, 111, 'on_trial', %s)", user, hours(-1))
    assert host.wants(user) == "111"
    for status, ends_at, wanted in (
        ("active", None, "111"),
        ("past_due", None, "111"),
        ("cancelled", hours(30), "111"),
        ("active", None, "111"),
        ("unpaid", None, None),
        ("active", None, "111"),
        ("paused", None, None),
        ("expired", hours(-1), None),
    ):
        host.write("update public.lemon_squeezy_subscriptions set status = %s, ends_at = %s", status, ends_at)
        assert host.wants(user) == wanted, status
    host.write("insert into public.lemon_squeezy_subscriptions values (2, %s, 222, 'active')", user)
    assert host.wants(user) == "222"


def test_paddle(host):
    """A subscription that will be canceled is active with a scheduled_change; canceled is final whatever its period says."""
    host.owner.execute(
        """create table public.paddle_subscriptions (
             subscription_id text primary key, user_id uuid not null, price_id text not null, status text not null,
             scheduled_change jsonb, current_billing_period_ends_at timestamptz, updated_at timestamptz default now())"""
    )
    host.plan("pri_pro", 512)
    host.bind("paddle.sql")
    user = host.sign_up("ada")
    host.write(
        "insert into public.paddle_subscriptions values ('sub_1', %s, 'pri_pro', 'trialing', null, %s)", user, hours(-1)
    )
    assert host.wants(user) == "pri_pro"
    host.write(
        "update public.paddle_subscriptions set status = 'active', scheduled_change = %s",
        json.dumps({"action": "cancel", "effective_at": hours(9).isoformat()}),
    )
    assert host.wants(user) == "pri_pro"
    host.write(
        "update public.paddle_subscriptions set status = 'canceled', scheduled_change = null,"
        " current_billing_period_ends_at = %s",
        hours(9),
    )
    assert (host.wants(user), host.why(user)) == (None, "status_canceled")


def test_revenuecat(host):
    """EXPIRATION is the only event that ends access at once; a late renewal and a billing issue keep it."""
    host.owner.execute(
        """create table public.revenuecat_subscriptions (
             app_user_id text not null, product_id text not null, event_type text not null, cancel_reason text, period_type text,
             expiration_at_ms bigint, event_timestamp_ms bigint, primary key (app_user_id, product_id))"""
    )
    host.plan("pro_monthly", 512)
    host.bind("revenuecat.sql")
    user = host.sign_up("ada")
    late = int((NOW - timedelta(minutes=20)).timestamp() * 1000)
    ahead = int(hours(5).timestamp() * 1000)
    host.write(
        "insert into public.revenuecat_subscriptions values (%s, 'pro_monthly', 'INITIAL_PURCHASE', null, 'TRIAL', %s)",
        user.hex,
        late,
    )
    host.write(
        "insert into public.revenuecat_subscriptions values ('$RCAnonymousID:1', 'pro_monthly', 'INITIAL_PURCHASE')"
    )
    assert host.wants(user) == "pro_monthly"
    for event, reason, ends_ms, wanted in (
        ("RENEWAL", None, ahead, "pro_monthly"),
        ("BILLING_ISSUE", None, late, "pro_monthly"),
        ("CANCELLATION", "BILLING_ERROR", late, "pro_monthly"),
        ("CANCELLATION", "UNSUBSCRIBE", ahead, "pro_monthly"),
        ("SUBSCRIPTION_PAUSED", None, ahead, "pro_monthly"),
        ("CANCELLATION", "UNSUBSCRIBE", late, None),
        ("UNCANCELLATION", None, ahead, "pro_monthly"),
        ("EXPIRATION", "UNSUBSCRIBE", ahead, None),
    ):
        host.write(
            "update public.revenuecat_subscriptions set event_type = %s, cancel_reason = %s, expiration_at_ms = %s"
            " where app_user_id = %s",
            event,
            reason,
            ends_ms,
            user.hex,
        )
        assert host.wants(user) == wanted, (event, reason)
    assert host.alerts() == []


def test_a_host_without_a_status(host):
    """A row means paid until its end; deleting it ends that. `date` is the beginning of that day in UTC."""
    host.owner.execute("create table public.memberships (member_id uuid, plan text, valid_until date)")
    host.plans(pro=512)
    host.bind("no_status.sql")
    user = host.sign_up("ada")
    host.write("insert into public.memberships values (%s, 'pro', %s)", user, hours(48).date())
    assert (host.wants(user), host.why(user)) == ("pro", "active")
    host.write("update public.memberships set valid_until = %s", hours(-48).date())
    assert (host.wants(user), host.why(user)) == (None, "expired")
    host.write("update public.memberships set valid_until = null")
    assert host.wants(user) == "pro"
    host.write("delete from public.memberships")
    assert (host.wants(user), host.why(user)) == (None, "no_subscription")


def test_a_host_without_end_dates(host):
    """The status alone decides, and a cancelled subscription has no end to wait for."""
    host.owner.execute(
        "create table public.accounts (id serial primary key, owner_id uuid, plan varchar(20),"
        " billing_status varchar(20), trial_end int)"
    )
    host.plans(pro=512)
    host.bind("no_end_date.sql")
    user = host.sign_up("ada")
    host.write("insert into public.accounts (owner_id, plan, billing_status) values (%s, 'pro', 'Trialing ')", user)
    assert host.wants(user) == "pro"
    for status, wanted in (("past_due", "pro"), ("cancelled", None), ("active", "pro"), ("unpaid", None)):
        host.write("update public.accounts set billing_status = %s", status)
        assert host.wants(user) == wanted, status
    host.write("update public.accounts set billing_status = 'frozen'")
    host.sync()
    assert (host.why(user), host.alerts()) == ("unknown_status", [("unknown_status", "frozen")])


def test_users_with_a_flag_and_a_domain_of_their_own(host):
    """`is_deleted boolean` instead of a time, ids of a domain over uuid, a boolean as the status with rules of its own."""
    host.owner.execute(
        """create domain public.user_key as uuid check (value is not null);
           create domain public.moment as timestamp;
           create table public.people (key public.user_key, mail text, is_deleted boolean not null default false);
           create table public.licences (person public.user_key, plan text, is_paid boolean, until public.moment);
           alter table public.licences enable row level security;
           alter table public.licences force row level security"""
    )
    host.plans(pro=512)
    host.owner.execute(
        """select hangar.bind_subscriptions('public.licences',
             '{"user_id": "person", "tier": "plan", "status": "is_paid", "ends_at": "until"}',
             '{"table": "public.people", "id": "key", "email": "mail", "deleted_at": "is_deleted"}');
           insert into hangar.status_rules (status, rule) values ('true', 'entitled'), ('false', 'no')"""
    )
    user = uuid.uuid4()
    host.write("insert into public.people values (%s, 'ada@example.test')", user)
    host.write("insert into public.licences values (%s, 'pro', true, %s)", user, naive(hours(2)))
    assert (host.wants(user), host.email(user)) == ("pro", "ada@example.test")
    host.write("update public.licences set is_paid = false")
    assert (host.wants(user), host.why(user)) == (None, "status_false")
    host.write("update public.licences set is_paid = true")
    assert host.wants(user) == "pro"
    host.write("update public.people set is_deleted = true")
    assert (host.wants(user), host.why(user)) == (None, "user_deleted")
