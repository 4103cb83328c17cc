"""What the database allows a move to another region to do, each rule on its own, and what judges that a move is needed."""

import json

import pytest

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


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"spare_machine_id": None}, ALLOWED),
        ({}, REFUSED),
        ({"spare_machine_id": None, "move_release_id": None}, REFUSED),
        ({"spare_machine_id": None, "machine_region": "nrt"}, REFUSED),
        ({"spare_machine_id": None, "region": "fra,apac"}, REFUSED),
        ({"spare_machine_id": None, "power": "on_demand"}, REFUSED),
    ],
)
def test_a_second_machine_is_made_only_for_a_move(check, changes, expected):
    assert check("create_machine", **changes) == expected


@pytest.mark.parametrize(
    ("machine", "changes", "expected"),
    [
        ("old", {}, ALLOWED),
        ("new", {}, ALLOWED),
        ("other", {}, REFUSED),
        ("old", {"spare_machine_id": None}, REFUSED),
        ("old", {"move_release_id": None}, REFUSED),
        ("new", MOVED, REFUSED),
        ("old", MOVED, ALLOWED),
    ],
)
def test_only_the_machine_that_should_not_run_is_stopped(check, machine, changes, expected):
    """The app's machine is stopped only when another one is ready to take its place."""
    assert check("stop_machine", machine, **changes) == expected


@pytest.mark.parametrize(
    ("machine", "changes", "expected"),
    [
        ("old", MOVED, ALLOWED),
        ("new", MOVED, REFUSED),
        ("other", MOVED, REFUSED),
        ("old", {**MOVED, "observed_generation": 1}, REFUSED),
        ("old", {**MOVED, "status": "error"}, REFUSED),
        ("old", {**MOVED, "machine_state": "absent"}, REFUSED),
        ("old", {**MOVED, "machine_id": None}, REFUSED),
        ("new", {}, ALLOWED),
        ("old", {}, REFUSED),
    ],
)
def test_only_a_machine_of_no_more_use_is_destroyed(check, machine, changes, expected):
    assert check("destroy_machine", machine, **changes) == expected


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
