"""How a row follows what its user is entitled to: the removal hold, the grace, the renewal, who gets a row. Each guard alone."""

import json
import uuid

import pytest

from tests.postgres.app_rows import (
    ago,
    change,
    each,
    insert,
    log_action,
    open_alert,
    open_alerts,
    put,
    read,
    set_settings,
)

HOLD, GRACE = 300, 3600
SPEC = {
    "region": "iad",
    "docker_image": "registry.example.test/app:v1",
    "cpu_kind": "shared",
    "cpu_count": 2,
    "memory_mb": 512,
    "power": "always_on",
    "public_service": False,
    "env_version": None,
}
RUNS = {"tier": "pro", "machine_id": "m1", "secrets_version": 1, "grace_s": 60}


@pytest.fixture
def held(inside):
    """A hold of five minutes and a grace of an hour."""
    set_settings(inside, removal_hold_s=HOLD)
    inside.sql("update fly_plans set grace_s = %s where tier = 'pro'", GRACE)
    return inside


def later(hangar, row, *columns):
    """In how many seconds each of these times is; None if there is none."""
    found = hangar.sql(
        f"select {', '.join(f'round(extract(epoch from {name} - hangar.now()))::int as {name}' for name in columns)}"
        " from user_fly_apps where id = %s",
        row,
    )[0]
    return [None if found[name] is None else round(found[name], -1) for name in columns]


TIMES = ("hold_until", "delete_after", "next_attempt_at")
ABSENT = [
    # why, the row, and when the hold ends, the grace ends and the next attempt is
    ("expired", {}, [HOLD, HOLD + GRACE, HOLD]),
    ("user_deleted", {}, [None, None, 0]),
    ("override_deny", {}, [None, GRACE, 0]),
    ("expired", {"tier": "gone"}, [HOLD, HOLD + 60, HOLD]),
    ("expired", {"tier": "gone", "grace_s": None}, [HOLD, None, HOLD]),
    ("expired", {"machine_id": None, "secrets_version": None}, [None, GRACE, 0]),
    ("expired", {"machine_id": None}, [HOLD, HOLD + GRACE, HOLD]),
    ("expired", {"secrets_version": None}, [HOLD, HOLD + GRACE, HOLD]),
    ("expired", {"machine_id": None, "secrets_version": None, "open_intent": {"id": "1"}}, [HOLD, HOLD + GRACE, HOLD]),
    ("expired", {"machine_id": None, "secrets_version": None, "create_unknown_at": ago(1)}, [HOLD, HOLD + GRACE, HOLD]),
]


def test_how_long_an_app_is_kept_that_is_not_wanted_any_more(held):
    """First the hold, then the grace of the plan that is lost. What does not exist is not held."""
    for why, columns, times in each(held, ABSENT):
        row = put(held, **{**RUNS, **columns})
        held.sql("select hangar.make_absent(%s, 'free', %s)", row, why)
        assert later(held, row, *TIMES) == times, (why, columns)
        found = read(held, row)
        assert (found["status"], found["desired_state"], found["generation"], found["tier"]) == (
            "deprovisioning",
            "absent",
            2,
            "free",
        )


def test_a_removal_begins_without_the_failures_before_it_and_may_name_no_tier(held):
    row = put(held, **RUNS, status="error", error_code="host", error_message="m", retry_count=7)
    held.sql("select hangar.make_absent(%s, null, 'expired')", row)
    found = read(held, row)
    assert (found["retry_count"], found["error_code"], found["error_message"], found["tier"]) == (0, None, None, "pro")


CONVERGED = [
    ({}, True),
    ({"status": "provisioning"}, False),
    ({"generation": 2}, False),
    ({"error_code": "host"}, False),
    ({"next_attempt_at": ago(0)}, False),
]


def test_only_a_row_without_work_is_as_desired_when_the_hold_begins(held):
    for columns, converged in each(held, CONVERGED):
        row = put(held, **RUNS, **columns)
        held.sql("select hangar.make_absent(%s, 'free', 'expired')", row)
        assert read(held, row)["converged_before_hold"] is converged, columns


def want(entitled, why, **more):
    """What a user is entitled to."""
    known = {"known": True, "user_exists": True, "has_subscription": True, "entitled": entitled, "why": why}
    return json.dumps({"tier": "pro", "plan": "pro", "spec": SPEC, **known, **more})


YES, NO, DENIED = want(True, "active"), want(False, "expired"), want(False, "override_deny")
DELETED, UNKNOWN = (
    want(False, "user_deleted", user_exists=False),
    want(None, "unknown_tier", tier="gold", plan=None, spec=None),
)
LARGER = want(True, "active", tier="elite", plan="elite", spec={**SPEC, "memory_mb": 1024})


def apply(hangar, row, wanted, held=False):
    return hangar.one(
        "select hangar.apply_entitlement(a, jsonb_populate_record(null::hangar.entitlement, %s::jsonb"
        " || jsonb_build_object('user_id', a.user_id)), 'test', %s) from user_fly_apps a where id = %s",
        wanted,
        held,
        row,
    )


HELD = {
    **RUNS,
    "desired_state": "absent",
    "status": "deprovisioning",
    "generation": 2,
    "hold_until": ago(-200),
    "delete_after": ago(-200 - GRACE),
    "next_attempt_at": ago(-201),
    "converged_before_hold": True,
}
GRACED = {
    **HELD,
    "hold_until": ago(100),
    "delete_after": ago(-500),
    "next_attempt_at": ago(-500),
    "observed_generation": 2,
}
FOLLOWED = [
    # the row, what its user is entitled to, whether losses are held, the answer, the desired state, hold, grace and next attempt
    (RUNS, YES, False, "unchanged", "present", [None, None, None]),
    (RUNS, LARGER, False, "changed", "present", [None, None, 0]),
    (RUNS, UNKNOWN, False, "unknown", "present", [None, None, None]),
    (RUNS, NO, False, "changed", "absent", [HOLD, HOLD + GRACE, HOLD]),
    (RUNS, NO, True, "held", "present", [None, None, None]),
    (RUNS, DENIED, True, "changed", "absent", [None, GRACE, 0]),
    (RUNS, DELETED, True, "held", "present", [None, None, None]),
    ({**RUNS, "generation": 2, "memory_mb": 256}, YES, False, "changed", "present", [None, None, 0]),
    ({**RUNS, "generation": 2}, YES, False, "unchanged", "present", [None, None, None]),
    (HELD, YES, False, "changed", "present", [None, None, None]),  # a renewal that costs no call
    (HELD, LARGER, False, "changed", "present", [None, None, 0]),
    ({**HELD, "converged_before_hold": False}, YES, False, "changed", "present", [None, None, 0]),
    ({**HELD, "next_attempt_at": ago(0)}, YES, False, "changed", "present", [None, None, 0]),
    (GRACED, YES, False, "changed", "present", [None, None, 0]),
    (HELD, NO, False, "unchanged", "absent", [200, 200 + GRACE, 200]),
    (HELD, DELETED, False, "changed", "absent", [None, None, 0]),
    (HELD, DELETED, True, "held", "absent", [200, 200 + GRACE, 200]),
    (GRACED, DELETED, False, "changed", "absent", [None, None, 0]),
    (GRACED, NO, False, "unchanged", "absent", [-100, 500, 500]),
    (HELD, DENIED, False, "changed", "absent", [None, GRACE, 0]),
    (GRACED, DENIED, False, "unchanged", "absent", [-100, 500, 500]),
    ({**GRACED, "delete_after": None}, DELETED, False, "unchanged", "absent", [-100, None, 500]),
    (HELD, UNKNOWN, False, "unknown", "absent", [200, 200 + GRACE, 200]),
]


def test_how_a_row_follows_what_its_user_is_entitled_to(held):
    for number, (columns, wanted, is_held, answer, state, times) in enumerate(each(held, FOLLOWED)):
        row = put(held, **columns)
        assert apply(held, row, wanted, is_held) == answer, number
        assert (read(held, row)["desired_state"], later(held, row, *TIMES)) == (state, times), number
        assert read(held, row)["generation"] == columns.get("generation", 1) + (answer == "changed"), number


def test_find_outdated_names_exactly_those_who_change(held):
    """A sync looks without locks, and only at those whom it finds."""
    for number, (columns, wanted, is_held, answer, _, _) in enumerate(each(held, FOLLOWED)):
        row = put(held, **columns)
        found = held.one(
            "select count(*) from user_fly_apps a cross join lateral hangar.find_outdated(array[jsonb_populate_record("
            "null::hangar.entitlement, %s::jsonb || jsonb_build_object('user_id', a.user_id))], %s) where a.id = %s",
            wanted,
            is_held,
            row,
        )
        assert found == int(answer == "changed"), number


@pytest.mark.parametrize(("confirmed", "is_found"), [(None, False), (False, False), (True, True)])
def test_while_losses_are_held_a_sync_follows_only_those_that_an_operator_has_confirmed(held, confirmed, is_found):
    row = put(held, **RUNS)
    user = read(held, row)["user_id"]
    if confirmed is not None:
        insert(held, "hangar.host_losses", user_id=user, why="expired", confirmed=confirmed)
    found = held.one(
        "select count(*) from hangar.find_outdated(array[jsonb_populate_record(null::hangar.entitlement,"
        " %s::jsonb || jsonb_build_object('user_id', %s::uuid))], true)",
        NO,
        user,
    )
    assert found == int(is_found)


def test_a_renewal_in_the_hold_leaves_the_row_at_rest(held):
    row = put(held, **HELD, observed_generation=1)
    apply(held, row, YES)
    found = read(held, row)
    assert (found["status"], found["generation"], found["observed_generation"], found["next_attempt_at"]) == (
        "active",
        3,
        3,
        None,
    )


PRESENT = [({}, "active"), ({"status": "error"}, "provisioning"), (HELD, "provisioning")]


def test_a_row_that_is_wanted_begins_without_its_failures(held):
    for columns, status in each(held, PRESENT):
        row = put(held, **{**RUNS, "retry_count": 7, "error_code": "host", "error_message": "m", **columns})
        apply(held, row, LARGER)
        found = read(held, row)
        assert (found["status"], found["retry_count"], found["error_code"], found["error_message"]) == (
            status,
            0,
            None,
            None,
        )
        assert (found["tier"], found["memory_mb"], found["grace_s"]) == ("elite", 1024, 0)


MOVES = [
    # the row, the release, its target, whether the release may go on moving the app of a user who returns
    ({}, {}, {}, True),
    ({}, {"state": "paused"}, {}, True),
    ({}, {"state": "rolling_back"}, {}, True),
    ({}, {"state": "completed"}, {}, False),
    ({}, {}, {"state": "verifying"}, True),
    ({}, {}, {"state": "done"}, False),
    ({}, {"state": "rolling_back"}, {"state": "done", "must_go_back": True}, True),
    ({"desired_state": "present", "status": "active"}, {}, {"state": "done"}, True),
]


def test_a_user_who_returns_in_the_middle_of_a_move_keeps_it_while_the_release_works_on_the_app(held):
    """On this app, and not only on another one."""
    for columns, release, target, keeps in each(held, MOVES):
        row, other = put(held, **{**RUNS, **HELD, **columns}), put(held)
        add_release = "insert into hangar.releases (state, created_by) values (%s, 'test') returning id"
        number = held.one(add_release, release.get("state", "rolling"))
        own = {"row_id": row, "state": "applying", **target}
        for place, each_target in enumerate((own, {"row_id": other, "state": "done" if keeps else "applying"})):
            named = {"release_id": number, "user_id": each_target["row_id"], "wave": 0, "place": place}
            insert(held, "hangar.release_targets", **named, **each_target)
        change(held, row, move_release_id=number)
        held.sql(
            "select hangar.make_present(%s, 'pro', jsonb_populate_record(null::hangar.machine_spec, %s::jsonb))",
            row,
            json.dumps(SPEC),
        )
        assert (read(held, row)["move_release_id"] == number) is keeps, (columns, release, target)


def test_a_plan_that_is_gone_keeps_the_grace_that_was_bought(held):
    row = put(held, **{**RUNS, "memory_mb": 256})
    held.sql(
        "select hangar.make_present(%s, 'gone', jsonb_populate_record(null::hangar.machine_spec, %s::jsonb))",
        row,
        json.dumps(SPEC),
    )
    assert (read(held, row)["grace_s"], read(held, row)["memory_mb"]) == (60, 512)


def test_the_failure_of_what_is_wanted_no_more_is_no_alert_any_more(held):
    for columns, is_over in each(held, [({"error_code": "start_failed", "status": "error"}, True), ({}, False)]):
        row = put(held, **RUNS, **columns)
        open_alert(held, "provision_failed", str(row))
        apply(held, row, NO)
        assert (open_alerts(held, "provision_failed") == []) is is_over, columns


def test_what_changed_is_in_the_log_with_its_reason(held):
    row = put(held, **RUNS)
    apply(held, row, NO)
    apply(held, row, YES)
    apply(held, row, LARGER)
    events = held.sql("select event_type, metadata from user_fly_app_events where fly_app_id = %s order by seq", row)
    assert [each["event_type"] for each in events if each["event_type"] != "action"] == [
        "desired_changed",
        "deprovision_requested",
        "desired_changed",
        "provision_requested",
        "desired_changed",
    ]
    assert [each["metadata"]["why"] for each in events if each["event_type"] == "desired_changed"] == [
        "expired",
        "active",
        "active",
    ]


def create(hangar, wanted, user, admit=False):
    return hangar.one(
        "select hangar.create_missing_row(jsonb_populate_record(null::hangar.entitlement,"
        " %s::jsonb || jsonb_build_object('user_id', %s::uuid)), 'test', %s)",
        wanted,
        user,
        admit,
    )


NOBODY = want(None, "unknown_tier", user_exists=False, has_subscription=False)
CREATED = [
    # what the user is entitled to, live, admitted, an earlier row, the answer
    (YES, True, False, None, "inserted"),
    (YES, False, False, None, "none"),
    (YES, False, True, None, "inserted"),
    (YES, False, False, {"generation": 1}, "inserted"),  # who had an app gets one again
    (YES, False, False, {"generation": 0, "observed_generation": None}, "none"),  # a row of the original system
    (NO, True, True, None, "none"),
    (UNKNOWN, True, False, None, "unknown"),
    (want(None, "unknown_tier", user_exists=False), True, False, None, "unknown"),
    (want(None, "unknown_tier", has_subscription=False), True, False, None, "unknown"),
    (NOBODY, True, False, None, "none"),
]


def test_who_gets_a_row(held):
    for number, (wanted, live, admit, before, answer) in enumerate(each(held, CREATED)):
        set_settings(held, live=live)
        user = uuid.uuid4()
        if before is not None:
            put(held, user_id=user, status="deleted", deleted_at=ago(60), **before)
        assert create(held, wanted, user, admit) == answer, number
        rows = held.sql("select * from user_fly_apps where user_id = %s and deleted_at is null", user)
        assert len(rows) == int(answer == "inserted"), number


def test_a_new_row_is_due_with_its_plan_and_a_name_of_its_own(held):
    user = uuid.uuid4()
    put(held, user_id=user, status="deleted", deleted_at=ago(60), name_seq=3)
    set_settings(held, live=True)
    create(held, YES, user)
    [row] = held.sql("select * from user_fly_apps where user_id = %s and deleted_at is null", user)
    assert (row["status"], row["tier"], row["grace_s"], row["name_seq"], row["generation"]) == (
        "provisioning",
        "pro",
        GRACE,
        4,
        1,
    )
    assert (row["memory_mb"], later(held, row["id"], "next_attempt_at")) == (512, [0])


OUTDATED_NEW = [
    # live, an earlier row, whether a sync creates a row
    (True, None, True),
    (False, None, False),
    (False, {"generation": 1}, True),
    (False, {"generation": 0, "observed_generation": None}, False),
]


def test_a_sync_finds_who_should_have_a_row(held):
    for live, before, is_found in each(held, OUTDATED_NEW):
        set_settings(held, live=live)
        user = uuid.uuid4()
        if before is not None:
            put(held, user_id=user, status="deleted", deleted_at=ago(60), **before)
        found = held.one(
            "select count(*) from hangar.find_outdated(array[jsonb_populate_record(null::hangar.entitlement,"
            " %s::jsonb || jsonb_build_object('user_id', %s::uuid))], false)",
            YES,
            user,
        )
        assert found == int(is_found), (live, before)


GRANTED = [
    # the override, when it ends, whether a user without a subscription gets a row
    ("grant", None, True),
    ("grant", ago(-60), True),
    ("grant", ago(60), False),
    ("deny", None, False),
]


def test_a_sync_finds_whom_an_operator_has_granted_an_app(held):
    set_settings(held, live=True)
    for override, ends_at, is_found in each(held, GRANTED):
        user = uuid.uuid4()
        insert(held, "auth.users", id=user, email="user@example.test")
        held.sql("delete from user_subscriptions where user_id = %s", user)
        plan = {"plan": "pro"} if override == "grant" else {}
        insert(held, "public.fly_overrides", user_id=user, override=override, actor="operator", ends_at=ends_at, **plan)
        held.sql("delete from hangar.marks")
        held.sql("select public.fly_sync_entitlements()")
        found = held.one("select count(*) from user_fly_apps where user_id = %s", user)
        assert found == int(is_found), (override, ends_at)


def test_an_orphan_is_readopted_before_a_new_app_is_made(held):
    """The oldest one, unless it is being removed, not lost, or known under a row."""
    user = uuid.uuid4()
    installation = held.one("select installation_id from hangar.settings")
    network = f"hangar-{installation.hex[:12]}-{uuid.UUID(int=9).hex}"
    set_settings(held, live=True)
    for spoil in each(held, (None, "not lost", "removing", "row")):
        insert(
            held,
            "fly_orphans",
            app="old",
            network=network,
            user_id=user,
            lost=spoil != "not lost",
            first_seen_at=ago(60),
        )
        if spoil == "removing":
            log_action(held, None, "delete_app", 60, purpose="orphan", app="old")
        elif spoil == "row":
            put(held, id=uuid.UUID(int=9), status="deleted", deleted_at=ago(60))
        assert create(held, YES, user) == "inserted"
        [row] = held.sql("select * from user_fly_apps where user_id = %s and deleted_at is null", user)
        assert (row["fly_app_name"] == "old") is (row["create_unknown_at"] is not None) is (spoil is None), spoil


def test_a_mark_is_put_back_for_a_row_that_somebody_holds(hangar):
    user = hangar.user("pro")
    row = hangar.live_row(user)
    change(hangar, row["id"], tier="elite", observed_generation=1)
    other = hangar.connect(hangar.url)
    with other.transaction():
        other.execute("select 1 from user_fly_apps for update")
        hangar.sql("delete from hangar.marks")
        wants = "array(select e from hangar.entitlements(array[%s::uuid]) e)"
        found = hangar.sql(
            f"select * from hangar.apply_entitlements({wants}, array[%s::uuid], 'test', false)", user, row["id"]
        )
    assert found == [{"changed": 0, "inserted": 0}]
    assert hangar.marked() == {user}
