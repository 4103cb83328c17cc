"""How the subscriptions of other people's hosts are judged: several rows, odd words, missing values, renamed plans."""

from datetime import UTC, datetime, timedelta

import pytest

pytestmark = pytest.mark.every_postgres

NOW = datetime.now(UTC)
PAST = NOW - timedelta(days=1)
AHEAD = NOW + timedelta(days=20)
FAR = NOW + timedelta(days=40)


@pytest.fixture
def host(hangar):
    """A host that keeps any number of subscriptions of a user, with any tier and any status."""
    for name in ("user_id_key", "tier_check", "status_check"):
        hangar.sql(f"alter table user_subscriptions drop constraint user_subscriptions_{name}")
    for column in ("tier", "status"):
        hangar.sql(f"alter table user_subscriptions alter column {column} drop not null")
    return hangar


def write(host, user, *rows):
    """The user has these subscriptions: tier, status, end."""
    with host.admin.transaction():
        host.sql("delete from user_subscriptions where user_id = %s", user)
        for tier, status, ends_at in rows:
            host.sql(
                "insert into user_subscriptions (user_id, tier, status, expires_at) values (%s, %s, %s, %s)",
                user,
                tier,
                status,
                ends_at,
            )
    host.follow()


def wants(host, user):
    """The tier of the app that the user's row asks for; None if it asks for none."""
    row = host.row(user)
    return row["tier"] if row and row["desired_state"] == "present" else None


def judged(host, user):
    answer = host.rpc("fly_user_status", user=user)
    return answer["entitled"], answer["why"]


def alerts(host):
    rows = host.sql("select kind, key from hangar.alerts where resolved_at is null order by kind, key")
    return [(row["kind"], row["key"]) for row in rows]


SEVERAL = [
    # the subscriptions -> the tier that the app has, why
    ([("pro", "active", AHEAD), ("free", "active", None)], "pro", "active"),
    ([("pro", "cancelled", AHEAD), ("free", "active", None)], "pro", "cancelled_until"),
    ([("pro", "past_due", AHEAD), ("pro", "active", PAST)], "pro", "past_due_until"),
    ([("elite", "active", PAST), ("pro", "trialing", AHEAD), ("free", "active", FAR)], "pro", "trialing"),
    ([("pro", "unpaid", FAR), ("pro", "active", AHEAD)], "pro", "active"),
    ([("pro", "active", None), ("elite", "active", AHEAD)], "elite", "active"),
    ([("platinum", "active", None), ("pro", "active", AHEAD)], "pro", "active"),
    ([("pro", "dunning", None), ("pro", "past_due", None)], "pro", "past_due"),
    ([(None, "active", None), ("pro", "active", AHEAD)], "pro", "active"),
    ([("pro", "active", PAST), ("free", "active", None), ("elite", "expired", FAR)], None, None),
]


@pytest.mark.parametrize("backwards", [False, True])
def test_the_best_subscription_counts(host, backwards):
    """A1: each row is judged on its own, and the one that entitles wins, in whatever order the rows are stored."""
    host.sql("update fly_plans set rank = case tier when 'elite' then 2 when 'pro' then 1 end")
    for rows, tier, why in SEVERAL:
        user = host.user("pro")
        write(host, user, *(reversed(rows) if backwards else rows))
        assert wants(host, user) == tier, rows
        assert judged(host, user)[0] is (tier is not None), rows
        assert why is None or judged(host, user)[1] == why, rows


@pytest.mark.parametrize(
    ("plans", "best"),
    [
        ("rank = case tier when 'pro' then 5 else 1 end, price_usd = case tier when 'elite' then 90 end", "pro"),
        ("rank = case tier when 'pro' then 1 end, price_usd = 10, memory_mb = 512", "pro"),
        ("price_usd = case tier when 'pro' then 9 else 5 end, memory_mb = case tier when 'pro' then 512 else 1024 end", "pro"),
        ("memory_mb = case tier when 'pro' then 1024 else 512 end", "pro"),
        ("memory_mb = 1024, cpu_count = case tier when 'pro' then 4 else 2 end", "pro"),
        ("price_usd = null", "elite"),  # all else equal: the later end
    ],
)  # fmt: skip
def test_two_entitling_rows_have_a_total_order(host, plans, best):
    """A2: rank, price, memory, end. Updates of unrelated columns, which move rows in the table, change nothing."""
    host.sql(f"update fly_plans set {plans} where dedicated")
    user = host.user("pro")
    write(host, user, ("pro", "active", AHEAD), ("elite", "active", FAR))
    assert wants(host, user) == best
    generation = host.live_row(user)["generation"]
    for tier in ("pro", "elite") * 3:
        host.sql(
            "update user_subscriptions set custom_signals_count = custom_signals_count + 1 where user_id = %s and tier = %s",
            user,
            tier,
        )
        host.follow()
        host.rpc("fly_sync_entitlements")
        row = host.live_row(user)
        assert (row["tier"], row["generation"]) == (best, generation)


@pytest.mark.parametrize("without", ["mergejoin", "hashjoin", "nestloop"])
def test_rows_that_differ_by_tier_alone_have_an_order(host, without):
    """A2: equal plans without ends: the name of the tier decides, never the place in a table or the plan of a query."""
    host.service.execute(f"set enable_{without} = off")
    host.service.execute("set enable_mergejoin = off")
    user = host.user("elite")
    found = set()
    for tiers in (("pro", "elite"), ("elite", "pro")):
        for last in tiers:
            host.sql(
                "update fly_plans set updated_at = now() where tier = %s", last
            )  # it moves to the end of the table
            write(host, user, *((tier, "active", None) for tier in tiers))
            found.add(wants(host, user))
    assert len(found) == 1


WORDS = [
    # status, end -> entitled, why
    ("Active ", None, True, "active"),
    ("ACTIVE", AHEAD, True, "active"),
    ("\tactive\n", AHEAD, True, "active"),
    ("trialing", AHEAD, True, "trialing"),
    ("Trialing", PAST, False, "expired"),
    ("canceled", AHEAD, True, "canceled_until"),
    ("Cancelled", AHEAD, True, "cancelled_until"),
    ("canceled", None, False, "canceled"),
    ("incomplete_expired", AHEAD, False, "status_incomplete_expired"),
    ("UNPAID", None, False, "status_unpaid"),
    ("dunning", AHEAD, None, "unknown_status"),
    ("dunning", PAST, None, "unknown_status"),
    (None, AHEAD, None, "no_status"),
    ("", AHEAD, None, "no_status"),
    ("  ", None, None, "no_status"),
]


@pytest.mark.parametrize(("status", "ends_at", "entitled", "why"), WORDS)
def test_status_words(host, status, ends_at, entitled, why):
    """A3: words are compared trimmed and in lower case. An unknown or a missing word changes nothing."""
    runs, waits = host.user("pro"), host.user()
    write(host, runs, ("pro", status, ends_at))
    write(host, waits, ("pro", status, ends_at))
    assert judged(host, runs) == (entitled, why)
    assert wants(host, runs) == (None if entitled is False else "pro")
    assert wants(host, waits) == ("pro" if entitled else None)
    host.rpc("fly_sync_entitlements")
    kinds = [("unknown_status", (status or "").strip() or "null")]
    assert alerts(host) == (kinds if entitled is None else [])


def test_a_rule_for_the_unknown_word_ends_the_wait(host):
    """A3: an operator adds the word, the alert resolves, and the users get what the rule says."""
    runs, waits = host.user("pro"), host.user()
    write(host, runs, ("pro", "dunning", None))
    write(host, waits, ("pro", "Dunning", None))
    host.rpc("fly_sync_entitlements")
    host.sql("insert into hangar.status_rules (status, rule) values (' DUNNING', 'no')")
    host.rpc("fly_sync_entitlements")
    assert (wants(host, runs), wants(host, waits), alerts(host)) == (None, None, [])
    host.sql("update hangar.status_rules set rule = 'entitled' where status = 'dunning'")
    host.rpc("fly_sync_entitlements")
    assert (wants(host, runs), wants(host, waits)) == ("pro", "pro")


PRESETS = [
    ("stripe", "canceled", AHEAD, False),
    ("stripe", "cancelled", AHEAD, False),
    ("stripe", "past_due", None, True),
    ("stripe", "incomplete", AHEAD, False),
    ("paddle", "canceled", AHEAD, False),
    ("paddle", "trialing", AHEAD, True),
    ("paddle", "on_trial", AHEAD, None),
    ("lemon_squeezy", "on_trial", AHEAD, True),
    ("lemon_squeezy", "cancelled", AHEAD, True),
    ("lemon_squeezy", "cancelled", PAST, False),
    ("lemon_squeezy", "expired", AHEAD, False),
    ("revenuecat", "CANCELLATION", AHEAD, True),
    ("revenuecat", "CANCELLATION", PAST, False),
    ("revenuecat", "INITIAL_PURCHASE", AHEAD, True),
    ("revenuecat", "BILLING_ISSUE", AHEAD, True),
    ("revenuecat", "SUBSCRIPTION_PAUSED", AHEAD, True),
    ("revenuecat", "EXPIRATION", None, False),
    ("default", "canceled", AHEAD, True),
]


def test_presets_of_providers(host):
    """A3: the same word means opposite things: `canceled` is final for Stripe, until the end for others."""
    for provider, status, ends_at, entitled in PRESETS:
        host.sql("select hangar.use_status_rules(%s)", provider)
        user = host.user()
        write(host, user, ("pro", status, ends_at))
        assert judged(host, user)[0] is entitled, (provider, status)
        assert wants(host, user) == ("pro" if entitled else None), (provider, status)


DENIALS = [
    (None, "cancelled", None),
    (None, "active", PAST),
    (None, "expired", None),
    ("platinum", "cancelled", PAST),
    ("platinum", "unpaid", AHEAD),
    ("", "expired", AHEAD),
]


def test_a_definite_no_comes_before_an_unknown_tier(host):
    """A4: who has cancelled leaves, although the plan row is deleted or the tier is null."""
    for row in DENIALS:
        user = host.user("pro")
        write(host, user, row)
        assert judged(host, user)[0] is False, row
        assert wants(host, user) is None, row


def test_users_of_a_deleted_plan_can_leave(host):
    """A4: the plan row is gone, its users keep their apps, and one who cancels leaves."""
    stays, leaves = host.user("pro"), host.user("pro")
    host.sql("delete from fly_plans where tier = 'pro'")
    host.rpc("fly_sync_entitlements")
    assert (wants(host, stays), wants(host, leaves)) == ("pro", "pro")
    assert alerts(host) == [("unknown_tier", "pro")]
    host.subscribe(leaves, status="cancelled")
    assert (wants(host, stays), wants(host, leaves)) == ("pro", None)


@pytest.mark.parametrize("tier", [None, "", "  "])
def test_a_missing_tier_of_an_active_user(host, tier):
    """A4: nothing changes, one alert says so, and it resolves when the host sets the tier."""
    user = host.user("pro")
    write(host, user, (tier, "active", None))
    host.rpc("fly_sync_entitlements")
    assert (wants(host, user), judged(host, user)) == ("pro", (None, "no_tier"))
    assert alerts(host) == [("unknown_tier", "null")]
    write(host, user, ("pro", "active", None))
    host.rpc("fly_sync_entitlements")
    assert alerts(host) == []


def test_an_unknown_tier_stops_a_removal(host, act):
    """A11: in grace, the user pays again under a tier that fly_plans lacks. Nothing is destroyed until it is known."""
    host.sql("update fly_plans set grace_s = 3600 where tier = 'pro'")
    user = host.user("pro")
    host.converge(user)
    host.subscribe(user, tier="free")
    write(host, user, ("platinum", "active", None))
    host.shift_clock(5000)
    row = host.lease(user)
    assert row["desired_state"] == "absent"
    for action in ("stop_machine", "destroy_machine", "delete_app"):
        answer = host.save(row, events=[act.intent(action, purpose="deprovision")])
        assert (answer["refused"], answer["row"]["open_intent"]) == ("entitlement_unknown", None)
    host.sql("insert into fly_plans (tier, dedicated) values ('platinum', true)")
    host.rpc("fly_sync_entitlements")
    assert wants(host, user) == "platinum"


@pytest.mark.parametrize("change", ["update fly_plans set tier = 'basic'", "delete from fly_plans"])
def test_a_renamed_plan_keeps_the_grace_that_was_bought(host, change):
    """A12: the plan that the row names is gone. Its user cancels and has the grace all the same."""
    host.sql("update fly_plans set grace_s = 3600 where tier = 'pro'")
    host.sql("update hangar.settings set removal_hold_s = 300")
    user = host.user("pro")
    host.converge(user)
    host.sql(f"{change} where tier = 'pro'")
    host.subscribe(user, status="cancelled")
    row = host.live_row(user)
    assert row["desired_state"] == "absent"
    assert (row["delete_after"] - row["hold_until"]).total_seconds() == 3600


def test_a_corrected_plan_reaches_rows_that_never_converged(host):
    """A13: a plan's wrong region is corrected. The row that failed takes it at the next sync; a converged row is left."""
    converged, failed = host.user("pro"), host.user()
    host.converge(converged)
    host.sql("update fly_plans set region = 'yyz' where tier = 'pro'")
    host.subscribe(failed, tier="pro")
    host.save(host.lease(failed), release=True, status="error", error_code="region", error_message="no", retry_count=3)
    host.sql("update fly_plans set region = 'fra' where tier = 'pro'")
    assert host.rpc("fly_sync_entitlements")["changed"] == 1
    row = host.live_row(failed)
    assert (row["region"], row["status"], row["retry_count"], row["error_code"]) == ("fra", "provisioning", 0, None)
    assert row["next_attempt_at"] is not None
    assert (host.live_row(converged)["region"], host.live_row(converged)["generation"]) == ("sin", 1)
