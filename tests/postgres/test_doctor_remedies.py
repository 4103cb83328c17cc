"""What doctor says to run for values that nobody has decided about: run as it is, it gives nobody an app and takes none away."""

import pytest


@pytest.fixture
def host(hangar):
    """A host that allows any status and tier."""
    for name in ("tier_check", "status_check"):
        hangar.sql(f"alter table public.user_subscriptions drop constraint user_subscriptions_{name}")
    return hangar


def run_remedy(host, check):
    """Run the statements that doctor prints for a check, and let everybody follow."""
    found = host.one(f"select hangar.doctor_{check}()")
    assert found["state"] == "wrong"
    host.sql("set role postgres")
    host.admin.execute(found["remedy"].encode())
    host.sql("reset role")
    host.rpc("fly_sync_entitlements")
    host.follow()
    assert host.one(f"select hangar.doctor_{check}()")["state"] == "ok"
    return found["found"]


def served(host):
    return {row["user_id"] for row in host.sql("select user_id from user_fly_apps where desired_state = 'present'")}


@pytest.mark.parametrize("with_apps", [0, 2])
def test_the_remedy_for_a_tier_without_a_plan_changes_nobody(host, with_apps):
    """first-app.md says to run it. Free users got apps by it, and now users whose plan was deleted keep theirs."""
    users = [host.user("pro") for _ in range(with_apps)]
    for user in users:
        host.converge(user)
    host.sql("update public.user_subscriptions set tier = 'gold' where user_id = any(%s)", users)
    if not with_apps:
        users = []
        host.user("gold")
    found = run_remedy(host, "tiers")
    assert served(host) == set(users)
    assert f"{with_apps} with an app" in found


@pytest.mark.parametrize("with_apps", [0, 2])
def test_the_remedy_for_a_status_without_a_rule_changes_nobody(host, with_apps):
    """Refunded users got apps by it."""
    users = [host.user("pro") for _ in range(with_apps)]
    for user in users:
        host.converge(user)
    host.sql("update public.user_subscriptions set status = 'refunded' where user_id = any(%s)", users)
    if not with_apps:
        users = []
        host.user("pro", status="refunded")
    run_remedy(host, "statuses")
    assert served(host) == set(users)
