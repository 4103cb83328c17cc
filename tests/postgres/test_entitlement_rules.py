"""How subscriptions and users are judged, asked without a host: the order of the rules, what is unknown, how values are read."""

import json
import uuid

import pytest
from psycopg import errors

from tests.postgres.app_rows import ago, each, insert

USER, OTHER = uuid.UUID(int=1), uuid.UUID(int=2)


def judge(hangar, *subscriptions, order=""):
    """The verdict and the reason about each subscription of one user, in their order."""
    rows = json.dumps([{"user_id": str(USER), **subscription} for subscription in subscriptions])
    found = hangar.sql(
        "select j.verdict, j.why, j.tier from hangar.judge_subscriptions(array("
        f"select s from jsonb_populate_recordset(null::hangar.host_subscription, %s::jsonb) s{order})) j order by j.place",
        rows,
    )
    return [(row["verdict"], row["why"], row["tier"]) for row in found]


AHEAD, PAST = "2999-01-01", "2020-01-01"
VERDICTS = [
    # tier, status, end, problem, the verdict, why
    ("pro", "active", None, None, True, "active"),
    ("pro", "active", AHEAD, None, True, "active"),
    ("pro", "active", PAST, None, False, "expired"),
    ("pro", " Past_Due\t", None, None, True, "past_due"),
    ("pro", "past_due", AHEAD, None, True, "past_due_until"),
    ("pro", "cancelled", AHEAD, None, True, "cancelled_until"),
    ("pro", "cancelled", None, None, False, "cancelled"),
    ("pro", "cancelled", PAST, None, False, "cancelled"),
    ("pro", "paused", AHEAD, None, False, "status_paused"),
    ("free", "active", None, None, False, "plan_not_dedicated"),
    ("free", "strange", None, None, False, "plan_not_dedicated"),
    ("free", "paused", None, None, False, "status_paused"),
    ("pro", None, None, None, None, "no_status"),
    ("pro", " ", None, None, None, "no_status"),
    ("pro", "strange", PAST, None, None, "unknown_status"),
    ("pro", "active", None, "ends_at", None, "unreadable_end"),
    ("free", "active", None, "ends_at", False, "plan_not_dedicated"),
    ("gold", "active", None, "ends_at", None, "unreadable_end"),
    (None, "active", None, None, None, "no_tier"),
    (None, "active", PAST, None, False, "expired"),
    (None, "cancelled", None, None, False, "cancelled"),
    ("gold", "active", None, None, None, "unknown_tier"),
    ("gold", "active", PAST, None, False, "expired"),
    ("gold", "paused", None, None, False, "status_paused"),
]


def test_what_follows_from_one_subscription(inside):
    for tier, status, ends_at, problem, verdict, why in VERDICTS:
        found = judge(inside, {"tier": tier, "status": status, "ends_at": ends_at, "problem": problem})
        assert found == [(verdict, why, tier)], (tier, status, ends_at, problem)


PLANS = [
    # how the plan `better` differs from the plan `worse`
    ({"rank": 2, "price_usd": 1}, {"rank": 1, "price_usd": 9}),
    ({"rank": 0}, {"rank": None}),
    ({"rank": 1, "price_usd": 9, "memory_mb": 512}, {"rank": 1, "price_usd": 5, "memory_mb": 1024}),
    ({"rank": 1, "price_usd": 5}, {"rank": 1, "price_usd": None}),
    ({"memory_mb": 1024, "cpu_count": 1}, {"memory_mb": 512, "cpu_count": 2}),
    ({"memory_mb": 1024, "cpu_count": 2}, {"memory_mb": 1024, "cpu_count": 1}),
]


def test_the_better_plan_counts(inside):
    """By rank, price, memory and processors, in this order. A value that is missing is the lowest."""
    for better, worse in each(inside, PLANS):
        common = {"dedicated": True, "cpu_kind": "shared", "cpu_count": 1, "memory_mb": 512, "rank": 1}
        insert(inside, "fly_plans", tier="z-better", **{**common, **better})
        insert(inside, "fly_plans", tier="a-worse", **{**common, **worse})
        for order in ("", " order by s.tier", " order by s.tier desc"):
            found = judge(
                inside, *({"tier": tier, "status": "active"} for tier in ("a-worse", "z-better")), order=order
            )
            assert found[0][2] == "z-better", (better, worse)


ORDERS = [
    # the one that counts, the other one: both of one plan
    ({"status": "active", "ends_at": None}, {"status": "past_due", "ends_at": AHEAD}),
    ({"status": "active", "ends_at": AHEAD}, {"status": "trialing", "ends_at": "2998-01-01"}),
    ({"status": "cancelled", "ends_at": AHEAD}, {"status": "strange", "ends_at": None}),
    ({"status": "strange"}, {"status": "paused"}),
    ({"status": "active", "ends_at": AHEAD}, {"status": "paused"}),
]


def test_what_entitles_comes_first_and_what_denies_last(inside):
    """Without an end before a later end before an earlier one; what is unknown before a no."""
    for first, second in ORDERS:
        for pair in ((first, second), (second, first)):
            found = judge(inside, *({"tier": "pro", **each} for each in pair))
            alone = judge(inside, {"tier": "pro", **first})
            assert found[0] == alone[0], (first, second)


def user(hangar, *, judged=({"verdict": True, "why": "active", "tier": "pro", "place": 1},), existing=(USER,), of=USER):
    """What one user is entitled to, given the judged subscriptions and the users who exist; None: unreadable."""
    rows = None if judged is None else json.dumps([{"user_id": str(USER), **each} for each in judged])
    [found] = hangar.sql(
        "select u.*, (u.spec).memory_mb as memory_mb, (u.spec).docker_image as image from hangar.judge_users(array[%s::uuid],"
        " case when %s::jsonb is not null then array(select v from"
        " jsonb_populate_recordset(null::hangar.subscription_verdict, %s::jsonb) v) end, %s::uuid[]) u",
        of,
        rows,
        rows,
        None if existing is None else list(existing),
    )
    return found


NO = [{"verdict": False, "why": "expired", "tier": "pro", "place": 1}]
UNKNOWN = [{"verdict": None, "why": "unknown_tier", "tier": "gold", "place": 1}]
USERS = [
    # what is known, entitled, why, known to the host, exists
    ({}, True, "active", True, True),
    ({"judged": NO}, False, "expired", True, True),
    ({"judged": UNKNOWN}, None, "unknown_tier", True, True),
    ({"judged": []}, False, "no_subscription", True, True),
    ({"existing": []}, False, "user_deleted", True, False),
    ({"judged": [], "existing": []}, False, "user_deleted", False, False),
    ({"judged": None}, None, "unreadable_host", True, True),
    ({"existing": None}, None, "unreadable_host", True, None),
    (
        {"judged": [{**NO[0], "place": 2}, {"verdict": True, "why": "active", "tier": "elite", "place": 1}]},
        True,
        "active",
        True,
        True,
    ),
]


def test_what_a_user_is_entitled_to(inside):
    for known, entitled, why, is_known, exists in USERS:
        found = user(inside, **known)
        assert (found["entitled"], found["why"], found["known"], found["user_exists"]) == (
            entitled,
            why,
            is_known,
            exists,
        ), known
    assert user(inside, judged=USERS[-1][0]["judged"])["tier"] == "elite"


def test_without_a_binding_nothing_is_known(inside):
    inside.sql("delete from hangar.binding")
    found = user(inside)
    assert (found["entitled"], found["why"]) == (None, "not_bound")


OVERRIDES = [
    # the override, what is known, entitled, why, the plan
    ({"override": "grant", "plan": "elite"}, {}, True, "override_grant", "elite"),
    ({"override": "grant", "plan": "elite"}, {"judged": NO}, True, "override_grant", "elite"),
    ({"override": "grant", "plan": "elite"}, {"judged": None, "existing": None}, True, "override_grant", "elite"),
    ({"override": "grant", "plan": "elite", "ends_at": ago(1)}, {}, True, "active", "pro"),
    ({"override": "grant", "plan": "elite", "ends_at": ago(-60)}, {}, True, "override_grant", "elite"),
    ({"override": "deny"}, {}, False, "override_deny", "pro"),
    ({"override": "deny"}, {"judged": None}, False, "override_deny", None),
    ({"override": "deny", "ends_at": ago(1)}, {}, True, "active", "pro"),
]


def test_an_operators_word_comes_first_until_it_ends(inside):
    for override, known, entitled, why, plan in each(inside, OVERRIDES):
        insert(inside, "fly_overrides", user_id=USER, actor="test", **override)
        found = user(inside, **known)
        assert (found["entitled"], found["why"], found["plan"]) == (entitled, why, plan), (override, known)


def test_a_pin_counts_until_it_ends(inside):
    for ends_at, image in each(
        inside, [(None, "app:pinned"), (ago(-60), "app:pinned"), (ago(1), "registry.fly.io/vyx-app:latest")]
    ):
        insert(inside, "hangar.user_pins", user_id=USER, image="app:pinned", ends_at=ends_at, actor="test")
        assert user(inside)["image"] == image, ends_at


WHYS = [
    "unknown_status",
    "no_status",
    "unreadable_end",
    "no_tier",
    "unknown_tier",
    "not_bound",
    "unreadable_host",
    None,
]


def test_which_reasons_say_that_nothing_is_known(inside):
    known = ["active", "expired", "user_deleted", "no_subscription", "override_deny", "plan_not_dedicated"]
    assert [why for why in [*WHYS, *known] if inside.one("select hangar.is_unknown(%s)", why)] == WHYS


def read_time(hangar, value, kind="text"):
    return hangar.one(f"select hangar.to_time({value}::{kind})::text")


TIMES = [
    # a number of seconds or milliseconds, and the time that it means
    ("946684800", "2000-01-01 00:00:00+00"),
    ("946684799", None),
    ("1767225600", "2026-01-01 00:00:00+00"),
    ("1767225600000", "2026-01-01 00:00:00+00"),
    ("1767225600500", "2026-01-01 00:00:00.5+00"),
    ("999999999999", None),
    ("253402300799", "9999-12-31 23:59:59+00"),
    ("253402214400", "9999-12-31 00:00:00+00"),
    ("253402214401", None),
    ("7258118399", "2199-12-31 23:59:59+00"),
    ("7258118401", None),
    ("0", None),
    ("-1", None),
    ("'infinity'", "infinity"),
    ("'nan'", None),
]


def test_which_numbers_are_times(inside):
    inside.sql("set local timezone to 'UTC'")
    for value, means in TIMES:
        assert read_time(inside, value, "double precision") == means, value


def test_a_time_before_1990_means_nothing(inside):
    """Programs write one for "none"."""
    times = ("1989-12-31 23:59:59+00", "1990-01-01 00:00:00+00", "0001-01-01 00:00:00+00", "-infinity")
    found = [inside.one("select hangar.to_time(%s::timestamptz) is not null", value) for value in times]
    assert found == [False, True, False, True]


TEXTS = [
    ("2026-01-01", "2026-01-01 00:00:00+00"),
    (" 2026-01-01T10:00:00\n", "2026-01-01 10:00:00+00"),
    ("2026-01-01T10:00:00+02:00", "2026-01-01 08:00:00+00"),
    ("20260101", "2026-01-01 00:00:00+00"),
    ("946684800", "2000-01-01 00:00:00+00"),
    ("01/02/2027", None),
    ("soon", None),
    ("2026-13-01", None),
    ("Infinity", "infinity"),
]


def test_which_texts_are_times_whatever_the_session_is_set_to(inside):
    """A time without a zone is UTC."""
    for setting in each(
        inside,
        ("set local timezone to 'UTC'", "set local timezone to 'Asia/Tokyo'", "set local datestyle to 'SQL, DMY'"),
    ):
        inside.sql(setting)
        for value, means in TEXTS:
            query = "select hangar.to_time(%s::text) is not distinct from %s::text::timestamptz"
            is_same = inside.one(query, value, means)
            assert is_same, (setting, value)
        assert inside.one("select hangar.to_time('2026-01-01'::date) = '2026-01-01T00:00:00Z'::timestamptz")
        assert inside.one("select hangar.to_time('2026-01-01 10:00'::timestamp) = '2026-01-01T10:00:00Z'::timestamptz")


DELETED = [
    ("true", True),
    ("false", False),
    ("null::boolean", False),
    ("hangar.now()", True),
    ("hangar.now() + interval '1 minute'", False),
    ("'-infinity'::timestamptz", False),
    ("'infinity'::timestamptz", False),
    ("'0001-01-01'::timestamptz", False),
    ("1::double precision", True),
    ("0::double precision", False),
    ("2::double precision", False),
    ("1767225600::double precision", True),
    ("' Yes'::text", True),
    ("'T'::text", True),
    ("'Y'::text", True),
    ("'1'::text", True),
    ("E'TRUE\\n'::text", True),
    ("'no'::text", False),
    ("'2020-01-01'::text", True),
    ("'2999-01-01'::text", False),
    ("''::text", False),
    ("'2020-01-01'::date", True),
]


def test_what_says_that_a_user_is_deleted(inside):
    for value, deleted in DELETED:
        assert inside.one(f"select hangar.is_deleted({value})") is deleted, value


UUIDS = [
    ("0f0e0d0c-0b0a-0908-0706-050403020100", True),
    ("0F0E0D0C-0B0A-0908-0706-050403020100", True),
    (" {0f0e0d0c0b0a09080706050403020100}\t", True),
    ("0f0e0d0c0b0a0908-0706050403020100", True),
    ("0f0e0d0c0b0a0908070605040302010", False),
    ("g", False),
]


def test_which_texts_are_ids_of_users(inside):
    expected = uuid.UUID("0f0e0d0c-0b0a-0908-0706-050403020100")
    for text, is_one in UUIDS:
        assert inside.one("select hangar.to_uuid(%s::text)", text) == (expected if is_one else None), text
    forms = set(inside.one("select hangar.uuid_texts(array[%s::uuid])", expected))
    lower = {str(expected), expected.hex, f"{{{expected}}}"}
    assert forms == lower | {form.upper() for form in lower}


def test_a_cancel_is_no_fault_of_the_host(inside):
    codes = ("57014", "57P01", "42P01", "P0001", "55P03")
    assert [inside.one("select hangar.is_host_fault(%s)", code) for code in codes] == [False, True, True, True, True]


READERS = {
    "try_read_subscriptions": "read_subscriptions(p_users uuid[]) returns setof hangar.host_subscription",
    "try_existing_users": "existing_users(p_users uuid[]) returns uuid[]",
}


@pytest.mark.parametrize("call", READERS)
def test_a_time_out_while_the_host_is_read_is_no_answer_and_an_error_says_that_nothing_is_known(inside, call):
    for code in each(inside, ("42P01", "57014")):
        inside.sql(
            f"create or replace function hangar.{READERS[call]} language plpgsql stable set search_path = ''"
            f" as $$ begin raise exception 'x' using errcode = '{code}'; end $$"
        )
        query = f"select hangar.{call}(array[gen_random_uuid()]) is null"
        if code == "42P01":
            assert inside.one(query) is True
            continue
        with pytest.raises(errors.QueryCanceled), inside.admin.transaction():
            inside.one(query)


# What each provider's words mean: entitled, until the end, never.
PRESETS = {
    "default": (
        "active past_due trialing",
        "canceled cancelled",
        "expired incomplete incomplete_expired paused unpaid",
    ),
    "stripe": (
        "active past_due trialing",
        "",
        "canceled cancelled incomplete incomplete_expired paused unpaid",
    ),
    "paddle": ("active past_due trialing", "", "canceled paused"),
    "lemon_squeezy": ("active on_trial past_due", "cancelled", "expired paused unpaid"),
    "revenuecat": (
        "active billing_issue initial_purchase product_change renewal uncancellation",
        "canceled cancellation cancelled subscription_paused",
        "expiration expired",
    ),
}


def test_every_word_of_every_preset(inside):
    """A word that changes its meaning here gives apps away or takes them."""
    for provider, words in PRESETS.items():
        rows = inside.sql("select rule, status from hangar.status_rules_of(%s) order by status", provider)
        found = tuple(
            " ".join(row["status"] for row in rows if row["rule"] == rule) for rule in ("entitled", "until_end", "no")
        )
        assert found == words, provider
