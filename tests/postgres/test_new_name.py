"""`fly_request_new_name`: an operator's decision that a lost app's name is given up, and what ends the decision."""

import pytest
from psycopg import Error, errors


@pytest.fixture
def row(hangar):
    """The row of an app that was created, under a worker's lease."""
    return hangar.save(hangar.lease(hangar.user("pro")), machine_id="m1", secrets_version=1)["row"]


def ask(hangar, row, **changes):
    return hangar.rpc("fly_request_new_name", **{"user": row["user_id"], "actor": "ann", "reason": " lost "} | changes)


def read_request(hangar, row):
    return hangar.one("select new_name_request from user_fly_apps where id = %s", row["id"])


def test_the_decision_is_on_the_row_and_in_the_log_and_the_row_is_due(hangar, row):
    hangar.sql("update user_fly_apps set next_attempt_at = hangar.now() + interval '1 hour' where id = %s", row["id"])
    request = ask(hangar, row)["row"]["new_name_request"]
    assert (request["actor"], request["reason"], request["others"]) == ("ann", "lost", 0)
    assert hangar.one("select next_attempt_at <= hangar.now() from user_fly_apps where id = %s", row["id"])
    logged = hangar.one("select metadata from user_fly_app_events where metadata ->> 'source' = 'new_name'")
    assert logged == {"actor": "ann", "source": "new_name", "reason": "lost", "app": row["fly_app_name"]}


def test_others_counts_the_apps_that_run_with_our_proof(hangar, row):
    """Not one that was adopted, that failed, that is closed, or that never had a machine."""
    changes = (
        "name_seq = 0",
        "adopted_app_id = 'x'",
        "status = 'error'",
        "status = 'deleted', deleted_at = hangar.now()",
        "machine_id = null",
    )
    for change in changes:
        user = hangar.user("pro")
        hangar.converge(user)
        hangar.sql(f"update user_fly_apps set {change} where user_id = '{user}'")
    assert ask(hangar, row)["row"]["new_name_request"]["others"] == 1


@pytest.mark.parametrize("changes", [{"reason": None}, {"reason": "  "}, {"actor": ""}, {"actor": None}])
def test_a_decision_names_who_and_why(hangar, row, changes):
    with pytest.raises(errors.InvalidParameterValue):
        ask(hangar, row, **changes)
    assert read_request(hangar, row) is None


def test_there_must_be_an_app_that_was_created(hangar, row):
    with pytest.raises(Error, match="has no app whose name could be given up"):
        ask(hangar, row, user=hangar.user("free"))
    hangar.sql("update user_fly_apps set machine_id = null, secrets_version = null where id = %s", row["id"])
    with pytest.raises(Error, match="takes another name automatically"):
        ask(hangar, row)
    assert read_request(hangar, row) is None


def test_a_worker_that_did_not_know_of_the_decision_does_not_end_it(hangar, row):
    """Its run began before; the next one judges."""
    ask(hangar, row)
    failure = {"status": "error", "error_code": "not_owned", "error_message": "x", "next_attempt_in_s": 60}
    saved = hangar.save(row, **failure)["row"]
    assert saved["new_name_request"]["actor"] == "ann"
    assert hangar.save(saved, **failure, new_name_judged=True)["row"]["new_name_request"] is None


@pytest.mark.parametrize("patch", [{"status": "active", "converged": True}, {"deleted": True}])
def test_an_app_that_converged_or_was_closed_has_no_decision(hangar, row, patch):
    ask(hangar, row)
    hangar.save(row, **patch)
    assert read_request(hangar, row) is None


def test_the_closed_row_of_a_paying_user_has_a_successor_with_the_next_name(hangar, row):
    ask(hangar, row)
    successor = hangar.save(row, deleted=True)["successor"]
    found = hangar.live_row(row["user_id"])
    assert (str(found["id"]), found["name_seq"]) == (successor, 1)
