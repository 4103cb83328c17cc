"""A move to another region without room, with a hand on a machine, or in a pause: nobody runs twice or stays down."""

import pytest

from tests.support.fault_schedule import by_hand
from tests.support.region_moves import add_users_in_sin, check_rest, refuse_starts, regions, running_regions, watch
from tests.support.releases import find_states, finish, pass_minutes, read_release, start_release


@pytest.fixture
def fleet(world):
    """Six healthy users in sin."""
    add_users_in_sin(world, ["pro", "elite"] * 3)
    watch(world)
    return world


@pytest.fixture
def user(world):
    """One healthy user in sin."""
    [made] = add_users_in_sin(world, ["pro"])
    watch(world)
    return made


@pytest.mark.slow
def test_a_full_region_touches_nobody_and_fails_nothing(fleet):
    """Fly says that it has no room before anything is stopped."""
    before = {name: [machine.id for machine in machines] for name, machines in fleet.apps().items()}
    fleet.control("PUT", "regions/nrt", {"full": True})
    release = start_release(fleet, region="nrt", deadline_s=300)
    found = finish(fleet, release, minutes=120)
    assert find_states(found) == {"skipped"}, found
    assert not fleet.sql("select 1 from hangar.release_targets where failed_at is not null")
    assert {each["code"] for each in found["targets"]} == {"region_full"}
    check_rest(fleet, region="sin")
    assert {name: [machine.id for machine in machines] for name, machines in fleet.apps().items()} == before


@pytest.mark.parametrize("by", ["stop", "destroy"])
@pytest.mark.parametrize("hold", [None, "brake"])
def test_a_machine_that_stops_while_the_new_region_is_full_is_repaired_where_it_is(world, user, by, hold):
    """Nobody stays down until the deadline because there is no room for the move."""
    world.control("PUT", "regions/nrt", {"full": True})
    release = start_release(world, region="nrt", deadline_s=7200)
    pass_minutes(world, 2)
    row = world.row(user)
    assert row["error_code"] == "region_full"
    if hold:
        world.sql("select hangar.raise_alert('brake', 'fleet', 'test')")
    world.watches_loss = False
    with by_hand(world) as fly:
        path = f"/v1/apps/{row['fly_app_name']}/machines/{row['machine_id']}"
        assert (fly.post(f"{path}/stop") if by == "stop" else fly.delete(f"{path}?force=true")).is_success
    pass_minutes(world, 8)
    assert running_regions(world) == ["sin"]
    pass_minutes(world, 8)
    assert find_states(read_release(world, release)) == {"skipped"}
    assert world.row(user)["status"] == "active"


@pytest.mark.parametrize("status", [409, 412])
def test_no_room_at_the_start_runs_the_old_machine_again_within_minutes(world, user, status):
    """The new machine exists but does not start for want of room, so the old one is started again at once."""
    old = world.row(user)["machine_id"]
    body = {"error": "aborted: could not reserve resource for machine: insufficient CPUs"}
    world.fault(method="POST", path="/v1/apps/*/machines/*/start", status=status, body=body, times=1)
    release = start_release(world, region="nrt", deadline_s=3600)
    down = 0
    for minute in range(30):
        world.clock.advance(60)
        world.sweep(drain_only=minute % 5 != 4)
        down += not any(machine.state == "started" for machines in world.apps().values() for machine in machines)
    found = read_release(world, release)
    assert find_states(found) == {"skipped"}, found
    assert down <= 4
    assert world.row(user)["machine_id"] == old
    check_rest(world, region="sin", apps=1)


def test_the_sweep_leaves_a_move_alone(world, user):
    """During the soak an app has two machines. No sweep makes it due, repairs it or calls it a stray."""
    start_release(world, region="nrt", soak_s=3600)
    pass_minutes(world, 5)
    calls = world.watch_calls()
    pass_minutes(world, 15)
    assert [call for call in calls if call[0] != "GET"] == []
    assert world.row(user)["health_status"] == "healthy"
    assert not world.sql("select 1 from public.user_fly_app_events where event_type = 'recovery_attempted'")


def test_a_spare_that_somebody_starts_is_stopped_again(world, user):
    start_release(world, region="nrt", soak_s=3600)
    pass_minutes(world, 5)
    (machines,) = world.apps().values()
    (spare,) = [machine for machine in machines if machine.region == "sin"]
    app = world.row(user)["fly_app_name"]
    world.boundaries.wrong.clear()
    with by_hand(world) as fly:
        assert fly.post(f"/v1/apps/{app}/machines/{spare.id}/start").is_success
    pass_minutes(world, 6)
    (machines,) = world.apps().values()
    assert sorted((machine.region, machine.state) for machine in machines) == [("nrt", "started"), ("sin", "stopped")]


@pytest.mark.parametrize(("period", "left"), [("grace", []), ("hold", ["nrt"])])
def test_a_spare_that_somebody_starts_after_the_user_has_left_is_stopped_again(world, user, period, left):
    """In the grace nothing runs; in the removal hold the app's own machine alone does."""
    world.allow_mass_losses()
    world.watches_loss = False
    if period == "grace":
        world.sql("update public.fly_plans set grace_s = 86400")
    else:
        world.sql("update hangar.settings set removal_hold_s = 21600")
    start_release(world, region="nrt", soak_s=1800)
    pass_minutes(world, 5)
    world.set_tier(user, "free")
    pass_minutes(world, 10)
    assert running_regions(world) == left
    row = world.row(user)
    world.boundaries.wrong.clear()
    with by_hand(world) as fly:
        assert fly.post(f"/v1/apps/{row['fly_app_name']}/machines/{row['spare_machine_id']}/start").is_success
    pass_minutes(world, 8)
    assert running_regions(world) == left


@pytest.mark.slow
@pytest.mark.parametrize("lost", ["nrt", "sin"])
def test_a_machine_that_somebody_destroys_meanwhile(world, user, lost):
    """The app's own machine is made again, the spare is not missed."""
    release = start_release(world, region="nrt", soak_s=1800)
    pass_minutes(world, 5)
    (machines,) = world.apps().values()
    world.watches_loss = False
    (gone,) = [machine for machine in machines if machine.region == lost]
    app = world.row(user)["fly_app_name"]
    with by_hand(world) as fly:
        assert fly.delete(f"/v1/apps/{app}/machines/{gone.id}?force=true").is_success
    pass_minutes(world, 90)
    assert read_release(world, release)["state"] in ("completed", "paused")
    found = finish(world, release)
    region = "nrt" if found["state"] == "completed" else "sin"
    check_rest(world, region=region, apps=1)


@pytest.mark.slow
@pytest.mark.parametrize("setting", ["paused", "deletes_paused"])
def test_a_pause_in_the_middle_holds_the_move(world, user, setting):
    release = start_release(world, region="nrt", soak_s=120)
    pass_minutes(world, 2)
    world.sql(f"update hangar.settings set {setting} = true")
    pass_minutes(world, 30)
    (machines,) = world.apps().values()
    assert len(machines) == 2
    world.sql(f"update hangar.settings set {setting} = false")
    assert finish(world, release)["state"] == "completed"
    check_rest(world, region="nrt", apps=1)


@pytest.mark.slow
def test_paused_deletions_leave_nobody_down(world, user):
    """The new machine never starts. Going back destroys nothing, so a pause of the deletions does not hold it."""
    release = start_release(world, region="nrt", deadline_s=600)
    refuse_starts(world, "*")
    pass_minutes(world, 1)
    world.sql("update hangar.settings set deletes_paused = true")
    refuse_starts(world, world.row(user)["machine_id"])
    pass_minutes(world, 30)
    assert running_regions(world) == ["sin"]
    assert find_states(read_release(world, release)) == {"skipped"}
    assert regions(world) == ["nrt", "sin"]
