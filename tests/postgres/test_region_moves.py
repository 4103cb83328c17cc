"""What the database allows a move to another region to do, each rule on its own, and what judges that a move is needed."""

import json

import pytest

from tests.postgres.app_rows import ago, change, each, insert, put, read
from tests.postgres.app_rows import ask as ask_row

ROW = {
    "region": "nrt",
    "machine_region": "sin",
    "machine_id": "old",
    "machine_state": "started",
    "spare_machine_id": "new",
    "move_release_id": 7,
    "status": "active",
    "generation": 2,
    "observed_generation": 1,
}
# The machine has moved, and the former one waits.
MOVED = {"machine_region": "nrt", "machine_id": "new", "spare_machine_id": "old", "observed_generation": 2}
ALLOWED, REFUSED = None, "stale"


@pytest.fixture
def check(hangar):
    """What hangar.check_move answers for a row with these values and this step."""
    user = hangar.user("pro")
    hangar.converge(user)

    def ask(action, machine=None, **changes):
        row = ROW | changes
        [answer] = hangar.sql(
            "select hangar.check_move(jsonb_populate_record(a, %s), %s) as code from user_fly_apps a where user_id = %s",
            json.dumps(row),
            json.dumps({"action": action, "machine_id": machine, "purpose": "move"}),
            user,
        )
        return answer["code"]

    return ask


MADE = [
    ({"spare_machine_id": None}, ALLOWED),
    ({}, REFUSED),
    ({"spare_machine_id": None, "move_release_id": None}, REFUSED),
    ({"spare_machine_id": None, "machine_region": "nrt"}, REFUSED),
    ({"spare_machine_id": None, "region": "fra,apac"}, REFUSED),
    ({"spare_machine_id": None, "power": "on_demand"}, REFUSED),
]


def test_a_second_machine_is_made_only_for_a_move(check):
    for changes, expected in MADE:
        assert check("create_machine", **changes) == expected, changes


STOPPED = [
    ("old", {}, ALLOWED),
    ("new", {}, ALLOWED),
    ("other", {}, REFUSED),
    (None, {}, REFUSED),
    ("old", {"spare_machine_id": None}, REFUSED),
    ("old", {"move_release_id": None}, REFUSED),
    ("old", {"power": "on_demand"}, REFUSED),
    ("new", MOVED, REFUSED),
    ("old", MOVED, ALLOWED),
]


def test_only_the_machine_that_should_not_run_is_stopped(check):
    """The app's machine is stopped only when another one is ready to take its place."""
    for machine, changes, expected in STOPPED:
        assert check("stop_machine", machine, **changes) == expected, (machine, changes)


DESTROYED = [
    ("old", MOVED, ALLOWED),
    ("new", MOVED, REFUSED),
    ("other", MOVED, REFUSED),
    ("old", {**MOVED, "observed_generation": 1}, REFUSED),
    ("old", {**MOVED, "status": "error"}, REFUSED),
    ("old", {**MOVED, "machine_state": "absent"}, REFUSED),
    ("old", {**MOVED, "machine_id": None}, REFUSED),
    ("new", {}, ALLOWED),
    ("old", {}, REFUSED),
]


def test_only_a_machine_of_no_more_use_is_destroyed(check):
    for machine, changes, expected in DESTROYED:
        assert check("destroy_machine", machine, **changes) == expected, (machine, changes)


def test_the_former_machine_is_kept_until_the_release_is_done_with_the_app(hangar, check):
    """A release that may still put the app back needs it."""
    hangar.sql("update user_fly_apps set machine_region = 'iad', spare_machine_id = 'x'")
    made = hangar.rpc("fly_create_release", release={"region": "nrt"}, actor="ops@example.test")
    hangar.rpc("fly_change_release", id=made["id"], action="start", actor="ops@example.test")
    for state, expected in (("applying", REFUSED), ("verifying", REFUSED), ("failed", REFUSED), ("done", ALLOWED)):
        hangar.sql("update hangar.release_targets set state = %s", state)
        assert check("destroy_machine", "old", **MOVED) == expected
    hangar.sql("update hangar.release_targets set must_go_back = true")
    assert check("destroy_machine", "old", **MOVED) == REFUSED


def test_a_left_over_machine_makes_its_row_due(hangar, check):
    hangar.sql(
        "update user_fly_apps set next_attempt_at = null, token_issued_at = now(), token_expires_at = now() + interval '30 days',"
        " token_running_until = now() + interval '30 days'"
    )
    hangar.rpc("fly_advance_releases", looks=50)
    assert not hangar.sql("select 1 from user_fly_apps where next_attempt_at is not null")
    hangar.sql("update user_fly_apps set spare_machine_id = 'x'")
    hangar.rpc("fly_advance_releases", looks=50)
    assert hangar.sql("select 1 from user_fly_apps where next_attempt_at is not null")


def test_the_alert_about_a_wrong_region_advises_a_release_only_for_apps_that_a_release_moves(hangar):
    """An app that may sleep is never moved."""
    for power, moves, stays in (("always_on", True, False), ("on_demand", False, True)):
        user = hangar.user("pro")
        hangar.converge(user)
        drift = json.dumps({"region": "runs in gru"})
        hangar.sql(
            "update user_fly_apps set power = %s, drift = %s, drift_since = hangar.now() where user_id = %s",
            power, drift, user,
        )  # fmt: skip
        hangar.sql("select hangar.check_drift()")
        message = hangar.one("select message from hangar.alerts where kind = 'drift' and resolved_at is null")
        assert ("Only a release moves a machine" in message) is moves
        assert ("1 of them may sleep" in message) is stays
        hangar.sql("update user_fly_apps set drift = '{}' where user_id = %s", user)


def release(hangar, row, of="rolling", **target):
    """A release in this state that concerns the row."""
    release_id = hangar.one("insert into hangar.releases (state, created_by) values (%s, 'test') returning id", of)
    columns = {"release_id": release_id, "row_id": row, "user_id": row, "wave": 0, "place": 1, **target}
    insert(hangar, "hangar.release_targets", **columns)
    return release_id


KEPT = [
    # the release and its target, whether the way back may still be needed
    ("rolling", {"state": "applying"}, True),
    ("paused", {"state": "verifying"}, True),
    ("rolling_back", {"state": "failed"}, True),
    ("rolling", {"state": "done"}, False),
    ("rolling", {"state": "pending"}, False),
    ("rolling", {"state": "done", "must_go_back": True}, True),
    ("completed", {"state": "failed"}, False),
    ("aborted", {"state": "done", "must_go_back": True}, False),
]
RESTS = {"spare_machine_id": "x", "machine_id": "y"}
WOKEN = [
    ({}, True),
    ({"spare_machine_id": None}, False),
    ({"status": "error", "error_code": "host"}, False),
    ({"desired_state": "absent"}, False),
    ({"status": "deleted", "deleted_at": ago(0)}, False),
]


def test_how_long_the_way_back_may_be_needed(inside):
    for of, target, kept in each(inside, KEPT):
        row = put(inside, **RESTS)
        release(inside, row, of, **target)
        assert inside.one("select hangar.keeps_spare(a) from user_fly_apps a") is kept, (of, target)
        inside.sql("select hangar.wake_spares()")
        assert (read(inside, row)["next_attempt_at"] is None) is kept, (of, target)


def test_which_row_is_due_to_lose_its_second_machine(inside):
    for columns, woken in each(inside, WOKEN):
        row = put(inside, **RESTS | columns)
        inside.sql("select hangar.wake_spares()")
        assert (read(inside, row)["next_attempt_at"] is not None) is woken, columns
    later = put(inside, **RESTS, next_attempt_at=ago(-600))
    inside.sql("select hangar.wake_spares()")
    assert inside.one("select next_attempt_at > hangar.now() from user_fly_apps where id = %s", later)


NEEDS = [
    ({"machine_region": "sin"}, "nrt", True),
    ({"machine_region": "sin"}, "nrt,sin", False),
    ({"machine_region": "ams"}, "eu", False),
    ({"machine_region": "sin", "power": "on_demand"}, "nrt", False),
    ({"machine_region": None}, "nrt", False),
]


def test_which_machine_is_not_where_a_list_wants_it(inside):
    for columns, wanted, needs in each(inside, NEEDS):
        put(inside, **columns)
        assert inside.one("select hangar.needs_move(a, %s) from user_fly_apps a", wanted) is needs, (columns, wanted)


HOMES = [
    # the row, the target, where a move that goes back came from
    ({}, {}, "sin"),
    ({"spare_machine_id": None}, {}, None),
    ({"region": "nrt"}, {}, None),  # the list itself says where
    ({"move_release_id": None}, {}, None),
    ({}, {"goes_back": False}, None),
    ({}, {"state": "verifying"}, "sin"),
    ({}, {"state": "done"}, None),
]


def test_where_a_move_that_goes_back_came_from(inside):
    """And the machine in the new region is out of place for as long, although the list allows both."""
    for columns, target, home in each(inside, HOMES):
        row = put(inside, machine_id="new", spare_machine_id="old", region="sin,nrt", machine_region="nrt")
        back = {"state": "applying", "goes_back": True, "previous": {"machine_region": "sin"}}
        change(inside, row, **{"move_release_id": release(inside, row, "rolling_back", **back | target), **columns})
        assert inside.one("select hangar.home_region(a) from user_fly_apps a") == home, (columns, target)
        stop = {"action": "stop_machine", "machine_id": "new", "purpose": "move"}
        assert ask_row(inside, "check_move", row, stop) == (ALLOWED if home else REFUSED), (columns, target)
