"""A hold of a mass loss is a state: what ends it, what does not, whom it keeps, and what an operator may do meanwhile."""

import threading

import pytest

from tests.postgres.losses import held, look, lose, restore, sign_up, sync, wanted

pytestmark = pytest.mark.every_postgres
OPERATOR = {"actor": "ops@example.test", "reason": "checked"}


def losses(hangar):
    """The users of the hold, and whether an operator has confirmed their loss."""
    return {row["user_id"]: row["confirmed"] for row in hangar.sql("select user_id, confirmed from hangar.host_losses")}


@pytest.mark.parametrize("count", [2, 8])
def test_a_new_customer_ends_no_hold(hangar, count):
    """An emptied table stays a mistake after somebody has paid, by the next drain as by the next sweep."""
    users = sign_up(hangar, count)
    hangar.sql("truncate user_subscriptions")
    look(hangar)
    assert held(hangar)["losing"] == count
    new = hangar.sql("insert into auth.users (email) values ('new@example.test') returning id")[0]["id"]
    hangar.sql("update user_subscriptions set tier = 'pro' where user_id = %s", new)
    for look_again in (look, sync):
        look_again(hangar)
        assert (held(hangar)["losing"], wanted(hangar, users), wanted(hangar, [new])) == (count, count, 1)
    assert held(hangar) == {"losing": count, "present": count + 1, "reason": "empty"}


def test_growth_ends_no_hold(hangar):
    """Twelve of twenty are more than half. Twelve of forty are the same twelve."""
    users = sign_up(hangar, 20)
    lose(hangar, users[:12])
    look(hangar)
    new = sign_up(hangar, 20)
    sync(hangar)
    assert held(hangar) == {"losing": 12, "present": 40, "reason": "share"}
    assert wanted(hangar, users + new) == 40


@pytest.mark.parametrize("what", ["subscriptions", "users"])
def test_a_restore_in_batches_loses_nobody(hangar, what):
    """The alert counts down, and ends with the last batch."""
    users = sign_up(hangar, 24)
    hangar.sql("create table public.kept as select * from user_subscriptions")
    hangar.sql("truncate user_subscriptions" if what == "subscriptions" else "update auth.users set deleted_at = now()")
    look(hangar)
    for start in range(0, 24, 6):
        assert held(hangar) == {"losing": 24 - start, "present": 24, "reason": "empty"}
        some = users[start : start + 6]
        if what == "subscriptions":
            hangar.sql("insert into user_subscriptions select * from public.kept where user_id = any(%s)", some)
        else:
            hangar.sql("update auth.users set deleted_at = null where id = any(%s)", some)
        look(hangar)
        sync(hangar)
        assert wanted(hangar, users) == 24
    assert (held(hangar), losses(hangar)) == (None, {})


def test_an_unknown_value_is_no_recovery(hangar):
    """Held users of whom nothing is known are not back. A user of whom nothing was known before keeps no hold open."""
    users = sign_up(hangar, 24)
    hangar.sql("update fly_plans set tier = 'former' where tier = 'elite'")
    hangar.sql("update user_subscriptions set tier = 'elite' where user_id = %s", users[-1])
    lose(hangar, users[:16])
    look(hangar)
    restore(hangar, users[:16], tier="elite")
    look(hangar)
    sync(hangar)
    assert held(hangar)["losing"] == 16
    hangar.sql("update user_subscriptions set tier = 'free' where user_id = any(%s)", users[:12])
    sync(hangar)
    assert (held(hangar)["losing"], wanted(hangar, users)) == (16, 24)
    hangar.sql("update user_subscriptions set tier = 'pro' where user_id = any(%s)", users[:16])
    look(hangar)
    assert held(hangar) is None


def test_losses_during_a_hold_are_held(hangar):
    """One user who cancels meanwhile waits too, and keeps the hold when all others are back."""
    users = sign_up(hangar, 20)
    lose(hangar, users[:12])
    look(hangar)
    lose(hangar, users[12:13])
    assert hangar.claim(users[12], force=True)["row"]["desired_state"] == "present"
    sync(hangar)
    assert held(hangar)["losing"] == 13
    restore(hangar, users[:12])
    look(hangar)
    assert (held(hangar)["losing"], wanted(hangar, users)) == (1, 20)


def test_a_loss_that_nobody_has_seen_yet_keeps_the_hold(hangar):
    """A hold ends only after a look at everybody: an end that has come since is no mark."""
    users = sign_up(hangar, 20)
    lose(hangar, users[:12])
    look(hangar)
    hangar.deafen()
    lose(hangar, users[12:14])
    restore(hangar, users[:12])
    hangar.sql("insert into hangar.marks (user_id) select unnest(%s::uuid[])", users[:12])
    look(hangar)
    assert (held(hangar)["losing"], wanted(hangar, users)) == (2, 20)


def test_an_app_that_is_gone_is_not_waited_for(hangar):
    """An operator denies one of the held users, and the app of another is removed by hand."""
    users = sign_up(hangar, 12)
    lose(hangar, users)
    look(hangar)
    restore(hangar, users[:10])
    look(hangar)
    assert held(hangar)["losing"] == 2
    hangar.rpc("fly_set_override", user=users[10], override="deny", plan=None, **OPERATOR)
    assert wanted(hangar, users) == 11
    sync(hangar)
    assert held(hangar)["losing"] == 1
    hangar.sql("update user_fly_apps set deleted_at = now(), status = 'deleted' where user_id = %s", users[11])
    sync(hangar)
    assert held(hangar) is None


def test_a_worker_meets_the_hold_when_it_destroys(hangar, act):
    """Before each destructive step the entitlement is derived again. A restored half makes no difference."""
    users = sign_up(hangar, 24)
    for user in users:
        hangar.converge(user)
    lose(hangar, users[:13])
    look(hangar)
    restore(hangar, users[:8])
    for user in users[8:13]:
        row = hangar.lease(user)
        answer = hangar.save(row, events=[act.intent("delete_app", purpose="deprovision")])
        assert (answer["refused"], answer["row"]["desired_state"]) == ("entitled", "present")


def test_decisions_of_an_operator_during_a_hold(hangar):
    """A denial removes, a grant gives, and a larger plan arrives."""
    users = sign_up(hangar, 20)
    lose(hangar, users[:12])
    look(hangar)
    hangar.rpc("fly_set_override", user=users[0], override="deny", plan=None, **OPERATOR)
    hangar.rpc("fly_set_override", user=users[1], override="grant", plan="elite", **OPERATOR)
    hangar.sql("update fly_plans set memory_mb = 4096 where tier = 'pro'")
    assert hangar.live_row(users[0])["desired_state"] == "absent"
    assert (hangar.live_row(users[1])["desired_state"], hangar.live_row(users[1])["tier"]) == ("present", "elite")
    sync(hangar)
    assert held(hangar) == {"losing": 10, "present": 19, "reason": "share"}


def test_a_confirmation_is_about_the_users_of_the_hold(hangar):
    """The next mass loss is held although the confirmed one is not yet obeyed. Those who are back are forgotten."""
    users = sign_up(hangar, 40)
    lose(hangar, users[:21])
    look(hangar)
    hangar.rpc("fly_release_brake", **OPERATOR)
    assert losses(hangar) == dict.fromkeys(users[:21], True)
    restore(hangar, users[:1])
    lose(hangar, users[21:36])
    look(hangar)
    assert (held(hangar)["losing"], wanted(hangar, users[21:36])) == (15, 15)
    assert (wanted(hangar, users[:1]), wanted(hangar, users[1:21])) == (1, 0)
    sync(hangar)
    assert losses(hangar) == dict.fromkeys(users[21:36], False)
    assert hangar.one("select obeyed_by from hangar.host_state") is None


@pytest.mark.parametrize(("more", "is_held"), [(2, False), (14, True)])
def test_losses_that_no_look_has_seen_are_not_confirmed(hangar, more, is_held):
    """An operator has seen the users on record. What the host has lost since is weighed anew."""
    users = sign_up(hangar, 30)
    lose(hangar, users[:16])
    look(hangar)
    lose(hangar, users[12 : 16 + more])
    hangar.rpc("fly_release_brake", **OPERATOR)
    assert losses(hangar) == dict.fromkeys(users[:16], True)
    look(hangar)
    sync(hangar)
    assert wanted(hangar, users[:16]) == 0
    assert (held(hangar) is not None, wanted(hangar, users[16:])) == (is_held, 14 if is_held else 12)


@pytest.mark.slow
def test_deleted_users_during_the_grace(hangar):
    """A user who is deleted loses the grace at once. When most are deleted together, the apps in grace are held, too."""
    hangar.sql("update fly_plans set grace_s = 86400")
    users = sign_up(hangar, 12)
    for user in users:
        hangar.converge(user)
    for user in users[:11]:
        lose(hangar, [user])
        look(hangar)
    kept = "select count(*) from user_fly_apps where delete_after > now() + interval '1 hour'"
    assert (held(hangar), hangar.one(kept)) == (None, 11)
    hangar.sql("delete from auth.users where id = %s", users[0])
    look(hangar)
    assert (held(hangar), hangar.one(kept)) == (None, 10)
    hangar.sql("update auth.users set deleted_at = now()")
    look(hangar)
    for user in users[1:]:
        hangar.claim(user, force=True)
    assert held(hangar) == {"losing": 11, "present": 11, "reason": "empty"}
    assert (hangar.one(kept), wanted(hangar, users)) == (10, 1)
    hangar.rpc("fly_release_brake", **OPERATOR)
    look(hangar)
    assert (hangar.one(kept), wanted(hangar, users)) == (0, 0)


def test_a_host_that_cannot_be_read_ends_no_grace(hangar):
    """An operator has denied the user. That the table of users cannot be read does not mean that the user is deleted."""
    hangar.sql("update fly_plans set grace_s = 86400")
    [user] = sign_up(hangar, 1)
    hangar.converge(user)
    hangar.rpc("fly_set_override", user=user, override="deny", plan=None, **OPERATOR)
    before = hangar.live_row(user)["delete_after"]
    assert before is not None
    hangar.sql("alter table user_subscriptions rename to elsewhere")
    hangar.sql("alter table auth.users rename column deleted_at to gone_at")
    hangar.claim(user, force=True)
    sync(hangar)
    assert hangar.live_row(user)["delete_after"] == before


def test_pages_of_a_sync_are_weighed_again(hangar):
    """The first page of a sync found new plans. Before the next one the host loses everything."""
    users = sign_up(hangar, 30)
    hangar.deafen()
    hangar.sql("update user_subscriptions set tier = 'elite'")
    after = hangar.rpc("fly_sync_entitlements", limit=10)["next"]
    hangar.sql("truncate user_subscriptions")
    hangar.sql("insert into hangar.marks (user_id) values (null)")
    hangar.rpc("fly_sync_entitlements", after=after, limit=10)
    assert (held(hangar)["losing"], wanted(hangar, users)) == (30, 30)


def test_a_mark_of_everybody_is_weighed_with_the_others(hangar):
    """A user whose mark waits beside a truncate is one of its victims."""
    users = sign_up(hangar, 12)
    hangar.sql("update user_subscriptions set tier = 'elite' where user_id = any(%s)", users[:3])
    hangar.sql("truncate user_subscriptions")
    hangar.rpc("fly_apply_marks")
    assert (held(hangar)["losing"], wanted(hangar, users)) == (12, 12)


def see_everybody(hangar, connect):
    """A session that has read that all users are back, and has not yet written so."""
    session = connect(hangar.url)
    entitlements = "hangar.entitlements(hangar.loss_candidates(null))"
    session.execute(f"create temp table seen as select array(select e from {entitlements} e) as wants")
    return session


def test_two_looks_at_the_same_time(hangar, connect):
    """One has read that all users are back. Before it writes so, the host loses them again, and the hold stays."""
    users = sign_up(hangar, 20)
    lose(hangar, users[:12])
    look(hangar)
    restore(hangar, users[:12])
    ender = see_everybody(hangar, connect)
    lose(hangar, users[:12])
    ender.execute("select hangar.judge_losses('{}', wants) from seen")
    assert (held(hangar)["losing"], wanted(hangar, users)) == (12, 20)


def test_an_old_look_and_a_host_that_cannot_be_read(hangar, connect):
    """All users were back, but that cannot be confirmed now. The next look that can read ends the hold."""
    users = sign_up(hangar, 20)
    lose(hangar, users[:12])
    look(hangar)
    restore(hangar, users[:12])
    ender = see_everybody(hangar, connect)
    hangar.sql("alter table user_subscriptions rename column tier to level")
    assert ender.execute("select hangar.judge_losses('{}', wants) from seen").fetchone() == (True,)
    assert hangar.one("select held_since is not null from hangar.host_state")
    hangar.sql("alter table user_subscriptions rename column level to tier")
    sync(hangar)
    assert (held(hangar), wanted(hangar, users)) == (None, 20)


def test_a_look_does_not_wait_for_another(hangar, connect):
    """While one transaction writes down the losses, a claim holds the app and does not fail."""
    users = sign_up(hangar, 20)
    lose(hangar, users[:12])
    other, answers = connect(hangar.url), []
    other.execute("begin; select 1 from hangar.host_state for update")
    thread = threading.Thread(target=lambda: answers.append(hangar.claim(users[0], force=True)))
    thread.start()
    thread.join(20)
    other.execute("rollback")
    assert answers[0]["row"]["desired_state"] == "present"
    look(hangar)
    sync(hangar)
    assert (held(hangar)["losing"], wanted(hangar, users)) == (12, 20)
