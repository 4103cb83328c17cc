"""A pass over the fleet that takes several sweeps: what each of them finds, writes, counts and claims."""

import threading

import pytest

from local.fly.transport import open_client
from shared.fleet import health_probe as probes
from shared.fleet import inventory as listings
from shared.fleet import sweep as sweeps
from shared.fleet.sweep import Sweep
from tests.simulation.test_guards import have_active_users, make_app, our_network
from tests.support.boundaries import Killed

LOOK_AT_APP = "GET /v1/apps/{app_name}"


@pytest.fixture
def small_pages(monkeypatch):
    """Pages of two rows."""
    monkeypatch.setattr(sweeps, "PAGE", 2)


@pytest.fixture
def slow_probes(world, monkeypatch):
    """One probe at a time, eight seconds each: a sweep of fifty seconds has time for five or six."""
    listed = threading.Event()
    probe, cover = probes.Prober._probe, sweeps.FleetPass.cover

    def probe_when_listed(self, row):
        # The world's clock runs ahead while the sweep's own thread reads pages, unless the probes wait for it.
        assert listed.wait(timeout=20)
        return probe(self, row)

    def tell_and_cover(self, inventory):
        listed.set()
        cover(self, inventory)
        listed.clear()

    def slow_down():
        monkeypatch.setattr(probes.Prober, "_probe", probe_when_listed)
        monkeypatch.setattr(sweeps.FleetPass, "cover", tell_and_cover)
        world.control("PUT", "faults", [{"method": "GET", "path": "/v1/apps/*/machines/*", "delay_s": 8.0}])

    monkeypatch.setattr(probes, "LOOKERS", 1)
    return slow_down


def sweep_briefly(world, seconds=40):
    world.clock.advance(300)
    return Sweep(world.reconciler, world.clock() + seconds).run(drain_only=False)


def kill_behind_first_page(world):
    """The process dies as soon as the cursor is after the first page."""
    cross = world.boundaries.cross

    def cross_or_die(where):
        cross(where)
        if where == "after fly_sweep_progress":
            world.boundaries.cross = cross
            raise Killed(where)

    world.boundaries.cross = cross_or_die
    with pytest.raises(Killed):
        world.sweep()
    world.clock.advance(400)


@pytest.mark.slow
def test_orphans_are_found_and_removed_although_no_sweep_reads_the_whole_fleet(world, small_pages, slow_probes):
    """Every sweep ends between two pages: it finds the orphan, takes no app of another page for one, and has time for it."""
    have_active_users(world, 8)
    slow_probes()
    make_app(world, "orphan", our_network(world))
    reports = []
    world.sim.world.requests.clear()
    while "orphan" in world.apps() and len(reports) < 8:
        reports.append(sweep_briefly(world, 50))
        assert world.sim.world.requests[LOOK_AT_APP] == len(reports), "this sweep had no time for the orphan"
    assert not reports[0].complete
    assert "orphan" not in world.apps()
    assert {report.orphans for report in reports} == {1}
    assert max(report.apps for report in reports) < 8
    assert len(world.apps()) == 8


@pytest.mark.slow
def test_a_pass_with_unprobed_apps_is_not_complete_at_its_end(world, small_pages, slow_probes):
    """No sweep has time for a whole page. The one that reaches the last page says how many apps the pass has left out."""
    have_active_users(world, 8)
    slow_probes()
    ends = []
    for _ in range(12):
        report = sweep_briefly(world, 17)
        ends += [report] * (world.sql("select cursor is null from hangar.sweeps") == [(True,)])
    assert ends
    for report in ends:
        assert not report.complete
        assert "apps were looked at" in report.detail
    assert world.sql("select completed_at from hangar.sweeps") == [(None,)]


def test_a_pass_whose_sweeps_all_run_out_of_time_becomes_complete(world, small_pages, slow_probes):
    """A page that could not be probed whole is left to the next sweep, unless it is a sweep's first."""
    have_active_users(world, 8)
    slow_probes()
    reports = [sweep_briefly(world, 45) for _ in range(3)]
    assert [report.complete for report in reports[:2]] in ([False, True], [False, False])
    assert any(report.complete for report in reports)
    assert world.sql("select completed_at is not null from hangar.sweeps") == [(True,)]


def test_a_pass_that_two_sweeps_cover_is_complete_and_ends_only_older_alerts(world, small_pages):
    """What was refused during the first half may still be: its alert outlives the pass, and the next pass ends it."""
    have_active_users(world, 5)
    kill_behind_first_page(world)
    world.reconciler.database.raise_alert("max_apps", "fleet", "no room for another app", {})
    world.clock.advance(400)
    report = world.sweep()
    assert (report.complete, report.apps) == (True, 3)
    assert ("max_apps", "fleet") in world.open_alerts()
    world.clock.advance(300)
    report = world.sweep()
    assert (report.complete, report.apps) == (True, 5)
    assert ("max_apps", "fleet") not in world.open_alerts()


def test_a_killed_sweep_loses_nothing_of_the_pages_behind_its_cursor(world, small_pages):
    """The cursor moves only after everything seen of a page is written."""
    have_active_users(world, 5)
    world.clock.advance(300)
    began = world.clock()
    kill_behind_first_page(world)
    assert world.sql(
        "select count(*) from public.user_fly_apps, hangar.sweeps"
        " where id <= (cursor ->> 'after')::uuid and observed_at >= to_timestamp(%s)",
        began,
    ) == [(2,)]


def test_an_incident_of_the_first_half_is_reported_by_the_second(world, small_pages):
    """The alert is about the pass, not about the pages that happened to be left for the last sweep."""
    have_active_users(world, 5)
    world.sql("update hangar.settings set incident_floor = 1")
    first = world.sql("select fly_app_name, machine_id from public.user_fly_apps order by id limit 2")
    with open_client(world.sim) as fly:
        for app, machine in first:
            fly.post(f"/v1/apps/{app}/machines/{machine}/stop").raise_for_status()
    world.clock.advance(60)
    kill_behind_first_page(world)
    assert world.sweep().complete
    assert ("incident", "fleet") in world.open_alerts()


@pytest.mark.slow
def test_the_share_of_an_incident_is_a_share_of_the_rows(world):
    """Fly has lost every app but one: as many are broken as there are rows, not more than Fly lists."""
    have_active_users(world, 13)
    with open_client(world.sim) as fly:
        for app in list(world.sim.apps)[1:]:
            fly.delete(f"/v1/apps/{app}", params={"force": "true"}).raise_for_status()
    world.clock.advance(300)
    world.sweep()
    [(message, metadata)] = world.sql("select message, metadata from hangar.alerts where kind = 'incident'")
    assert message.startswith("12 of 13 apps broke at once")
    assert metadata == {"broken": 12, "fleet": 13}


def test_a_sweep_counts_its_own_fly_calls(world):
    """Two calls of `health` share a process: what the other asks Fly meanwhile is not counted."""
    users = have_active_users(world, 3)
    read_page = world.reconciler.database.read_fleet_page

    def ask_meanwhile(after, limit):
        for user in users:
            world.reconciler.fly.get_app(world.row(user)["fly_app_name"])
        return read_page(after, limit)

    world.reconciler.database.read_fleet_page = ask_meanwhile
    before = world.reconciler.fly.calls
    assert world.sweep().fly_calls == 2 + 3
    assert world.reconciler.fly.calls == before + 3


def test_apps_whose_turn_it_is_are_probed_while_fly_is_listed(world, monkeypatch):
    """Of a large fleet too: the listing takes seconds, and the probes that do not depend on it do not wait for it."""
    monkeypatch.setattr(listings, "LOOK_AT_ALL_UP_TO", 0)
    have_active_users(world, 3)
    world.clock.advance(3600)  # every app is due for a probe
    probed = threading.Semaphore(0)
    get_machine, read_machines = world.reconciler.fly.get_machine, sweeps.read_machines

    def get_and_count(*args, **options):
        machine = get_machine(*args, **options)
        probed.release()
        return machine

    def read_late(fly):
        assert all(probed.acquire(timeout=20) for _ in range(3)), "the probes wait for the listing"
        return read_machines(fly)

    world.reconciler.fly.get_machine = get_and_count
    monkeypatch.setattr(sweeps, "read_machines", read_late)
    report = world.sweep()
    assert (report.complete, report.healthy) == (True, 3)
