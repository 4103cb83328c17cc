"""Which row a worker may take, what a lease leaves behind, and which intents are open after a save. Each guard alone."""

import json
import uuid

from psycopg import sql

from tests.postgres.app_rows import ago, change, each, insert, log_action, put, read, set_settings

HOUR = 3600
LEASE = {"lease_token": uuid.uuid4(), "lease_expires_at": ago(-60)}
OVER = {**LEASE, "lease_expires_at": ago(1)}
GONE = {"desired_state": "absent", "status": "deprovisioning"}
FAILED = {"status": "error", "error_code": "host"}
LEGACY = {"desired_state": "legacy", "generation": 0, "observed_generation": None, "machine_state": None}


def user(hangar, tier="free"):
    """A user with this subscription and without a row."""
    user_id = uuid.uuid4()
    insert(hangar, "auth.users", id=user_id, email=f"{user_id.hex}@example.test")
    hangar.sql("update user_subscriptions set tier = %s where user_id = %s", tier, user_id)
    hangar.sql("delete from hangar.marks")
    return user_id


CLAIMED = [
    # the tier, the row, whether the claim is an operator's, and what it answers
    ("pro", {}, False, "claimed"),
    ("pro", LEASE, False, "leased"),
    ("pro", LEASE, True, "leased"),
    ("pro", OVER, False, "claimed"),
    ("pro", LEGACY, False, "legacy"),
    ("pro", LEGACY, True, "legacy"),
    ("pro", {**FAILED, "next_attempt_at": ago(-60)}, False, "waiting"),
    ("pro", {**FAILED, "next_attempt_at": None}, False, "waiting"),
    ("pro", {**FAILED, "next_attempt_at": None}, True, "claimed"),
    ("pro", {**FAILED, "next_attempt_at": ago(1)}, False, "claimed"),
    ("pro", {"next_attempt_at": ago(-60)}, False, "claimed"),
    ("free", {**GONE, "hold_until": ago(-60), "next_attempt_at": ago(-60)}, False, "waiting"),
    ("free", {**GONE, "hold_until": ago(-60), "next_attempt_at": ago(-60)}, True, "claimed"),
    ("free", {**GONE, "delete_after": ago(-60), "next_attempt_at": ago(-60)}, False, "waiting"),
    ("free", {**GONE, "hold_until": ago(60), "delete_after": ago(-60), "next_attempt_at": ago(-60)}, False, "waiting"),
    ("free", {**GONE, "hold_until": ago(-60), "delete_after": ago(-60), "next_attempt_at": ago(1)}, False, "claimed"),
    ("free", {**GONE, "hold_until": ago(60), "delete_after": ago(1), "next_attempt_at": ago(-60)}, False, "claimed"),
    ("free", {**GONE, "next_attempt_at": ago(-60)}, False, "claimed"),
]


def claim(hangar, user_id, force=False):
    return hangar.one("select public.fly_claim(%s, 'worker', %s)", user_id, force)


def test_which_row_a_worker_may_claim(inside):
    set_settings(inside, removal_hold_s=0)
    for tier, columns, force, outcome in each(inside, CLAIMED):
        row = put(inside, user_id=user(inside, tier), **{"tier": tier, **columns})
        owner = read(inside, row)["user_id"]
        answer = claim(inside, owner, force)
        assert answer["outcome"] == outcome, (columns, force)
        assert (read(inside, row)["lease_holder"] == "worker") is (outcome == "claimed"), (columns, force)


def test_only_an_operators_claim_asks_for_the_repair_of_drift(inside):
    for force in each(inside, (True, False)):
        row = put(inside, user_id=user(inside, "pro"), tier="pro", drift_repairs=2)
        claim(inside, read(inside, row)["user_id"], force)
        found = read(inside, row)
        assert (found["drift_repair"], found["drift_repairs"]) == (("operator", 0) if force else (None, 2)), force


INTENT = {"id": str(uuid.uuid4()), "action": "create_app", "attempt": 1, "purpose": "provision"}
LEFT_OPEN = [
    # the open intent, whether its outcome is on record, whether it is closed as unknown, and whether an app may appear
    (None, False, False, False),
    (INTENT, False, True, True),
    (INTENT, True, False, True),
    ({**INTENT, "action": "create_machine"}, False, True, True),
    ({**INTENT, "action": "stop_machine"}, False, True, False),
]


def began(hangar, ago_s):
    """The open intent is so old."""
    query = "update user_fly_apps set open_intent = open_intent || jsonb_build_object('at', {})"
    hangar.admin.execute(sql.SQL(query).format(ago(ago_s)))


def test_a_lease_closes_what_the_worker_before_has_left_open(inside):
    for open_intent, has_outcome, is_closed, may_appear in each(inside, LEFT_OPEN):
        columns = {} if open_intent is None else {"open_intent": open_intent}
        row = put(inside, user_id=user(inside, "pro"), tier="pro", **columns)
        if open_intent:
            began(inside, 60)
        if has_outcome:
            log_action(inside, row, "create_app", status="succeeded", intent_id=INTENT["id"])
        claim(inside, read(inside, row)["user_id"])
        found = read(inside, row)
        unknown = inside.one(
            "select count(*) from user_fly_app_events where fly_app_id = %s and status = 'unknown'", row
        )
        assert (found["open_intent"], unknown) == (None, int(is_closed)), (open_intent, has_outcome)
        since = inside.one("select create_unknown_at <= hangar.now() - interval '50 s' from user_fly_apps")
        assert since is (True if may_appear else None), (open_intent, has_outcome)


def test_a_later_create_of_unknown_outcome_counts_and_an_earlier_one_does_not(inside):
    """Until two minutes after the last of them an app may still appear."""
    for known_s, at_s, expected_s in each(inside, [(100, 40, 40), (40, 100, 40), (None, 40, 40)]):
        known = None if known_s is None else ago(known_s)
        row = put(inside, user_id=user(inside, "pro"), tier="pro", create_unknown_at=known, open_intent=INTENT)
        began(inside, at_s)
        claim(inside, read(inside, row)["user_id"])
        found = inside.one("select extract(epoch from hangar.now() - create_unknown_at)::float from user_fly_apps")
        assert round(found, -1) == expected_s, (known_s, at_s)


def test_a_leased_row_is_due_until_a_save_says_otherwise(inside):
    for next_attempt_at in each(inside, (None, ago(-HOUR))):
        row = put(inside, user_id=user(inside, "pro"), tier="pro", next_attempt_at=next_attempt_at)
        claim(inside, read(inside, row)["user_id"])
        assert inside.one("select next_attempt_at <= hangar.now() from user_fly_apps where id = %s", row)


DUE = [
    # the row, whether the queue of what is wanted gives it out
    ({"next_attempt_at": ago(1)}, True),
    ({"next_attempt_at": ago(-60)}, False),
    ({}, False),
    ({"next_attempt_at": ago(1), **LEASE}, False),
    ({"next_attempt_at": ago(1), **OVER}, True),
    ({"next_attempt_at": ago(1), **GONE}, False),
    ({"next_attempt_at": ago(1), **FAILED}, True),
    ({"next_attempt_at": ago(1), "status": "deleted", "deleted_at": ago(0)}, False),
]


def test_which_rows_a_queue_gives_out(inside):
    for columns, is_due in each(inside, DUE):
        row = put(inside, **columns)
        found = inside.one("select hangar.lock_due_rows('present', 10)")
        assert found == ([read(inside, row)["user_id"]] if is_due else []), columns


def test_a_queue_gives_out_the_oldest_first_and_so_many(inside):
    rows = [put(inside, next_attempt_at=ago(seconds)) for seconds in (10, 30, 20)]
    owners = [read(inside, row)["user_id"] for row in rows]
    assert inside.one("select hangar.lock_due_rows('present', 2)") == [owners[1], owners[2]]
    assert inside.one("select hangar.lock_due_rows('absent', 2)") == []


HALVES = [
    # what is wanted and unwanted, the limit, which comes first, how many of each are given out and how many are left
    (6, 6, 4, "present", (2, 2), 8),
    (6, 6, 5, "present", (3, 2), 7),
    (6, 6, 5, "absent", (2, 3), 7),
    (6, 1, 4, "present", (3, 1), 3),
    (1, 6, 4, "present", (1, 3), 3),
    (6, 0, 4, "absent", (4, 0), 2),
    (1, 1, 4, "present", (1, 1), 0),
]


def test_neither_queue_waits_for_the_other(inside):
    """Half of the places are for each, and what one does not need is for the other."""
    set_settings(inside, removal_hold_s=0)
    for present, absent, limit, first, (wanted, unwanted), left in each(inside, HALVES):
        for _ in range(present):
            put(inside, user_id=user(inside, "pro"), tier="pro", next_attempt_at=ago(10))
        for _ in range(absent):
            put(inside, user_id=user(inside), next_attempt_at=ago(20), **GONE)
        answer = inside.one("select public.fly_claim_due(%s, 'worker', %s)", limit, first)
        states = [claimed["row"]["desired_state"] for claimed in answer["claimed"]]
        assert (states.count("present"), states.count("absent")) == (wanted, unwanted), (present, absent, limit, first)
        assert answer["due_left"] == left, (present, absent, limit, first)


def test_what_is_due_by_mistake_follows_what_its_user_is_entitled_to(inside):
    set_settings(inside, removal_hold_s=0)
    pays, left = (
        put(inside, user_id=user(inside, "pro"), tier="pro", next_attempt_at=ago(10), **GONE),
        put(inside, user_id=user(inside), tier="pro", next_attempt_at=ago(10)),
    )
    inside.sql("select public.fly_claim_due(10, 'worker', 'present')")
    assert [read(inside, row)["desired_state"] for row in (pays, left)] == ["present", "absent"]


OPEN = {"id": "11111111-1111-1111-1111-111111111111", "action": "create_machine"}
NEW = {"id": "22222222-2222-2222-2222-222222222222", "metadata": {"action": "start_machine", "attempt": 1}}
SAME = {"id": OPEN["id"], "metadata": {"action": "create_machine", "attempt": 2}}
CLOSED = [
    # the open intent, outcomes of (intent, status), the new intent, the refused one,
    # which is open then, how many were closed as unknown, whether a machine may still appear
    (OPEN, [], None, None, OPEN["id"], 0, False),
    (OPEN, [(OPEN["id"], "succeeded")], None, None, None, 0, False),
    (OPEN, [(OPEN["id"], "failed")], None, None, None, 0, False),
    (OPEN, [(OPEN["id"], "unknown")], None, None, None, 0, True),
    ({**OPEN, "action": "stop_machine"}, [(OPEN["id"], "unknown")], None, None, None, 0, False),
    (OPEN, [(NEW["id"], "succeeded")], None, None, OPEN["id"], 0, False),
    (OPEN, [(OPEN["id"], "intent")], None, None, OPEN["id"], 0, False),
    (OPEN, [], NEW, None, NEW["id"], 1, True),
    (OPEN, [], SAME, None, OPEN["id"], 0, False),
    (OPEN, [], None, OPEN["id"], None, 1, True),
    ({**OPEN, "action": "stop_machine"}, [], NEW, None, NEW["id"], 1, False),
    (OPEN, [], None, NEW["id"], OPEN["id"], 0, False),
    (OPEN, [(OPEN["id"], "succeeded")], NEW, None, NEW["id"], 0, False),
    (None, [], NEW, None, NEW["id"], 0, False),
    (None, [(NEW["id"], "succeeded")], None, None, None, 0, False),
]


def test_which_intent_is_open_after_a_save(inside):
    for before, outcomes, new, refused, is_open, unknown, may_appear in each(inside, CLOSED):
        row = put(inside)
        if before:
            change(inside, row, open_intent=before)
        events = [{"event_type": "action", "status": status, "metadata": {"intent_id": of}} for of, status in outcomes]
        found = inside.one(
            "select to_jsonb(hangar.close_intents(a, %s::jsonb, %s::jsonb, %s)) from user_fly_apps a where id = %s",
            json.dumps(events),
            json.dumps(new) if new else None,
            refused,
            row,
        )
        case = (before, outcomes, new, refused)
        assert (found["open_intent"] or {}).get("id") == is_open, case
        assert (found["create_unknown_at"] is not None) is may_appear, case
        assert inside.one("select count(*) from user_fly_app_events where status = 'unknown'") == unknown, case


REMOVED = [
    # the action, its purpose and app, how long ago, whether it has an outcome, whether the removal is under way
    ("delete_app", {"purpose": "orphan", "app": "left"}, 0, None, True),
    ("stop_machine", {"purpose": "orphan", "app": "left"}, 0, None, True),
    ("destroy_machine", {"purpose": "orphan", "app": "left"}, 0, None, True),
    ("start_machine", {"purpose": "orphan", "app": "left"}, 0, None, False),
    ("delete_app", {"purpose": "deprovision", "app": "left"}, 0, None, False),
    ("delete_app", {"purpose": "orphan", "app": "other"}, 0, None, False),
    ("delete_app", {"purpose": "orphan", "app": "left"}, 590, None, True),
    ("delete_app", {"purpose": "orphan", "app": "left"}, 610, None, False),
    ("delete_app", {"purpose": "orphan", "app": "left"}, 0, "failed", False),
]


def test_when_the_removal_of_an_orphan_is_under_way(inside):
    for action, metadata, ago_s, outcome, is_under_way in each(inside, REMOVED):
        log_action(inside, None, action, ago_s, **metadata)
        if outcome:
            intent = inside.one("select id::text from user_fly_app_events where status = 'intent'")
            log_action(inside, None, action, status=outcome, intent_id=intent)
        assert inside.one("select hangar.is_being_removed('left')") is is_under_way, (action, metadata, ago_s, outcome)


RESTARTS = [
    # the action, how long ago, its outcome, whether the app was restarted
    ("restart_machine", 0, None, True),
    ("restart_machine", 55, None, True),
    ("restart_machine", 65, None, False),
    ("start_machine", 0, None, False),
    ("restart_machine", 0, "succeeded", True),
    ("restart_machine", 0, "unknown", True),
    ("restart_machine", 0, "failed", False),
]


def test_when_a_restart_was_requested_just_now(inside):
    row = put(inside)
    for action, ago_s, outcome, was in each(inside, RESTARTS):
        log_action(inside, row, action, ago_s)
        if outcome:
            intent = inside.one("select id::text from user_fly_app_events where status = 'intent'")
            log_action(inside, row, action, status=outcome, intent_id=intent)
        assert inside.one("select hangar.was_restarted(%s)", row) is was, (action, ago_s, outcome)
        assert inside.one("select hangar.was_restarted(%s)", uuid.uuid4()) is False
