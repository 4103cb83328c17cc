"""What a move to another region leaves behind: for a user who leaves and returns, and when the way back finds a full host."""

import re

import pytest

from tests.support.fault_schedule import by_hand
from tests.support.region_moves import NO_ROOM, add_users_in_sin, refuse_starts, running_regions, watch
from tests.support.releases import change, find_states, finish, pass_minutes, read_release, start_release


@pytest.fixture
def user(world):
    """One healthy user in sin."""
    [made] = add_users_in_sin(world, ["pro"])
    watch(world).world.watches_loss = False
    world.allow_mass_losses()
    return made


def refuse_new_machines(world):
    world.fault(method="POST", path="/v1/apps/*/machines", status=412, body=NO_ROOM, times=100_000)


@pytest.mark.slow
@pytest.mark.parametrize("ends", ["aborted", "under way"])
def test_a_user_who_leaves_in_the_middle_and_returns_meets_no_old_move(world, user, ends):
    """The new region was full. The return begins no move; a release that is still under way takes the app in at its end."""
    world.sql("update public.fly_plans set grace_s = 864000")
    world.add_users(["elite"])  # keeps the release under way
    world.settle()
    refuse_new_machines(world)
    release = start_release(world, region="nrt", deadline_s=36_000, canary_size=2)
    pass_minutes(world, 5)
    assert world.row(user)["move_release_id"] == release
    world.set_tier(user, "free")
    pass_minutes(world, 10)
    assert [each["state"] for each in read_release(world, release)["targets"] if each["user_id"] == str(user)] == [
        "skipped"
    ]
    if ends == "aborted":
        change(world, release, "abort")
        assert finish(world, release)["state"] == "aborted"
    world.set_tier(user, "pro")
    world.control("PUT", "faults", [])
    world.clock.advance(60)
    world.sweep()
    assert world.row(user)["move_release_id"] is None
    pass_minutes(world, 20)
    (machine,) = world.apps()[world.row(user)["fly_app_name"]]
    region = {"aborted": "sin", "under way": "nrt"}[ends]
    assert (machine.region, machine.state, world.row(user)["status"]) == (region, "started", "active")
    assert world.boundaries.wrong == []


def test_a_closed_row_remembers_no_move(world, user):
    world.sql("update public.fly_plans set grace_s = 0")
    world.sql("update hangar.settings set removal_hold_s = 0")
    refuse_new_machines(world)
    start_release(world, region="nrt", deadline_s=36_000)
    pass_minutes(world, 5)
    assert world.row(user)["move_release_id"] is not None
    world.set_tier(user, "free")
    pass_minutes(world, 10)
    assert (world.row(user)["status"], world.row(user)["move_release_id"]) == ("deleted", None)


@pytest.mark.slow
def test_a_way_back_that_finds_a_full_host_raises_an_alert_that_says_what_to_do(world, user):
    """Both machines are stopped, so the user is down. The command of the alert makes a new machine on another host."""
    before = world.row(user)
    refuse_starts(world, before["machine_id"])
    release = start_release(
        world, region="nrt", image="registry.fly.io/vyx-app-never-ready:v9", deadline_s=120, soak_s=30
    )
    pass_minutes(world, 20)
    assert running_regions(world) == []
    [(message,)] = world.sql(
        "select message from hangar.alerts where kind = 'provision_failed' and key = 'region_full/sin' and resolved_at is null"
    )
    assert "This user has no running app" in message
    assert f"release {release} moved it" in message
    assert f"then `hangar retry {user}`" in message
    (app, machine) = re.search(r"`fly machine destroy --force -a (\S+) (\S+)`", message).groups()
    assert (app, machine) == (before["fly_app_name"], before["machine_id"])
    with by_hand(world) as fly:
        assert fly.delete(f"/v1/apps/{app}/machines/{machine}?force=true").is_success
    world.sql("select public.fly_retry(p_user => %s, p_actor => 'ops')", user)
    pass_minutes(world, 10)
    row = world.row(user)
    assert (row["status"], row["machine_region"], running_regions(world)) == ("active", "sin", ["sin"])
    assert row["docker_image"].partition("@")[0] == before["docker_image"].partition("@")[0]
    assert find_states(read_release(world, release)) == {"reverted"}
    pass_minutes(world, 10)
    assert world.row(user)["spare_machine_id"] is None
    assert len(world.apps()[app]) == 1
    assert ("provision_failed", "region_full/sin") not in world.open_alerts()
