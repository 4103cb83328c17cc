"""When the loss of entitlement is a mass loss, who is held, and what ends the hold, asked function by function."""

import json
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.postgres.app_rows import ago, each, insert, open_alert, open_alerts, put, set_settings

RUNS = {"tier": "pro", "machine_id": "m1"}
LEFT = {**RUNS, "desired_state": "absent", "status": "deprovisioning"}
FUTURE, PAST = ago(-600), ago(600)


def people(hangar, count, **columns):
    """So many users with an app."""
    users = sorted(uuid.uuid4() for _ in range(count))
    for user in users:
        put(hangar, user_id=user, **{**RUNS, **columns})
    return users


def loss(hangar, user, why="expired", *, confirmed=False):
    insert(hangar, "hangar.host_losses", user_id=user, why=why, confirmed=confirmed)


def state(hangar, **columns):
    sets = ", ".join(f"{name} = {value}" for name, value in columns.items())
    hangar.sql(f"update hangar.host_state set {sets}")


def wants(users, entitled, why, **more):
    known = {"known": True, "user_exists": True, "entitled": entitled, "why": why}
    return [{"user_id": str(user), **known, **more} for user in users]


def entitled(users):
    return wants(users, True, "active")


def expired(users):
    return wants(users, False, "expired")


def deleted(users):
    return wants(users, False, "user_deleted", user_exists=False)


WANTS = "array(select w from jsonb_populate_recordset(null::hangar.entitlement, %s::jsonb) w)"


def ask(hangar, function, found, *more):
    marks = "".join(", %s" for _ in more)
    return hangar.one(f"select hangar.{function}({WANTS}{marks})", json.dumps(found), *more)


AT_STAKE = [
    ({}, None, True),
    ({"status": "deleted", "deleted_at": ago(0)}, None, None),
    ({**LEFT, "hold_until": FUTURE}, None, False),
    ({**LEFT, "hold_until": PAST, "delete_after": FUTURE}, None, False),
    ({**LEFT, "delete_after": FUTURE}, None, False),
    ({**LEFT, "hold_until": PAST, "delete_after": PAST}, None, None),
    (LEFT, None, None),
    ({}, False, True),
    ({}, True, None),  # an operator has confirmed the loss
]


def test_which_apps_a_change_of_the_host_can_take_away(inside):
    for columns, confirmed, present in each(inside, AT_STAKE):
        [user] = people(inside, 1, **columns)
        if confirmed is not None:
            loss(inside, user, confirmed=confirmed)
        found = inside.sql("select present from hangar.list_apps_at_stake()")
        assert [row["present"] for row in found] == ([] if present is None else [present]), (columns, confirmed)


LOSING = [
    ({}, expired, "expired"),
    ({}, deleted, "user_deleted"),
    ({}, entitled, None),
    ({}, lambda users: wants(users, None, "unknown_tier"), None),
    ({}, lambda users: wants(users, False, "override_deny"), None),
    ({**LEFT, "hold_until": FUTURE}, expired, None),
    ({**LEFT, "hold_until": FUTURE}, deleted, "user_deleted"),
    ({**LEFT, "hold_until": FUTURE}, lambda users: wants(users, None, "unreadable_host", user_exists=None), None),
]


def test_who_loses_an_app(inside):
    for columns, found, why in each(inside, LOSING):
        users = people(inside, 1, **columns)
        rows = inside.sql(f"select * from hangar.find_losing({WANTS})", json.dumps(found(users)))
        assert [row["why"] for row in rows] == ([] if why is None else [why]), (columns, why)


CANDIDATES = [
    # desired apps, apps in their grace, changed of each, state, whether they matter: floor 2, share 0.5
    (10, 0, 2, 0, {}, False),
    (10, 0, 3, 0, {}, False),  # above the floor, and not more than the share
    (10, 0, 5, 0, {}, False),
    (10, 0, 6, 0, {}, True),
    (2, 0, 2, 0, {}, True),  # nobody would be left
    (3, 0, 2, 0, {}, False),
    (2, 9, 2, 0, {}, True),  # nobody whose app is desired
    (9, 2, 0, 2, {}, False),
    (2, 6, 0, 6, {}, True),
    (1, 2, 1, 2, {}, True),
    (10, 0, 1, 0, {"obeyed_by": "'operator'"}, True),
    (3, 5, 1, 2, {}, False),
    (3, 5, 1, 4, {}, True),
]


def test_when_so_few_have_changed_that_the_host_need_not_be_looked_at(inside):
    set_settings(inside, host_loss_floor=2, host_loss_share=0.5)
    for present, graced, changed, changed_graced, columns, matters in each(inside, CANDIDATES):
        if columns:
            state(inside, **columns)
        here, leaving = people(inside, present), people(inside, graced, **LEFT, delete_after=FUTURE)
        asked = here[:changed] + leaving[:changed_graced]
        found = inside.one("select hangar.loss_candidates(%s::uuid[])", asked)
        assert (sorted(found) if found is not None else None) == (sorted(asked) if matters else None), (
            present,
            graced,
            changed,
        )


def test_during_a_hold_and_without_a_list_everybody_matters(inside):
    users = people(inside, 5)
    assert sorted(inside.one("select hangar.loss_candidates(null)")) == users
    state(inside, held_since="hangar.now()")
    assert sorted(inside.one("select hangar.loss_candidates(%s::uuid[])", users[:1])) == users


COUNTS = [
    # losing, apps, whether a table is as good as empty, why they are held: floor 2, share 0.5
    (2, 2, True, "empty"),
    (2, 2, False, None),
    (1, 1, True, None),
    (2, 3, True, None),
    (3, 5, False, "share"),
    (3, 6, False, None),
    (2, 3, False, None),
    (4, 7, False, "share"),
]


def test_how_many_losses_are_a_mass_loss(inside):
    set_settings(inside, host_loss_floor=2, host_loss_share=0.5)
    for losing, apps, emptied, why in each(inside, COUNTS):
        inside.sql(
            "create or replace function hangar.explain_emptied_host() returns text language sql stable set search_path = ''"
            f" as $$ select {'$t$empty$t$' if emptied else 'null'}::text $$"
        )
        assert inside.one("select hangar.judge_counts(%s, %s)", losing, apps) == why, (losing, apps, emptied)


def test_apps_of_users_who_left_do_not_hide_the_loss_of_the_others_and_are_weighed_themselves(inside):
    set_settings(inside, host_loss_floor=2, host_loss_share=0.5)
    here, leaving = people(inside, 4), people(inside, 9, **LEFT, delete_after=FUTURE)
    assert ask(inside, "weigh_losses", expired(here[:3])) == "share"
    assert ask(inside, "weigh_losses", expired(here[:2])) is None
    assert ask(inside, "weigh_losses", deleted(leaving[:6])) is None
    assert ask(inside, "weigh_losses", deleted(leaving[:7])) == "share"
    assert ask(inside, "weigh_losses", [*expired(here[:2]), *deleted(leaving[:5])]) == "share"


def known(hangar):
    return {row["user_id"]: (row["why"], row["confirmed"]) for row in hangar.sql("select * from hangar.host_losses")}


def test_what_is_on_record_of_the_losses(inside):
    """Who is back or has no app is off it; what is not known changes nothing; a confirmed one stays."""
    back, unknown, again, seen_before, confirmed = people(inside, 5)
    gone = uuid.uuid4()
    for user in (back, unknown, again, seen_before, gone):
        loss(inside, user, "no_subscription")
    loss(inside, confirmed, confirmed=True)
    found = [*entitled([back, confirmed]), *wants([unknown], None, "unknown_tier"), *expired([again])]
    assert ask(inside, "record_losses", found) == 3
    assert known(inside) == {
        unknown: ("no_subscription", False),
        again: ("expired", False),
        seen_before: ("no_subscription", False),
        confirmed: ("expired", True),
    }


def test_a_hold_keeps_its_reason_and_its_beginning(inside):
    users = people(inside, 4)
    state(inside, held_since="hangar.now() - interval '1 hour'", reason="'empty'")
    assert ask(inside, "keep_hold", expired(users[:3]), "share") is True
    [found] = inside.sql("select *, held_since < hangar.now() - interval '30 min' as is_old from hangar.host_state")
    assert (found["is_old"], found["reason"], found["losing"], found["present"]) == (True, "empty", 3, 4)
    assert open_alerts(inside, "host_loss") == [("host_loss", "subscriptions")]


def test_a_new_hold_counts_the_apps_that_it_concerns(inside):
    """Those in their grace only if one of them is held."""
    here, leaving = people(inside, 2), people(inside, 3, **LEFT, delete_after=FUTURE)
    assert ask(inside, "keep_hold", expired(here), "share") is True
    [found] = inside.sql("select held_since is not null as held, reason, losing, present from hangar.host_state")
    assert found == {"held": True, "reason": "share", "losing": 2, "present": 2}
    assert ask(inside, "keep_hold", deleted(leaving[:1]), None) is True
    assert inside.one("select present from hangar.host_state") == 5


@pytest.mark.parametrize("why", ["unreadable_host", "not_bound"])
def test_a_host_of_which_nothing_is_known_ends_no_hold(inside, why):
    users = people(inside, 2)
    state(inside, held_since="hangar.now()", reason="'share'")
    inside.sql(
        "create or replace function hangar.entitlements(p_users uuid[]) returns setof hangar.entitlement language sql stable"
        " set search_path = '' as $$ select e.* from unnest(p_users) u cross join lateral"
        f" jsonb_populate_record(null::hangar.entitlement, jsonb_build_object('user_id', u, 'why', '{why}')) e $$"
    )
    assert ask(inside, "keep_hold", entitled(users), None) is True
    assert inside.one("select held_since is not null from hangar.host_state")
    for held in (True, False):
        state(inside, held_since="hangar.now()" if held else "null")
        found = json.dumps(wants(users, None, why))
        assert inside.one(f"select hangar.judge_losses(%s::uuid[], {WANTS})", users, found) is held


def test_a_hold_ends_when_nobody_is_losing_any_more(inside):
    state(inside, held_since="hangar.now()", reason="'share'", losing=3)
    open_alert(inside, "host_loss", "subscriptions")
    assert ask(inside, "keep_hold", [], None) is False
    [found] = inside.sql("select held_since, reason, losing from hangar.host_state")
    assert (found, open_alerts(inside, "host_loss")) == ({"held_since": None, "reason": None, "losing": 0}, [])


def judge(hangar, users, found):
    return hangar.one(f"select hangar.judge_losses(%s::uuid[], {WANTS})", users, json.dumps(found))


def test_when_losses_are_held(inside):
    set_settings(inside, host_loss_floor=2, host_loss_share=0.5)
    users = people(inside, 6)
    assert judge(inside, None, expired(users)) is False
    assert judge(inside, users[:3], expired(users[:3])) is False
    assert known(inside) == {}
    assert judge(inside, users[:4], expired(users[:4])) is True
    assert len(known(inside)) == 4
    # Once a hold is under way, each further loss is held, however few.
    assert judge(inside, users[4:5], expired(users[4:5])) is True
    assert len(known(inside)) == 5


def test_after_a_confirmation_its_users_are_forgotten_one_by_one(inside):
    """Who is entitled again, who is gone, whose app is not wanted any more: their next loss is a new one."""
    set_settings(inside, host_loss_floor=2, host_loss_share=0.5)
    again, waits = people(inside, 2)
    [leaving] = people(inside, 1, **LEFT, delete_after=FUTURE)
    [left_with_grace] = people(inside, 1, **LEFT, delete_after=FUTURE)
    gone = uuid.uuid4()
    state(inside, obeyed_by="'operator'")
    for user, why in (
        (again, "expired"),
        (waits, "expired"),
        (leaving, "user_deleted"),
        (left_with_grace, "expired"),
        (gone, "expired"),
    ):
        loss(inside, user, why, confirmed=True)
    assert judge(inside, [again, waits], [*entitled([again]), *expired([waits])]) is False
    assert set(known(inside)) == {waits, leaving}
    assert inside.one("select obeyed_by from hangar.host_state") == "operator"
    inside.sql("update user_fly_apps set desired_state = 'absent', status = 'deprovisioning', delete_after = null")
    judge(inside, [waits], expired([waits]))
    assert (known(inside), inside.one("select obeyed_by from hangar.host_state")) == ({}, None)


HELD_USERS = [
    # a hold, what is on record of the user, what the caller has found, whether the loss waits
    (True, None, False, True),
    (True, False, False, True),
    (True, True, True, False),
    (False, None, True, True),
    (False, None, False, False),
    (False, True, True, False),
    (False, None, None, False),
]


def test_whose_loss_waits_for_an_operator(inside):
    for hold, confirmed, found, waits in each(inside, HELD_USERS):
        [user, _] = people(inside, 2)
        state(inside, held_since="hangar.now()" if hold else "null")
        if confirmed is not None:
            loss(inside, user, confirmed=confirmed)
        assert inside.one("select hangar.is_loss_held(%s, %s)", user, found) is waits, (hold, confirmed, found)


MARKS = [
    # marks of the others: of users, of everybody, whether a sync has seen them; whether the loss of one more is a mass loss
    ([], False, False),
    ([False] * 3, False, True),
    ([True] * 3, False, False),
    ([], True, True),
]


def test_what_waits_is_weighed_together(inside):
    """Six users, of whom four would lose everything; one of them is looked at now."""
    set_settings(inside, host_loss_floor=2, host_loss_share=0.5)
    for seen, everybody, is_held in each(inside, MARKS):
        users = people(inside, 6)
        for user in users:
            insert(inside, "auth.users", id=user, email=f"{user}@example.test")
        inside.sql("update user_subscriptions set tier = 'pro' where user_id = any(%s)", users[4:])
        inside.sql("delete from hangar.marks")
        for user, is_seen in zip(users[1:4], seen, strict=False):
            insert(inside, "hangar.marks", user_id=user, seen=is_seen)
        if everybody:
            insert(inside, "hangar.marks", user_id=None)
        assert inside.one("select hangar.check_waiting_losses(%s::uuid[])", users[:1]) is is_held, (seen, everybody)


def test_an_operator_confirms_what_is_on_record_of_a_hold(inside):
    users = people(inside, 2)
    loss(inside, users[0])
    open_alert(inside, "host_loss", "subscriptions")
    inside.sql("delete from hangar.marks")
    inside.sql("select hangar.obey_host_loss('operator')")
    assert (known(inside)[users[0]], inside.one("select obeyed_by from hangar.host_state")) == (
        ("expired", False),
        None,
    )
    state(inside, held_since="hangar.now()", losing=1)
    inside.sql("select hangar.obey_host_loss('operator')")
    assert known(inside) == {users[0]: ("expired", True)}
    [found] = inside.sql("select held_since, losing, obeyed_by from hangar.host_state")
    assert found == {"held_since": None, "losing": 0, "obeyed_by": "operator"}
    assert (open_alerts(inside, "host_loss"), inside.marked()) == ([], {None})


def test_a_look_at_losses_does_not_wait_for_another_and_holds_meanwhile(hangar):
    hangar.sql("update hangar.settings set host_loss_floor = 0, host_loss_share = 0")
    users = people(hangar, 2)
    other = hangar.connect(hangar.url)
    with other.transaction():
        other.execute("select 1 from hangar.host_state for update")
        hangar.sql("set lock_timeout = '200ms'")
        assert judge(hangar, users, expired(users)) is True
    assert known(hangar) == {}


def test_a_look_that_waited_for_another_sees_what_that_one_has_written(hangar):
    """A hold that an operator ends meanwhile is not begun again by a look from before."""
    users = people(hangar, 6)
    state(hangar, held_since="hangar.now()", reason="'share'")
    operator, sync = hangar.connect(hangar.url), hangar.connect(hangar.url)
    query = f"select hangar.judge_losses(%s::uuid[], {WANTS})"
    with ThreadPoolExecutor(1) as pool:
        with operator.transaction():
            operator.execute("update hangar.host_state set held_since = null, reason = null, losing = 0")
            late = pool.submit(lambda: sync.execute(query, [users[:1], json.dumps(expired(users[:1]))]).fetchone())
            hangar.wait_until_blocked(sync)
        assert late.result(timeout=30) == (False,)
    assert hangar.one("select held_since from hangar.host_state") is None
