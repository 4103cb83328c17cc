"""Findings of a code review of the core: each test is one way in which an invariant once broke."""

import threading
import uuid
from contextlib import suppress
from dataclasses import replace

import pytest

from local.fly.transport import open_client
from shared.domain.errors import TransientError
from shared.fleet import health_probe as looks
from shared.fleet import sweep as sweeps
from shared.reconcile import drain as drains
from tests.simulation.test_guards import (
    MINUTES,
    have_active_users,
    make_app,
    our_network,
    started,
    stop_machines,
    sweep_for,
)
from tests.support.boundaries import Killed


def test_a_full_house_waits_for_a_free_place(world, monkeypatch):
    """As many rows under way as there are workers, and nothing else due: the drain waits, it does not ask for none."""
    monkeypatch.setattr(drains, "WORKERS", 2)
    users = [world.add_user("pro") for _ in range(2)]
    release = threading.Event()
    asked = []
    claim_due = world.reconciler.database.claim_due

    def count_claims(limit, holder, first):
        asked.append(limit)
        return claim_due(limit, holder, first)

    def secrets(_row, _issued_at):
        release.wait(2.5)
        return {"TOKEN": "t"}

    world.reconciler.database.claim_due = count_claims
    world.reconciler.inputs = replace(world.reconciler.inputs, secrets=secrets)
    drained = drains.drain(world.reconciler, world.clock() + 200, workers=2)
    assert drained.provisioned == 2
    assert min(asked) >= 1
    assert {world.row(user)["status"] for user in users} == {"active"}


def test_a_cloned_database_removes_no_orphans(world):
    """To a clone every newer app of the original looks like an orphan: with another installation's id it is read-only."""
    make_app(world, "orphan", our_network(world))
    world.reconciler.inputs = replace(world.reconciler.inputs, installation_id=uuid.uuid4())
    sweep_for(world, 40)
    assert "orphan" in world.apps()
    assert ("installation", "fleet") in world.open_alerts()


@pytest.mark.parametrize("die_at", range(10))
def test_an_app_that_vanished_is_created_again_wherever_the_worker_dies(world, die_at):
    """The new app has none of the old one's secrets, even if the worker died before it saved the creation."""
    (user,) = have_active_users(world, 1)
    with open_client(world.sim) as fly:
        fly.delete(f"/v1/apps/{world.row(user)['fly_app_name']}", params={"force": "true"}).raise_for_status()
    world.clock.advance(120)
    world.boundaries.passed, world.boundaries.die_at = 0, die_at
    with suppress(Killed):
        world.reconciler.reconcile(user, 240, force=True)
    world.spare()
    world.reconciler = world.new_worker()
    world.settle(3)
    row = world.row(user)
    assert row["status"] == "active", row["error_message"]
    assert {name: [machine.id for machine in machines] for name, machines in world.apps().items()} == {
        row["fly_app_name"]: [row["machine_id"]]
    }


def test_a_worker_frozen_between_two_attempts_sends_no_third(world):
    """I6: its lease ran out while it slept; by now the user has paid again and another worker has made that true."""
    (user,) = have_active_users(world, 1)
    frozen, other = world.reconciler, world.new_worker()
    world.set_tier(user, "free")
    world.fault(method="DELETE", path="/v1/apps/*", when="before", status=503, times=1)

    def freeze(seconds):
        world.clock.advance(seconds + 200)
        world.set_tier(user, "pro")
        other.reconcile(user, 240)

    frozen.sleep = freeze
    with suppress(TransientError):
        frozen.reconcile(user, 240)
    row = world.row(user)
    assert row["status"] == "active"
    assert [machine.state for machine in world.apps()[row["fly_app_name"]]] == ["started"]


def test_nothing_is_done_to_a_machine_that_only_a_list_showed(world):
    """I5: a stale list shows failed. The machine is adopted and read directly, and continues to run."""
    (user,) = have_active_users(world, 1)
    row = world.row(user)
    with open_client(world.sim) as fly:
        listed = fly.get(f"/v1/apps/{row['fly_app_name']}/machines").json()
    stale = [{**listed[0], "state": "failed"}]
    world.sql("update public.user_fly_apps set machine_id = null, next_attempt_at = hangar.now()")
    world.fault(method="GET", path="/v1/apps/*/machines", when="before", status=200, body=stale, times=1)
    world.reconciler.reconcile(user, 240)
    assert world.row(user)["machine_id"] == row["machine_id"]
    assert started(world) == 1


def test_an_orphan_on_an_unreachable_host_is_kept(world):
    """The owner is in metadata that cannot be read now."""
    (user,) = have_active_users(world, 1)
    row = world.row(user)
    world.sql("alter table public.user_fly_app_events disable trigger append_only")
    world.sql("update hangar.settings set live = false")
    for table in ("user_fly_app_events", "fly_cost_intervals", "user_fly_apps"):
        world.sql(f"delete from public.{table}")
    world.control("PUT", f"machines/{row['machine_id']}", {"host_status": "unreachable"})
    sweep_for(world, 40)
    assert list(world.apps()) == [row["fly_app_name"]]


def test_a_bigger_plan_costs_its_own_price(world):
    """I10: the interval of the old size ends where that of the new one begins."""
    world.sql("update public.fly_plans set cpu_count = 4, memory_mb = 2048 where tier = 'elite'")
    (user,) = have_active_users(world, 1)
    world.set_tier(user, "elite")
    world.reconciler.reconcile(user, 240)
    sizes = world.sql(
        "select cpu_count, memory_mb, price_usd_per_s > 0.000005, ended_at is null"
        " from public.fly_cost_intervals order by started_at"
    )
    assert sizes[0] == (2, 512, False, False)
    assert sizes[-1] == (4, 2048, True, True)


@pytest.mark.parametrize(("column", "value"), [("max_apps", 2), ("max_monthly_cost_usd", 12)])
def test_a_cap_holds_for_many_at_once(world, column, value):
    world.sql(f"update hangar.settings set {column} = {value}")
    for _ in range(6):
        world.add_user("pro")
    world.sweep(drain_only=True)
    assert len(world.apps()) == 2


def test_an_incident_is_seen_over_pages_and_among_strangers(world, monkeypatch):
    """The share is of our own apps, page by page; other people's apps in the organisation dilute nothing."""
    monkeypatch.setattr(sweeps, "PAGE", 4)
    users = have_active_users(world, 8)
    for number in range(30):
        make_app(world, f"stranger-{number}", "default")
    world.sql("update hangar.settings set incident_floor = 2, incident_share = 0.3")
    stop_machines(world, users)
    world.sweep()
    assert started(world) == 0
    assert ("incident", "fleet") in world.open_alerts()


def test_a_sweep_whose_lease_ran_out_still_finishes(world):
    """Its last drain took longer than the lease: nobody took the sweep over, so its report and its end count."""
    have_active_users(world, 1)
    finish = world.reconciler.database.finish_sweep

    def finish_slowly(*args, **options):
        world.clock.advance(200)
        return finish(*args, **options)

    world.reconciler.database.finish_sweep = finish_slowly
    world.sweep()
    assert world.sql("select token, completed_at is not null from hangar.sweeps") == [(None, True)]


@pytest.mark.slow
def test_looks_end_with_the_time(world, monkeypatch):
    """Every look takes long: the sweep ends in time, and what it did not reach keeps what was known."""
    monkeypatch.setattr(looks, "LOOKERS", 1)
    have_active_users(world, 30)
    world.sweep()
    world.fault(method="GET", path="/v1/apps/*/machines/*", when="before", status=503)
    began = world.clock()
    world.sweep()
    assert world.clock() - began < 260


def test_an_unexpected_error_of_one_user_stops_no_other(world):
    """An unexpected error in one row: the others are provisioned and the sweep continues."""
    odd = world.add_user("pro")
    others = [world.add_user("pro") for _ in range(3)]

    def secrets(row, _issued_at):
        if row.user_id == odd:
            raise ValueError("nobody foresaw this")
        return {"TOKEN": "t"}

    world.reconciler.inputs = replace(world.reconciler.inputs, secrets=secrets)
    assert world.sweep().complete
    assert {world.row(user)["status"] for user in others} == {"active"}
    assert (world.row(odd)["status"], world.row(odd)["error_code"]) == ("error", "bug")
    assert ("provision_failed", world.row(odd)["id"]) in world.open_alerts()


def test_an_alert_outlives_the_worker_that_failed(world):
    """Killed right after the failing save: the alert was stored with the row and the next sweep sends it."""
    world.give_size_that_fly_refuses()
    user = world.add_user("pro")
    save = world.reconciler.database.save

    def save_and_die(row, patch, events, *, release):
        saved = save(row, patch, events, release=release)
        if patch.get("status") == "error":
            raise Killed
        return saved

    world.reconciler.database.save = save_and_die
    with suppress(Killed):
        world.reconciler.reconcile(user, 240)
    assert ("provision_failed", "size/pro") in world.open_alerts()
    assert world.new_worker().database.take_alerts()


def test_an_alert_ends_when_what_failed_is_no_longer_wanted(world):
    world.give_size_that_fly_refuses()
    user = world.add_user("pro")
    world.reconciler.reconcile(user, 240)
    assert world.open_alerts()
    world.set_tier(user, "free")
    assert world.open_alerts() == set()


def test_a_slow_deletion_is_not_a_failure(world):
    """Fly has accepted it and still shows the app for a while: that is waited for, not counted against the row."""
    (user,) = have_active_users(world, 1)
    row = world.row(user)
    shown = {"id": "x", "name": row["fly_app_name"], "network": row["network"], "organization": {"slug": "hangar-test"}}
    world.set_tier(user, "free")
    world.reconciler.fly.get_app(row["fly_app_name"])
    world.control("PUT", "faults", [])
    delete = world.reconciler.fly.delete_app

    def delete_slowly(name, **args):
        delete(name, **args)
        world.fault(method="GET", path="/v1/apps/*", when="before", status=200, body=shown, times=3)

    world.reconciler.fly.delete_app = delete_slowly
    assert world.reconciler.reconcile(user, 240).status == "deleted"
    assert "deprovision_failed" not in [kind for kind, _, _ in world.events(user)]


def test_a_machine_stuck_on_its_way_down_is_replaced(world):
    (user,) = have_active_users(world, 1)
    row = world.row(user)
    world.control("PUT", f"machines/{row['machine_id']}", {"state": "stopping"})
    world.clock.advance(11 * MINUTES)
    world.settle(3)
    assert started(world) == 1
    assert world.row(user)["status"] == "active"


def test_a_machine_that_cannot_be_stopped_goes_with_its_app(world):
    (user,) = have_active_users(world, 1)
    world.set_tier(user, "free")
    world.fault(method="POST", path="/v1/apps/*/machines/*/stop", when="before", status=500)
    for _ in range(6):
        with suppress(TransientError):
            world.reconciler.reconcile(user, 240, force=True)
        world.clock.advance(1900)
    assert world.row(user)["status"] == "deleted"
    assert world.apps() == {}


def test_a_row_that_needs_an_operator_is_not_tried_by_every_sweep(world):
    """I7: its machine is gone, its image cannot be pulled; looking at it again and again would change nothing."""
    (user,) = have_active_users(world, 1)
    row = world.row(user)
    world.sql("update public.user_fly_apps set status = 'error', error_code = 'image', next_attempt_at = null")
    with open_client(world.sim) as fly:
        path = f"/v1/apps/{row['fly_app_name']}/machines/{row['machine_id']}"
        fly.delete(path, params={"force": "true"}).raise_for_status()
    before = world.count_actions(user, "intent")
    sweep_for(world, 30)
    assert world.count_actions(user, "intent") == before


def test_a_sleeping_on_demand_machine_is_not_unhealthy(world):
    world.sql("update public.fly_plans set power = 'on_demand', public_service = true where tier = 'pro'")
    (user,) = have_active_users(world, 1)
    world.sweep()
    stop_machines(world, [user])
    sweep_for(world, 25)
    assert world.row(user)["health_status"] == "healthy"
    assert started(world) == 0


def test_an_orphans_intent_is_closed_when_its_worker_died(world):
    """I11."""
    make_app(world, "orphan", our_network(world))
    sweep_for(world, 15)
    world.kill_after("DELETE", "/v1/apps/*")
    world.clock.advance(5 * MINUTES)
    with suppress(Killed):
        world.sweep()
    world.spare()
    world.reconciler = world.new_worker()
    sweep_for(world, 20)
    statuses = [
        row[0]
        for row in world.sql("select status from public.user_fly_app_events where event_type = 'action' order by seq")
    ]
    assert statuses == ["intent", "unknown"]
    assert "orphan" not in world.apps()
