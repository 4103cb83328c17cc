"""A mass loss of entitlement waits for an operator: what is held, what is not, and how it ends."""

from datetime import UTC, datetime, timedelta

import pytest

from tests.postgres.losses import held, look, lose, restore, sign_up, sync, wanted

pytestmark = pytest.mark.every_postgres


EMPTIED = ["truncate user_subscriptions", "delete from user_subscriptions"]


@pytest.mark.parametrize("count", [2, 15])
@pytest.mark.parametrize("statement", EMPTIED)
def test_an_emptied_table_is_held(hangar, statement, count):
    """A10: no app goes, by any way of looking at its user, until an operator decides."""
    users = sign_up(hangar, count)
    hangar.sql(statement)
    assert hangar.claim(users[0], force=True)["row"]["desired_state"] == "present"
    look(hangar)
    assert held(hangar) == {"losing": count, "present": count, "reason": "empty"}
    hangar.rpc("fly_claim_due", limit=100)
    for user in users:
        hangar.claim(user, force=True)
    sync(hangar)
    assert wanted(hangar, users) == count


def test_a_worker_removes_no_app_of_an_emptied_table(hangar, act):
    """A claim that comes before any sync finds the row desired, and the save refuses a removal."""
    users = sign_up(hangar, 12)
    hangar.converge(users[0])
    hangar.sql("truncate user_subscriptions")
    row = hangar.lease(users[0])
    for action in ("stop_machine", "destroy_machine", "delete_app"):
        answer = hangar.save(row, events=[act.intent(action, purpose="deprovision")])
        assert (answer["refused"], answer["row"]["desired_state"]) == ("entitled", "present")


@pytest.mark.parametrize(
    ("present", "losing", "is_held"),
    [
        (20, 11, True),
        (21, 11, True),
        (22, 11, False),
        (12, 11, True),
        (20, 10, False),
        (11, 10, False),
        (40, 20, False),
    ],
)
def test_more_than_half_and_more_than_ten(hangar, present, losing, is_held):
    """The limits of the rule, each from both sides."""
    users = sign_up(hangar, present)
    lose(hangar, users[:losing])
    look(hangar)
    assert held(hangar) == ({"losing": losing, "present": present, "reason": "share"} if is_held else None)
    assert wanted(hangar, users) == (present if is_held else present - losing)


CAUSES = {
    "deleted subscriptions": "delete from user_subscriptions where user_id = any(%s)",
    "a status": "update user_subscriptions set status = 'cancelled' where user_id = any(%s)",
    "a tier": "update user_subscriptions set tier = 'free' where user_id = any(%s)",
    "ends": "update user_subscriptions set expires_at = now() - interval '1 hour' where user_id = any(%s)",
    "deleted users": "delete from auth.users where id = any(%s)",
    "softly deleted users": "update auth.users set deleted_at = now() where id = any(%s)",
}


@pytest.mark.parametrize("cause", CAUSES.values(), ids=CAUSES.keys())
def test_causes_of_a_mass_loss(hangar, cause):
    """Whatever the host changed: subscriptions, or the users themselves."""
    users = sign_up(hangar, 15)
    hangar.sql(cause, users[:12])
    look(hangar)
    assert held(hangar) == {"losing": 12, "present": 15, "reason": "share"}
    assert wanted(hangar, users) == 15


def test_a_status_rule_that_ends_everybody(hangar):
    """A rule of the operator's own that takes all apps away is a mistake until somebody says otherwise."""
    users = sign_up(hangar, 15)
    hangar.sql("update hangar.status_rules set rule = 'no' where status = 'active'")
    sync(hangar)
    assert (held(hangar)["losing"], wanted(hangar, users)) == (15, 15)
    hangar.sql("update hangar.status_rules set rule = 'entitled' where status = 'active'")
    sync(hangar)
    assert (held(hangar), wanted(hangar, users)) == (None, 15)


def test_many_ends_at_the_same_time(hangar):
    """No statement of the host: the clock passes the end of most subscriptions, and the sync holds them."""
    users = sign_up(hangar, 15)
    hangar.sql(
        "update user_subscriptions set expires_at = %s where user_id = any(%s)",
        datetime.now(UTC) + timedelta(hours=1),
        users[:14],
    )
    look(hangar)
    hangar.shift_clock(3700)
    sync(hangar)
    assert (held(hangar)["losing"], wanted(hangar, users)) == (14, 15)


def test_one_statement_for_each_user(hangar):
    """A script that deletes row by row is held too, as long as its marks wait together; by claims as by a drain."""
    users = sign_up(hangar, 15)
    for user in users[:12]:
        lose(hangar, [user])
    for user in users[:12]:
        assert hangar.claim(user, force=True)["row"]["desired_state"] == "present"
    look(hangar)
    assert (held(hangar)["losing"], wanted(hangar, users)) == (12, 15)


def test_losses_one_after_another_are_no_mass_loss(hangar):
    """Users who leave over time, each followed before the next, are obeyed."""
    users = sign_up(hangar, 15)
    for user in users[:12]:
        lose(hangar, [user])
        look(hangar)
    assert (held(hangar), wanted(hangar, users)) == (None, 3)


def test_more_marks_than_one_call_takes(hangar):
    """The losses of all waiting marks are counted together, not those of one call."""
    users = sign_up(hangar, 30)
    lose(hangar, users[:20])
    hangar.rpc("fly_apply_marks", limit=5)
    assert (held(hangar)["losing"], wanted(hangar, users)) == (20, 30)


def test_a_released_loss_is_obeyed(hangar):
    """An operator confirms it: the alert resolves, the apps go, and the next mass loss is held again."""
    users = sign_up(hangar, 30)
    lose(hangar, users[:16])
    look(hangar)
    hangar.rpc("fly_release_brake", actor="ops@example.test", reason="the trial is over")
    assert held(hangar) is None
    assert hangar.one("select obeyed_by from hangar.host_state") == "ops@example.test"
    assert hangar.rpc("fly_apply_marks")["everybody"]
    look(hangar)
    sync(hangar)
    assert wanted(hangar, users) == 14
    sync(hangar)
    assert hangar.one("select obeyed_by from hangar.host_state") is None
    lose(hangar, users[16:])
    look(hangar)
    assert (held(hangar)["losing"], wanted(hangar, users)) == (14, 14)


def test_a_host_that_cannot_be_read_ends_no_hold(hangar):
    """Nothing is known, so nothing is back: a claim before the next sync takes no app, and a released loss stays released."""
    users = sign_up(hangar, 15)
    lose(hangar, users[:12])
    look(hangar)
    assert held(hangar)["losing"] == 12
    for rename in ("tier to level", "level to tier"):
        hangar.sql(f"alter table user_subscriptions rename column {rename}")
        sync(hangar)
        assert held(hangar)["losing"] == 12
    hangar.sql("delete from hangar.marks")
    for user in users[:12]:
        hangar.claim(user, force=True)
    assert wanted(hangar, users) == 15
    hangar.rpc("fly_release_brake", actor="ops@example.test", reason="the trial is over")
    hangar.sql("alter table user_subscriptions rename column tier to level")
    sync(hangar)
    assert hangar.one("select obeyed_by from hangar.host_state") == "ops@example.test"
    hangar.sql("alter table user_subscriptions rename column level to tier")
    sync(hangar)
    assert wanted(hangar, users) == 3


def test_a_recovery_resolves_the_alert(hangar):
    """The host restores its table. No app was touched, no row has changed, and the alert ends with the marks."""
    users = sign_up(hangar, 15)
    hangar.sql("truncate user_subscriptions")
    look(hangar)
    assert held(hangar)["losing"] == 15
    restore(hangar, users)
    look(hangar)
    assert held(hangar) is None
    rows = hangar.sql("select desired_state, generation, tier from user_fly_apps")
    assert {(row["desired_state"], row["generation"], row["tier"]) for row in rows} == {("present", 1, "pro")}


def test_a_recovery_of_most_keeps_the_others_held(hangar):
    """What is then left would be no mass loss by itself. It stays held until an operator decides."""
    users = sign_up(hangar, 30)
    lose(hangar, users[:20])
    look(hangar)
    assert held(hangar)["losing"] == 20
    restore(hangar, users[:17])
    look(hangar)
    sync(hangar)
    assert (held(hangar), wanted(hangar, users)) == ({"losing": 3, "present": 30, "reason": "share"}, 30)
    hangar.rpc("fly_release_brake", actor="ops@example.test", reason="these three have left")
    look(hangar)
    assert (held(hangar), wanted(hangar, users)) == (None, 27)


def test_the_alert_counts_what_is_lost_meanwhile(hangar):
    """More losses during a hold are held with the others."""
    users = sign_up(hangar, 20)
    lose(hangar, users[:12])
    look(hangar)
    lose(hangar, users[12:14])
    look(hangar)
    assert held(hangar) == {"losing": 14, "present": 20, "reason": "share"}
    assert wanted(hangar, users) == 20


def test_small_hosts_are_obeyed(hangar):
    """One app of an emptied table, and up to ten apps of a table with rows, are the host's business."""
    [only] = sign_up(hangar, 1)
    hangar.sql("delete from user_subscriptions")
    look(hangar)
    assert (held(hangar), wanted(hangar, [only])) == (None, 0)
    users = sign_up(hangar, 10)
    hangar.sql("update user_subscriptions set status = 'cancelled'")
    look(hangar)
    assert (held(hangar), wanted(hangar, users)) == (None, 0)


def test_an_operators_denials_are_not_counted(hangar):
    """They are decisions of an operator already: obeyed in any number, also while losses are held."""
    users = sign_up(hangar, 30)
    deny = {"override": "deny", "plan": None, "actor": "test", "reason": "abuse"}
    for user in users[:12]:
        hangar.rpc("fly_set_override", user=user, **deny)
    sync(hangar)
    assert (held(hangar), wanted(hangar, users)) == (None, 18)
    lose(hangar, users[12:25])
    look(hangar)
    assert (held(hangar)["losing"], wanted(hangar, users)) == (13, 18)
    hangar.rpc("fly_set_override", user=users[-1], **deny)
    assert wanted(hangar, users) == 17


def test_gains_and_upgrades_during_a_hold(hangar):
    """A hold keeps apps. It keeps nobody from getting one, or a larger one, and who had left before stays so."""
    users = sign_up(hangar, 21)
    hangar.subscribe(users[-1], tier="free")
    lose(hangar, users[:12])
    look(hangar)
    new = hangar.user("pro")
    hangar.subscribe(users[12], tier="elite")
    assert held(hangar)["losing"] == 12
    assert (hangar.live_row(new)["desired_state"], hangar.live_row(users[12])["tier"]) == ("present", "elite")
    assert hangar.live_row(users[-1])["desired_state"] == "absent"
