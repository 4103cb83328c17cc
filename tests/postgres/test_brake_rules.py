"""What the brake counts, what waits for it, when its alert ends, and how Fly's limit of deletions is shared. Each guard alone."""

import uuid

import pytest

from tests.postgres.app_rows import (
    ago,
    ask,
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

MINUTE, HOUR = 60, 3600
GONE = {"desired_state": "absent", "status": "deprovisioning", "next_attempt_at": ago(-600)}


def brake(hangar):
    [found] = hangar.sql("select *, cardinality(destroyed) as count from hangar.brake_status()")
    return found


def orphan(hangar, app="lost", **columns):
    insert(hangar, "public.fly_orphans", app=app, **{"network": f"n-{app}", "lost": True, **columns})


COUNTED = [
    # the action and its metadata, how long ago, whether it counts
    ("stop_machine", {"purpose": "deprovision"}, 0, True),
    ("destroy_machine", {"purpose": "replace"}, 0, True),
    ("delete_app", {"purpose": "deprovision"}, 0, True),
    ("delete_app", {}, 0, True),
    ("start_machine", {"purpose": "repair"}, 0, False),
    ("stop_machine", {"purpose": "move"}, 0, False),
    ("delete_app", {"purpose": "orphan", "app": "left-over"}, 0, True),
    ("delete_app", {"purpose": "deprovision"}, 59 * MINUTE, True),
    ("delete_app", {"purpose": "deprovision"}, 61 * MINUTE, False),
]


def test_what_the_brake_counts(inside):
    row = put(inside)
    for action, metadata, ago_s, counts in each(inside, COUNTED):
        log_action(inside, row, action, ago_s, **metadata)
        log_action(inside, row, action, ago_s, status="succeeded", **metadata)
        named = metadata.get("app") or str(row)
        assert brake(inside)["destroyed"] == ([named] if counts else []), (action, metadata, ago_s)


def test_an_outcome_alone_takes_nothing_away(inside):
    """The intent of a worker that died long ago is closed when its row is claimed again."""
    row = put(inside)
    for status in ("succeeded", "failed", "unknown"):
        log_action(inside, row, "delete_app", status=status, purpose="deprovision")
    assert brake(inside)["destroyed"] == []


def test_an_app_counts_once_and_an_orphan_beside_its_row(inside):
    row = put(inside)
    for action in ("stop_machine", "destroy_machine", "delete_app"):
        log_action(inside, row, action, purpose="deprovision")
    log_action(inside, row, "delete_app", purpose="orphan", app="left-over")
    assert brake(inside)["count"] == 2


@pytest.mark.parametrize(("released_s", "count"), [(30 * MINUTE, 0), (50 * MINUTE, 1), (-60, 1)])
def test_the_brake_counts_since_its_release_unless_that_is_in_the_future(inside, released_s, count):
    log_action(inside, put(inside), "delete_app", 40 * MINUTE, purpose="deprovision")
    set_settings(inside, brake_released_at=ago(released_s))
    assert brake(inside)["count"] == count


LIMITS = [
    # floor, share, apps that count, apps of the original system, the limit
    (3, 0, 10, 0, 3),
    (3, 1, 10, 0, 10),
    (3, 1, 2, 10, 3),
]


def test_the_limit_is_the_larger_one_of_floor_and_share_of_hangars_apps(inside):
    for floor, share, apps, others, limit in each(inside, LIMITS):
        set_settings(inside, brake_floor=floor, brake_share=share)
        for _ in range(apps):
            put(inside)
        for _ in range(others):
            put(inside, desired_state="legacy", generation=0, observed_generation=None, machine_state=None)
        assert brake(inside)["destroy_limit"] == limit


@pytest.mark.parametrize(
    ("apps", "orphans", "reason"),
    [(1, 3, None), (1, 4, "lost"), (0, 1, "lost"), (0, 0, None)],
)
def test_lost_rows_trip_the_brake(inside, apps, orphans, reason):
    """More than brake_lost of them, or any while there is no row at all."""
    for _ in range(apps):
        put(inside)
    for number in range(orphans):
        orphan(inside, f"lost-{number}")
    assert (brake(inside)["unknown_apps"], brake(inside)["reason"]) == (orphans, reason)


APPROVED = [
    ({}, None, True),
    ({"lost": False}, None, False),
    ({"approved_by": "operator"}, None, False),
    ({"first_seen_at": ago(120)}, 60, False),
    ({"first_seen_at": ago(60)}, 120, True),  # no operator has seen it
    ({"first_seen_at": ago(120)}, -60, True),  # the clock was set back
]


def test_an_orphan_without_a_row_needs_an_approval_or_a_release_since_it_was_seen(inside):
    for columns, released_s, needs in each(inside, APPROVED):
        orphan(inside, **columns)
        if released_s:
            set_settings(inside, brake_released_at=ago(released_s))
        assert inside.one("select hangar.needs_approval(o) from fly_orphans o") is needs, columns


def test_what_was_begun_may_be_finished_under_a_brake_of_many_but_not_of_lost_rows(inside):
    set_settings(inside, brake_floor=1, brake_share=0)
    begun, other = put(inside), put(inside)
    log_action(inside, begun, "stop_machine", purpose="deprovision")
    assert inside.one("select hangar.check_brake(%s)", str(begun)) is None
    assert inside.one("select hangar.check_brake(%s) ->> 'why'", str(other)) == "many"
    for number in range(4):
        orphan(inside, f"lost-{number}")
    assert inside.one("select hangar.check_brake(%s) ->> 'why'", str(begun)) == "lost"


def test_each_reason_has_its_alert_and_one_event(inside):
    row = put(inside)
    for why in ("many", "many", "lost"):
        inside.sql("select hangar.raise_brake_alert(%s::jsonb, %s, null)", f'{{"why": "{why}", "most": "1"}}', row)
    assert open_alerts(inside, "brake") == [("brake", "database"), ("brake", "fleet")]
    assert inside.one("select count(*) from user_fly_app_events where event_type = 'brake_tripped'") == 2


WAITING = [
    ({}, True),
    ({"desired_state": "present", "status": "active"}, False),
    ({"delete_after": ago(1)}, True),
    ({"delete_after": ago(-60)}, False),
    ({"hold_until": ago(1)}, True),
    ({"hold_until": ago(-60)}, False),
    ({"error_code": "host", "status": "error"}, False),
    ({"status": "deleted", "deleted_at": ago(0)}, False),
]


def test_the_alert_of_the_brake_stays_open_while_an_app_waits_for_the_last_place(inside):
    """One place is used up. An app whose removal has begun needs no further one."""
    set_settings(inside, brake_floor=2, brake_share=0)
    begun = put(inside, **GONE)
    log_action(inside, begun, "stop_machine", purpose="deprovision")
    open_alert(inside, "brake")
    for columns, stays in each(inside, WAITING):
        put(inside, **{**GONE, **columns})
        inside.sql("select hangar.resolve_brake_alerts()")
        assert bool(open_alerts(inside, "brake")) is stays, columns


def test_the_alert_about_lost_rows_ends_with_the_lost_rows(inside):
    """Also while the brake holds for another reason."""
    set_settings(inside, brake_floor=0, brake_share=0)
    open_alert(inside, "brake", "database")
    put(inside)
    inside.sql("select hangar.resolve_brake_alerts()")
    assert (brake(inside)["reason"], open_alerts(inside, "brake")) == ("many", [])


RESUMED = [
    ({}, True),
    ({"delete_turn_at": ago(1)}, True),
    ({"delete_turn_at": ago(-60)}, False),
    ({"delete_after": ago(-60)}, False),
    ({"delete_after": ago(1)}, True),
    ({"hold_until": ago(-60)}, False),
    ({"hold_until": ago(1)}, True),
    ({"error_code": "host", "status": "error"}, False),
    ({"desired_state": "present", "status": "active"}, False),
    ({"status": "deleted", "deleted_at": ago(0)}, False),
]


@pytest.mark.parametrize("resumes", ["hangar.resume_deletions()", "public.fly_release_brake('operator')"])
def test_a_release_makes_due_what_waits_for_nothing_else(inside, resumes):
    """Not for Fly's limit, a grace, a hold or after a failure."""
    for columns, is_due in each(inside, RESUMED):
        row = put(inside, **{**GONE, **columns})
        inside.sql(f"select {resumes}")
        assert inside.one("select next_attempt_at <= hangar.now() from user_fly_apps where id = %s", row) is is_due, (
            columns
        )


WORK = [
    ({"status": "provisioning", "desired_state": "present"}, True),
    ({}, True),
    ({"status": "error"}, False),
    ({"status": "active", "desired_state": "present"}, False),
    ({"delete_after": ago(-60)}, False),
    ({"hold_until": ago(-60)}, False),
]


def test_the_end_of_a_pause_makes_due_what_waits_for_nothing_else(inside):
    for columns, is_due in each(inside, WORK):
        row = put(inside, **{**GONE, **columns})
        inside.sql("select hangar.resume_work()")
        assert inside.one("select next_attempt_at <= hangar.now() from user_fly_apps where id = %s", row) is is_due, (
            columns
        )


def test_a_release_ends_the_alerts_of_the_brake_and_no_other(inside):
    for kind, key in (("brake", "fleet"), ("brake", "database"), ("incident", "fleet")):
        open_alert(inside, kind, key)
    inside.sql("select public.fly_release_brake('operator')")
    assert open_alerts(inside) == [("incident", "fleet")]


def test_the_brake_for_people_names_only_what_waits_for_it(inside):
    put(inside, **GONE)
    for columns in (
        {"delete_after": ago(-60)},
        {"hold_until": ago(-60)},
        {"desired_state": "present", "status": "active"},
    ):
        put(inside, **{**GONE, **columns})
    log_action(inside, put(inside, **GONE), "stop_machine", purpose="deprovision")
    found = inside.one("select hangar.brake_json()")
    assert (found["waiting_apps"], found["destroyed_last_hour"], found["counted_since"]) == (1, 1, None)
    set_settings(inside, brake_released_at=ago(600))
    assert inside.one("select hangar.brake_json() ->> 'counted_since'") is not None


def seconds_until(hangar, expression, *values):
    """To the nearest ten."""
    found = hangar.one(f"select extract(epoch from {expression} - hangar.now())::float", *values)
    return None if found is None else round(found, -1)


def test_a_deletion_has_room_when_the_oldest_of_the_last_minute_is_a_minute_old(inside):
    """One that is reserved for another row takes the place before."""
    set_settings(inside, deletes_per_minute=2)
    row = put(inside)
    log_action(inside, row, "delete_app", 61)
    log_action(inside, row, "delete_app", 40)
    log_action(inside, row, "stop_machine", 1)
    assert seconds_until(inside, "hangar.delete_slot_at()") is None
    assert seconds_until(inside, "hangar.delete_slot_at(1)") == 20
    log_action(inside, row, "delete_app", 10)
    assert seconds_until(inside, "hangar.delete_slot_at()") == 20
    assert seconds_until(inside, "hangar.delete_slot_at(1)") == 50


def test_a_slot_that_a_row_has_and_missed_is_taken_or_given_again(inside):
    set_settings(inside, deletes_per_minute=1)
    early = put(inside, **GONE, delete_turn_at=ago(-30))
    assert ask(inside, "reserve_delete_slot", early) is False
    change(inside, early, delete_turn_at=ago(1))
    assert (ask(inside, "reserve_delete_slot", early), read(inside, early)["delete_turn_at"]) == (True, None)
    log_action(inside, early, "delete_app", 10)
    late = put(inside, **GONE, delete_turn_at=ago(1))
    assert ask(inside, "reserve_delete_slot", late) is False
    assert seconds_until(inside, "(select delete_turn_at from user_fly_apps where id = %s)", late) == 50


SLOTS = [
    # another row with a slot, whether it holds this one up
    ({"delete_turn_at": ago(-30)}, True),
    ({"delete_turn_at": ago(4 * MINUTE)}, True),
    ({"delete_turn_at": ago(6 * MINUTE)}, False),
    ({"delete_turn_at": ago(-30), "desired_state": "present", "status": "active"}, False),
    ({"delete_turn_at": ago(-30), "status": "deleted", "deleted_at": ago(0)}, False),
]


def test_a_row_leaves_room_for_those_that_wait(inside):
    set_settings(inside, deletes_per_minute=1)
    for other, waits in each(inside, SLOTS):
        put(inside, **{**GONE, **other})
        assert ask(inside, "reserve_delete_slot", put(inside, **GONE)) is not waits, other


def own(hangar, **columns):
    """A row whose network proves that its app is ours, and the id of the installation."""
    row = put(hangar, **columns)
    installation = hangar.one("select installation_id::text from hangar.settings")
    change(hangar, row, network=hangar.one("select hangar.network_name(%s::uuid, %s)", installation, row))
    return row, installation


def test_a_repeated_deletion_needs_no_second_slot(inside, act):
    """Its intent is in the log already, and must not be counted against itself."""
    set_settings(inside, deletes_per_minute=1)
    row, installation = own(inside, **GONE)
    intent = act.intent("delete_app", purpose="deprovision", installation_id=installation)
    log_action(inside, row, "delete_app", 1, purpose="deprovision")
    assert ask(inside, "check_intent", row, intent) == "rate"
    change(inside, row, open_intent={"id": intent["id"], "action": "delete_app"})
    assert ask(inside, "check_intent", row, intent) is None


def test_a_repeated_restart_is_not_taken_for_a_second_one(inside, act):
    row, installation = own(inside)
    intent = act.intent("restart_machine", purpose="restart", installation_id=installation)
    log_action(inside, row, "restart_machine", 1, purpose="restart")
    assert ask(inside, "check_intent", row, intent) == "restarted"
    change(inside, row, open_intent={"id": intent["id"], "action": "restart_machine"})
    assert ask(inside, "check_intent", row, intent) is None


REFUSED = [
    # the row, the settings, the action and its purpose, why it is refused
    (GONE, {}, "stop_machine", "deprovision", None),
    ({**GONE, "hold_until": ago(-60)}, {}, "stop_machine", "deprovision", "removal_hold"),
    ({**GONE, "hold_until": ago(1)}, {}, "stop_machine", "deprovision", None),
    (GONE, {"paused": True}, "stop_machine", "deprovision", "paused"),
    (GONE, {"deletes_paused": True}, "stop_machine", "deprovision", None),
    (GONE, {"deletes_paused": True}, "delete_app", "deprovision", "deletes_paused"),
    (GONE, {"deletes_paused": True}, "destroy_machine", "deprovision", "deletes_paused"),
    (GONE, {"brake_floor": 0, "brake_share": 0}, "stop_machine", "deprovision", "brake"),
    ({}, {"brake_floor": 0, "brake_share": 0}, "destroy_machine", "replace", "brake"),
    ({}, {"brake_floor": 0, "brake_share": 0}, "start_machine", "repair", None),
    ({}, {}, "restart_machine", "unhealthy", "stale"),
    ({"health_step": "restart"}, {}, "restart_machine", "unhealthy", None),
    ({"health_step": "restart"}, {}, "destroy_machine", "unhealthy", "stale"),
    ({"health_step": "replace"}, {}, "destroy_machine", "unhealthy", None),
]


def test_why_a_worker_may_not_do_what_it_intends(inside, act):
    for columns, settings, action, purpose, refused in each(inside, REFUSED):
        if settings:
            set_settings(inside, **settings)
        user = uuid.uuid4()
        insert(inside, "auth.users", id=user, email="user@example.test")
        row, installation = own(inside, user_id=user, **columns)
        intent = act.intent(action, purpose=purpose, installation_id=installation)
        assert ask(inside, "check_intent", row, intent) == refused, (columns, settings, action, purpose)


def test_an_intent_of_another_installation_is_refused(inside, act):
    row, installation = own(inside)
    other = act.intent("start_machine", purpose="repair", installation_id=str(row))
    assert ask(inside, "check_intent", row, other) == "installation"
    change(inside, row, network="hangar-000000000000-x")
    ours = act.intent("start_machine", purpose="repair", installation_id=installation)
    assert ask(inside, "check_intent", row, ours) == "installation"
