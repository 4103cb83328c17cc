"""The entitlement table, line by line, through the host's own writes; and what a change does to the row."""

from datetime import UTC, datetime, timedelta

import pytest

pytestmark = pytest.mark.every_postgres

PAST = datetime.now(UTC) - timedelta(days=1)
AHEAD = datetime.now(UTC) + timedelta(days=1)


ENTITLEMENT = [
    # tier, status, expires_at, override -> entitled, why
    ("pro", "active", None, "deny", False, "override_deny"),
    ("free", "active", None, "grant", True, "override_grant"),
    ("free", "active", None, None, False, "plan_not_dedicated"),
    ("pro", "active", None, None, True, "active"),
    ("elite", "active", AHEAD, None, True, "active"),
    ("pro", "active", PAST, None, False, "expired"),
    ("pro", "cancelled", AHEAD, None, True, "cancelled_until"),
    ("pro", "cancelled", PAST, None, False, "cancelled"),
    ("pro", "cancelled", None, None, False, "cancelled"),
    ("pro", "past_due", AHEAD, None, True, "past_due_until"),
    ("pro", "past_due", None, None, True, "past_due"),
    ("pro", "paused", AHEAD, None, False, "status_paused"),
    ("unknown", "active", None, None, None, "unknown_tier"),
    ("unknown", "active", None, "grant", True, "override_grant"),
]


def test_entitlement_table(hangar):
    """The first line that applies counts, and the row wants the same."""
    hangar.sql("alter table user_subscriptions drop constraint user_subscriptions_tier_check")
    hangar.sql("alter table user_subscriptions drop constraint user_subscriptions_status_check")
    for tier, status, expires_at, override, entitled, why in ENTITLEMENT:
        user = hangar.user(tier, status=status, expires_at=expires_at)
        if override:
            plan = "pro" if override == "grant" else None
            hangar.rpc("fly_set_override", user=user, override=override, plan=plan, actor="test", reason="test")
        answer = hangar.rpc("fly_user_status", user=user)
        assert (answer["entitled"], answer["why"], answer["known"]) == (entitled, why, True)
        row = hangar.row(user)
        assert (row is not None and row["desired_state"] == "present") == bool(entitled), why


def test_an_unknown_user_has_no_entitlement(hangar):
    """A user that neither the host nor Hangar knows."""
    answer = hangar.rpc("fly_user_status", user="00000000-0000-4000-8000-000000000000")
    assert (answer["known"], answer["entitled"], answer["why"], answer["row"]) == (False, False, "user_deleted", None)


def test_override_ends(hangar):
    """A grant holds until its end; sync notices."""
    user = hangar.user()
    ends_at = datetime.now(UTC) + timedelta(hours=1)
    answer = hangar.rpc(
        "fly_set_override", user=user, override="grant", plan="elite", actor="test", reason="trial", ends_at=ends_at
    )
    assert (answer["entitled"], answer["row"]["tier"]) == (True, "elite")
    hangar.shift_clock(3601)
    assert hangar.rpc("fly_sync_entitlements")["changed"] == 1
    assert hangar.live_row(user)["desired_state"] == "absent"


def test_override_is_taken_back(hangar):
    """Null removes it and the subscription counts again; the log has both changes."""
    user = hangar.user("pro")
    deny = {"override": "deny", "plan": None, "actor": "test", "reason": "abuse"}
    assert hangar.rpc("fly_set_override", user=user, **deny)["entitled"] is False
    answer = hangar.rpc("fly_set_override", user=user, override=None, plan=None, actor="test", reason="sorry")
    assert (answer["entitled"], answer["row"]["desired_state"], answer["row"]["generation"]) == (True, "present", "3")
    assert [kind for kind, _ in hangar.events(user)].count("override_set") == 2


def test_softly_deleted_user_is_deleted(hangar):
    """Supabase may keep the user's line with deleted_at: that user is gone all the same."""
    user = hangar.user("pro")
    hangar.sql("update auth.users set deleted_at = now() where id = %s", user)
    assert hangar.rpc("fly_sync_entitlements")["changed"] == 1
    assert hangar.live_row(user)["desired_state"] == "absent"


def test_unknown_tier_leaves_everything_as_it_is(hangar):
    """A tier that fly_plans does not know changes nothing, raises one alert, and the alert ends with the plan's arrival."""
    user = hangar.user("pro")
    hangar.sql("delete from fly_plans where tier = 'elite'")
    hangar.subscribe(user, tier="elite")
    row = hangar.live_row(user)
    assert (row["desired_state"], row["tier"], row["generation"]) == ("present", "pro", 1)
    for _ in range(2):
        assert hangar.rpc("fly_sync_entitlements")["unknown_tiers"] == ["elite"]
    assert [alert["key"] for alert in hangar.rpc("fly_take_alerts")["alerts"]] == ["elite"]
    assert hangar.rpc("fly_take_alerts")["alerts"] == []
    hangar.sql("insert into fly_plans (tier, dedicated) values ('elite', true)")
    assert hangar.rpc("fly_sync_entitlements")["changed"] == 1
    assert hangar.one("select count(*) from hangar.alerts where resolved_at is null") == 0
    assert hangar.live_row(user)["tier"] == "elite"


def test_life_of_a_row(hangar):
    """Upgrade, tier change, downgrade, return: one row, its generation rising, its status as docs/database.md says."""
    user = hangar.user()
    assert hangar.row(user) is None
    hangar.subscribe(user, tier="pro")
    first = hangar.live_row(user)
    assert (first["status"], first["desired_state"], first["generation"], first["tier"]) == (
        "provisioning",
        "present",
        1,
        "pro",
    )
    assert first["next_attempt_at"] is not None
    hangar.converge(user)
    assert hangar.live_row(user)["next_attempt_at"] is None

    hangar.sql(
        "update fly_plans set cpu_count = 4, memory_mb = 1024, region = 'fra', docker_image = 'img@sha256:1' where tier = 'elite'"
    )
    hangar.subscribe(user, tier="elite")
    row = hangar.live_row(user)
    assert (row["status"], row["generation"], row["observed_generation"]) == ("active", 2, 1)
    assert (row["cpu_count"], row["memory_mb"], row["region"], row["docker_image"]) == (4, 1024, "fra", "img@sha256:1")
    assert float(row["monthly_cost_estimate_usd"]) == 12.0

    hangar.subscribe(user, tier="free")
    row = hangar.live_row(user)
    assert (row["status"], row["desired_state"], row["generation"], row["tier"]) == (
        "deprovisioning",
        "absent",
        3,
        "free",
    )
    hangar.subscribe(user, tier="pro")
    row = hangar.live_row(user)
    assert (row["id"], row["status"], row["desired_state"], row["generation"]) == (
        first["id"],
        "provisioning",
        "present",
        4,
    )
    kinds = [kind for kind, _ in hangar.events(user)]
    assert [kinds.count(kind) for kind in ("desired_changed", "provision_requested", "deprovision_requested")] == [
        4,
        2,
        1,
    ]


def test_a_change_that_changes_nothing(hangar):
    """The generation rises with what is desired, and only then."""
    user = hangar.user("pro")
    hangar.subscribe(user, tier="pro")
    hangar.subscribe(user, expires_at=AHEAD)
    hangar.subscribe(user, status="cancelled")
    assert hangar.live_row(user)["generation"] == 1


def test_a_plan_edit_changes_no_row_without_a_rollout(hangar):
    """Size and image are copied to the row when its generation changes. An edited plan does not move a running app."""
    user = hangar.user("pro")
    hangar.converge(user)
    hangar.sql("update fly_plans set memory_mb = 1024 where tier = 'pro'")
    hangar.sql("update hangar.settings set default_image = 'other'")
    hangar.rpc("fly_sync_entitlements")
    row = hangar.live_row(user)
    assert (row["memory_mb"], row["generation"]) == (512, 1)


def test_grace_is_that_of_the_lost_plan(hangar):
    """The app stays until delete_after; re-subscribing ends the grace; a deleted user has none."""
    hangar.sql("update fly_plans set grace_s = 3600 where tier = 'pro'")
    user = hangar.user("pro")
    hangar.subscribe(user, tier="free")
    row = hangar.live_row(user)
    assert row["status"] == "deprovisioning"
    assert abs((row["delete_after"] - row["updated_at"]).total_seconds() - 3600) < 5
    hangar.subscribe(user, tier="pro")
    assert hangar.live_row(user)["delete_after"] is None
    hangar.subscribe(user, tier="free")
    hangar.sql("delete from auth.users where id = %s", user)
    hangar.follow()
    row = hangar.live_row(user)
    assert (row["delete_after"], row["generation"]) == (None, 5)


@pytest.mark.parametrize(
    "leave", ["delete from auth.users where id = %s", "delete from user_subscriptions where user_id = %s"]
)
def test_leaving_by_deletion(hangar, leave):
    """The deletion is marked, and the row asks for absence."""
    user = hangar.user("pro")
    hangar.sql(leave, user)
    assert hangar.marked() == {user}
    hangar.follow()
    assert hangar.live_row(user)["desired_state"] == "absent"


def test_paid_from_the_first_insert(hangar):
    """The original saw updates only."""
    user = hangar.user()
    hangar.sql("delete from user_subscriptions where user_id = %s", user)
    hangar.sql("insert into user_subscriptions (user_id, tier) values (%s, 'pro')", user)
    hangar.follow()
    assert hangar.live_row(user)["desired_state"] == "present"


def test_rolled_back_change_leaves_nothing(hangar):
    """Mark and nudge live and die with the host's transaction."""
    user = hangar.user()
    hangar.follow()
    hangar.fill_vault()
    with hangar.admin.transaction(force_rollback=True):
        hangar.sql("update user_subscriptions set tier = 'pro' where user_id = %s", user)
        assert hangar.marked() == {user}
        assert len(hangar.queued()) == 1
    hangar.follow()
    assert (hangar.row(user), hangar.events(user), hangar.queued()) == (None, [], [])
