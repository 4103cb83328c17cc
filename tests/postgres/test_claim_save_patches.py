"""Compare-and-set: what a save stores when all is well, when the generation moved, and when the lease is gone."""

import uuid
from datetime import datetime

import pytest
from psycopg import errors

from shared.domain.naming import app_name

pytestmark = pytest.mark.every_postgres


def parse(text):
    return datetime.fromisoformat(text)


def test_save_stores_and_renews(hangar):
    """Facts and verdict are both stored, and the lease is renewed."""
    user = hangar.user("pro")
    row = hangar.lease(user)
    answer = hangar.save(
        row, machine_id="m1", machine_state="starting", machine_region="sin", secrets_version=7, price_usd_per_s="0.00000155",
        status="error", error_code="capacity", error_message="no room", retry_count=2, next_attempt_in_s=60,
    )  # fmt: skip
    new = answer["row"]
    assert (new["machine_id"], new["machine_state"], new["secrets_version"], new["price_usd_per_s"]) == (
        "m1",
        "starting",
        "7",
        "0.00000155",
    )
    assert (new["status"], new["error_code"], new["error_message"], new["retry_count"]) == (
        "error",
        "capacity",
        "no room",
        2,
    )
    assert round((parse(new["next_attempt_at"]) - parse(answer["now"])).total_seconds()) == 60
    assert new["lease_token"] == row["lease_token"]
    assert parse(new["lease_expires_at"]) > parse(row["lease_expires_at"])
    assert (answer["generation_moved"], answer["refused"], answer["successor"]) == (False, None, None)


def test_release_frees_the_row(hangar):
    """And hides the token that is no longer valid."""
    user = hangar.user("pro")
    row = hangar.lease(user)
    assert hangar.save(row, release=True)["row"]["lease_token"] is None
    assert hangar.save(row) is None
    assert hangar.claim(user)["outcome"] == "claimed"


def test_convergence_clears_the_failure(hangar):
    """observed_generation is what was planned; nothing is due."""
    user = hangar.user("pro")
    hangar.save(hangar.lease(user), release=True, status="error", error_code="x", error_message="y", retry_count=4)
    new = hangar.save(hangar.lease(user), release=True, status="active", converged=True, deployed=True, observed=True)[
        "row"
    ]
    assert (new["status"], new["observed_generation"], new["retry_count"], new["error_code"], new["error_message"]) == (
        "active",
        "1",
        0,
        None,
        None,
    )
    assert new["next_attempt_at"] is None
    assert new["deployed_at"] is not None
    assert new["observed_at"] is not None


@pytest.mark.parametrize(("status", "due"), [("provisioning", True), ("active", False), ("error", False)])
def test_in_between_status_always_has_a_next_attempt(hangar, status, due):
    """No row is stuck: only a converged row, or one that needs an operator, is not due."""
    row = hangar.lease(hangar.user("pro"))
    new = hangar.save(row, release=True, status=status, next_attempt_in_s=None)["row"]
    assert (new["next_attempt_at"] is not None) == due


def test_generation_that_moved_keeps_ids_and_drops_judgement(hangar, act):
    """The machine id is saved after a plan change; status, error and backoff of the old plan are not."""
    user = hangar.user("pro")
    row = hangar.lease(user)
    hangar.subscribe(user, tier="free")
    answer = hangar.save(
        row,
        machine_id="m1",
        machine_state="started",
        status="active",
        converged=True,
        retry_count=3,
        next_attempt_in_s=900,
    )
    new = answer["row"]
    assert answer["generation_moved"] is True
    assert (new["machine_id"], new["status"], new["desired_state"], new["generation"]) == (
        "m1",
        "deprovisioning",
        "absent",
        "2",
    )
    assert (new["retry_count"], new["observed_generation"]) == (0, None)
    assert parse(new["next_attempt_at"]) <= parse(answer["now"])
    intent = act.intent("create_machine")
    assert hangar.save(row, events=[intent])["refused"] == "stale"
    assert hangar.one("select count(*) from user_fly_app_events where id = %s", intent["id"]) == 0


def test_an_intent_whose_repeated_save_is_refused_does_not_stay_open(hangar, act):
    """I11: the response to a save was lost and the user cancelled before the repeat: no call is made."""
    user = hangar.user("pro")
    row = hangar.lease(user)
    intent = act.intent("create_app")
    hangar.save(row, events=[intent])
    hangar.subscribe(user, tier="free")
    answer = hangar.save(row, events=[intent])
    assert (answer["refused"], answer["row"]["open_intent"]) == ("stale", None)
    assert answer["row"]["create_unknown_at"] is not None, (
        "should the first save's caller live after all, its create may surface"
    )
    outcomes = hangar.sql(
        "select status, metadata ->> 'closed_by' as closed_by from user_fly_app_events where metadata ->> 'intent_id' = %s",
        intent["id"],
    )
    assert outcomes == [{"status": "unknown", "closed_by": "save"}]


def test_lost_lease_saves_nothing_but_the_outcome(hangar, act):
    """What happened on Fly is recorded; the row belongs to another worker."""
    user = hangar.user("pro")
    row = hangar.lease(user)
    intent = act.intent("create_app")
    hangar.save(row, events=[intent])
    hangar.shift_clock(121)
    done, next_one = act.outcome(intent, "succeeded"), act.intent("create_machine")
    assert hangar.save(row, events=[done, next_one], machine_id="m1", status="active") is None
    assert hangar.one("select count(*) from user_fly_app_events where id = %s", done["id"]) == 1
    assert hangar.one("select count(*) from user_fly_app_events where id = %s", next_one["id"]) == 0
    assert (hangar.live_row(user)["machine_id"], hangar.live_row(user)["status"]) == (None, "provisioning")


def test_an_expired_lease_never_writes_even_without_a_new_holder(hangar):
    """The database's clock decides, even if no other worker claimed the row."""
    user = hangar.user("pro")
    row = hangar.lease(user)
    hangar.shift_clock(120.5)
    assert hangar.save(row, machine_id="m1") is None


@pytest.mark.parametrize("token", [None, uuid.uuid4()])
def test_wrong_token_never_writes(hangar, token):
    """Null is not a valid token, even on a row without a lease."""
    user = hangar.user("pro")
    row = {**hangar.lease(user), "lease_token": token}
    assert hangar.save(row, machine_id="m1") is None
    hangar.sql("update user_fly_apps set lease_token = null, lease_expires_at = null")
    assert hangar.save(row, machine_id="m1") is None
    assert hangar.save({**row, "id": uuid.uuid4()}, machine_id="m1") is None


def test_saving_twice_stores_events_once(hangar, act):
    """A save whose response was lost is repeated without duplicates: ids come from the writer."""
    user = hangar.user("pro")
    row = hangar.lease(user)
    intent = act.intent("create_app")
    for _ in range(2):
        assert hangar.save(row, events=[intent])["row"]["open_intent"]["id"] == intent["id"]
    done = act.outcome(intent, "succeeded")
    for _ in range(2):
        assert hangar.save(row, events=[done])["row"]["open_intent"] is None
    assert hangar.events(user)[-2:] == [("action", "intent"), ("action", "succeeded")]


def test_outcome_and_next_intent_travel_together(hangar, act):
    """So that n actions cost n + 2 calls."""
    row = hangar.lease(hangar.user("pro"))
    first, second = act.intent("create_app"), act.intent("set_secrets")
    hangar.save(row, events=[first])
    new = hangar.save(row, events=[act.outcome(first, "succeeded"), second])["row"]
    assert (new["open_intent"]["id"], new["open_intent"]["action"]) == (second["id"], "set_secrets")


def test_forgotten_intent_is_closed_by_the_next(hangar, act):
    """Every intent has an end in the log."""
    user = hangar.user("pro")
    row = hangar.lease(user)
    hangar.save(row, events=[act.intent("create_app")])
    new = hangar.save(row, events=[act.intent("set_secrets")])["row"]
    assert new["open_intent"]["action"] == "set_secrets"
    assert new["create_unknown_at"] is not None
    assert ("action", "unknown") in hangar.events(user)


def test_create_of_unknown_outcome_is_remembered_for_two_minutes(hangar, act):
    """A 404 is proof of absence only after 120 s; a look before leaves the mark, one after clears it."""
    row = hangar.lease(hangar.user("pro"))
    intent = act.intent("create_app")
    hangar.save(row, events=[intent])
    assert hangar.save(row, events=[act.outcome(intent, "unknown")], observed=True)["row"]["create_unknown_at"]
    hangar.shift_clock(100)
    assert hangar.save(row, observed=True)["row"]["create_unknown_at"]
    hangar.shift_clock(121)
    assert hangar.save(row, observed=True)["row"]["create_unknown_at"] is None


def test_rename_takes_the_next_free_name(hangar):
    """The row keeps its proof; what belonged to the old name is forgotten."""
    user = hangar.user("pro")
    row = hangar.lease(user)
    hangar.save(row, machine_id="m1", machine_state="started", secrets_version=1)
    new = hangar.save(row, rename=True, release=True)["row"]
    assert (new["name_seq"], new["fly_app_name"]) == (1, app_name("vyx-user", user, 1))
    assert (new["machine_id"], new["machine_state"], new["secrets_version"]) == (None, None, None)
    assert new["network"] == row["network"]


def test_deleted_closes_the_row(hangar):
    """Status, time and machine state agree, the lease ends, nothing is due."""
    user = hangar.user("pro")
    hangar.converge(user)
    hangar.subscribe(user, tier="free")
    answer = hangar.save(hangar.lease(user), deleted=True)
    row = answer["row"]
    assert (row["status"], row["machine_state"], row["lease_token"], row["next_attempt_at"]) == (
        "deleted",
        "absent",
        None,
        None,
    )
    assert row["deleted_at"]
    assert answer["successor"] is None
    assert hangar.row(user) is None


def test_returning_user_gets_a_new_row_and_name(hangar):
    """The original answered with a unique violation."""
    user = hangar.user("pro")
    hangar.subscribe(user, tier="free")
    hangar.save(hangar.lease(user), deleted=True)
    hangar.subscribe(user, tier="pro")
    row = hangar.live_row(user)
    assert (row["name_seq"], row["fly_app_name"], row["generation"]) == (1, app_name("vyx-user", user, 1), 1)


@pytest.mark.parametrize(
    ("patch", "said"),
    [
        ({"machine": "m1"}, "unknown patch key: machine"),
        ({"user_id": "x", "generation": 9}, "generation, user_id"),
        ({"status": "deleted"}, "deleted: true"),
    ],
)
def test_unknown_patch_keys_raise(hangar, patch, said):
    """A misspelt key is refused, not ignored."""
    row = hangar.lease(hangar.user("pro"))
    with pytest.raises(errors.InvalidParameterValue, match=said):
        hangar.save(row, **patch)


def test_malformed_events_raise(hangar, act):
    """Two intents, an intent without action, an event without id, an unknown key or type."""
    row = hangar.lease(hangar.user("pro"))
    bad = [
        [act.intent("create_app"), act.intent("create_app")],
        [act.event("action", "intent")],
        [{"event_type": "action", "status": "failed"}],
        [{**act.event("action", "failed"), "when": "now"}],
    ]
    for events in bad:
        with pytest.raises(errors.InvalidParameterValue):
            hangar.save(row, events=events)
    with pytest.raises(errors.CheckViolation):
        hangar.save(row, events=[act.event("invented", "failed")])


def test_health_by_save_is_dated(hangar):
    """A judged health has a time; a healthy machine starts with no bad samples."""
    row = hangar.lease(hangar.user("pro"))
    hangar.sql("update user_fly_apps set bad_samples = 2, bad_sample_at = now()")
    new = hangar.save(row, health_status="healthy")["row"]
    assert (new["health_status"], new["bad_samples"], new["bad_sample_at"]) == ("healthy", 0, None)
    assert new["last_health_check"]
