"""What one observation of a sweep changes in a row, and what it leaves alone: health above all. Each guard alone."""

import json
import uuid

from tests.postgres.app_rows import ago, each, insert, put, read, set_settings

LEASE = {"lease_token": uuid.uuid4(), "lease_expires_at": ago(-60)}
NOTHING = {"machine_state": None, "health": None, "direct": False, "due": False, "reason": None}


def record(hangar, *rows, began_s=-60, **found):
    """What fly_record_sweep answers when it is told this of each row by a listing that began so long ago."""
    told = json.dumps([{"id": str(row), **NOTHING, **found} for row in rows])
    return hangar.one(
        "select public.fly_record_sweep(%s::jsonb, hangar.now() - make_interval(secs => %s))", told, began_s
    )


def age(hangar, row, column):
    """How many seconds ago this time is, to the nearest ten; None if there is none."""
    found = hangar.one(
        f"select extract(epoch from hangar.now() - {column})::float from user_fly_apps where id = %s", row
    )
    return None if found is None else round(found, -1)


SKIPPED = [
    # the row, how long before now the listing began, whether the observation counts
    ({}, -60, True),
    ({}, 60, False),  # the row has changed since
    ({"updated_at": ago(120)}, 60, True),
    (LEASE, -60, False),
    ({**LEASE, "lease_expires_at": ago(1)}, -60, True),
    ({"status": "deleted", "deleted_at": ago(0)}, -60, False),
    ({"desired_state": "legacy", "generation": 0, "observed_generation": None, "machine_state": None}, -60, False),
    ({"desired_state": "absent", "status": "deprovisioning"}, -60, True),
    ({"status": "provisioning"}, -60, True),
]


def test_which_rows_an_observation_may_change(inside):
    for columns, began_s, counts in each(inside, SKIPPED):
        row = put(inside, **columns)
        answer = record(inside, row, began_s=began_s, machine_state="stopped")
        assert (answer["updated"], answer["skipped"]) == (int(counts), int(not counts)), (columns, began_s)
        assert (read(inside, row)["machine_state"] == "stopped") is counts, (columns, began_s)


JUDGED = [
    # samples and health before, how long ago the last bad sample was, what is found, samples and health after
    (0, "healthy", None, "bad", 1, "healthy"),
    (1, "healthy", 241, "bad", 2, "healthy"),
    (1, "healthy", 239, "bad", 1, "healthy"),  # too soon to count again
    (2, "healthy", 241, "bad", 3, "unhealthy"),
    (2, "healthy", 239, "bad", 2, "healthy"),
    (3, "unhealthy", 239, "bad", 3, "unhealthy"),
    (3, "unhealthy", 241, "healthy", 0, "healthy"),
    (1, "healthy", 10, "healthy", 0, "healthy"),
    (2, "healthy", 241, "unknown", 2, "unknown"),
    (3, "unhealthy", 241, "unknown", 3, "unknown"),
    (3, "unhealthy", 241, None, 3, "unhealthy"),
    (0, None, None, "healthy", 0, "healthy"),
    (0, None, None, None, 0, None),
    (0, "unknown", None, "bad", 1, "unknown"),
]


def test_how_an_observation_changes_the_health_of_a_row(inside):
    """Three bad samples, four minutes apart, are unhealthy; one good one ends them; to know nothing ends nothing."""
    set_settings(inside, unhealthy_after=3, bad_sample_gap_s=240)
    for samples, was, bad_s, found, samples_after, becomes in each(inside, JUDGED):
        at = None if bad_s is None else ago(bad_s)
        row = put(inside, bad_samples=samples, health_status=was, bad_sample_at=at, last_health_check=ago(600))
        record(inside, row, health=found)
        case = (samples, was, bad_s, found)
        after = read(inside, row)
        assert (after["bad_samples"], after["health_status"]) == (samples_after, becomes), case
        assert age(inside, row, "last_health_check") == (600 if found is None else 0), case
        counted = found == "bad" and samples_after > samples
        assert age(inside, row, "bad_sample_at") == (
            None if found == "healthy" else 0 if counted else bad_s and round(bad_s, -1)
        ), case


EVENTS = [
    # health before, what is found, the event about it
    ("healthy", "healthy", None),
    ("healthy", None, None),
    (None, "healthy", ("health_check_passed", "succeeded")),
    ("unhealthy", "healthy", ("health_check_passed", "succeeded")),
    ("healthy", "bad", ("health_check_failed", "failed")),
    ("unhealthy", "bad", None),
    ("healthy", "unknown", ("health_check_failed", "unknown")),
]


def test_a_change_of_health_is_one_event(inside):
    set_settings(inside, unhealthy_after=1)
    for was, found, event in each(inside, EVENTS):
        row = put(inside, health_status=was)
        answer = record(inside, row, health=found, reason="said Fly")
        found_events = inside.sql(
            "select event_type, status, metadata from user_fly_app_events where fly_app_id = %s", row
        )
        assert [(each["event_type"], each["status"]) for each in found_events] == ([event] if event else []), (
            was,
            found,
        )
        assert answer["transitions"] == len(found_events)
        for each_event in found_events:
            assert each_event["metadata"]["reason"] == "said Fly"
            assert each_event["metadata"].get("from") == was


def test_the_answer_counts_the_rows_by_their_health(inside):
    """A row that is told twice counts once."""
    rows = [put(inside, health_status=health) for health in ("healthy", "healthy", "unhealthy", "unknown", None)]
    gone = put(inside, status="deleted", deleted_at=ago(0))
    answer = record(inside, *rows, rows[0], gone)
    assert {name: answer[name] for name in ("updated", "skipped", "healthy", "unhealthy", "unknown")} == {
        "updated": 5,
        "skipped": 1,
        "healthy": 2,
        "unhealthy": 1,
        "unknown": 1,
    }


def test_what_an_observation_does_not_say_stays(inside):
    known = {
        "machine_state": "started",
        "machine_region": "iad",
        "price_usd_per_s": 1,
        "observed_spec": {"region": "iad"},
        "drift": {"size": "x"},
    }
    row = put(inside, **known, observed_at=ago(600))
    silent = dict.fromkeys(known)
    record(inside, row, **silent)
    assert {name: read(inside, row)[name] for name in known} == known
    assert age(inside, row, "observed_at") == 600
    said = {
        "machine_state": "stopped",
        "machine_region": "nrt",
        "price_usd_per_s": 2,
        "observed_spec": {"region": "nrt"},
        "drift": {},
    }
    record(inside, row, direct=True, **said)
    assert {name: read(inside, row)[name] for name in said} == said
    assert age(inside, row, "observed_at") == 0


DUE = [(False, None, None), (True, None, 0), (True, -600, 0), (True, 600, 600), (False, -600, -600)]


def test_only_an_app_that_needs_work_becomes_due(inside):
    """One that was due before keeps its place."""
    for due, next_s, expected_s in each(inside, DUE):
        row = put(inside, next_attempt_at=None if next_s is None else ago(next_s))
        record(inside, row, due=due)
        assert age(inside, row, "next_attempt_at") == expected_s, (due, next_s)


SYMPTOMS = [
    # what is found, whether something was wrong before, the symptom and its detail, whether the app is well since now
    ({"health": "bad", "reason": "said Fly"}, False, ("check_critical", "said Fly"), False),
    ({"health": "bad", "symptom": "check_missing", "detail": "none"}, False, ("check_missing", "none"), False),
    ({"symptom": "denied", "reason": "403"}, False, ("denied", "403"), False),
    ({"health": "unknown", "reason": "r"}, False, None, False),
    ({"health": "healthy"}, False, None, False),
    ({"health": "healthy"}, True, ("crashes", "before"), True),
    ({"direct": True}, True, ("crashes", "before"), True),
    ({}, True, ("crashes", "before"), False),
    ({"health": "unknown", "direct": True}, True, ("crashes", "before"), False),
    ({"health": "unknown"}, True, ("crashes", "before"), False),
]


def test_what_is_remembered_of_an_app_with_which_something_is_wrong(inside):
    """Only what Fly surely says makes an app well: its checks pass, or a direct look has found nothing."""
    for found, was_ill, symptom, is_well in each(inside, SYMPTOMS):
        row = put(inside)
        if was_ill:
            insert(
                inside,
                "hangar.app_health",
                fly_app_id=row,
                symptom="crashes",
                detail="before",
                since=ago(600),
                samples=1,
            )
        record(inside, row, **found)
        after = inside.sql("select * from hangar.app_health where fly_app_id = %s", row)
        assert [(each["symptom"], each["detail"]) for each in after] == ([symptom] if symptom else []), (found, was_ill)
        assert [each["well_since"] is not None for each in after] == ([is_well] if symptom else []), (found, was_ill)
