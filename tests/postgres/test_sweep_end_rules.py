"""What the end of a sweep, or of a pass, brings in line: each of its checks alone, by what is different afterwards."""

import uuid

from tests.postgres.app_rows import ago, each, insert, open_alert, open_alerts, put, set_settings

HOUR, DAY = 3600, 86_400
TOKEN = uuid.uuid4()
BEGAN = ago(60)


def finish(hangar, complete=True, token=TOKEN, began=BEGAN):
    insert(
        hangar, "hangar.sweeps", name="other", token=TOKEN, started_at=began, lease_expires_at=ago(-60), unfinished=5
    )
    return hangar.one("select public.fly_sweep_finish('other', %s, '{}', %s) -> 'ok'", token, complete)


ENDED_BY_ANY = ["brake", "provision_failed", "fly_refused", "drift", "provisioning_slow", "legacy_unpaid", "unhealthy"]
ENDED_BY_PASS = ["crash_loop", "max_apps", "max_cost", "orphans", "orphan_look"]
KEPT = ["host_binding", "clock_skew", "fly_unreachable", "unknown_tier"]


def test_which_alerts_end_with_a_sweep_when_nothing_holds_them(inside):
    for complete in each(inside, (True, False)):
        for kind in (*ENDED_BY_ANY, *ENDED_BY_PASS, *KEPT):
            open_alert(inside, kind, seen_at=ago(HOUR))
        open_alert(inside, "sweep_unfinished", "other")
        assert finish(inside, complete) is True
        left = {kind for kind, _ in open_alerts(inside)}
        assert left == {*KEPT, *([] if complete else [*ENDED_BY_PASS, "sweep_unfinished"])}, complete


def test_an_alert_that_was_seen_since_the_pass_began_stays(inside):
    """The pass began before the sweep that ends it, if it took several."""
    for began, stays in each(inside, [(ago(60), False), (ago(2 * HOUR), True)]):
        open_alert(inside, "max_apps", seen_at=ago(HOUR))
        finish(inside, began=began)
        assert bool(open_alerts(inside)) is stays


def test_a_sweep_that_has_lost_its_lease_ends_nothing(inside):
    open_alert(inside, "brake")
    assert finish(inside, token=uuid.uuid4()) is False
    assert open_alerts(inside) == [("brake", "fleet")]
    assert inside.one("select token from hangar.sweeps where name = 'other'") == TOKEN


def raised(hangar, **columns):
    """The alerts at the end of a sweep over one such app."""
    put(hangar, **columns)
    finish(hangar, complete=False)
    return {kind for kind, _ in open_alerts(hangar)}


BEHIND = {"status": "provisioning", "observed_generation": None, "created_at": ago(2 * HOUR)}


def test_which_alerts_a_sweep_raises(inside):
    inside.sql("alter table hangar.settings disable trigger user")
    set_settings(inside, updated_at=ago(2 * HOUR))
    for columns, kinds in each(
        inside, [({}, set()), ({"drift": {"guest": "x"}}, {"drift"}), (BEHIND, {"provisioning_slow"})]
    ):
        assert raised(inside, **columns) == kinds, columns
    row = put(inside, health_status="unhealthy")
    bad = {"symptom": "check_critical", "since": ago(HOUR), "samples": 3, "streak": 3}
    insert(inside, "hangar.app_health", fly_app_id=row, **bad)
    assert raised(inside) == {"unhealthy"}


def test_a_sweep_ends_snoozes_and_gives_up_messages_about_what_is_long_over(inside):
    is_open, over = uuid.uuid4(), uuid.uuid4()
    open_alert(inside, "clock_skew", id=is_open)
    open_alert(inside, "clock_skew", "old", id=over, resolved_at=ago(4 * DAY))
    insert(inside, "hangar.alert_handling", alert_id=is_open, state="snoozed", actor="test", until=ago(1))
    insert(inside, "hangar.alert_deliveries", alert_id=over, event="opened", destination="hook")
    finish(inside, complete=False)
    assert inside.one("select count(*) from hangar.alert_handling") == 0
    assert inside.one("select dead_at is not null from hangar.alert_deliveries where alert_id = %s", over)


AFTER = [(True, 0, True, None), (False, 5, False, {"after": "x"})]


def test_only_a_complete_pass_begins_anew(inside):
    for complete, unfinished, is_dated, cursor in each(inside, AFTER):
        insert(
            inside,
            "hangar.sweeps",
            name="other",
            token=TOKEN,
            started_at=ago(60),
            unfinished=5,
            unfinished_since=ago(HOUR),
            cursor={"after": "x"},
        )
        inside.sql("select public.fly_sweep_finish('other', %s, '{}', %s)", TOKEN, complete)
        [found] = inside.sql("select * from hangar.sweeps where name = 'other'")
        assert (found["unfinished"], found["completed_at"] is not None, found["cursor"]) == (
            unfinished,
            is_dated,
            cursor,
        )
        assert (found["token"], found["lease_expires_at"], found["finished_at"] is not None) == (None, None, True)
        assert (found["unfinished_since"] is None) is complete


CLAIMS = [({}, True), ({"lease_expires_at": ago(-60)}, False), ({"lease_expires_at": ago(1)}, True)]


def test_one_sweep_at_a_time(inside):
    for columns, may in each(inside, CLAIMS):
        insert(
            inside, "hangar.sweeps", name="other", token=TOKEN, holder="first", unfinished_since=ago(HOUR), **columns
        )
        answer = inside.one("select public.fly_sweep_claim('other', 'second')")
        assert answer["outcome"] == ("claimed" if may else "held"), columns
        assert answer["held_by"] == (None if may else "first"), columns
        [found] = inside.sql(
            "select *, unfinished_since < hangar.now() - interval '50 min' as kept from hangar.sweeps where name = 'other'"
        )
        assert (found["holder"], found["unfinished"], found["kept"]) == (
            ("second", 1, True) if may else ("first", 0, True)
        ), columns


def test_only_the_sweep_that_holds_the_lease_moves_the_cursor(inside):
    insert(inside, "hangar.sweeps", name="other", token=TOKEN, lease_expires_at=ago(1))
    assert inside.one("select public.fly_sweep_progress('other', %s, '{\"a\": 1}') -> 'ok'", uuid.uuid4()) is False
    assert inside.one("select cursor from hangar.sweeps where name = 'other'") is None
    assert inside.one("select public.fly_sweep_progress('other', %s, '{\"a\": 1}') -> 'ok'", TOKEN) is True
    assert inside.one(
        "select lease_expires_at > hangar.now() + interval '1 min' from hangar.sweeps where name = 'other'"
    )


LEASE = {"lease_token": uuid.uuid4(), "lease_expires_at": ago(-60)}
FAILED = {"status": "error", "error_code": "transient", "next_attempt_at": ago(-600)}
OUTAGE = [
    ({}, True),
    ({"status": "active", "error_code": None}, False),
    ({"next_attempt_at": None}, False),  # it waits for a person
    (LEASE, False),
    ({**LEASE, "lease_expires_at": ago(1)}, True),
    ({"status": "deleted", "deleted_at": ago(0)}, False),
]


def test_who_is_due_when_fly_answers_again(inside):
    for columns, is_due in each(inside, OUTAGE):
        row = put(inside, **{**FAILED, **columns})
        assert inside.one("select public.fly_end_outage() -> 'due'") == int(is_due), columns
        found = inside.one(
            "select coalesce(next_attempt_at <= hangar.now(), false) from user_fly_apps where id = %s", row
        )
        assert found is is_due, columns
