"""Two real sessions around a destruction, stopped by real locks: a user who pays before the intent keeps the app."""

import pytest

from tests.postgres.test_planted_guards import judge, sight
from tests.postgres.test_races import leaving, patient, pool, result

__all__ = ["patient", "pool"]
BRAKE = "select pg_advisory_xact_lock(hashtextextended('hangar.brake', 0))"


@pytest.fixture
def slow(patient):
    """Judging an orphan waits as long as it takes, so that a race is decided by its order."""
    patient.sql("alter function public.fly_judge_orphan(text, text, uuid, uuid, jsonb) set lock_timeout = '60s'")
    return patient


def lose(hangar, act):
    """An orphan, seen twice, approved by an operator, of a user who does not pay and never had a row in this database."""
    user = hangar.user()
    orphan = sight(hangar, 2)
    judge(hangar, act, orphan, user)
    hangar.rpc("fly_approve_orphan", app=orphan[0], actor="operator")
    return user, orphan


def judge_later(hangar, pool, act, worker, orphan, user):
    app, network, row_id = orphan
    intent = act.intent("delete_app", purpose="orphan", app=app, installation_id=str(installation(hangar)))
    args = {"app": app, "network": network, "row_id": row_id, "user": user, "intent": intent}
    return pool.submit(hangar.rpc, "fly_judge_orphan", via=worker, **args)


def installation(hangar):
    return hangar.one("select installation_id from hangar.settings")


@pytest.mark.parametrize("action", ["stop_machine", "delete_app"])
def test_a_renewal_while_the_intent_waits_for_the_brake(hangar, pool, act, action):
    """No drain has seen the renewal, so the row still says absent: what is derived after the wait is what counts."""
    hangar.sql("alter function public.fly_save(uuid, uuid, bigint, jsonb, jsonb, boolean) set lock_timeout = '60s'")
    user, row = leaving(hangar)
    other, host, worker = hangar.connect(hangar.url), hangar.host(), hangar.worker()
    with other.transaction():
        other.execute(BRAKE)
        save = pool.submit(hangar.save, row, via=worker, events=[act.intent(action, purpose="deprovision")])
        hangar.wait_until_blocked(worker)
        host.execute("update user_subscriptions set tier = 'pro' where user_id = %s", (user,))
    answer = result(save)
    assert (answer["refused"], answer["row"]["desired_state"]) == ("entitled", "present")


def test_a_renewal_while_an_orphans_judgement_waits_for_the_brake(slow, pool, act):
    """The user pays while the removal waits for the brake's lock: no intent is recorded, the app stays."""
    user, orphan = lose(slow, act)
    other, host, worker = slow.connect(slow.url), slow.host(), slow.worker()
    with other.transaction():
        other.execute(BRAKE)
        verdict = judge_later(slow, pool, act, worker, orphan, user)
        slow.wait_until_blocked(worker)
        host.execute("update user_subscriptions set tier = 'pro' where user_id = %s", (user,))
    answer = result(verdict)
    assert (answer["verdict"], answer["code"]) == ("keep", "entitlement_changed")
    assert slow.one("select count(*) from user_fly_app_events where event_type = 'action'") == 0
    slow.follow()
    assert slow.live_row(user)["desired_state"] == "present"


def test_an_orphan_that_its_user_takes_back_this_moment_is_kept(hangar, pool, act):
    """A drain has given the app back and has not committed: the judge neither waits for it nor decides without it."""
    user, orphan = lose(hangar, act)
    drain, worker = hangar.worker(), hangar.worker()
    hangar.sql("update user_subscriptions set tier = 'pro' where user_id = %s", user)
    with drain.transaction():
        assert hangar.rpc("fly_apply_marks", via=drain)["inserted"] == 1
        assert result(judge_later(hangar, pool, act, worker, orphan, user))["verdict"] == "keep"
    assert hangar.live_row(user)["fly_app_name"] == orphan[0]
    assert result(judge_later(hangar, pool, act, worker, orphan, user))["code"] == "in_use"


def test_a_user_who_pays_while_their_orphan_is_judged_gets_a_new_app(hangar, pool, act):
    """The intent is being recorded, the app is going: the drain does not wait and opens a new row with another name."""
    user, orphan = lose(hangar, act)
    worker = hangar.worker()
    with worker.transaction():
        assert result(judge_later(hangar, pool, act, worker, orphan, user))["verdict"] == "remove"
        hangar.sql("update user_subscriptions set tier = 'pro' where user_id = %s", user)
        hangar.follow()
    assert hangar.live_row(user)["fly_app_name"] != orphan[0]


def test_an_app_whose_removal_is_under_way_is_not_given_back(hangar, act):
    """The intent is out, its worker may be about to call: the user who pays now gets a new app, not that one."""
    user, orphan = lose(hangar, act)
    app, network, row_id = orphan
    intent = act.intent("delete_app", purpose="orphan", app=app, installation_id=str(installation(hangar)))
    args = {"app": app, "network": network, "row_id": row_id, "user": user, "intent": intent}
    assert hangar.rpc("fly_judge_orphan", **args)["verdict"] == "remove"
    hangar.subscribe(user, tier="pro")
    assert hangar.live_row(user)["fly_app_name"] != app


def test_two_sweeps_give_an_orphan_back_once(slow, pool, act):
    """Both find it; one user, one row."""
    slow.sql("update hangar.settings set live = false")
    user = slow.user("pro")
    orphan = sight(slow, 1)
    first, second = slow.worker(), slow.worker()
    with first.transaction():
        assert result(judge_later(slow, pool, act, first, orphan, user))["verdict"] == "readopted"
        late = result(judge_later(slow, pool, act, second, orphan, user))
    assert late["verdict"] == "keep"
    assert slow.live_row(user)["id"] == orphan[2]


def test_the_last_place_below_the_brake_goes_to_a_row_or_an_orphan(slow, pool, act):
    """A row's delete and an orphan's are counted together, one at a time."""
    slow.sql("update hangar.settings set brake_floor = 1, brake_share = 0")
    _, row = leaving(slow)
    user, orphan = lose(slow, act)
    first, second = slow.worker(), slow.worker()
    with first.transaction():
        gone = slow.save(row, via=first, events=[act.intent("delete_app", purpose="deprovision")])
        assert gone["refused"] is None
        verdict = judge_later(slow, pool, act, second, orphan, user)
        slow.wait_until_blocked(second)
    assert (result(verdict)["verdict"], result(verdict)["code"]) == ("keep", "brake")
    assert slow.one("select count(*) from user_fly_app_events where event_type = 'brake_tripped'") == 1


def test_a_release_dated_in_the_future_is_ignored(hangar, act):
    """The clock was set back after an operator released the brake: the brake counts as usual."""
    hangar.sql(
        "update hangar.settings set brake_floor = 1, brake_share = 0, brake_released_at = now() + interval '3 hours'"
    )
    rows = [leaving(hangar)[1] for _ in range(2)]
    refused = [hangar.save(row, events=[act.intent("delete_app", purpose="deprovision")])["refused"] for row in rows]
    assert refused == [None, "brake"]


def test_two_apps_of_one_row_are_two(hangar, act):
    """A row's own app and orphans that carry the row's proof are not one app to the brake."""
    hangar.sql("update hangar.settings set brake_floor = 2, brake_share = 0")
    user, row = leaving(hangar)
    assert hangar.save(row, events=[act.intent("delete_app", purpose="deprovision")])["refused"] is None
    verdicts = []
    for name in ("surplus-1", "surplus-2"):
        app, network, row_id = sight(hangar, 2, name, row["id"], row["network"])
        intent = act.intent("delete_app", purpose="orphan", app=app, installation_id=str(installation(hangar)))
        args = {"app": app, "network": network, "row_id": row_id, "user": user, "intent": intent}
        verdicts.append(hangar.rpc("fly_judge_orphan", **args)["verdict"])
    assert verdicts == ["remove", "keep"]
