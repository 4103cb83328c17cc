"""The sweep over a fleet: what it finds, what it does not conclude, and that it continues where it stopped."""

from datetime import UTC, datetime

import pytest

from local.fly.transport import open_client
from shared.domain.errors import TransientError
from shared.domain.models import Row
from shared.fleet import inventory as listings
from tests.support.boundaries import Killed
from tests.support.worker import ORG


def have_active_users(world, count):
    users = [world.add_user("pro") for _ in range(count)]
    world.sweep(drain_only=True)
    assert {world.row(user)["status"] for user in users} == {"active"}
    return users


def pass_checks(world):
    """Let Fly's checks run for the first time."""
    world.clock.advance(60)


def test_a_sweep_writes_health_and_counts_the_fleet(world):
    users = have_active_users(world, 3)
    pass_checks(world)
    report = world.sweep()
    assert (report.apps, report.healthy, report.unhealthy, report.unknown) == (3, 3, 0, 0)
    assert report.complete
    assert {world.row(user)["health_status"] for user in users} == {"healthy"}


@pytest.mark.slow
def test_due_rows_are_drained_without_any_nudge(world):
    """Every nudge lost: the sweep alone provisions and deprovisions."""
    users = [world.add_user("pro") for _ in range(20)]
    report = world.sweep()
    assert report.provisioned == 20
    assert len(world.apps()) == 20
    for user in users:
        world.set_tier(user, "free")
    assert world.sweep().deprovisioned == 20
    assert world.apps() == {}


def test_an_expiry_is_found_without_a_write(world):
    (user,) = have_active_users(world, 1)
    world.sql(
        "update public.user_subscriptions set expires_at = to_timestamp(%s) where user_id = %s",
        world.clock() + 3600,
        user,
    )
    world.sweep()
    assert world.row(user)["status"] == "active"
    world.clock.advance(3601)
    world.sweep()
    assert world.row(user)["status"] == "deleted"
    assert world.apps() == {}


def test_a_change_the_trigger_missed_is_found(world):
    """I1: the trigger was disabled; the sweep derives the same from the host's tables."""
    user = world.add_user()
    world.sql("alter table public.user_subscriptions disable trigger hangar_mark_update")
    world.set_tier(user, "pro")
    assert world.row(user) == {}
    world.sweep()
    world.sweep()
    assert world.row(user)["status"] == "active"


def test_a_deleted_user_leaves_no_app_behind(world):
    (user,) = have_active_users(world, 1)
    world.sql("delete from auth.users where id = %s", user)
    world.settle()
    assert world.apps() == {}
    assert world.row(user)["status"] == "deleted"


def test_a_stopped_machine_is_started(world):
    (user,) = have_active_users(world, 1)
    row = world.row(user)
    with open_client(world.sim) as fly:
        fly.post(f"/v1/apps/{row['fly_app_name']}/machines/{row['machine_id']}/stop").raise_for_status()
    world.clock.advance(60)
    report = world.sweep()
    assert report.repaired == 1
    (machines,) = world.apps().values()
    assert [machine.state for machine in machines] == ["started"]


@pytest.mark.parametrize("what", ["machine", "app"])
def test_what_vanished_on_fly_is_created_again(world, what):
    (user,) = have_active_users(world, 1)
    row = world.row(user)
    path = f"/v1/apps/{row['fly_app_name']}" + (f"/machines/{row['machine_id']}" if what == "machine" else "")
    with open_client(world.sim) as fly:
        fly.request("DELETE", path, params={"force": "true"}).raise_for_status()
    world.settle()
    after = world.row(user)
    assert after["status"] == "active"
    assert after["machine_id"] != row["machine_id"]
    assert {name: len(machines) for name, machines in world.apps().items()} == {after["fly_app_name"]: 1}


def test_an_unreachable_fly_makes_health_unknown_and_touches_nothing(world):
    """Fly answers 503 to every read: no row becomes unhealthy, nothing is repaired, and the sweep fails."""
    users = have_active_users(world, 2)
    pass_checks(world)
    world.sweep()
    before = world.apps()
    world.fault(method="GET", path="/v1/orgs/*/machines", when="before", status=503)
    with pytest.raises(TransientError):
        world.sweep()
    assert {world.row(user)["status"] for user in users} == {"active"}
    assert world.apps().keys() == before.keys()
    assert ("fly_unreachable", "listing") in world.open_alerts()


def test_a_machine_that_cannot_be_read_is_unknown_not_unhealthy(world):
    (user,) = have_active_users(world, 1)
    pass_checks(world)
    world.sweep()
    world.fault(method="GET", path="/v1/apps/*/machines/*", when="before", status=500)
    world.sweep()
    row = world.row(user)
    assert row["health_status"] == "unknown"
    assert row["status"] == "active"
    assert row["next_attempt_at"] is None


def test_an_orphan_is_counted_and_a_stranger_is_not(world):
    """I3, first half: an app with our proof and no live row is noted; an app without our proof is ignored."""
    have_active_users(world, 1)
    ours, theirs = f"hangar-{world.installation_id.hex[:12]}-{'0' * 32}", f"hangar-{'f' * 12}-{'0' * 32}"
    networks = {"orphan": ours, "stranger": "default", "other": theirs}
    with open_client(world.sim) as fly:
        for name, network in networks.items():
            fly.post("/v1/apps", json={"app_name": name, "org_slug": ORG, "network": network}).raise_for_status()
    assert world.sweep().orphans == 1
    assert world.sql("select app from public.fly_orphans") == [("orphan",)]
    assert set(world.sim.apps) >= {"orphan", "stranger", "other"}


def test_one_listing_for_the_whole_fleet(world):
    """The fleet is listed by the organisation's endpoint, never one call per app for the list."""
    have_active_users(world, 5)
    pass_checks(world)
    report = world.sweep()
    assert report.fly_calls == 1 + 1 + 5  # machines, apps, and a direct read of each app of a small fleet


def test_a_large_fleet_is_probed_by_suspicion_and_in_turn(world, monkeypatch):
    """Above the limit only suspects and apps not probed for half an hour are read directly."""
    monkeypatch.setattr(listings, "LOOK_AT_ALL_UP_TO", 2)
    users = have_active_users(world, 6)
    pass_checks(world)
    world.sweep()
    world.clock.advance(301)
    now = datetime.fromtimestamp(world.clock(), UTC)
    turns = sum(listings.is_its_turn(Row.model_validate(world.row(user)), now) for user in users)
    assert world.sweep().fly_calls == 2 + turns
    row = world.row(users[0])
    with open_client(world.sim) as fly:
        fly.post(f"/v1/apps/{row['fly_app_name']}/machines/{row['machine_id']}/stop").raise_for_status()
    world.clock.advance(60)
    report = world.sweep()
    assert report.repaired == 1
    world.clock.advance(2200)
    assert world.sweep().fly_calls == 2 + 6


def test_two_sweeps_at_once_are_one(world):
    have_active_users(world, 1)
    world.reconciler.database.claim_sweep("another")
    report = world.sweep()
    assert not report.complete
    assert "another" in report.detail


def test_a_killed_sweep_continues_where_it_stopped(world, monkeypatch):
    """Pages of two: the first sweep dies after its first page, the next one starts behind it and completes."""
    have_active_users(world, 5)
    pass_checks(world)
    read_page = world.reconciler.database.read_fleet_page
    monkeypatch.setattr(world.reconciler.database, "read_fleet_page", lambda after, _limit: read_page(after, 2))
    world.boundaries.passed, world.boundaries.trace = 0, []
    world.store.calls.clear()
    world.sweep()
    at = next(number for number, where in enumerate(world.boundaries.trace) if where == "after fly_sweep_progress")
    world.clock.advance(400)
    world.boundaries.passed, world.boundaries.die_at = 0, at
    with pytest.raises(Killed):
        world.sweep()
    world.boundaries.die_at = None
    world.clock.advance(400)
    report = world.sweep()
    assert report.complete
    assert report.apps == 3


def test_an_unknown_tier_changes_no_user_and_alerts(world):
    (user,) = have_active_users(world, 1)
    world.sql("alter table public.user_subscriptions drop constraint if exists user_subscriptions_tier_check")
    world.set_tier(user, "platinum")
    world.sweep()
    assert world.row(user)["status"] == "active"
    assert world.open_alerts() == {("unknown_tier", "platinum")}


def test_a_tier_table_emptied_by_mistake_removes_no_app(world):
    """I5: without plans every tier is unknown, and unknown means unchanged."""
    users = have_active_users(world, 2)
    world.sql("delete from public.fly_plans")
    world.sweep()
    world.sweep()
    assert {world.row(user)["status"] for user in users} == {"active"}
    assert len(world.apps()) == 2


def test_a_sweep_ends_only_alerts_that_stand(world):
    """An alert that was not open at the start costs no call."""
    world.add_user("pro")
    world.sweep()
    world.store.calls.clear()
    world.sweep()
    assert not {"fly_resolve_alert", "fly_brake_status", "fly_end_outage"} & set(world.store.calls)
    world.reconciler.database.raise_alert("fly_unreachable", "listing", "it was", {})
    world.store.calls.clear()
    world.sweep()
    assert world.store.calls.count("fly_resolve_alert") == world.store.calls.count("fly_end_outage") == 1
    assert world.open_alerts() == set()
