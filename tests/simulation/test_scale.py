"""Thousands of apps: how many calls and statements a sweep takes, that no app starves, and a thousand changes at once.

Counts only; what it takes in seconds is for `make bench` (docs/benchmarks.md). Fly's limits: test_overload.py.
"""

from collections import Counter

import pytest

from bench.fleet import change_tier, make_fleet, sign_up, spread_probes
from shared.fleet import inventory as listings
from tests.support.boundaries import Killed
from tests.support.sizes import size

ORG_LIST, APP_LIST = "GET /v1/orgs/{org_slug}/machines", "GET /v1/apps"
PROBE = "GET /v1/apps/{app_name}/machines/{machine_id}"


def have_fleet(world, count):
    """Active apps at rest, as half an hour of sweeps leaves them."""
    world.sql("select 1")

    def boot():
        world.clock.advance(60)
        world.sim.settle()
        world.sql("select 1")

    users = make_fleet(world.host, world.sim, count, boot)
    spread_probes(world.host, world.clock())
    return users


def count_sweep(world):
    """One sweep, five minutes after the last: its report, Fly's requests and the procedures called."""
    world.clock.advance(300)
    world.sim.world.requests.clear()
    world.store.calls.clear()
    report = world.sweep()
    return report, Counter(world.sim.world.requests), Counter(world.store.calls)


def read_looks(world):
    """When each app was last looked at directly, in seconds before now."""
    looked = world.sql("select observed_at from public.user_fly_apps where deleted_at is null")
    return [world.clock() - at.timestamp() for (at,) in looked]


def writes(requests):
    return {call: count for call, count in requests.items() if not call.startswith("GET ")}


def live_per_user(world):
    """How many live rows the users have who have any, and how many machines each app has."""
    rows = world.sql("select count(*) from public.user_fly_apps where deleted_at is null group by user_id")
    return {count for (count,) in rows}, {len(machines) for machines in machines_by_app(world).values()}


def machines_by_app(world):
    world.sim.settle()
    return {name: app.live_machines() for name, app in world.sim.apps.items()}


@pytest.mark.sized
@pytest.mark.timeout(600)
@pytest.mark.slow
def test_a_large_fleet_is_swept_with_few_lists_and_a_share_of_looks(world):
    """For 10,000 apps at most 11 org lists and 3 app lists, direct looks at suspects and the rotating share only, no write."""
    count = size("FLEET")
    org_lists, app_lists = count // 1000 + 1, count // 5000 + 1
    have_fleet(world, count)
    report, requests, calls = count_sweep(world)
    assert (report.apps, report.healthy, report.complete) == (count, count, True)
    assert requests[ORG_LIST] <= org_lists
    assert requests[APP_LIST] <= app_lists
    assert requests[PROBE] <= count / 3
    assert sum(requests.values()) == requests[ORG_LIST] + requests[APP_LIST] + requests[PROBE]
    assert sum(calls.values()) <= 60

    suspects = list(world.sim.world.machines)[:: count // 10]
    for machine in suspects:
        world.control("PUT", f"machines/{machine}", {"checks": {"alive": "critical"}})
    world.sql(
        "update public.user_fly_apps set bad_samples = 1, health_status = 'unhealthy' where machine_id = any(%s)",
        suspects,
    )
    again, requests, _ = count_sweep(world)
    assert again.unhealthy == len(suspects)
    assert requests[ORG_LIST] + requests[APP_LIST] <= org_lists + app_lists
    assert not writes(requests)


@pytest.mark.slow
def test_six_hundred_health_results_are_two_statements(world):
    """A fleet found unknown all at once is written 500 rows a statement."""
    have_fleet(world, 600)
    world.sql("update public.user_fly_apps set health_status = 'unknown'")
    report, requests, calls = count_sweep(world)
    assert report.healthy == 600
    assert requests[PROBE] == 600
    assert calls["fly_record_sweep"] <= 2


def small_pages(world, monkeypatch, size):
    read_page = world.reconciler.database.read_fleet_page
    monkeypatch.setattr(world.reconciler.database, "read_fleet_page", lambda after, _limit: read_page(after, size))


@pytest.mark.slow
def test_every_app_is_probed_within_half_an_hour(world, monkeypatch):
    """With sweeps every five minutes for two hours, each app of a large fleet is read directly every 30 minutes."""
    monkeypatch.setattr(listings, "LOOK_AT_ALL_UP_TO", 0)
    have_fleet(world, 120)
    for number in range(24):
        report, requests, _ = count_sweep(world)
        assert report.complete
        assert requests[PROBE] < 60
        if number >= 6:
            assert max(read_looks(world)) <= 1800


@pytest.mark.slow
def test_a_killed_sweep_starves_no_app(world, monkeypatch):
    """Killed at a different page each time, the next sweep continues after it, and every app gets its probe."""
    monkeypatch.setattr(listings, "LOOK_AT_ALL_UP_TO", 0)
    have_fleet(world, 60)
    small_pages(world, monkeypatch, 10)
    for _ in range(7):
        count_sweep(world)
    longest = 0.0
    for page in range(5):
        world.clock.advance(300)
        die_after_page(world, page)
        with pytest.raises(Killed):
            world.sweep()
        world.boundaries.die_at = None
        (cursor,) = world.sql("select cursor is not null from hangar.sweeps")[0]
        assert cursor
        report, _, _ = count_sweep(world)
        assert report.complete
        assert report.apps == 60 - 10 * (page + 1)  # it continued where the other stopped
        for _ in range(4):
            assert count_sweep(world)[0].apps == 60
            longest = max(longest, *read_looks(world))
    assert longest <= 30 * 60


def die_after_page(world, page):
    """Have the process die once the sweep has noted that this many pages, and one, are done."""
    world.boundaries.passed, world.boundaries.trace = 0, []
    pages_done = 0
    real_cross = type(world.boundaries).cross

    def cross(where):
        nonlocal pages_done
        real_cross(world.boundaries, where)
        pages_done += where == "after fly_sweep_progress"
        if pages_done > page:
            world.boundaries.cross = lambda where: real_cross(world.boundaries, where)
            raise Killed(where)

    world.boundaries.cross = cross


@pytest.mark.sized
@pytest.mark.timeout(600)
def test_hundreds_of_upgrades_in_one_statement(world):
    """All end active with one app and one machine each; for their downgrade see tests/simulation/test_overload.py."""
    count = size("UPGRADES")
    users = sign_up(world.host, count)
    world.sql("select 1")
    change_tier(world.host, users, "pro")
    report = world.sweep(drain_only=True)
    assert report.provisioned == count
    assert world.sql("select status, count(*) from public.user_fly_apps group by 1") == [("active", count)]
    assert live_per_user(world) == ({1}, {1})
    assert len(world.apps()) == count
    assert not world.open_alerts()


@pytest.mark.slow
def test_the_brake_left_alone_lets_a_floor_of_a_thousand_downgrades_go(world):
    """Without an operator's approval a mass downgrade stops at the brake for an hour."""
    users = have_fleet(world, 200)
    world.allow_mass_losses()
    change_tier(world.host, users, "free")
    world.sweep(drain_only=True)
    assert len(world.sim.apps) == 200 - 20
    assert ("brake", "fleet") in world.open_alerts()
    world.clock.advance(3700)
    world.sweep(drain_only=True)
    assert len(world.sim.apps) == 200 - 40


@pytest.mark.parametrize("look_at_all_up_to", [1000, 0])
@pytest.mark.slow
def test_a_third_of_the_fleet_in_an_unreachable_region_is_unknown_and_left_alone(world, monkeypatch, look_at_all_up_to):
    """Neither unhealthy nor restarted, replaced or destroyed, for as long as it lasts; healthy again when it is over."""
    monkeypatch.setattr(listings, "LOOK_AT_ALL_UP_TO", look_at_all_up_to)
    users = have_fleet(world, 60)
    lost = world.random.sample(users, 20)
    move_to_region(world, lost, "lhr")
    count_sweep(world)
    before = show_machines(world)
    world.control("PUT", "regions/lhr", {"error": True})
    for machine in machine_ids(world, lost):
        world.control("PUT", f"machines/{machine}", {"host_status": "unreachable"})
    for _ in range(13):
        report, requests, _ = count_sweep(world)
        assert not writes(requests)
        assert (report.healthy, report.unhealthy, report.unknown, report.repaired) == (40, 0, 20, 0)
    assert healths(world, lost) == {"unknown"}
    assert show_machines(world) == before
    assert not world.sim.world.destroyed
    assert world.sql("select count(*) from public.user_fly_app_events where event_type = 'recovery_attempted'") == [
        (0,)
    ]

    world.control("PUT", "regions/lhr", {"error": False})
    for machine in machine_ids(world, lost):
        world.control("PUT", f"machines/{machine}", {"host_status": "ok"})
    report, requests, _ = count_sweep(world)
    assert report.healthy == 60
    assert not writes(requests)


def move_to_region(world, users, region):
    """Move these users' machines there, on Fly and on their rows."""
    for machine in machine_ids(world, users):
        world.sim.world.machines[machine].region = region
    world.sql(
        "update public.user_fly_apps set region = %s, machine_region = %s where user_id = any(%s)",
        region,
        region,
        users,
    )


def machine_ids(world, users):
    return [id_ for (id_,) in world.sql("select machine_id from public.user_fly_apps where user_id = any(%s)", users)]


def show_machines(world):
    return {(m.id, m.state, m.version, m.run) for machines in machines_by_app(world).values() for m in machines}


def healths(world, users):
    return {h for (h,) in world.sql("select health_status from public.user_fly_apps where user_id = any(%s)", users)}
