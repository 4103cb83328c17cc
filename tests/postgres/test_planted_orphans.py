"""Orphans and the end of an outage: what is remembered, for how long, and what is left alone. Each guard alone."""

import pytest

from tests.postgres.test_planted_guards import judge, sight

MINUTE, HOUR = 60, 3600


def lose(hangar, act):
    """A free user and an orphan of theirs, of which the database never had the row; an operator approved its removal."""
    user = hangar.user()
    orphan = sight(hangar, 2)
    judge(hangar, act, orphan, user)
    hangar.rpc("fly_approve_orphan", app=orphan[0], actor="operator")
    return user, orphan


def statuses(hangar):
    """The statuses of all actions in the log, oldest first."""
    return [row["status"] for row in hangar.sql("select status from user_fly_app_events where event_type = 'action'")]


def test_the_same_name_on_another_network_is_another_orphan(hangar):
    """I5: age, sightings and approval belong to one app; the next app of that name starts again."""
    for _ in range(2):
        hangar.rpc("fly_record_orphans", seen=[{"app": "a", "network": "n-1"}])
    hangar.rpc("fly_approve_orphan", app="a", actor="operator")
    hangar.shift_clock(HOUR)
    [orphan] = hangar.rpc("fly_record_orphans", seen=[{"app": "a", "network": "n-2"}])["orphans"]
    assert (orphan["network"], orphan["sightings"], orphan["approved_by"], orphan["ripe"]) == ("n-2", 1, None, False)
    assert hangar.one("select hangar.now() - first_seen_at < interval '1 minute' from fly_orphans")


def test_the_log_keeps_who_approved_the_removal_of_an_orphan(hangar):
    """The orphan's own row goes with it. A second approval changes nothing; an unknown name is approved by nobody."""
    hangar.rpc("fly_record_orphans", seen=[{"app": "a", "network": "n-1"}])
    answers = [
        hangar.rpc("fly_approve_orphan", app=app, actor=actor) for app, actor in (("a", "x"), ("a", "y"), ("b", "x"))
    ]
    assert [answer["approved"] for answer in answers] == [True, True, False]
    assert hangar.one("select approved_by from fly_orphans where app = 'a'") == "x"
    events = hangar.sql("select metadata from user_fly_app_events where event_type = 'orphan_approved'")
    assert [row["metadata"] for row in events] == [{"app": "a", "network": "n-1", "actor": "x"}]


@pytest.mark.parametrize(("minutes", "closed"), [(9, []), (11, ["unknown"])])
def test_a_removal_is_closed_as_unknown_after_ten_minutes_and_not_before(hangar, act, minutes, closed):
    """I11: until then its worker may still be running and record the outcome."""
    orphan = sight(hangar, 2)
    assert judge(hangar, act, orphan)["verdict"] == "remove"
    hangar.shift_clock(minutes * MINUTE)
    hangar.rpc("fly_record_orphans", seen=[{"app": orphan[0], "network": orphan[1]}])
    assert statuses(hangar) == ["intent", *closed]


@pytest.mark.parametrize(("minutes", "is_returned"), [(9, False), (11, True)])
def test_an_app_whose_removal_began_minutes_ago_is_not_returned(hangar, act, minutes, is_returned):
    """I5: its worker may be about to delete it, so the user who pays now gets a new app; later it is theirs again."""
    user, orphan = lose(hangar, act)
    assert judge(hangar, act, orphan, user)["verdict"] == "remove"
    hangar.shift_clock(minutes * MINUTE)
    hangar.subscribe(user, tier="pro")
    assert (hangar.live_row(user)["fly_app_name"] == orphan[0]) is is_returned


@pytest.mark.parametrize(("hours", "removed"), [(23, 1), (25, 0)])
def test_a_removal_counts_for_a_day(hangar, act, hours, removed):
    """I11: an orphan that disappears within a day of its removal's intent was removed by Hangar, later by somebody else."""
    assert judge(hangar, act, sight(hangar, 2))["verdict"] == "remove"
    hangar.shift_clock(hours * HOUR)
    hangar.rpc("fly_record_orphans", seen=[])
    assert hangar.one("select count(*) from user_fly_app_events where event_type = 'orphan_removed'") == removed


@pytest.mark.parametrize(("hours", "removed"), [(23, 1), (25, 0)])
def test_a_removal_that_was_closed_as_unknown_counts_for_a_day(hangar, act, hours, removed):
    orphan = sight(hangar, 2)
    assert judge(hangar, act, orphan)["verdict"] == "remove"
    hangar.shift_clock(HOUR)
    hangar.rpc("fly_record_orphans", seen=[{"app": orphan[0], "network": orphan[1]}])
    assert statuses(hangar) == ["intent", "unknown"]
    hangar.shift_clock((1 + hours) * HOUR)
    hangar.rpc("fly_record_orphans", seen=[])
    assert hangar.one("select count(*) from user_fly_app_events where event_type = 'orphan_removed'") == removed


@pytest.mark.parametrize(
    ("outcome", "verdict"), [("open", "keep"), ("unknown", "keep"), ("failed", "readopted"), (None, "readopted")]
)
def test_an_orphan_is_not_returned_beside_an_open_create(hangar, act, outcome, verdict):
    """I2: while the user's own app may still be created, the orphan waits; otherwise the user would have two."""
    user = hangar.user("pro")
    if outcome:
        row, create = hangar.lease(user), act.intent("create_app", purpose="provision")
        hangar.save(row, events=[create])
        if outcome == "open":
            hangar.shift_clock(HOUR)  # its worker is dead, and no worker has claimed the row since
        else:
            hangar.save(row, release=True, events=[act.outcome(create, outcome)])
    assert judge(hangar, act, sight(hangar, 1), user)["verdict"] == verdict


def test_the_end_of_an_outage_leaves_leased_rows_alone(hangar):
    """I6: a row that a worker holds is the worker's; the others that wait after a failure are due."""
    failed = {"status": "error", "error_code": "outcome_unknown", "retry_count": 4, "next_attempt_in_s": HOUR}
    held, free = hangar.user("pro"), hangar.user("pro")
    hangar.save(hangar.lease(held), **failed)
    hangar.save(hangar.lease(free), release=True, **failed)
    before = hangar.live_row(held)["next_attempt_at"]
    assert hangar.rpc("fly_end_outage") == {"due": 1}
    assert hangar.live_row(held)["next_attempt_at"] == before
