"""The host changes its own tables: its DDL succeeds, nothing is destroyed, an alert names the cause, and Hangar recovers."""

from datetime import UTC, datetime, timedelta

import pytest

pytestmark = pytest.mark.every_postgres

AHEAD = datetime.now(UTC) + timedelta(days=20)
EVENTS = {f"hangar_mark_{event}" for event in ("insert", "update", "delete", "truncate")}
POLICIES = (
    "drop policy user_subscriptions_select on user_subscriptions;"
    "drop policy user_subscriptions_update_as_admin on user_subscriptions;"
)
NO_CHECKS = (
    "alter table user_subscriptions drop constraint user_subscriptions_tier_check;"
    "alter table user_subscriptions drop constraint user_subscriptions_status_check;"
)
NO_USER_KEY = f"{POLICIES} alter table user_subscriptions drop constraint user_subscriptions_user_id_fkey;"


class Fleet:
    """Users whose entitlement depends on each bound column, and the sessions of a host that has been up for a while."""

    def __init__(self, hangar) -> None:
        self.hangar = hangar
        self.paid = hangar.user("pro")
        self.ends = hangar.user("pro", status="cancelled", expires_at=AHEAD)
        self.free = hangar.user()
        hangar.rpc("fly_sync_entitlements")

    def change(self, ddl: str) -> None:
        """The host's migration, in the time that a host gives it."""
        session = self.hangar.connect(self.hangar.url) if "auth." in ddl else self.hangar.host()
        session.execute("set statement_timeout = '5s'")
        session.execute(ddl)

    def look(self) -> None:
        self.hangar.follow()
        self.hangar.rpc("fly_sync_entitlements")
        for user in (self.paid, self.ends, self.free):
            self.hangar.claim(user, force=True)

    def assert_untouched(self) -> None:
        for user in (self.paid, self.ends):
            row = self.hangar.live_row(user)
            assert (row["desired_state"], row["tier"], row["generation"]) == ("present", "pro", 1)
        assert self.hangar.row(self.free) is None

    def problem(self) -> str | None:
        """The message of the open alert about the host."""
        rows = self.hangar.sql("select message from hangar.alerts where kind = 'host_binding' and resolved_at is null")
        return rows[0]["message"] if rows else None

    def triggers(self, table: str = "public.user_subscriptions") -> set[str]:
        rows = self.hangar.sql(
            "select tgname from pg_trigger where tgrelid = %s::regclass and tgname like 'hangar%%' and not tgisinternal", table
        )  # fmt: skip
        return {row["tgname"] for row in rows}

    def assert_works(self, table: str = "user_subscriptions", **columns: str) -> None:
        """A change of the host is marked and followed, in both directions, and an ended subscription ends the app."""
        assert self.problem() is None
        assert (self.triggers(table), self.triggers("auth.users")) == (EVENTS, EVENTS)
        tier, user_id = columns.get("tier", "tier"), columns.get("user_id", "user_id")
        update = f"update {table} set {tier} = %s where {user_id}::text = %s"
        self.hangar.follow()
        for user, new in ((self.free, "elite"), (self.paid, "free")):
            self.hangar.sql(update, new, str(user))
            assert self.hangar.marked() in ({user}, {None})  # a plan of the session may be older than the change
            self.look()
            assert self.hangar.marked() == set()
        assert self.hangar.live_row(self.free)["tier"] == "elite"
        assert self.hangar.live_row(self.paid)["desired_state"] == "absent"
        assert self.hangar.live_row(self.ends)["desired_state"] == "present"
        self.hangar.sql(update, "pro", str(self.paid))
        assert self.hangar.marked() == {self.paid}
        self.hangar.shift_clock(30 * 86400)
        self.look()
        assert self.hangar.live_row(self.ends)["desired_state"] == "absent"
        assert self.hangar.live_row(self.paid)["desired_state"] == "present"


@pytest.fixture
def fleet(hangar):
    return Fleet(hangar)


COLUMN = "alter table user_subscriptions alter column"

RETYPED = {
    "status varchar": f"{COLUMN} status type varchar(40)",
    "status enum": f"{NO_CHECKS} create type word as enum ('active', 'cancelled'); {COLUMN} status drop default;"
    f"{COLUMN} status type word using status::word",
    "tier varchar": f"{COLUMN} tier type varchar(40)",
    "tier enum": f"{NO_CHECKS} create type plan as enum ('free', 'pro', 'elite'); {COLUMN} tier drop default;"
    f"{COLUMN} tier type plan using tier::plan",
    "expires_at timestamp": f"{COLUMN} expires_at type timestamp(3) using expires_at at time zone 'UTC'",
    "expires_at date": f"{COLUMN} expires_at type date",
    "expires_at text": f"{COLUMN} expires_at type text using to_char(expires_at, 'YYYY-MM-DD\"T\"HH24:MI:SSOF')",
    "expires_at bigint": f"{COLUMN} expires_at type bigint using extract(epoch from expires_at)",
    "user_id text": f"{NO_USER_KEY} {COLUMN} user_id type text",
    "user_id varchar": f"{NO_USER_KEY} {COLUMN} user_id type varchar(36)",
    "email varchar": "alter table user_profiles alter column email type varchar(320)",
    "e-mail of auth": "alter table auth.users alter column email type text",
}


@pytest.mark.parametrize("ddl", RETYPED.values(), ids=RETYPED.keys())
def test_a_column_of_another_type(fleet, ddl):
    """A7: nothing of ours blocks the change, and Hangar works without a new binding."""
    fleet.change(ddl)
    fleet.look()
    fleet.assert_untouched()
    fleet.assert_works()
    email = fleet.hangar.one("select email from auth.users where id = %s", fleet.paid)
    assert fleet.hangar.one("select hangar.user_email(%s)", fleet.paid) == email


def test_the_ids_of_users_become_text(fleet):
    """A7: `auth.users.id` itself, with all that the host hangs on it."""
    fleet.change(
        "drop trigger on_auth_user_created on auth.users;"
        "do $$ declare f record; begin for f in select conname, conrelid::regclass as t from pg_constraint"
        " where confrelid = 'auth.users'::regclass loop"
        " execute 'alter table ' || f.t || ' drop constraint ' || quote_ident(f.conname); end loop; end $$;"
        "alter table auth.users alter column id type text"
    )
    fleet.look()
    fleet.assert_untouched()
    fleet.assert_works()


TABLE = "alter table user_subscriptions"
COPY = "create table kept as select * from user_subscriptions;"
FILL = "update user_subscriptions u set {0} = k.{0} from kept k where k.id = u.id"

BROKEN = {
    # what the host does, the word that the alert must have, and the way back
    "tier renamed": (f"{TABLE} rename tier to plan_name", "tier", f"{TABLE} rename plan_name to tier"),
    "status renamed": (f"{TABLE} rename status to state", "status", f"{TABLE} rename state to status"),
    "end renamed": (
        f"{TABLE} rename expires_at to valid_until",
        "expires_at",
        f"{TABLE} rename valid_until to expires_at",
    ),
    "end oddly renamed": (
        f"{TABLE} rename expires_at to paid_to",
        "expires_at",
        f"{TABLE} rename paid_to to expires_at",
    ),
    "user renamed": (f"{TABLE} rename user_id to account", "user_id", f"{TABLE} rename account to user_id"),
    "status dropped": (
        f"{COPY} {TABLE} drop column status",
        "status",
        f"{TABLE} add column status text; {FILL.format('status')}",
    ),
    "end dropped": (
        f"{COPY} {TABLE} drop column expires_at",
        "expires_at",
        f"{TABLE} add column expires_at timestamptz; {FILL.format('expires_at')}",
    ),
    "end of an unreadable type": (
        f"{COPY} {COLUMN} expires_at type jsonb using '[]'",
        "expires_at",
        f"{COLUMN} expires_at type timestamptz using null; {FILL.format('expires_at')}",
    ),
    "table moved": (
        f"create schema billing; {TABLE} rename tier to plan_name; {TABLE} set schema billing",
        "tier",
        "alter table billing.user_subscriptions set schema public; alter table user_subscriptions rename plan_name to tier",
    ),
    "table dropped": (
        f"{COPY} drop table user_subscriptions",
        "user_subscriptions",
        "create table user_subscriptions (like kept including all); insert into user_subscriptions select * from kept",
    ),
    "users renamed": ("alter table auth.users rename id to uid", "id", "alter table auth.users rename uid to id"),
}


@pytest.mark.parametrize(("ddl", "named", "back"), BROKEN.values(), ids=BROKEN.keys())
def test_a_host_that_cannot_be_read(fleet, ddl, named, back):
    """A8: the DDL and the host's writes succeed, nobody changes, the alert names the cause, and it all ends by itself."""
    fleet.change(ddl)
    for _ in range(2):
        fleet.look()
        fleet.assert_untouched()
        message = fleet.problem()
        assert message is not None
        assert named in message
        assert "hangar.bind_subscriptions" in message
    assert fleet.hangar.rpc("fly_user_status", user=fleet.paid)["why"] == "unreadable_host"
    fleet.change(back)
    fleet.look()
    fleet.assert_untouched()
    fleet.assert_works()


def test_writes_of_the_host_while_it_cannot_be_read(fleet, act):
    """A8: they commit and are marked; a removal that had begun stops; what was written is followed after the way back."""
    hangar = fleet.hangar
    leaver = hangar.user("pro")
    hangar.converge(leaver)
    hangar.subscribe(leaver, tier="free")
    row = hangar.lease(leaver)
    fleet.change("alter table user_subscriptions rename expires_at to paid_to")
    hangar.sql("update user_subscriptions set tier = 'elite' where user_id = %s", fleet.free)
    assert hangar.marked() == {None}
    fleet.look()
    fleet.assert_untouched()
    refused = hangar.save(row, events=[act.intent("delete_app", purpose="deprovision")])["refused"]
    assert refused == "entitlement_unknown"
    fleet.change("alter table user_subscriptions rename paid_to to expires_at")
    fleet.look()
    assert hangar.live_row(fleet.free)["tier"] == "elite"


def test_a_table_that_was_made_again_between_two_syncs(fleet):
    """A migration tool copies, drops and renames: no sync sees the gap, and the triggers exist again after the next."""
    fleet.change(
        "create table new (like user_subscriptions including all); insert into new select * from user_subscriptions;"
        "drop table user_subscriptions; alter table new rename to user_subscriptions"
    )
    assert fleet.triggers() == set()
    fleet.look()
    fleet.assert_untouched()
    fleet.assert_works()


def test_a_renamed_table_is_followed(fleet):
    """The binding follows the table under its new name."""
    fleet.change("create schema billing; alter table user_subscriptions set schema billing")
    fleet.change("alter table billing.user_subscriptions rename to plans")
    fleet.look()
    fleet.assert_untouched()
    fleet.assert_works("billing.plans")


def test_triggers_that_the_host_drops_come_back(fleet):
    """A tool that removes triggers it does not know costs a few minutes of latency."""
    for event in EVENTS:
        fleet.change(f"drop trigger {event} on user_subscriptions; drop trigger {event} on auth.users")
    fleet.look()
    fleet.assert_untouched()
    fleet.assert_works()


def test_a_profile_table_without_addresses(fleet):
    """The e-mail address then comes from auth.users, and nothing else is concerned."""
    email = fleet.hangar.one("select email from auth.users where id = %s", fleet.paid)
    fleet.change("drop table user_profiles cascade; drop trigger on_auth_user_created on auth.users")
    fleet.look()
    fleet.assert_untouched()
    assert fleet.problem() is None
    fleet.hangar.sql("select hangar.write_host_functions()")
    assert fleet.hangar.one("select hangar.user_email(%s)", fleet.paid) == email
