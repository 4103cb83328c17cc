"""Which alerts tell that the host's data say nothing, that its users are unknown, or that sweeps do not end. Each guard alone."""

import json
import uuid

import pytest
from psycopg import errors

from tests.postgres.app_rows import ago, each, insert, open_alert, open_alerts, put

USERS = [uuid.UUID(int=number) for number in range(1, 4)]
MINUTE = 60


def judged(hangar, call, verdicts):
    """Call a function with these judged subscriptions; None: the host cannot be read."""
    told = None if verdicts is None else json.dumps(verdicts)
    rows = (
        "case when %s::jsonb is not null then"
        " array(select v from jsonb_populate_recordset(null::hangar.subscription_verdict, %s::jsonb) v) end"
    )
    return hangar.one(f"select hangar.{call.format(rows)}", told, told)


def says(user, verdict, why, tier="pro", status="active"):
    return {"user_id": str(user) if user else None, "verdict": verdict, "why": why, "tier": tier, "status": status}


VALUES = [
    # the subscription, the alert about it
    (says(USERS[0], None, "unknown_tier", tier="gold"), ("unknown_tier", "gold")),
    (says(USERS[0], None, "no_tier", tier=None), ("unknown_tier", "null")),
    (says(USERS[0], None, "unknown_status", status=" Strange\t"), ("unknown_status", "strange")),
    (says(USERS[0], None, "no_status", status=None), ("unknown_status", "null")),
    (says(USERS[0], None, "unreadable_end"), ("unreadable_end", "ends_at")),
    (says(None, None, "unreadable_end"), ("unreadable_end", "ends_at")),
    (says(USERS[0], True, "active"), None),
    (says(USERS[0], False, "expired"), None),
    (says(USERS[0], False, "expired", tier="gold"), ("unknown_tier", "gold")),  # the next sign-up would wait
    (says(USERS[0], False, "expired", tier=None), None),
]


def unknown_values(hangar, verdicts):
    return judged(hangar, "check_unknown_values({})", verdicts)


def test_each_value_that_says_nothing_has_an_alert(inside):
    for verdict, alert in each(inside, VALUES):
        tiers = unknown_values(inside, [verdict])
        assert open_alerts(inside) == ([alert] if alert else []), verdict
        assert tiers == ([verdict["tier"]] if verdict["tier"] == "gold" else []), verdict


def test_one_value_is_one_alert_with_the_number_of_its_users(inside):
    verdicts = [says(user, None, "unknown_tier", tier="gold") for user in (*USERS, USERS[0])]
    unknown_values(inside, [*verdicts, says(USERS[0], None, "unknown_tier", tier="silver")])
    [gold, silver] = inside.sql("select key, metadata from hangar.alerts where kind = 'unknown_tier' order by key")
    assert (gold["metadata"], silver["metadata"]["users"]) == ({"users": 3, "example": str(USERS[0])}, 1)


def test_an_alert_about_a_value_ends_when_no_subscription_has_it_any_more(inside):
    """And not because the host cannot be read. Alerts about other things stay."""
    unknown_values(inside, [says(USERS[0], None, "unknown_tier", tier="gold")])
    open_alert(inside, "drift", "gold")
    open_alert(inside, "unknown_status", "gold")
    unknown_values(inside, None)
    both = [("drift", "gold"), ("unknown_tier", "gold")]
    assert open_alerts(inside) == sorted([*both, ("unknown_status", "gold")])
    unknown_values(inside, [says(USERS[0], None, "unknown_tier", tier="gold")])
    assert open_alerts(inside) == both
    unknown_values(inside, [])
    assert open_alerts(inside) == [("drift", "gold")]


STRANGERS = [
    # the user of a subscription, its verdict, whether the user exists and ever had an app, whether the user is unknown
    (USERS[0], True, False, False, True),
    (USERS[0], True, True, False, False),
    (USERS[0], True, False, True, False),  # deleted, not unknown
    (USERS[0], False, False, False, False),
    (USERS[0], None, False, False, False),
    (None, True, False, False, True),
    (None, False, False, False, False),
]


def test_an_entitling_subscription_of_nobody_is_told(inside):
    for user, verdict, exists, had_app, is_told in each(inside, STRANGERS):
        if had_app:
            put(inside, user_id=user, status="deleted", deleted_at=ago(60), desired_state="absent")
        existing = [user] if exists else []
        call = f"check_unknown_users({{}}, array{[str(each_user) for each_user in existing]}::uuid[])"
        judged(inside, call, [says(user, verdict, "active")])
        assert bool(open_alerts(inside, "unknown_user")) is is_told, (user, verdict, exists, had_app)


def test_the_alert_about_unknown_users_ends_with_them_and_not_while_the_host_cannot_be_read(inside):
    stranger = [says(USERS[0], True, "active")]
    nobody = "check_unknown_users({}, '{{}}')"
    judged(inside, nobody, stranger)
    judged(inside, nobody, None)
    judged(inside, "check_unknown_users({}, null)", [])
    assert open_alerts(inside) == [("unknown_user", "user_id")]
    judged(inside, nobody, [])
    assert open_alerts(inside) == []


def test_the_alert_about_unknown_users_counts_missing_ids_and_absent_users(inside):
    verdicts = [says(user, True, "active") for user in (None, None, USERS[1], USERS[0], USERS[0])]
    judged(inside, "check_unknown_users({}, '{{}}')", verdicts)
    assert inside.one("select metadata from hangar.alerts where kind = 'unknown_user'") == {
        "unreadable_ids": 2,
        "absent_users": 2,
        "example": str(USERS[0]),
    }


def check_host(hangar, problem=None):
    return hangar.one("select hangar.check_host(%s)", problem)


def test_a_host_that_is_read_has_no_alert(inside):
    open_alert(inside, "host_binding", "subscriptions")
    assert check_host(inside) is False
    assert open_alerts(inside) == []


def test_a_problem_that_is_over_when_the_readers_are_written_again_is_none(inside):
    """The caller then reads the host again."""
    assert check_host(inside, "column does not exist") is True
    assert open_alerts(inside) == []


def test_a_host_that_cannot_be_read_is_an_alert_that_says_why(inside):
    inside.sql("alter table user_subscriptions rename column tier to plan")
    assert check_host(inside, "an older problem") is False
    [alert] = inside.sql("select key, metadata from hangar.alerts where kind = 'host_binding' and resolved_at is null")
    assert (alert["key"], "tier" in alert["metadata"]["problem"]) == ("subscriptions", True)


def test_an_error_while_the_readers_are_written_again_is_the_problem(inside):
    inside.sql(
        "create or replace function hangar.write_host_functions() returns void"
        " language plpgsql as $$ begin raise 'no right'; end $$"
    )
    assert check_host(inside, "an older problem") is False
    assert inside.one("select metadata ->> 'problem' from hangar.alerts where kind = 'host_binding'") == "no right"


UNFINISHED = [
    # sweeps since the last complete one, since when, another alert, whether it is told
    (4, 16 * MINUTE, None, True),
    (3, 16 * MINUTE, None, False),
    (4, 14 * MINUTE, None, False),
    (4, 16 * MINUTE, ("fly_unreachable", {}), False),
    (4, 16 * MINUTE, ("fly_refused", {"listing": "no"}), False),
    (4, 16 * MINUTE, ("fly_refused", {}), True),  # an app is refused, but the list is not
    (4, 16 * MINUTE, ("brake", {}), True),
]


def test_when_sweeps_that_do_not_end_are_told(inside):
    for count, since_s, other, is_told in each(inside, UNFINISHED):
        insert(inside, "hangar.sweeps", name="other", unfinished=count, unfinished_since=ago(since_s))
        if other:
            open_alert(inside, other[0], "billing", metadata=other[1])
        inside.sql("select hangar.check_unfinished_sweeps(w) from hangar.sweeps w where name = 'other'")
        assert bool(open_alerts(inside, "sweep_unfinished")) is is_told, (count, since_s, other)


def test_an_alert_about_fly_that_is_over_explains_no_unfinished_sweep(inside):
    insert(inside, "hangar.sweeps", name="other", unfinished=4, unfinished_since=ago(16 * MINUTE))
    open_alert(inside, "fly_unreachable", resolved_at=ago(1))
    inside.sql("select hangar.check_unfinished_sweeps(w) from hangar.sweeps w where name = 'other'")
    assert open_alerts(inside) == [("sweep_unfinished", "other")]


def test_an_alert_that_is_over_stays_as_it_ended(inside):
    for key in ("a", "b"):
        open_alert(inside, "test", key, resolved_at=ago(600))
        open_alert(inside, "test", key)
    open_alert(inside, "other", "a")
    assert inside.one("select hangar.resolve_alert('test', 'a')") is True
    assert open_alerts(inside) == [("other", "a"), ("test", "b")]
    assert inside.one("select hangar.resolve_alert('test', 'a')") is False
    assert inside.one("select count(*) from hangar.alerts where resolved_at < hangar.now() - interval '9 min'") == 2


RULES = [
    # the word and the rule of the host, what is stored
    (" Trial\t", "entitled", "trial"),
    ("trial", "until_end", "trial"),
    ("trial", "no", "trial"),
    ("trial", "yes", None),
    ("trial", None, None),
    (" \t", "no", None),
    (None, "no", None),
]


def test_which_status_rules_are_accepted(inside):
    for status, rule, stored in RULES:
        with inside.admin.transaction(force_rollback=True):
            if stored is None:
                with pytest.raises(errors.InvalidParameterValue):
                    insert(inside, "hangar.status_rules", status=status, rule=rule)
            else:
                insert(inside, "hangar.status_rules", status=status, rule=rule)
                assert inside.one("select rule from hangar.status_rules where status = %s", stored) == rule


PROVIDERS = ("default", "stripe", "paddle", "lemon_squeezy", "revenuecat")


def test_the_rules_of_each_provider_replace_those_before(inside):
    for provider in PROVIDERS:
        count = inside.one("select hangar.use_status_rules(%s)", provider)
        stored = inside.sql("select status, rule from hangar.status_rules order by 1")
        assert stored == inside.sql("select status, rule from hangar.status_rules_of(%s) order by 1", provider)
        assert count == len(stored) > 4, provider
    for provider in ("nobody", None):
        with inside.admin.transaction(force_rollback=True), pytest.raises(errors.InvalidParameterValue):
            inside.sql("select hangar.use_status_rules(%s)", provider)


def test_a_host_that_cannot_be_read_is_not_taken_for_an_empty_one(inside):
    [found] = inside.sql("select rows is not null as is_read, problem from hangar.read_whole_host()")
    assert found == {"is_read": True, "problem": None}
    inside.sql("alter table user_subscriptions rename column tier to plan")
    [found] = inside.sql("select rows is not null as is_read, problem from hangar.read_whole_host()")
    assert (found["is_read"], "tier" in found["problem"]) == (False, True)
