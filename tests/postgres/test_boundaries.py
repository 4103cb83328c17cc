"""Exact times and numbers: what holds at a boundary, on a fixed clock."""

from datetime import UTC, datetime, timedelta

import pytest

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)


@pytest.fixture
def still(hangar):
    """`still(moment)` sets the fixed clock. It starts at NOW."""

    def stand(moment=NOW):
        hangar.sql(
            "create or replace function hangar.now() returns timestamptz language sql stable set search_path = ''"
            f" as $$ select '{moment.isoformat()}'::timestamptz $$"
        )

    stand()
    return stand


ENDS = [
    ("active", NOW + SECOND, True),
    ("active", NOW, False),
    ("cancelled", NOW + SECOND, True),
    ("cancelled", NOW, False),
    ("past_due", NOW + SECOND, True),
    ("past_due", NOW, False),
    ("past_due", NOW - SECOND, False),
    (None, None, None),
]


def test_a_subscription_ends_at_the_moment_it_names(hangar, still):
    """I1: `expires_at` lies ahead or it does not; a subscription without a status says nothing."""
    hangar.sql("alter table user_subscriptions alter column status drop not null")
    for status, expires_at, entitled in ENDS:
        user = hangar.user("pro", status=status, expires_at=expires_at)
        assert hangar.rpc("fly_user_status", user=user)["entitled"] is entitled, (status, expires_at)


@pytest.mark.parametrize(("override", "entitled"), [("grant", False), ("deny", True)])
def test_an_override_ends_at_the_moment_it_names(hangar, still, override, entitled):
    user = hangar.user("free" if override == "grant" else "pro")
    plan = "pro" if override == "grant" else None
    said = {"override": override, "plan": plan, "actor": "test", "reason": "test", "ends_at": NOW + SECOND}
    assert hangar.rpc("fly_set_override", user=user, **said)["entitled"] is not entitled
    still(NOW + SECOND)
    assert hangar.rpc("fly_user_status", user=user)["entitled"] is entitled
    hangar.rpc("fly_sync_entitlements")
    assert (hangar.live_row(user)["desired_state"] == "present") is entitled


@pytest.mark.parametrize(
    ("change", "entitled"),
    [
        ({"tier": "free"}, False),
        ({"status": "cancelled"}, False),
        ({"expires_at": NOW}, False),
        ({"expires_at": NOW + SECOND}, True),
    ],
)
def test_each_column_alone_moves_the_row_at_once(hangar, still, change, entitled):
    """I1: the host's own statement is enough; no sweep is needed."""
    user = hangar.user("pro")
    hangar.subscribe(user, **change)
    assert (hangar.live_row(user)["desired_state"] == "present") is entitled


def test_a_deleted_user_is_gone_even_with_an_unknown_tier(hangar, still):
    """The first line of the table that applies: a deleted user loses the app although the plan is missing."""
    user = hangar.user("pro")
    hangar.sql("delete from fly_plans where tier = 'pro'")
    hangar.sql("update auth.users set deleted_at = hangar.now() where id = %s", user)
    assert hangar.rpc("fly_user_status", user=user)["why"] == "user_deleted"
    assert hangar.rpc("fly_sync_entitlements")["changed"] == 1


def test_a_denied_user_of_an_unknown_tier_loses_the_app(hangar, still):
    user = hangar.user("pro")
    hangar.sql("delete from fly_plans where tier = 'pro'")
    said = {"override": "deny", "plan": None, "actor": "test", "reason": "abuse"}
    assert hangar.rpc("fly_set_override", user=user, **said)["entitled"] is False
    assert hangar.live_row(user)["desired_state"] == "absent"


def test_a_lease_is_good_until_the_moment_it_ends(hangar, still):
    """I6: at that moment another worker may claim it, and its holder may no longer write."""
    user = hangar.user("pro")
    row = hangar.lease(user)
    still(NOW + timedelta(seconds=119))
    assert hangar.claim(user)["outcome"] == "leased"
    assert hangar.rpc("fly_claim_due")["claimed"] == []
    still(NOW + timedelta(seconds=120))
    assert hangar.save(row, machine_id="late") is None
    assert [each["row"]["user_id"] for each in hangar.rpc("fly_claim_due")["claimed"]] == [str(user)]


def test_grace_lasts_until_the_moment_it_ends(hangar, still):
    hangar.sql("update fly_plans set grace_s = 600 where tier = 'pro'")
    user = hangar.user("pro")
    hangar.subscribe(user, tier="free")
    hangar.save(hangar.lease(user), release=True, status="deprovisioning", converged=True)
    still(NOW + timedelta(seconds=599))
    assert hangar.claim(user)["outcome"] == "waiting"
    still(NOW + timedelta(seconds=600))
    assert hangar.claim(user)["outcome"] == "claimed"


@pytest.mark.parametrize(("gap_s", "samples"), [(239, 1), (240, 2)])
def test_bad_samples_count_four_minutes_apart(hangar, still, gap_s, samples):
    user = hangar.user("pro")
    row = hangar.converge(user)
    bad = {"id": row["id"], "machine_state": None, "health": "bad", "direct": True, "due": False, "reason": "x"}
    for seconds in (1, 1 + gap_s):
        moment = NOW + timedelta(seconds=seconds)
        still(moment)
        hangar.rpc("fly_record_sweep", observations=[bad], started_at=moment)
    assert hangar.live_row(user)["bad_samples"] == samples


@pytest.mark.parametrize(("age_s", "ripe"), [(899, False), (900, True)])
def test_an_orphan_is_ripe_after_a_quarter_of_an_hour(hangar, still, age_s, ripe):
    seen = [{"app": "orphan", "network": "hangar-x"}]
    hangar.rpc("fly_record_orphans", seen=seen)
    still(NOW + timedelta(seconds=age_s))
    assert hangar.rpc("fly_record_orphans", seen=seen)["orphans"][0]["ripe"] is ripe


@pytest.mark.parametrize(("seconds", "refused"), [(3600, "brake"), (3601, None)])
def test_the_brake_looks_back_one_hour(hangar, still, act, seconds, refused):
    """I5: an app destroyed exactly an hour ago still counts."""
    hangar.sql("update hangar.settings set brake_floor = 1, brake_share = 0")
    users = [hangar.user("pro") for _ in range(2)]
    for user in users:
        hangar.subscribe(user, tier="free")
    destroy = act.intent("delete_app", purpose="deprovision")
    assert hangar.save(hangar.lease(users[0]), events=[destroy])["refused"] is None
    still(NOW + timedelta(seconds=seconds))
    destroy = act.intent("delete_app", purpose="deprovision")
    assert hangar.save(hangar.lease(users[1]), events=[destroy])["refused"] == refused


def test_the_defaults_of_a_new_installation(installed):
    """The defaults of a new installation are those of the design."""
    [row] = installed.sql("select * from hangar.settings")
    assert {name: str(value) for name, value in row.items() if name not in ("installation_id", "updated_at")} == {
        "only_row": "True",
        "live": "False",
        "paused": "False",
        "deletes_paused": "False",
        "fly_org_slug": "personal",
        "app_prefix": "vyx-user",
        "default_region": "sin",
        "default_image": "registry.fly.io/vyx-app:latest",
        "retry_base_s": "300",
        "retry_cap_s": "1800",
        "lease_s": "120",
        "sweep_lease_s": "120",
        "max_apps": "None",
        "max_monthly_cost_usd": "None",
        "brake_floor": "20",
        "brake_share": "0.05",
        "brake_lost": "3",
        "deletes_per_minute": "90",
        "brake_released_at": "None",
        "orphan_after_s": "900",
        "incident_floor": "10",
        "incident_share": "0.2",
        "drift_share": "0.05",
        "token_renewal_share": "0.02",
        "renew_tokens_from": "None",
        "unhealthy_after": "3",
        "bad_sample_gap_s": "240",
        "removal_hold_s": "0",  # 300 in a real installation; the tests' databases have none
        "host_loss_floor": "10",
        "host_loss_share": "0.5",
        "events_retention_days": "None",
        "samples_retention_days": "None",
        "closed_rows_retention_days": "None",
    }
