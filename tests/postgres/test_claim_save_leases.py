"""Claiming one user, claiming due rows, and how long a lease is valid."""

import uuid

import pytest
from psycopg import errors

pytestmark = pytest.mark.every_postgres


def test_claim_leases_the_row(hangar):
    """The answer is everything a worker needs; bigints and money are text."""
    user = hangar.user("pro")
    answer = hangar.claim(user, holder="worker-1")
    row = answer["row"]
    assert (answer["outcome"], answer["entitled"], answer["known"], answer["closed_unknown"]) == (
        "claimed",
        True,
        True,
        False,
    )
    assert (row["lease_holder"], row["generation"], row["monthly_cost_estimate_usd"]) == ("worker-1", "1", "6.00")
    assert uuid.UUID(row["lease_token"])
    assert answer["settings"]["installation_id"] == str(hangar.one("select installation_id from hangar.settings"))
    assert answer["last"] is None


def test_a_second_claim_is_told_the_holder(hangar):
    """The holder is named, its token is not."""
    user = hangar.user("pro")
    hangar.claim(user, holder="worker-1")
    answer = hangar.claim(user, holder="worker-2", force=True)
    assert (answer["outcome"], answer["row"]["lease_holder"], answer["row"]["lease_token"]) == (
        "leased",
        "worker-1",
        None,
    )


def test_lease_ends_by_the_database_clock(hangar):
    """After lease_s another worker may act, and the first one may not."""
    user = hangar.user("pro")
    first = hangar.lease(user)
    hangar.shift_clock(121)
    second = hangar.lease(user)
    assert second["lease_token"] != first["lease_token"]
    assert hangar.save(first, machine_id="late") is None
    assert hangar.live_row(user)["machine_id"] is None


@pytest.mark.parametrize(
    ("state", "outcome"),
    [
        ("status = 'error', next_attempt_at = now() + interval '1 hour'", "waiting"),
        ("status = 'error', next_attempt_at = null", "waiting"),
        ("status = 'error', next_attempt_at = now()", "claimed"),
        ("status = 'provisioning', next_attempt_at = now() + interval '1 hour'", "claimed"),
        ("status = 'active', next_attempt_at = null", "claimed"),
    ],
)
def test_waiting_rows_wait_unless_forced(hangar, state, outcome):
    """A nudge does not shorten a backoff; an operator does."""
    user = hangar.user("pro")
    hangar.sql(f"update user_fly_apps set {state}")
    assert hangar.claim(user)["outcome"] == outcome
    hangar.sql("update user_fly_apps set lease_token = null, lease_expires_at = null")
    assert hangar.claim(user, force=True)["outcome"] == "claimed"


def test_grace_waits(hangar):
    """During grace nothing is due until its end."""
    hangar.sql("update fly_plans set grace_s = 3600 where tier = 'pro'")
    user = hangar.user("pro")
    hangar.subscribe(user, tier="free")
    answer = hangar.save(hangar.lease(user), release=True, status="deprovisioning", converged=True)
    assert answer["row"]["next_attempt_at"] == answer["row"]["delete_after"]
    assert hangar.claim(user)["outcome"] == "waiting"
    hangar.shift_clock(3601)
    assert hangar.rpc("fly_claim_due")["claimed"][0]["row"]["user_id"] == str(user)


def test_a_user_without_a_row_cannot_be_claimed(hangar):
    """No row: whether the user is known, entitled, and what the last row was."""
    free, stranger = hangar.user(), uuid.uuid4()
    answer = hangar.claim(free)
    assert (answer["outcome"], answer["row"], answer["last"], answer["entitled"], answer["known"]) == (
        "none",
        None,
        None,
        False,
        True,
    )
    assert hangar.claim(stranger)["known"] is False
    gone = hangar.user("pro")
    hangar.subscribe(gone, tier="free")
    hangar.save(hangar.lease(gone), deleted=True)
    hangar.sql("delete from auth.users where id = %s", gone)
    answer = hangar.claim(gone)
    assert (answer["outcome"], answer["last"]["status"], answer["known"]) == ("none", "deleted", True)


def test_claim_derives_afresh(hangar):
    """A claim of the user finds a change that left no mark."""
    hangar.deafen()
    user = hangar.user("pro")
    assert hangar.claim(user)["outcome"] == "claimed"
    hangar.sql("update user_fly_apps set lease_token = null, lease_expires_at = null")
    hangar.subscribe(user, tier="free")
    answer = hangar.claim(user)
    assert (answer["row"]["desired_state"], answer["entitled"]) == ("absent", False)


@pytest.mark.parametrize(
    ("action", "unknown"), [("create_app", True), ("create_machine", True), ("stop_machine", False)]
)
def test_intent_without_outcome_is_closed_as_unknown(hangar, act, action, unknown):
    """The worker died during a call to Fly: the log says so, and the created app may still appear."""
    user = hangar.user("pro")
    intent = act.intent(action)
    assert hangar.save(hangar.lease(user), events=[intent])["refused"] is None
    hangar.shift_clock(121)
    answer = hangar.claim(user, holder="worker-2")
    assert answer["closed_unknown"] is True
    assert answer["row"]["open_intent"] is None
    assert (answer["row"]["create_unknown_at"] is not None) == unknown
    [closed] = hangar.sql("select metadata from user_fly_app_events where event_type = 'action' and status = 'unknown'")
    assert (closed["metadata"]["intent_id"], closed["metadata"]["action"]) == (intent["id"], action)


def test_a_dead_worker_leaves_its_row_due(hangar):
    """Also a row that was converged when it was claimed."""
    user = hangar.user("pro")
    hangar.converge(user)
    hangar.lease(user)
    assert hangar.rpc("fly_claim_due")["claimed"] == []
    hangar.shift_clock(121)
    assert len(hangar.rpc("fly_claim_due")["claimed"]) == 1


def test_due_rows_oldest_first(hangar):
    """As many as asked for; the rest is counted."""
    users = [hangar.user("pro") for _ in range(4)]
    for n, user in enumerate(users):
        hangar.sql(
            "update user_fly_apps set next_attempt_at = now() - make_interval(secs => %s) where user_id = %s", n, user
        )
    answer = hangar.rpc("fly_claim_due", limit=3, holder="drain")
    assert [claimed["row"]["user_id"] for claimed in answer["claimed"]] == [str(user) for user in reversed(users[1:])]
    assert answer["due_left"] == 1
    assert all(claimed["row"]["lease_token"] for claimed in answer["claimed"])


def test_nothing_is_due_while_paused(hangar):
    """One user may still be claimed, but no due rows are handed out."""
    user = hangar.user("pro")
    hangar.rpc("fly_set_paused", paused=True, actor="test")
    answer = hangar.rpc("fly_claim_due")
    assert (answer["claimed"], answer["due_left"]) == ([], 1)
    assert hangar.claim(user)["outcome"] == "claimed"


@pytest.mark.parametrize("limit", [0, 101, None])
def test_limits_name_their_maximum(hangar, limit):
    """SQLSTATE 22023, never a silent cut."""
    with pytest.raises(errors.InvalidParameterValue, match="from 1 to 100"):
        hangar.rpc("fly_claim_due", limit=limit)
