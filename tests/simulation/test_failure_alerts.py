"""Alerts about apps that fail are grouped by cause: one change or one outage is one alert, however many apps it concerns.

Causes of the whole organisation are in test_refusals.py.
"""

import pytest

from shared.adapters.notifications import Notifier
from shared.domain.errors import HangarError, TransientError
from tests.simulation.test_guards import MINUTES
from tests.support.alert_receiver import AlertReceiver

ANY_CREATE = {"method": "POST", "path": "/v1/apps", "when": "before"}
ANY_MACHINE = {"method": "POST", "path": "/v1/apps/*/machines", "when": "before"}
REVOKED = [
    {"method": method, "path": path, "when": "before", "status": 401, "body": {"error": "token revoked"}}
    for method, path in (
        ("GET", "/v1/apps"),
        ("POST", "/v1/apps"),
        ("GET", "/v1/apps/*"),
        ("DELETE", "/v1/apps/*"),
        ("GET", "/v1/apps/*/machines"),
        ("GET", "/v1/apps/*/machines/*"),
        ("POST", "/v1/apps/*/machines/*/stop"),
        ("GET", "/v1/orgs/*/machines"),
    )
]
CAUSES = {
    "fly_unavailable": [{**ANY_CREATE, "status": 503}],
    "region_full/iad": [
        {**ANY_MACHINE, "status": 422, "body": {"error": "no room", "status": "insufficient_capacity"}}
    ],
    "image/app@sha256:1": [{**ANY_MACHINE, "status": 400, "body": {"error": "failed to get manifest app@sha256:1"}}],
    "size/pro": [{**ANY_MACHINE, "status": 422, "body": {"error": "invalid config.guest"}}],
    "refused": [{**ANY_MACHINE, "status": 400, "body": {"error": "something new"}}],
}


@pytest.fixture
def receiver(world):
    made = AlertReceiver()
    world.reconciler.notifier = Notifier(world.reconciler.database, [made.make_webhook()], world.clock)
    world.sweep()
    made.accepted.clear()
    return made


def try_sweep(world):
    try:
        world.sweep()
    except HangarError:
        return False
    return True


def read_alert(world, key):
    [(message, metadata)] = world.sql(
        "select message, metadata from hangar.alerts where key = %s and resolved_at is null", key
    )
    return message, metadata


@pytest.mark.slow
@pytest.mark.parametrize("cause", CAUSES)
def test_twelve_upgrades_that_fail_for_one_cause_are_one_alert(world, receiver, cause):
    """One message says so. The alert counts the users, names some of them by e-mail, and ends with the last one's recovery."""
    world.set_faults(*CAUSES[cause])
    world.add_users(["pro"] * 12)
    for _ in range(3):
        try_sweep(world)
        world.clock.advance(5 * MINUTES)
    assert world.open_alerts() == {("provision_failed", cause)}
    assert receiver.list_told() == [("provision_failed", cause, False)]
    message, metadata = read_alert(world, cause)
    assert message.startswith(f"12 apps fail for the same reason ({cause}) since 20")
    assert message.count("@example.test (app vyx-user-") == 3
    assert " and 9 more. The latest error: " in message
    assert "`hangar status` lists all of them" in message
    assert (metadata["apps"], len(metadata["users"])) == (12, 12)
    world.set_faults()
    if cause.startswith(("image", "size")):  # nobody else tries these again
        world.sql("update public.user_fly_apps set next_attempt_at = hangar.now() where error_code is not null")
    world.settle(1)
    assert world.open_alerts() == set()
    assert receiver.list_told() == [("provision_failed", cause, False), ("provision_failed", cause, True)]


def test_a_listing_refused_first_is_the_alert_of_the_apps_too(world, receiver):
    """The sweep finds the revoked token at night. Upgrades that fail for it in the morning are no second alert."""
    world.set_faults(*REVOKED)
    assert not try_sweep(world)
    world.add_users(["pro"] * 3)
    try_sweep(world)
    assert world.open_alerts() == {("fly_refused", "token")}
    world.set_faults()
    world.sweep()
    assert world.open_alerts() == set()
    assert [over for _, _, over in receiver.list_told()] == [False, True]
    assert {status for (status,) in world.sql("select status from public.user_fly_apps")} == {"active"}


def test_a_new_token_makes_every_app_due_at_once(world, receiver):
    """After the first listing that succeeds, every app is tried again."""
    world.set_faults(*REVOKED)
    user = world.add_user("pro")
    assert not try_sweep(world)
    assert world.open_alerts() == {("fly_refused", "token")}
    world.set_faults()
    world.clock.advance(10)
    world.sweep()
    assert world.row(user)["status"] == "active"


def test_an_outage_of_the_listing_is_an_alert_beside_those_of_the_apps(world):
    """Fly that cannot be reached at all is more than apps that fail."""
    world.set_faults({**ANY_CREATE, "status": 503}, {"method": "GET", "path": "/v1/orgs/*/machines", "status": 503})
    world.add_users(["pro"] * 3)
    with pytest.raises(TransientError):
        world.sweep()
    assert world.open_alerts() == {("provision_failed", "fly_unavailable"), ("fly_unreachable", "listing")}


def test_upgrades_and_removals_share_the_alert_of_their_cause(world, receiver):
    leaving, coming = world.add_users(["pro", "free"])
    world.sweep()
    world.set_faults(*REVOKED)
    world.set_tier(coming, "pro")
    world.set_tier(leaving, "free")
    try_sweep(world)
    [(kind, key)] = world.open_alerts()
    assert key == "token"
    assert read_alert(world, "token")[1]["users"] == 2
    assert receiver.list_told() == [(kind, "token", False)]


def test_two_causes_are_two_alerts_and_one_user_is_named(world):
    world.set_faults({**ANY_MACHINE, "status": 422, "body": {"error": "invalid config.guest"}})
    pro, elite = world.add_users(["pro", "elite"])
    world.sweep()
    assert world.open_alerts() == {("provision_failed", "size/pro"), ("provision_failed", "size/elite")}
    message, metadata = read_alert(world, "size/pro")
    assert message.startswith(f"Provisioning failed for user {str(pro)[:8]}@example.test (app vyx-user-")
    assert "an operator must act" in message
    assert metadata["user_id"] == str(pro) != str(elite)


def test_the_alert_stays_while_one_app_is_left(world, receiver):
    """Users who leave, or whose app recovers, do not end it."""
    world.set_faults({**ANY_CREATE, "status": 503})
    users = world.add_users(["pro"] * 3)
    world.sweep()
    for user in users[:2]:
        world.set_tier(user, "free")
        world.sweep()
        assert world.open_alerts() == {("provision_failed", "fly_unavailable")}
    world.set_tier(users[2], "free")
    world.sweep()
    assert world.open_alerts() == set()
    assert len(receiver.list_told()) == 2


def test_errors_of_single_apps_stay_apart_until_there_are_many(world, receiver):
    """The first five have an alert each; the further ones share one. What is open does not change when some recover."""
    users = world.add_users(["pro"] * 8)
    rows = {str(world.row(user)["id"]) for user in users}
    for user in users:
        save_error(world, user, "start_failed")
    keys = {key for _, key in world.open_alerts()}
    assert len(keys & rows) == 5
    assert keys - rows == {"start_failed"}
    assert read_alert(world, "start_failed")[0].startswith("3 apps fail for the same reason (start_failed)")
    for user in users:
        save_error(world, user, "start_failed")
    assert {key for _, key in world.open_alerts()} == keys


def save_error(world, user, code):
    """A worker saves that its run has failed."""
    [(claimed,)] = world.sql("select public.fly_claim(%s, 'test', true)", user)
    row = claimed["row"]
    world.sql(
        "select public.fly_save(%s, %s, %s, jsonb_build_object('status', 'error', 'error_code', %s::text, 'error_message',"
        " 'it failed', 'next_attempt_in_s', 300), '[]', true)",
        row["id"],
        row["lease_token"],
        int(row["generation"]),
        code,
    )


@pytest.mark.parametrize("change", ["status = 'wibble'", "tier = 'legacy'"])
def test_a_failed_removal_that_waits_for_the_host_no_longer_fails(world, change):
    """Fly fails while an app is removed. Then nobody knows whether its user pays: the alert about Fly ends, the app stays."""
    for name in ("tier", "status"):
        world.sql(f"alter table public.user_subscriptions drop constraint user_subscriptions_{name}_check")
    user = world.add_user("pro")
    world.sweep()
    world.sql("update public.user_subscriptions set expires_at = hangar.now() where user_id = %s", user)
    world.set_faults({"method": "DELETE", "path": "/v1/apps/*", "when": "before", "status": 503})
    for _ in range(3):
        try_sweep(world)
        world.clock.advance(5 * MINUTES)
    assert world.open_alerts() == {("deprovision_failed", "fly_unavailable")}
    world.set_faults()
    world.sql(f"update public.user_subscriptions set expires_at = null, {change} where user_id = %s", user)
    world.clock.advance(30 * MINUTES)
    world.sweep()
    assert {kind for kind, _ in world.open_alerts()} == {"unknown_status" if "status" in change else "unknown_tier"}
    row = world.row(user)
    assert (row["status"], row["error_code"]) == ("deprovisioning", None)
    assert row["next_attempt_at"] is not None
    assert list(world.apps()) == [row["fly_app_name"]]
    world.sql("update public.user_subscriptions set status = 'expired', tier = 'pro' where user_id = %s", user)
    world.clock.advance(5 * MINUTES)
    world.sweep()
    assert world.apps() == {}
