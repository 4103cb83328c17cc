"""How the end of a subscription is read from columns of other types: naive times, dates, Unix time, text."""

from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from tests.postgres.conftest import Hangar

pytestmark = pytest.mark.every_postgres

NOW = datetime.now(UTC)


def in_hours(hours: float) -> str:
    """A naive UTC time, as text."""
    return (NOW + timedelta(hours=hours)).replace(tzinfo=None).isoformat(sep=" ")


def retype(host, column_type, using="null"):
    """The host keeps its ends in a column of this type."""
    host.sql(f"alter table user_subscriptions alter column expires_at type {column_type} using {using}")
    host.rpc("fly_sync_entitlements")


def end_at(host, user, value):
    host.sql("update user_subscriptions set expires_at = %s where user_id = %s", value, user)
    host.follow()
    host.rpc("fly_sync_entitlements")


def judged(host, user):
    answer = host.rpc("fly_user_status", user=user)
    return answer["entitled"], answer["why"]


def state(host, user):
    return host.live_row(user)["desired_state"]


def alert_keys(host, kind):
    rows = host.sql("select key from hangar.alerts where kind = %s and resolved_at is null", kind)
    return [row["key"] for row in rows]


@pytest.mark.own_database
@pytest.mark.parametrize("zone", ["Asia/Tokyo", "America/Los_Angeles", "UTC"])
def test_a_time_without_zone_is_utc(database, connect, zone):
    """A5: three hours are left, or were left three hours ago, whatever the time zone of the database."""
    setup = connect(database)
    setup.execute(psycopg.sql.SQL("alter database {} set timezone = {}").format(
        psycopg.sql.Identifier(setup.info.dbname), psycopg.sql.Literal(zone)))  # fmt: skip
    host = Hangar(database, connect)
    host.sql("update hangar.settings set live = true")
    assert host.one("show timezone") == zone
    paid, late = host.user("pro"), host.user("pro")
    retype(host, "timestamp(3)", "expires_at at time zone 'UTC'")
    end_at(host, paid, in_hours(3))
    end_at(host, late, in_hours(-3))
    assert (judged(host, paid), judged(host, late)) == ((True, "active"), (False, "expired"))
    assert (state(host, paid), state(host, late)) == ("present", "absent")
    retype(host, "text", "to_char(expires_at, 'YYYY-MM-DD HH24:MI:SS.MS')")
    assert (state(host, paid), state(host, late)) == ("present", "absent")
    assert alert_keys(host, "unreadable_end") == []


UNIX = (NOW + timedelta(days=20)).timestamp()

ENDS = [
    # the type of the column, a value -> entitled
    ("date", (NOW + timedelta(days=2)).date(), True),
    ("date", (NOW - timedelta(days=2)).date(), False),
    ("timestamptz", "infinity", True),
    ("timestamptz", "-infinity", False),
    ("timestamp", "infinity", True),
    ("bigint", int(UNIX), True),
    ("bigint", int(UNIX) - 40 * 86400, False),
    ("bigint", int(UNIX * 1000), True),
    ("bigint", int(UNIX * 1000) - 40 * 86_400_000, False),
    ("integer", int(UNIX), True),
    ("numeric", UNIX, True),
    ("double precision", UNIX * 1000, True),
    ("double precision", "Infinity", True),
    ("double precision", "NaN", None),
    ("text", str(int(UNIX)), True),
    ("text", str(int(UNIX * 1000) - 40 * 86_400_000), False),
    ("text", in_hours(1), True),
    ("text", f"{in_hours(1)}Z", True),
    ("text", in_hours(-1).replace(" ", "T") + "Z", False),
    ("varchar(60)", f"\t{in_hours(1)}\n", True),
    ("text", f"{in_hours(1)}-12:00", True),
    ("text", f"{in_hours(1)}+12:00", False),
    ("text", "infinity", True),
    ("text", "", True),  # no end
    ("text", " ", True),
    ("text", "never", None),
    ("text", "01/02/2099", None),
    ("text", "2099-02-30", None),
    ("text", "2099-13-01T00:00:00Z", None),
    ("text", "2099-01-01 00:00:00 Mars/Olympus", None),
    ("text", "tomorrow", None),
]


# The ids are numbers, because the values depend on the time, and every process must name its tests in the same way.
@pytest.mark.parametrize(("column_type", "value", "entitled"), ENDS, ids=range(len(ENDS)))
def test_ends_of_every_type(hangar, column_type, value, entitled):
    """A5, A6: the end is read whatever its type. One that cannot be read harms only its user, and an alert names it."""
    user, other = hangar.user("pro"), hangar.user("pro")
    retype(hangar, column_type)
    hangar.subscribe(other, tier="elite")
    end_at(hangar, user, value)
    assert judged(hangar, user)[0] is entitled
    assert state(hangar, user) == ("absent" if entitled is False else "present")
    assert (hangar.live_row(other)["tier"], state(hangar, other)) == ("elite", "present")
    assert alert_keys(hangar, "unreadable_end") == (["ends_at"] if entitled is None else [])
    assert alert_keys(hangar, "host_binding") == []


def test_an_unreadable_end_harms_only_its_user(hangar):
    """A6: with one unreadable value among many, others gain and lose as usual, and the alert ends with the correction."""
    users = [hangar.user("pro") for _ in range(4)]
    retype(hangar, "text")
    end_at(hangar, users[0], "soon")
    end_at(hangar, users[1], in_hours(-1))
    end_at(hangar, users[2], in_hours(1))
    new = hangar.user("pro", expires_at=in_hours(2))
    hangar.sql("delete from user_subscriptions where user_id = %s", users[3])
    hangar.follow()
    assert [state(hangar, user) for user in (*users, new)] == ["present", "absent", "present", "absent", "present"]
    [alert] = hangar.sql("select message from hangar.alerts where kind = 'unreadable_end' and resolved_at is null")
    assert str(users[0]) in alert["message"]
    end_at(hangar, users[0], in_hours(-1))
    assert (state(hangar, users[0]), alert_keys(hangar, "unreadable_end")) == ("absent", [])


def test_a_definite_no_needs_no_end(hangar):
    """A6: a status that never entitles, and a free plan, end the app although the end cannot be read."""
    unpaid, free = hangar.user("pro"), hangar.user("pro")
    hangar.sql("alter table user_subscriptions drop constraint user_subscriptions_status_check")
    retype(hangar, "text")
    hangar.subscribe(unpaid, status="unpaid", expires_at="soon")
    hangar.subscribe(free, tier="free", expires_at="soon")
    assert (state(hangar, unpaid), state(hangar, free)) == ("absent", "absent")


def test_a_renewal_seen_in_time(hangar):
    """The end passes and is moved before the next sync: the user keeps the app, in either column type."""
    user = hangar.user("pro")
    retype(hangar, "timestamp")
    end_at(hangar, user, in_hours(1))
    hangar.shift_clock(7200)
    end_at(hangar, user, in_hours(3))
    assert state(hangar, user) == "present"
    hangar.shift_clock(4 * 3600)
    hangar.rpc("fly_sync_entitlements")
    assert state(hangar, user) == "absent"
