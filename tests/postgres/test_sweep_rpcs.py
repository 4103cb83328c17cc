"""What the sweep writes: health with hysteresis, orphans, its own lease; and money, which follows what was observed."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from psycopg import errors

pytestmark = pytest.mark.every_postgres


def later(seconds=0):
    return datetime.now(UTC) + timedelta(seconds=seconds)


def observe(row, **what):
    return {
        "id": str(row["id"]),
        "machine_state": None,
        "health": None,
        "direct": False,
        "due": False,
        "reason": None,
        **what,
    }


def record(hangar, *observations, started_at=None):
    return hangar.rpc("fly_record_sweep", observations=list(observations), started_at=started_at or later(1_000_000))


def running(hangar):
    user = hangar.user("pro")
    hangar.converge(user)
    return user, hangar.live_row(user)


def test_healthy_is_an_event_once(hangar):
    """Only a transition is worth a line."""
    user, row = running(hangar)
    counts = [record(hangar, observe(row, health="healthy", machine_state="started", direct=True)) for _ in range(3)]
    assert [count["transitions"] for count in counts] == [1, 0, 0]
    assert (counts[0]["updated"], counts[0]["healthy"], counts[0]["skipped"]) == (1, 1, 0)
    assert hangar.events(user).count(("health_check_passed", "succeeded")) == 1
    assert hangar.live_row(user)["health_status"] == "healthy"
    assert hangar.live_row(user)["last_health_check"] is not None


def test_unhealthy_takes_several_samples_apart(hangar):
    """Three bad samples at least four minutes apart; one good one starts over."""
    user, row = running(hangar)
    record(hangar, observe(row, health="healthy"))
    seen = []
    for minute in (0, 1, 4, 5, 8):
        hangar.shift_clock(minute * 60 + minute)
        record(hangar, observe(row, health="bad", reason="check failed"))
        found = hangar.live_row(user)
        seen.append((found["health_status"], found["bad_samples"]))
    assert seen == [("healthy", 1), ("healthy", 1), ("healthy", 2), ("healthy", 2), ("unhealthy", 3)]
    [failed] = hangar.sql("select metadata from user_fly_app_events where event_type = 'health_check_failed'")
    assert failed["metadata"] == {
        "from": "healthy",
        "to": "unhealthy",
        "reason": "check failed",
        "machine_state": "started",
        "bad_samples": 3,
    }
    record(hangar, observe(row, health="healthy"))
    assert (hangar.live_row(user)["health_status"], hangar.live_row(user)["bad_samples"]) == ("healthy", 0)


def test_unknown_is_not_unhealthy(hangar):
    """Fly out of reach says nothing about the machine."""
    user, row = running(hangar)
    record(hangar, observe(row, health="healthy"))
    counts = record(hangar, observe(row, health="unknown"))
    assert (counts["unknown"], counts["unhealthy"], counts["transitions"]) == (1, 0, 1)
    assert hangar.events(user)[-1] == ("health_check_failed", "unknown")
    assert hangar.live_row(user)["bad_samples"] == 0


def test_no_health_leaves_health_alone(hangar):
    """A list's `started` alone writes the state and no health."""
    user, row = running(hangar)
    record(hangar, observe(row, health="healthy"))
    checked = hangar.live_row(user)["last_health_check"]
    record(hangar, observe(row, machine_state="stopped", due=True))
    found = hangar.live_row(user)
    assert (found["health_status"], found["last_health_check"], found["machine_state"]) == (
        "healthy",
        checked,
        "stopped",
    )
    assert found["next_attempt_at"] is not None


def test_leased_and_changed_rows_are_skipped(hangar):
    """What a worker or the host did since the listing began is newer than the listing."""
    started_at = later()
    user, row = running(hangar)
    assert record(hangar, observe(row, health="healthy"), started_at=started_at)["skipped"] == 1
    hangar.lease(user)
    assert record(hangar, observe(row, health="healthy"))["skipped"] == 1
    assert hangar.live_row(user)["health_status"] is None


def test_deleted_and_foreign_ids_are_skipped(hangar):
    """An observation about a row that is gone changes nothing."""
    user, row = running(hangar)
    hangar.subscribe(user, tier="free")
    hangar.save(hangar.lease(user), deleted=True)
    foreign = {**observe(row), "id": "00000000-0000-4000-8000-000000000000"}
    assert record(hangar, observe(row, machine_state="started"), foreign) == {
        "updated": 0, "skipped": 2, "healthy": 0, "unhealthy": 0, "unknown": 0, "transitions": 0,
    }  # fmt: skip


@pytest.mark.slow
def test_five_hundred_observations_in_one_statement(hangar):
    """And not one more."""
    hangar.sql("insert into auth.users (email) select 'user-' || n || '@example.test' from generate_series(1, 500) n")
    hangar.sql("update user_subscriptions set tier = 'pro'")
    hangar.follow()
    rows = hangar.sql("select id from user_fly_apps")
    assert record(hangar, *[observe(row, health="healthy") for row in rows])["healthy"] == 500
    with pytest.raises(errors.InvalidParameterValue, match="from 1 to 500"):
        record(hangar, *[observe(row) for row in [*rows, rows[0]]])


def test_fleet_pages(hangar):
    """Live rows by id; the last page has no next; no lease token is shown."""
    users = [hangar.user("pro") for _ in range(5)]
    hangar.lease(users[0])
    seen, after = [], None
    while True:
        page = hangar.rpc("fly_fleet_page", after=after, limit=2)
        seen += page["rows"]
        after = page["next"]
        if after is None:
            break
    assert [row["id"] for row in seen] == sorted(row["id"] for row in seen)
    assert {row["user_id"] for row in seen} == {str(user) for user in users}
    assert all(row["lease_token"] is None for row in seen)
    with pytest.raises(errors.InvalidParameterValue, match="from 1 to 1000"):
        hangar.rpc("fly_fleet_page", limit=1001)


def test_orphans_age_and_are_forgotten(hangar):
    """Sightings count up; an app not seen is forgotten; the same name on another network starts again."""
    seen = [{"app": "a", "network": "n-1"}, {"app": "b", "network": "n-2"}]
    hangar.rpc("fly_record_orphans", seen=seen)
    found = hangar.rpc("fly_record_orphans", seen=seen[:1])["orphans"]
    assert [(orphan["app"], orphan["sightings"]) for orphan in found] == [("a", 2)]
    found = hangar.rpc("fly_record_orphans", seen=[{"app": "a", "network": "n-9"}])["orphans"]
    assert [(orphan["network"], orphan["sightings"]) for orphan in found] == [("n-9", 1)]
    assert hangar.rpc("fly_record_orphans", seen=[]) == {"orphans": []}
    assert (
        hangar.one("select count(*) from user_fly_app_events where event_type = 'orphan_found' and fly_app_id is null")
        == 3
    )


def test_one_sweep_at_a_time_continues_where_the_last_stopped(hangar):
    """Lease, cursor and heartbeat; an incomplete sweep hands its cursor on, also one that died."""
    first = hangar.rpc("fly_sweep_claim", holder="one")
    assert (first["outcome"], first["cursor"]) == ("claimed", None)
    held = hangar.rpc("fly_sweep_claim", holder="two")
    assert (held["outcome"], held["held_by"], held["token"]) == ("held", "one", None)
    assert hangar.rpc("fly_sweep_progress", name="fleet", token=first["token"], cursor={"after": "x"}) == {"ok": True}
    hangar.shift_clock(121)  # a slow page: its lease has expired without a new holder, so it continues
    assert hangar.rpc("fly_sweep_progress", name="fleet", token=first["token"], cursor={"after": "y"}) == {"ok": True}
    assert hangar.rpc("fly_sweep_claim", holder="two")["outcome"] == "held"
    hangar.shift_clock(250)
    second = hangar.rpc("fly_sweep_claim", holder="two")
    assert (second["outcome"], second["cursor"]) == ("claimed", {"after": "y"})
    assert hangar.rpc("fly_sweep_progress", name="fleet", token=first["token"], cursor={"after": "z"}) == {"ok": False}
    assert hangar.rpc("fly_sweep_finish", name="fleet", token=first["token"], report={}) == {"ok": False}
    assert hangar.rpc("fly_sweep_finish", name="fleet", token=second["token"], report={"apps": 1}, complete=False) == {
        "ok": True
    }
    third = hangar.rpc("fly_sweep_claim", holder="three")
    assert third["cursor"] == {"after": "y"}
    assert hangar.rpc("fly_sweep_finish", name="fleet", token=third["token"], report={"apps": 2}) == {"ok": True}
    assert hangar.rpc("fly_sweep_claim", holder="four")["cursor"] is None
    assert hangar.rpc("fly_sweep_claim", name="other", holder="five")["outcome"] == "claimed"


def test_alerts_open_once(hangar):
    """New once, resolved once, new again; each opening and each end is one message, in order."""
    assert hangar.rpc("fly_take_alerts") == {"alerts": []}
    raised = [hangar.rpc("fly_raise_alert", kind="outage", key="fly", message="Fly is away")["new"] for _ in range(2)]
    assert raised == [True, False]
    resolved = [hangar.rpc("fly_resolve_alert", kind="outage", key="fly")["resolved"] for _ in range(2)]
    assert resolved == [True, False]
    assert hangar.rpc("fly_raise_alert", kind="outage", key="fly", message="again")["new"] is True
    assert hangar.one("select count(*) from user_fly_app_events where event_type = 'alert_raised'") == 2
    messages = hangar.sql("select event, destination from hangar.alert_deliveries order by seq")
    assert [tuple(each.values()) for each in messages] == [
        (word, "default") for word in ("opened", "resolved", "opened")
    ]


def intervals(hangar):
    rows = hangar.sql(
        "select price_usd_per_s, started_at, ended_at from fly_cost_intervals order by started_at, ended_at nulls last"
    )
    return [(row["price_usd_per_s"], row["started_at"], row["ended_at"]) for row in rows]


def test_money_follows_the_machine(hangar):
    """Open while started and only then; a new price closes and opens at the same instant; deletion closes."""
    user = hangar.user("pro")
    row = hangar.lease(user)
    hangar.save(row, machine_id="m1", machine_state="starting", price_usd_per_s="0.000001")
    assert intervals(hangar) == []
    hangar.save(row, machine_state="started")
    hangar.save(row, machine_state="started", status="active")
    hangar.save(row, price_usd_per_s="0.000002")
    hangar.save(row, machine_state="stopping")
    hangar.save(row, machine_state="stopped")
    hangar.save(row, machine_state="started")
    hangar.save(row, deleted=True)
    found = intervals(hangar)
    assert [price for price, _, _ in found] == [Decimal("0.000001"), Decimal("0.000002"), Decimal("0.000002")]
    assert found[0][2] == found[1][1]
    assert found[1][2] < found[2][1]
    assert all(ended is not None and ended >= started for _, started, ended in found)


def test_price_that_comes_late_holds_from_the_start(hangar):
    """State first, price a save later: one interval."""
    row = hangar.lease(hangar.user("pro"))
    hangar.save(row, machine_id="m1", machine_state="started")
    hangar.save(row, price_usd_per_s="0.000003")
    assert [(price, ended) for price, _, ended in intervals(hangar)] == [(Decimal("0.000003"), None)]


def test_a_clock_set_back_never_inverts_an_interval(hangar):
    """Neither overlap nor negative time."""
    hangar.shift_clock(1000)
    row = hangar.lease(hangar.user("pro"))
    hangar.save(row, machine_id="m1", machine_state="started", price_usd_per_s="0.000001")
    hangar.shift_clock(995)
    hangar.save(row, machine_state="stopped")
    hangar.save(row, machine_state="started")
    (_, started, ended), (_, again, _) = intervals(hangar)
    assert ended == started
    assert again >= ended
