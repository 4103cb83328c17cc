"""What each part of a save changes in a row, and what it leaves as it was. Each guard alone."""

import json
import uuid

import pytest

from tests.postgres.app_rows import ago, ask, change, each, insert, put, read, set_settings

MINUTE, HOUR = 60, 3600
GONE = {"desired_state": "absent", "status": "deprovisioning"}
KNOWN = {
    "machine_id": "m1",
    "spare_machine_id": "m2",
    "machine_state": "started",
    "machine_region": "iad",
    "secrets_version": 5,
    "token_key_id": "k1",
    "addresses": [{"ip": "1.2.3.4", "kind": "v4"}],
    "price_usd_per_s": 1,
    "observed_spec": {"region": "iad"},
    "drift_error": "e",
}


def facts(hangar, row, **patch):
    """The row with these facts."""
    return _apply(hangar, "apply_facts(a, %s::jsonb)", row, patch)


def verdict(hangar, row, generation=1, **patch):
    """The row with this verdict about a generation."""
    return _apply(hangar, f"apply_verdict(a, %s::jsonb, {generation})", row, patch)


def _apply(hangar, call, row, patch):
    return hangar.one(f"select to_jsonb(hangar.{call}) from user_fly_apps a where a.id = %s", json.dumps(patch), row)


def seconds(hangar, moment):
    """In how many seconds this time of an answer is, to the nearest ten; None if there is none."""
    if moment is None:
        return None
    return round(hangar.one("select extract(epoch from %s::timestamptz - hangar.now())::float", moment), -1)


FACTS = [
    # what is found, what changes
    ({}, {}),
    ({"machine_id": "m3"}, {"machine_id": "m3"}),
    ({"machine_id": None}, {"machine_id": None}),
    ({"spare_machine_id": "m3"}, {"spare_machine_id": "m3"}),
    ({"spare_machine_id": None}, {"spare_machine_id": None}),
    (
        {"machine_id": "m2"},
        {"machine_id": "m2", "spare_machine_id": None},
    ),  # the second machine has become the app's own
    ({"machine_id": "m2", "spare_machine_id": "m1"}, {"machine_id": "m2", "spare_machine_id": "m1"}),
    ({"machine_state": "stopped"}, {"machine_state": "stopped"}),
    ({"machine_region": "nrt"}, {"machine_region": "nrt"}),
    ({"addresses": []}, {"addresses": []}),
    ({"addresses": None}, {"addresses": None}),
    ({"price_usd_per_s": 2}, {"price_usd_per_s": 2}),
    ({"observed_spec": {"region": "nrt"}}, {"observed_spec": {"region": "nrt"}}),
    ({"observed_spec": None}, {"observed_spec": None}),
    ({"drift_error": None}, {"drift_error": None}),
    ({"secrets_version": 7, "token_key_id": "k2"}, {"secrets_version": 7, "token_key_id": "k2"}),
    ({"secrets_version": 3, "token_key_id": "k1"}, {"secrets_version": 5}),  # versions of one app only grow
    ({"secrets_version": None}, {"secrets_version": None, "token_key_id": None}),
]


def test_a_fact_changes_its_own_column_and_no_other(inside):
    for patch, changed in each(inside, FACTS):
        after = facts(inside, put(inside, **KNOWN), **patch)
        assert {name: after[name] for name in KNOWN} == {**KNOWN, **changed}, patch


def test_a_new_name_is_the_next_and_nothing_of_the_app_before_is_taken_over(inside):
    row = put(inside, **KNOWN, name_seq=2)
    user = read(inside, row)["user_id"]
    put(inside, user_id=user, name_seq=4, status="deleted", deleted_at=ago(60), desired_state="absent")
    after = facts(inside, row, rename=True)
    assert (after["name_seq"], after["fly_app_name"] == read(inside, row)["fly_app_name"]) == (5, False)
    assert inside.one("select hangar.app_name(app_prefix, %s, 5) from hangar.settings", user) == after["fly_app_name"]
    gone = ("machine_id", "spare_machine_id", "machine_state", "machine_region", "secrets_version", "addresses")
    assert [after[name] for name in gone] == [None] * len(gone)


RUNNING = [
    # the version with which the machine runs, whether the token of the row is the one that runs
    (5, True),
    (4, False),
    (6, False),
    (None, False),
]


def test_until_when_the_token_is_valid_with_which_the_machine_runs(inside):
    for version, is_current in each(inside, RUNNING):
        row = put(inside, secrets_version=5, token_expires_at=ago(-HOUR), token_running_until=ago(-MINUTE))
        after = facts(inside, row, secrets_running=version)
        assert seconds(inside, after["token_running_until"]) == (HOUR if is_current else MINUTE), version
    row = put(inside, secrets_version=5, token_expires_at=ago(-HOUR), token_running_until=ago(-MINUTE))
    assert seconds(inside, facts(inside, row, secrets_version=6)["token_running_until"]) == MINUTE
    assert facts(inside, row, secrets_version=None)["token_running_until"] is None


UNKNOWN = [(119, True, True), (121, True, False), (121, False, True)]


def test_two_minutes_after_a_create_without_an_answer_a_direct_look_decides(inside):
    for ago_s, observed, is_unknown in each(inside, UNKNOWN):
        after = facts(inside, put(inside, create_unknown_at=ago(ago_s)), observed=observed)
        assert (after["create_unknown_at"] is not None) is is_unknown, (ago_s, observed)
        assert seconds(inside, after["observed_at"]) == (0 if observed else None), (ago_s, observed)


JUDGED = {
    "status": "error",
    "health_status": "healthy",
    "drift": {"size": "x"},
    "image_digest": "sha256:1",
    "error_code": "host",
    "error_message": "no room",
    "retry_count": 4,
    "bad_samples": 2,
    "observed_generation": 1,
    "drift_repair": "sweep",
    "move_release_id": 7,
}
VERDICTS = [
    # the verdict, what changes
    ({}, {}),
    ({"status": "provisioning"}, {"status": "provisioning"}),
    ({"health_status": "healthy"}, {"bad_samples": 0}),
    ({"health_status": "unknown"}, {"health_status": "unknown", "bad_samples": 0}),
    ({"health_status": None}, {"health_status": None, "bad_samples": 0}),
    ({"health_status": "unhealthy"}, {"health_status": "unhealthy"}),
    ({"drift": {}}, {"drift": {}}),
    ({"drift": None}, {"drift": {}}),
    ({"image_digest": "sha256:2"}, {"image_digest": "sha256:2"}),
    ({"error_code": "image"}, {"error_code": "image"}),
    ({"error_message": None}, {"error_message": None}),
    ({"retry_count": 5}, {"retry_count": 5}),
    ({"retry_count": None}, {"retry_count": 0}),
    (
        {"converged": True},
        {
            "observed_generation": 2,
            "retry_count": 0,
            "error_code": None,
            "error_message": None,
            "move_release_id": None,
        },
    ),
    (
        {"converged": True, "drift": {}},
        {
            "observed_generation": 2,
            "retry_count": 0,
            "error_code": None,
            "error_message": None,
            "move_release_id": None,
            "drift": {},
            "drift_repair": None,
        },
    ),
    ({"converged": False}, {}),
]


def test_a_verdict_changes_its_own_columns_and_no_other(inside):
    for patch, changed in each(inside, VERDICTS):
        row = put(inside, **{**JUDGED, "generation": 2}, bad_sample_at=ago(60))
        after = verdict(inside, row, 2, **patch)
        assert {name: after[name] for name in JUDGED} == {**JUDGED, **changed}, patch
        assert (after["bad_sample_at"] is None) is (changed.get("bad_samples") == 0), patch
        assert seconds(inside, after["last_health_check"]) == (0 if "health_status" in patch else None), patch


@pytest.mark.parametrize(("columns", "moves"), [({}, False), ({"spare_machine_id": "m2"}, True), (GONE, True)])
def test_a_move_is_over_when_a_wanted_app_is_as_desired_with_one_machine(inside, columns, moves):
    after = verdict(inside, put(inside, move_release_id=7, machine_id="m1", **columns), converged=True)
    assert (after["move_release_id"] == 7) is moves


NEXT = [
    # the row, the verdict, in how many seconds the next attempt is
    ({}, {"converged": True}, None),
    ({**GONE, "hold_until": ago(-HOUR)}, {"converged": True}, HOUR),
    ({**GONE, "delete_after": ago(-HOUR)}, {"converged": True}, HOUR),
    ({**GONE, "hold_until": ago(-MINUTE), "delete_after": ago(-HOUR)}, {"converged": True}, MINUTE),
    ({**GONE, "hold_until": ago(MINUTE), "delete_after": ago(-HOUR)}, {"converged": True}, HOUR),
    ({**GONE, "hold_until": ago(MINUTE), "delete_after": ago(MINUTE)}, {"converged": True}, None),
    ({}, {"next_attempt_in_s": 90}, 90),
    ({}, {"converged": True, "next_attempt_in_s": 90}, 90),
    ({"next_attempt_at": ago(-HOUR)}, {"status": "active"}, HOUR),
]


def test_when_a_row_is_looked_at_again(inside):
    for columns, patch, in_s in each(inside, NEXT):
        after = verdict(inside, put(inside, **columns), **patch)
        assert seconds(inside, after["next_attempt_at"]) == in_s, (columns, patch)


def test_only_what_was_deployed_is_dated(inside):
    row = put(inside, deployed_at=ago(HOUR))
    assert seconds(inside, verdict(inside, row, deployed=True)["deployed_at"]) == 0
    assert seconds(inside, verdict(inside, row, deployed=False)["deployed_at"]) == -HOUR


REFUSAL = {"status": "error", "error_code": "billing", "error_message": "pay", "retry_count": 3}
ACCEPTED = [
    # the row, the event, whether the refusal is over
    ({}, ("action", "succeeded", "create_machine"), True),
    ({}, ("action", "succeeded", "update_machine"), True),
    ({}, ("action", "succeeded", "start_machine"), True),
    ({}, ("action", "succeeded", "create_app"), False),  # Fly makes an empty app for everybody
    ({}, ("action", "succeeded", "stop_machine"), False),
    ({}, ("action", "failed", "start_machine"), False),
    ({}, ("action", "intent", "start_machine"), False),
    ({}, ("other", "succeeded", "start_machine"), False),
    ({"error_code": "host"}, ("action", "succeeded", "start_machine"), False),
    ({"status": "provisioning"}, ("action", "succeeded", "start_machine"), False),
]


def test_which_success_says_that_fly_no_longer_refuses_the_organisation(inside):
    for columns, (kind, status, action), is_over in each(inside, ACCEPTED):
        row = put(inside, **{**REFUSAL, **columns})
        before = read(inside, row)
        events = [{"event_type": kind, "status": status, "metadata": {"action": action}}]
        after = _apply(inside, "end_refusal(a, %s::jsonb)", row, events)
        expected = ("provisioning", None, None, 0) if is_over else tuple(before[name] for name in REFUSAL)
        assert tuple(after[name] for name in REFUSAL) == expected, (columns, kind, status, action)


LEASE = uuid.uuid4()
FAILED = {"status": "error", "error_code": "host", "error_message": "no room"}


def leased(hangar, **columns):
    return put(hangar, lease_token=LEASE, lease_expires_at=ago(-MINUTE), lease_holder="worker", **columns)


def save(hangar, row, patch=None, *, token=LEASE, generation=1, release=False, events=()):
    return hangar.one(
        "select public.fly_save(%s, %s, %s, %s::jsonb, %s::jsonb, %s)",
        row,
        token,
        generation,
        json.dumps(patch or {}),
        json.dumps(list(events)),
        release,
    )


WAITS_FOR_THE_HOST = [
    # the row, the intended action, why it is refused, status and error code afterwards
    (FAILED, "delete_app", "entitlement_unknown", ("deprovisioning", None)),
    ({**FAILED, "error_code": "billing"}, "delete_app", "entitlement_unknown", ("error", "billing")),
    ({}, "delete_app", "entitlement_unknown", ("deprovisioning", None)),
    (FAILED, None, None, ("error", "host")),
]


def test_a_removal_that_waits_for_the_host_no_longer_waits_for_its_failure(inside):
    """Whose alert would otherwise stay open. A refusal of the organisation keeps its own."""
    inside.sql("delete from fly_plans where tier = 'elite'")
    installation = inside.one("select installation_id::text from hangar.settings")
    for columns, action, refused, after in each(inside, WAITS_FOR_THE_HOST):
        user = uuid.uuid4()
        insert(inside, "auth.users", id=user, email="user@example.test")
        inside.sql("update user_subscriptions set tier = 'elite' where user_id = %s", user)
        row = leased(inside, user_id=user, **{**GONE, **columns})
        change(inside, row, network=inside.one("select hangar.network_name(%s::uuid, %s)", installation, row))
        metadata = {"action": action, "purpose": "deprovision", "installation_id": installation}
        intent = {"id": str(uuid.uuid4()), "event_type": "action", "status": "intent", "metadata": metadata}
        answer = save(inside, row, events=[intent] if action else [])
        found = read(inside, row)
        assert (answer["refused"], (found["status"], found["error_code"])) == (refused, after), (columns, action)


LATE = [
    # the lease of the row, the worker's token, whether it may write
    ({}, LEASE, True),
    ({}, uuid.uuid4(), False),
    ({}, None, False),
    ({"lease_expires_at": ago(1)}, LEASE, False),
    ({"lease_token": None, "lease_expires_at": None}, None, False),
]


def test_only_the_holder_of_a_valid_lease_writes(inside):
    for columns, token, may in each(inside, LATE):
        row = leased(inside)
        change(inside, row, **(columns or {"lease_holder": "worker"}))
        answer = save(inside, row, {"machine_state": "stopped"}, token=token)
        assert (answer is not None) is may, (columns, token)
        assert (read(inside, row)["machine_state"] == "stopped") is may, (columns, token)


def test_a_verdict_about_an_older_generation_is_dropped_and_the_row_is_due(inside):
    row = leased(inside, generation=2, next_attempt_at=None)
    answer = save(inside, row, {"machine_state": "stopped", "status": "error", "converged": True})
    after = read(inside, row)
    assert (answer["generation_moved"], after["machine_state"], after["status"]) == (True, "stopped", "active")
    assert after["observed_generation"] == 1
    assert inside.one("select next_attempt_at <= hangar.now() from user_fly_apps where id = %s", row)


NEVER_STUCK = [("provisioning", True), ("deprovisioning", True), ("active", False), ("error", False)]


def test_a_row_in_progress_always_has_a_next_attempt(inside):
    set_settings(inside, retry_base_s=90)
    for status, has_next in each(inside, NEVER_STUCK):
        row = leased(inside)
        save(inside, row, {"status": status})
        in_s = "select extract(epoch from next_attempt_at - hangar.now())::float from user_fly_apps where id = %s"
        found = inside.one(in_s, row)
        assert (None if found is None else round(found, -1)) == (90 if has_next else None), status


def test_a_save_keeps_the_lease_and_a_release_or_the_end_gives_it_back(inside):
    for patch, release, is_kept in each(
        inside, [({}, False, True), ({}, True, False), ({"deleted": True}, False, False)]
    ):
        row = leased(inside, **GONE)
        save(inside, row, patch, release=release)
        found = read(inside, row)
        assert (found["lease_token"] is not None, found["lease_holder"] is not None) == (is_kept, is_kept), patch


def test_a_closed_row_has_nothing_left(inside):
    row = leased(
        inside,
        **GONE,
        machine_id="m1",
        spare_machine_id="m2",
        move_release_id=7,
        addresses=[],
        create_unknown_at=ago(1),
        next_attempt_at=ago(1),
        open_intent={"id": str(uuid.uuid4()), "action": "delete_app"},
    )
    save(inside, row, {"deleted": True})
    found = read(inside, row)
    gone = ("spare_machine_id", "move_release_id", "addresses", "create_unknown_at", "next_attempt_at", "open_intent")
    assert [found[name] for name in gone] == [None] * len(gone)
    assert (found["status"], found["machine_state"], found["deleted_at"] is not None) == ("deleted", "absent", True)


REQUESTS = [
    ({}, 1, True),
    ({"converged": True}, 1, False),
    ({"new_name_judged": True}, 1, False),
    ({"converged": True}, 2, True),
    ({"deleted": True}, 2, False),
]


def test_an_operators_decision_about_a_name_stays_until_it_was_judged(inside):
    for patch, generation, stays in each(inside, REQUESTS):
        row = leased(inside, generation=generation, new_name_request={"asked_at": "2026-01-01T00:00:00Z"})
        save(inside, row, patch)
        assert (read(inside, row)["new_name_request"] is not None) is stays, (patch, generation)


SUCCESSORS = [
    # the tier of the user, what the closed row desired, the tier of the row that follows
    ("pro", "absent", "pro"),
    ("free", "absent", None),
    ("free", "present", None),
    ("elite", "present", "gone"),  # nothing is known, so the closed row decides
    ("elite", "absent", None),
]


def test_who_gets_another_app_when_one_is_gone(inside):
    inside.sql("delete from fly_plans where tier = 'elite'")
    for tier, desired, follows in each(inside, SUCCESSORS):
        user = uuid.uuid4()
        insert(inside, "auth.users", id=user, email="user@example.test")
        inside.sql("update user_subscriptions set tier = %s where user_id = %s", tier, user)
        row = put(
            inside,
            user_id=user,
            tier="gone",
            desired_state=desired,
            status="deleted",
            deleted_at=ago(0),
            memory_mb=1024,
        )
        ask(inside, "open_successor", row)
        found = inside.sql("select tier, memory_mb from user_fly_apps where user_id = %s and deleted_at is null", user)
        assert [each["tier"] for each in found] == ([follows] if follows else []), (tier, desired)
        if follows == "gone":
            assert found[0]["memory_mb"] == 1024
