"""What counts as an episode of bad health, the next step against it, and who is told. Each guard alone."""

import json
import uuid

import pytest

from tests.postgres.app_rows import ago, each, insert, log_action, open_alert, open_alerts, put, read, set_settings

MINUTE, HOUR = 60, 3600
BAD = {
    "symptom": "check_critical",
    "since": ago(HOUR),
    "samples": 3,
    "step_samples": 3,
    "streak": 3,
    "sample_at": ago(300),
}


def ill(hangar, row=None, **columns):
    row = row or put(hangar, machine_id="m1", health_status="unhealthy")
    insert(hangar, "hangar.app_health", fly_app_id=row, **{**BAD, **columns})
    return row


def health(hangar, row):
    found = hangar.sql(
        "select *, since > hangar.now() - interval '1 min' as is_new from hangar.app_health where fly_app_id = %s", row
    )
    return found[0] if found else None


RESTARTED = {"restarted_at": ago(600)}
REPLACED = {**RESTARTED, "replaced_at": ago(300), "replaced_machine_id": "m1"}
STEPS = [
    # what is known, the plan's policy, the app's machine, the next step
    ({"samples": 2}, "replace", "m1", "watch"),
    ({"symptom": "check_warning"}, "replace", "m1", "wait"),
    ({"symptom": "not_running"}, "alert", "m1", "wait"),
    ({}, "alert", "m1", "person"),
    ({"step_samples": 2}, "alert", "m1", "person"),
    ({"step_samples": 2}, "replace", "m1", "watch"),
    ({}, "restart", "m1", "restart"),
    ({}, "replace", "m1", "restart"),
    (RESTARTED, "restart", "m1", "person"),
    (RESTARTED, "replace", "m1", "replace"),
    ({**RESTARTED, "step_samples": 2}, "replace", "m1", "watch"),
    ({**RESTARTED, "symptom": "check_missing"}, "replace", "m1", "person"),
    (REPLACED, "replace", "m1", "replace"),  # the row still names the machine, so the replacement has not happened
    (REPLACED, "replace", "m2", "person"),
    (REPLACED, "replace", None, "person"),
]


def test_the_next_step_against_an_unhealthy_app(inside):
    for columns, policy, machine, step in each(inside, STEPS):
        row = ill(inside, **columns)
        found = inside.one(
            "select hangar.next_health_step(h, %s, %s, 3) from hangar.app_health h where fly_app_id = %s",
            machine,
            policy,
            row,
        )
        assert found == step, (columns, policy, machine)


def sample(hangar, row, symptom=None, *, well=False, detail="d"):
    found = [{"id": str(row), "symptom": symptom, "detail": detail, "well": well}]
    hangar.sql("select hangar.record_symptoms(%s::jsonb)", json.dumps(found))
    return health(hangar, row)


GAPS = [
    # when the last sample was taken, whether one taken now counts: the gap is four minutes
    (239, False),
    (241, True),
    (-1, True),  # the clock was set back
    (None, True),
]


def test_samples_count_at_a_distance(inside):
    row = put(inside)
    for ago_s, counts in each(inside, GAPS):
        ill(inside, row, sample_at=None if ago_s is None else ago(ago_s))
        found = sample(inside, row, "check_critical")
        assert (found["samples"], found["step_samples"], found["streak"]) == ((4, 4, 4) if counts else (3, 3, 3)), ago_s
        assert (found["sample_at"] is not None) is (counts or ago_s is not None)


def test_a_symptom_about_which_hangar_only_waits_leads_to_no_step(inside):
    row = ill(inside)
    found = sample(inside, row, "host_unreachable", detail="the host is out")
    assert (found["samples"], found["step_samples"], found["detail"]) == (4, 3, "the host is out")
    new = sample(inside, put(inside), "host_unreachable")
    assert (new["samples"], new["step_samples"], new["streak"], new["is_new"]) == (1, 0, 1, True)
    assert sample(inside, put(inside), "check_critical")["step_samples"] == 1


def test_an_app_that_was_well_in_between_is_unsteady_until_it_is_bad_in_a_row(inside):
    row = ill(inside, streak=5)
    assert sample(inside, row, well=True)["well_since"] is not None
    found = sample(inside, row, "check_critical")
    assert (found["unsteady"], found["streak"], found["well_since"], found["samples"]) == (True, 1, None, 4)
    for streak in (2, 3):
        inside.sql("update hangar.app_health set sample_at = hangar.now() - interval '5 minutes'")
        found = sample(inside, row, "check_critical")
        assert (found["streak"], found["unsteady"]) == (streak, streak < 3)


EPISODES = [
    # what was tried, how long the app is well, whether it is still remembered: three samples take twelve minutes
    ({}, 11, True),
    ({}, 13, False),
    (RESTARTED, 13, True),
    (RESTARTED, 59, True),
    (RESTARTED, 61, False),
    ({"replaced_at": ago(1)}, 59, True),
    ({"replaced_at": ago(1)}, 61, False),
]


def test_how_long_an_episode_is_remembered(inside):
    row = put(inside)
    for tried, well_min, remembered in each(inside, EPISODES):
        ill(inside, row, **tried, well_since=ago(60 * well_min))
        assert (sample(inside, row, well=True) is not None) is remembered, (tried, well_min)


@pytest.mark.parametrize(("well_min", "samples", "is_new"), [(11, 4, False), (13, 1, True)])
def test_what_comes_after_a_while_of_health_is_another_episode(inside, well_min, samples, is_new):
    """What was tried is remembered all the same."""
    row = ill(inside, **RESTARTED, well_since=ago(60 * well_min))
    found = sample(inside, row, "check_critical")
    assert (found["samples"], found["is_new"], found["unsteady"]) == (samples, is_new, not is_new)
    assert found["restarted_at"] is not None


def test_a_look_that_says_nothing_ends_no_episode(inside):
    row = ill(inside, well_since=ago(HOUR))
    assert sample(inside, row)["samples"] == 3
    again = ill(inside)
    assert sample(inside, again)["well_since"] is None


def change_machine(hangar, row, action, purpose):
    intent = {"metadata": {"action": action, "purpose": purpose}}
    hangar.sql("select hangar.record_machine_change(%s, 'm1', %s::jsonb)", row, json.dumps(intent))
    return health(hangar, row)


CHANGES = [
    # action, purpose, whether the app gets its time again, whether it counts as restarted or replaced
    ("restart_machine", "unhealthy", True, True, False),
    ("destroy_machine", "unhealthy", True, False, True),
    ("restart_machine", "restart", True, False, False),
    ("update_machine", "update", True, False, False),
    ("start_machine", "repair", True, False, False),
    ("create_machine", "provision", True, False, False),
    ("destroy_machine", "stray", False, False, False),
    ("create_machine", "move", False, False, False),
    ("stop_machine", "deprovision", False, False, False),
    ("set_secrets", "secrets", False, False, False),
]


def test_a_change_of_the_machine_gives_it_time_before_the_next_step(inside):
    for action, purpose, resets, restarted, replaced in each(inside, CHANGES):
        row = put(inside, machine_id="m1", health_step="restart")
        ill(inside, row)
        found = change_machine(inside, row, action, purpose)
        assert found["step_samples"] == (0 if resets else 3), (action, purpose)
        assert (found["restarted_at"] is not None, found["replaced_at"] is not None) == (restarted, replaced)
        assert found["replaced_machine_id"] == ("m1" if replaced else None)
        assert read(inside, row)["health_step"] == (None if resets else "restart"), (action, purpose)


def test_an_operator_starts_the_steps_again(inside):
    row = ill(inside, **REPLACED, step_samples=0)
    inside.sql("select hangar.forget_health_steps(%s)", row)
    found = health(inside, row)
    assert [found[name] for name in ("restarted_at", "replaced_at", "replaced_machine_id", "step_samples")] == [
        None,
        None,
        None,
        3,
    ]


def test_a_machine_that_was_brought_up_is_well_if_it_was_down(inside):
    down, bad = ill(inside, symptom="not_running"), ill(inside)
    for row in (down, bad):
        inside.sql("select hangar.record_machine_up(%s)", row)
    assert (health(inside, down)["well_since"] is not None, health(inside, bad)["well_since"]) == (True, None)


FOUND = [
    # the row, its health, whether something must be said about it
    ({}, {}, True),
    ({"status": "provisioning"}, {}, True),
    ({"status": "error", "error_code": "host"}, {}, False),
    ({"desired_state": "absent", "status": "deprovisioning"}, {}, False),
    ({"status": "deleted", "deleted_at": ago(0)}, {}, False),
    ({}, {"samples": 2}, False),
    ({}, {"well_since": ago(60)}, False),
    ({}, {"well_since": ago(60), "unsteady": True}, True),
]


def test_about_which_apps_something_is_said(inside):
    for columns, known, is_found in each(inside, FOUND):
        ill(inside, put(inside, **columns), **known)
        assert inside.one("select count(*) from hangar.find_unhealthy()") == int(is_found), (columns, known)


LOOPS = [("not_running", False), ("crashes", False), ("check_critical", True)]


def test_an_app_in_a_crash_loop_has_one_alert(inside):
    for symptom, is_found in each(inside, LOOPS):
        row = ill(inside, symptom=symptom)
        open_alert(inside, "crash_loop", str(row))
        assert inside.one("select count(*) from hangar.find_unhealthy()") == int(is_found), symptom


KINDS = {
    "check_critical": "unhealthy",
    "check_warning": "unhealthy",
    "check_missing": "unhealthy",
    "crashes": "unhealthy",
    "not_running": "unhealthy",
    "host_unreachable": "unknown_health",
    "denied": "unknown_health",
}


def test_an_app_that_is_unhealthy_is_told_apart_from_one_that_cannot_be_judged(inside):
    for symptom in KINDS:
        ill(inside, symptom=symptom)
    found = inside.sql("select symptom, kind from hangar.find_unhealthy()")
    assert {each["symptom"]: each["kind"] for each in found} == KINDS


@pytest.mark.parametrize(
    ("open_already", "apps", "is_incident"), [(False, 4, False), (False, 5, True), (True, 2, False), (True, 3, True)]
)
def test_an_incident_begins_above_its_limit_and_ends_at_half_of_it(inside, open_already, apps, is_incident):
    set_settings(inside, incident_floor=4, incident_share=0)
    if open_already:
        open_alert(inside, "incident", "health")
    rows = [ill(inside) for _ in range(apps)]
    inside.sql("select hangar.check_health()")
    own = [("unhealthy", str(row)) for row in sorted(rows)]
    assert open_alerts(inside) == ([("incident", "health")] if is_incident else own)


def test_what_is_down_at_once_is_the_sweeps_own_incident(inside):
    """And the unhealthy ones beside it have alerts of their own."""
    down, bad = ill(inside, symptom="not_running"), ill(inside)
    open_alert(inside, "incident", "fleet")
    inside.sql("select hangar.check_health()")
    assert open_alerts(inside) == [("incident", "fleet"), ("unhealthy", str(bad))]
    inside.sql("update hangar.alerts set resolved_at = hangar.now() where kind = 'incident'")
    inside.sql("select hangar.check_health()")
    assert open_alerts(inside) == sorted([("unhealthy", str(bad)), ("unhealthy", str(down))])


def test_an_app_that_is_well_again_has_no_alert_and_one_that_is_not_wanted_no_health(inside):
    well, gone = ill(inside), ill(inside)
    inside.sql("select hangar.check_health()")
    assert len(open_alerts(inside)) == 2
    inside.sql("update hangar.app_health set well_since = hangar.now() where fly_app_id = %s", well)
    inside.sql("update user_fly_apps set desired_state = 'absent', status = 'deprovisioning' where id = %s", gone)
    inside.sql("select hangar.check_health()")
    assert (open_alerts(inside), health(inside, gone), health(inside, well) is not None) == ([], None, True)


LEASE = {"lease_token": uuid.uuid4(), "lease_expires_at": ago(-60)}
DUE = [
    # the row, the settings, what was tried, the step that becomes due
    ({}, {}, {}, "restart"),
    ({}, {"paused": True}, {}, None),
    ({}, {"deletes_paused": True}, {}, "restart"),
    ({}, {}, RESTARTED, "replace"),
    ({}, {"paused": True}, RESTARTED, None),
    ({}, {"deletes_paused": True}, RESTARTED, None),
    ({"status": "provisioning"}, {}, {}, None),
    (LEASE, {}, {}, None),
    ({**LEASE, "lease_expires_at": ago(1)}, {}, {}, "restart"),
    ({"health_step": "restart"}, {}, RESTARTED, "replace"),
    ({"health_step": "restart"}, {}, {"samples": 2}, None),  # taken back
    ({"health_step": "restart", **LEASE}, {}, {"samples": 2}, "restart"),
]


def test_which_step_becomes_due(inside):
    inside.sql("update fly_plans set on_unhealthy = 'replace' where tier = 'pro'")
    for columns, settings, tried, step in each(inside, DUE):
        if settings:
            set_settings(inside, **settings)
        row = put(inside, machine_id="m1", tier="pro", **columns)
        ill(inside, row, **tried)
        inside.sql("select hangar.check_health()")
        found = read(inside, row)
        assert found["health_step"] == step, (columns, settings, tried)
        becomes_due = step is not None and step != columns.get("health_step")
        assert (found["next_attempt_at"] is not None) is becomes_due, (columns, settings, tried)


REPAIRS = [
    # purpose and status of three actions, the row, whether it is a crash loop
    ("repair", "succeeded", {}, True),
    ("replace", "succeeded", {}, True),
    ("repair", "failed", {}, False),
    ("update", "succeeded", {}, False),
    ("repair", "succeeded", {"desired_state": "absent", "status": "deprovisioning"}, False),
    ("repair", "succeeded", {"status": "error", "error_code": "host"}, False),
]


def test_three_repairs_within_an_hour_are_a_crash_loop(inside):
    for purpose, status, columns, loops in each(inside, REPAIRS):
        row = put(inside, **columns)
        events = json.dumps([{"event_type": "action", "status": status, "metadata": {"purpose": purpose}}])
        for count, ago_s in ((0, 61 * MINUTE), (1, 59 * MINUTE), (2, 60), (3, 1)):
            log_action(inside, row, "start_machine", ago_s, status=status, purpose=purpose)
            inside.sql("select hangar.check_crash_loop(a, %s::jsonb) from user_fly_apps a where id = %s", events, row)
            assert bool(open_alerts(inside)) is (loops and count == 3), (purpose, status, columns, count)


STEADY = [
    ({}, 61 * MINUTE, True),
    ({}, 59 * MINUTE, False),
    ({"health_status": "unhealthy"}, 61 * MINUTE, False),
    ({"desired_state": "absent", "status": "deprovisioning"}, 60, True),
    ({"status": "deleted", "deleted_at": ago(0)}, 60, True),
]


def test_a_crash_loop_ends_after_a_steady_hour_or_with_its_app(inside):
    for columns, ago_s, ends in each(inside, STEADY):
        row = put(inside, **columns)
        log_action(inside, row, "start_machine", ago_s, status="succeeded", purpose="repair")
        open_alert(inside, "crash_loop", str(row))
        inside.sql("select hangar.resolve_crash_loops()")
        assert (open_alerts(inside) == []) is ends, (columns, ago_s)


BEHIND = {"status": "provisioning", "observed_generation": None, "created_at": ago(61 * MINUTE)}
LEAVING = {"status": "deprovisioning", "desired_state": "absent", "created_at": ago(61 * MINUTE)}
STALLED = [
    # the row, the settings, alerts, whether it is stalled
    (BEHIND, {}, [], True),
    ({**BEHIND, "created_at": ago(59 * MINUTE)}, {}, [], False),
    ({**BEHIND, "status": "error", "error_code": "host"}, {}, [], False),
    ({**BEHIND, "status": "active", "observed_generation": 1}, {}, [], False),
    ({**BEHIND, "status": "active", "generation": 2, "observed_generation": 1}, {}, [], True),
    ({**BEHIND, "status": "deleted", "deleted_at": ago(0)}, {}, [], False),
    (BEHIND, {"paused": True}, [], False),
    (BEHIND, {"deletes_paused": True}, [], True),
    (BEHIND, {}, [("installation", None)], False),
    (BEHIND, {}, [("brake", None)], True),
    (BEHIND, {}, [("max_apps", None)], False),
    (BEHIND, {}, [("max_cost", None)], False),
    (BEHIND, {}, [("max_cost", 59)], False),  # the hour begins again when what held it ends
    (BEHIND, {}, [("max_cost", 61)], True),
    (BEHIND, {}, [("drift", None)], True),
    ({**BEHIND, "deployed_at": ago(1), "admitted_cost_usd": 5}, {}, [("max_apps", None)], True),
    ({**BEHIND, "deployed_at": ago(1), "admitted_cost_usd": 4}, {}, [("max_cost", None)], False),
    (LEAVING, {}, [], True),
    (LEAVING, {"deletes_paused": True}, [], False),
    (LEAVING, {}, [("brake", None)], False),
    (LEAVING, {}, [("max_apps", None)], True),
    ({**LEAVING, "delete_after": ago(59 * MINUTE)}, {}, [], False),
    ({**LEAVING, "delete_turn_at": ago(59 * MINUTE)}, {}, [], False),
]


def test_which_app_is_stalled(inside):
    inside.sql("alter table hangar.settings disable trigger user")
    for columns, settings, alerts, is_stalled in each(inside, STALLED):
        set_settings(inside, updated_at=ago(2 * HOUR), **settings)
        for kind, resolved_min in alerts:
            open_alert(inside, kind, resolved_at=None if resolved_min is None else ago(60 * resolved_min))
        put(inside, **columns)
        found = inside.one("select count(*) from hangar.find_stalled(false, 10)")
        assert found == int(is_stalled), (columns, settings, alerts)


KNOWN = [
    # an alert about stalled apps, whether a change of the settings a moment ago starts the hour again
    ({}, False),
    ({"resolved_at": ago(600)}, True),
    ({"kind": "crash_loop"}, True),
]


def test_only_an_open_alert_says_that_apps_are_known_to_be_stalled(inside):
    inside.sql("alter table hangar.settings disable trigger user")
    set_settings(inside, updated_at=ago(60))
    for columns, ends in each(inside, KNOWN):
        put(inside, **BEHIND)
        open_alert(inside, **{"kind": "provisioning_slow", **columns})
        inside.sql("select hangar.check_stalled()")
        assert (open_alerts(inside, "provisioning_slow") == []) is ends, columns


def test_a_new_desire_and_a_change_of_the_settings_start_the_hour_again(inside):
    """But not for apps that are known to be stalled, and not a change that lies in the future."""
    inside.sql("alter table hangar.settings disable trigger user")
    row = put(inside, **BEHIND)
    for updated_s, known, is_stalled in each(inside, [(60, False, False), (60, True, True), (-60, False, True)]):
        set_settings(inside, updated_at=ago(updated_s))
        assert inside.one("select count(*) from hangar.find_stalled(%s, 10)", known) == int(is_stalled), (
            updated_s,
            known,
        )
    set_settings(inside, updated_at=ago(2 * HOUR))
    log_action(inside, row, "start_machine", 60)
    assert inside.one("select count(*) from hangar.find_stalled(false, 10)") == 1
    insert(
        inside,
        "user_fly_app_events",
        fly_app_id=row,
        event_type="desired_changed",
        status="info",
        created_at=ago(59 * MINUTE),
    )
    assert inside.one("select count(*) from hangar.find_stalled(false, 10)") == 0
