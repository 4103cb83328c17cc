"""More work than Fly or the time allows: limits are kept, no user starves, and nothing is done twice."""

from collections import Counter
from collections.abc import Iterator
from datetime import datetime

import pytest

from bench.fleet import change_tier, make_fleet, sign_up
from shared.fleet import health_probe as looks
from shared.fleet.sweep import Sweep
from shared.reconcile import drain as drains
from tests.simulation.test_guards import make_app, our_network
from tests.support.sizes import size
from tests.support.turns import use_turns
from tests.support.world import World, make_busy_world

DOWNGRADES = size("DOWNGRADES")  # a thousand take eleven virtual minutes
LOOK = "GET /v1/apps/{app_name}/machines/{machine_id}"


@pytest.fixture
def busy(database, monkeypatch) -> Iterator[World]:
    """Several processes on one stage, in virtual time."""
    made = make_busy_world(database)
    use_turns(monkeypatch, made.turns)
    yield made
    made.close()


def have_busy_fleet(busy, count):
    """Active apps at rest."""
    busy.sql("select 1")

    def boot():
        busy.clock.advance(60)
        busy.sim.settle()
        busy.sql("select 1")

    return make_fleet(busy.host, busy.sim, count, boot)


def call_health(busy, name, *, drain_only, seconds=50.0):
    """One process of `health`, as the scheduler calls it; its report is in the list once it has ended."""
    reports = []
    busy.run_process(
        name, lambda worker: reports.append(Sweep(worker, busy.clock() + seconds).run(drain_only=drain_only))
    )
    return reports


def pass_minute(busy):
    busy.turns.run(busy.clock() + 60)


def most_in_a_minute(times):
    """The most of `times` in any window of 60 s."""
    return max((sum(start <= at < start + 60 for at in times) for start in times), default=0)


def statuses(world):
    return dict(world.sql("select status, count(*) from public.user_fly_apps group by 1"))


@pytest.mark.sized
@pytest.mark.timeout(600)
@pytest.mark.slow
def test_a_mass_cancellation_by_two_processes_keeps_flys_limit_and_lets_an_upgrade_pass(busy):
    """At most 100 deletions a minute, without 429, failure or alert. An upgrade in between is not delayed."""
    users = have_busy_fleet(busy, DOWNGRADES)
    busy.allow_mass_losses()
    busy.sql("select 1")
    change_tier(busy.host, users, "free")
    started = busy.clock()
    late = None
    for minute in range(30):
        for name in ("a", "b"):
            call_health(busy, f"drain {name}", drain_only=True)
        if minute == 1:
            late = busy.add_user("pro")  # its nudge is lost
        pass_minute(busy)
        if minute == 2:
            assert busy.row(late)["status"] == "active"
        if statuses(busy).get("deleted") == len(users):
            break
    busy.turns.run(busy.clock() + 120)
    assert statuses(busy) == {"deleted": DOWNGRADES, "active": 1}
    assert max(busy.deletions) - started >= 60 * (DOWNGRADES / 100 - 1)
    assert minute <= DOWNGRADES / 90 + 3
    assert most_in_a_minute(busy.deletions) <= 100
    assert len(busy.deletions) <= 1.01 * DOWNGRADES
    assert busy.refused == []
    assert busy.count_events("deprovision_failed", "provision_failed", "error_occurred", "alert_raised") == 0
    # Each row was claimed for its slot once or twice, not in every drain.
    [(claims,)] = busy.sql("select count(*) from public.states")
    assert claims < 14 * len(users), claims


@pytest.mark.parametrize(
    ("headers", "method"),
    [({}, "*"), ({"Retry-After": "7"}, "*"), ({"Retry-After": "Thu, 26 Nov 2026 10:00:00 GMT"}, "*"), ({}, "DELETE")],
)
@pytest.mark.slow
def test_a_storm_of_429_is_outlived(busy, headers, method):
    """Fly refuses everything for ten minutes: health calls end in time, writes stay few, then all users converge."""
    leaving = have_busy_fleet(busy, 20)
    busy.allow_mass_losses()
    busy.sql("select 1")
    change_tier(busy.host, leaving, "free")
    coming = [busy.add_user("pro") for _ in range(5)]
    body = {"error": "rate limit exceeded"}
    paths = ["/v1/apps", "/v1/apps/*", "/v1/apps/*/machines", "/v1/apps/*/machines/*", "/v1/apps/*/machines/*/*"]
    paths += ["/v1/orgs/*/machines", "/v1/apps/*/secrets"]
    rules = [{"method": method, "path": path, "status": 429, "body": body, "headers": headers} for path in paths]
    busy.control("PUT", "faults", rules)
    for _ in range(10):
        called = busy.clock()
        reports = call_health(busy, "drain", drain_only=True)
        pass_minute(busy)
        assert reports
        assert reports[0].seconds <= 60, called
    writes = dict(busy.writes)
    assert all(count <= 30 for count in writes.values()), writes
    busy.control("PUT", "faults", [])
    for _ in range(2):
        call_health(busy, "sweep", drain_only=False, seconds=240)
        busy.turns.run(busy.clock() + 1900)
    assert statuses(busy) == {"deleted": 20, "active": 5}
    assert {busy.row(user)["status"] for user in coming} == {"active"}
    assert busy.open_alerts() == set()


def test_a_drain_ends_in_its_time_while_fly_asks_for_patience(busy):
    """Fly delays each read by 14 s. A drain of 20 s does not start a third one."""
    busy.add_user("pro")
    refusal = {"status": 429, "body": {"error": "rate limit exceeded"}, "headers": {"Retry-After": "14"}}
    busy.control("PUT", "faults", [{"method": "GET", "path": "/v1/apps/*", **refusal}])
    reports = call_health(busy, "drain", drain_only=True, seconds=20)
    pass_minute(busy)
    assert reports[0].seconds <= 20


@pytest.mark.slow
def test_a_local_rate_limit_is_not_a_failure(busy):
    """Fly refuses one deletion for 30 s: the process delays the others without error, alert or attempt."""
    leaving = have_busy_fleet(busy, 12)
    busy.allow_mass_losses()
    busy.sql("select 1")
    change_tier(busy.host, leaving, "free")
    refusal = {"status": 429, "body": {"error": "rate limit exceeded"}, "headers": {"Retry-After": "30"}}
    busy.control("PUT", "faults", [{"method": "DELETE", "path": "/v1/apps/*", "times": 1, **refusal}])
    call_health(busy, "drain", drain_only=True, seconds=20)
    busy.turns.run(busy.clock() + 25)
    rows = Counter(busy.sql("select status, error_code, retry_count from public.user_fly_apps"))
    assert rows[("deprovisioning", None, 0)] >= 5, rows
    assert "error" not in {status for status, _, _ in rows}
    assert busy.count_events("deprovision_failed") == 0
    for _ in range(2):
        call_health(busy, "drain", drain_only=True)
        pass_minute(busy)
    assert statuses(busy).get("deleted", 0) >= 11
    # The intent of a delayed row is closed as failed, because the call was not sent.
    open_intents = busy.sql(
        "select count(*) from public.user_fly_apps where open_intent is not null and deleted_at is null"
    )
    assert open_intents == [(0,)]


@pytest.mark.parametrize(("asked_s", "waits_s"), [(300, 300), (86400, 1800)])
@pytest.mark.parametrize(
    "call", [("POST", "/v1/apps"), ("GET", "/v1/apps/*/machines/*"), ("POST", "/v1/apps/*/machines")]
)
def test_a_throttle_longer_than_a_call_is_not_a_failure(world, call, asked_s, waits_s):
    """Fly sends a Retry-After: the row is due then (at most retry_cap_s later), without error, alert or attempt."""
    user = world.add_user("pro")
    refusal = {"status": 429, "body": {"error": "rate limit exceeded"}, "headers": {"Retry-After": str(asked_s)}}
    world.fault(method=call[0], path=call[1], when="before", **refusal)
    world.sweep(drain_only=True)
    row = world.row(user)
    assert (row["status"], row["error_code"], row["error_message"], row["retry_count"]) == (
        "provisioning",
        None,
        None,
        0,
    )
    assert datetime.fromisoformat(row["next_attempt_at"]).timestamp() == pytest.approx(world.clock() + waits_s, abs=1)
    assert world.open_alerts() == set()
    assert world.count_actions(user, "intent") == world.count_actions(user, "succeeded", "failed")
    assert "provision_failed" not in {kind for kind, _, _ in world.events(user)}
    world.control("PUT", "faults", [])
    world.clock.advance(waits_s + 1)
    world.sweep(drain_only=True)
    assert world.row(user)["status"] == "active"


def test_a_refusal_after_the_requested_waits_is_a_failure(world):
    """After four refusals in one call, the row's own backoff applies and an alert is raised."""
    user = world.add_user("pro")
    refusal = {"status": 429, "body": {"error": "rate limit exceeded"}, "headers": {"Retry-After": "3"}}
    world.fault(method="POST", path="/v1/apps", when="before", **refusal)
    world.sweep(drain_only=True)
    row = world.row(user)
    assert (row["status"], row["error_code"], row["retry_count"]) == ("error", "rate_limited", 4)
    assert world.open_alerts() == {("provision_failed", "fly_unavailable")}


@pytest.mark.slow
def test_slow_rows_do_not_keep_the_others_waiting(busy, monkeypatch):
    """Fly takes 14 s per call for the 16 users due first. The others are served in the same drain."""
    monkeypatch.setattr(drains, "TURN_S", 20.0)
    poisoned = [busy.add_user("pro") for _ in range(drains.WORKERS)]
    busy.turns.run(busy.clock() + 5)
    others = [busy.add_user("pro") for _ in range(10)]
    apps = [f"/v1/apps/{busy.row(user)['fly_app_name']}" for user in poisoned]
    ends = ("", "/secrets", "/machines", "/machines/*", "/machines/*/wait")
    busy.control("PUT", "faults", [{"method": "*", "path": app + end, "delay_s": 14.0} for app in apps for end in ends])
    call_health(busy, "drain", drain_only=True, seconds=240)
    busy.turns.run(busy.clock() + 40)
    assert {busy.row(user)["status"] for user in others} == {"active"}
    assert {busy.row(user)["status"] for user in poisoned} == {"provisioning"}
    for _ in range(6):
        call_health(busy, "drain", drain_only=True)
        pass_minute(busy)
    assert {busy.row(user)["status"] for user in poisoned} == {"active"}


@pytest.mark.slow
def test_a_drain_out_of_time_leaves_rows_for_the_next(busy):
    """Each drain of 20 s does some rows and reports how many are left. The next continues with the oldest."""
    users = [busy.add_user("pro") for _ in range(80)]
    busy.control("PUT", "latency", {"profile": "typical"})
    left = []
    for _ in range(12):
        reports = call_health(busy, "drain", drain_only=True, seconds=20)
        pass_minute(busy)
        assert reports[0].seconds <= 60
        left.append(sum(busy.row(user)["status"] != "active" for user in users))
        if not left[-1]:
            break
    assert left[0] > 0, "the first drain must not finish all rows"
    assert left == sorted(left, reverse=True)
    assert left[-1] == 0
    assert busy.refused == []


@pytest.mark.slow
def test_overlapping_sweeps_and_drains_do_nothing_twice(busy):
    """Two sweeps and two drains run at once. The second sweep reports the first, and each action happens once."""
    users = have_busy_fleet(busy, 40)
    busy.sql("select 1")
    change_tier(busy.host, users[:15], "free")
    coming = [busy.add_user("pro") for _ in range(15)]
    for user in users[15:20]:
        busy.control("POST", f"machines/{busy.row(user)['machine_id']}/crash", {})
    # Both sweeps drain first; listing takes long enough that the second comes to it while the first is still at it.
    lists = ("/v1/orgs/*/machines", "/v1/apps")
    busy.control("PUT", "faults", [{"method": "GET", "path": path, "delay_s": 14.0} for path in lists])
    reports = [
        call_health(busy, f"{kind} {number}", drain_only=kind == "drain", seconds=240)
        for number in range(2)
        for kind in ("sweep", "drain")
    ]
    busy.turns.run(busy.clock() + 600)
    sweeps_made = [reports[0][0], reports[2][0]]
    assert sorted(report.complete for report in sweeps_made) == [False, True]
    assert "another sweep is under way" in "".join(report.detail for report in sweeps_made)
    assert statuses(busy) == {"active": 40, "deleted": 15}
    assert {len(machines) for machines in busy.apps().values()} == {1}
    actions = busy.sql(
        "select fly_app_id, metadata ->> 'action', count(*) from public.user_fly_app_events"
        " where event_type = 'action' and status = 'intent' group by 1, 2 having count(*) > 1"
    )
    assert actions == []
    made = Counter(
        action
        for (action,) in busy.sql(
            "select metadata ->> 'action' from public.user_fly_app_events where event_type = 'action' and status = 'intent'"
        )
    )
    assert (made["create_app"], made["create_machine"], made["start_machine"], made["delete_app"]) == (15, 15, 5, 15)
    assert {busy.row(user)["status"] for user in coming} == {"active"}


def have_fleet(world, count):
    """Active apps at rest in a world without a stage, looked at once."""
    world.sql("select 1")

    def boot():
        world.clock.advance(60)
        world.sim.settle()
        world.sql("select 1")

    return make_fleet(world.host, world.sim, count, boot)


@pytest.mark.slow
@pytest.mark.parametrize("page", [1000, 20])
def test_slow_sweeps_probe_every_app_in_turn(world, monkeypatch, page):
    """Fly takes 8 s per probe, so a sweep probes a fraction. No app is skipped, wherever the cursor is."""
    monkeypatch.setattr(looks, "LOOKERS", 1)  # one at a time, so that the world's one clock tells what each takes
    have_fleet(world, 90)
    read_page = world.reconciler.database.read_fleet_page
    monkeypatch.setattr(world.reconciler.database, "read_fleet_page", lambda after, _limit: read_page(after, page))
    world.clock.advance(600)
    world.control("PUT", "faults", [{"method": "GET", "path": "/v1/apps/*/machines/*", "delay_s": 8.0}])
    began = world.clock()
    looked = []
    for _ in range(20):
        world.sim.world.requests.clear()
        report = world.sweep()
        looked.append(world.sim.world.requests[LOOK])
        assert report.seconds <= 260
        world.clock.advance(300)
        [(left,)] = world.sql("select count(*) from public.user_fly_apps where observed_at < to_timestamp(%s)", began)
        if not left:
            break
    assert looked[0] < 90, "one sweep must not probe all apps"
    assert left == 0, looked
    # As few sweeps as the probes of one sweep allow, and the passes over the pages.
    assert len(looked) <= 90 // min(looked) + 1 + 90 // page


@pytest.mark.slow
def test_a_sweep_that_could_not_probe_every_app_is_not_whole(world, monkeypatch):
    """It reports that, and resolves no alert that needs a whole sweep. Orphans need no probe and are found."""
    monkeypatch.setattr(looks, "LOOKERS", 1)
    have_fleet(world, 60)
    make_app(world, "orphan", our_network(world))
    world.sql("select public.fly_raise_alert('incident', 'fleet', 'many broke')")
    world.clock.advance(600)
    world.control("PUT", "faults", [{"method": "GET", "path": "/v1/apps/*/machines/*", "delay_s": 8.0}])
    began = world.clock()
    report = world.sweep()
    [(left,)] = world.sql("select count(*) from public.user_fly_apps where observed_at < to_timestamp(%s)", began)
    assert (report.complete, report.apps, report.orphans) == (False, 60, 1)
    assert report.detail == f"the time was up before {left} apps were looked at; they come first in the next sweep"
    assert world.sql("select cursor, completed_at, finished_at is not null from hangar.sweeps") == [(None, None, True)]
    assert ("incident", "fleet") in world.open_alerts()
    world.control("PUT", "faults", [])
    world.clock.advance(300)
    report = world.sweep()
    assert (report.complete, report.detail) == (True, "")
    assert world.sql("select completed_at = finished_at from hangar.sweeps") == [(True,)]
    assert ("incident", "fleet") not in world.open_alerts()


@pytest.mark.sized
@pytest.mark.timeout(300)
@pytest.mark.slow
def test_thousands_of_flips_in_a_minute(world):
    """After 20 flips per user exactly the entitled users have apps. A flip costs the host a mark."""
    count = size("FLIPPING_USERS")
    world.sql("update hangar.settings set brake_floor = 100000")
    world.allow_mass_losses()
    world.sql("select vault.create_secret('http://127.0.0.1:9', 'hangar_functions_url')")
    world.sql("select vault.create_secret(%s, 'hangar_webhook_secret')", "whsec_" + "q83v" * 8)
    world.control("PUT", "latency", {"profile": "typical"})  # so that each drain gets as far as its time allows
    users = sign_up(world.host, count)
    for number in range(20):
        queued = count_nudges(world)
        calls = count_calls(world, lambda tier=("pro", "free")[number % 2]: change_tier(world.host, users, tier))
        assert calls["sync_desired_state"] == calls["entitlements"] == 0  # the host only leaves marks
        assert calls["mark_subscriptions"] == 1
        assert count_nudges(world) - queued == 1
        world.clock.advance(5)
        if number in (2, 9, 15):
            Sweep(world.reconciler, world.clock() + 20).run(drain_only=True)
    [(events,)] = world.sql("select count(*) from public.user_fly_app_events where event_type = 'desired_changed'")
    assert events <= 20 * count
    change_tier(world.host, users[:50], "pro")
    world.control("PUT", "latency", {"profile": "instant"})
    for _ in range(40):
        world.sweep(drain_only=True)
        world.clock.advance(60)
        if not world.sql("select 1 from public.user_fly_apps where next_attempt_at is not null"):
            break
    active = {user for (user,) in world.sql("select user_id from public.user_fly_apps where status = 'active'")}
    assert active == set(users[:50])
    assert len(world.apps()) == 50
    assert {len(machines) for machines in world.apps().values()} == {1}
    assert world.sql("select count(*) from public.user_fly_apps where deleted_at is null") == [(50,)]
    assert not world.open_alerts()


def count_nudges(world):
    [(count,)] = world.sql("select coalesce(max(id), 0) from net.http_request_queue")
    return count


def count_calls(world, act):
    """How often `act` calls each function of ours, in one transaction."""

    def read():
        found = world.host.execute(
            "select funcname, calls from pg_stat_xact_user_functions where schemaname = 'hangar'"
        )
        return Counter(dict(found.fetchall()))

    with world.host.transaction():
        world.host.execute("set local track_functions = 'all'")
        world.sql("select 1")
        before = read()
        act()
        return read() - before
