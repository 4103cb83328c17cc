"""Guards of a sweep that no other guard backs up: stale lists, the floor of an incident, rows in error."""

from local.fly.transport import open_client
from shared.fleet import sweep as sweeps
from tests.simulation.test_guards import MINUTES, have_active_users, started, stop_machines


def test_a_list_counts_no_destroyed_machine(world):
    """I7: the list still shows a machine that was destroyed; the app has one machine, so its row is not due."""
    [user] = have_active_users(world, 1)
    world.sweep()
    [(org,)] = world.sql("select fly_org_slug from hangar.settings")
    with open_client(world.sim) as fly:
        listed = fly.get(f"/v1/orgs/{org}/machines").json()
    [machine] = listed["machines"]
    listed["machines"].append({**machine, "id": "destroyed1", "state": "destroyed"})
    world.fault(method="GET", path="/v1/orgs/*/machines", when="before", status=200, body=listed)
    world.clock.advance(5 * MINUTES)
    assert world.sweep().repaired == 0
    assert world.row(user)["next_attempt_at"] is None


def test_the_floor_of_an_incident_holds_for_the_whole_sweep(world, monkeypatch):
    """I7: a fleet of two pages; a sweep repairs two apps of the incident in all, not two of each page."""
    monkeypatch.setattr(sweeps, "PAGE", 4)
    users = have_active_users(world, 8)
    world.sql("update hangar.settings set incident_floor = 2, incident_share = 0.3")
    world.sweep()
    stop_machines(world, users)
    world.sweep()
    assert started(world) == 0
    world.clock.advance(5 * MINUTES)
    world.sweep()
    assert started(world) == 2


def test_a_row_in_error_whose_app_is_fine_is_due_at_once(world):
    """I8: the app was repaired by hand on Fly. The row does not wait for its attempt in an hour."""
    [user] = have_active_users(world, 1)
    world.sql(
        "update public.user_fly_apps set status = 'error', error_code = 'region_full', retry_count = 4,"
        " next_attempt_at = hangar.now() + interval '1 hour'"
    )
    world.clock.advance(MINUTES)
    world.sweep()
    assert (world.row(user)["status"], world.row(user)["error_code"]) == ("active", None)
