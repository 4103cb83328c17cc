"""The way back from another region: a bad image, a rollback, an abort, a user who leaves meanwhile."""

import pytest

from tests.support.region_moves import add_users_in_sin, check_costs, check_rest, refuse_starts, running_regions, watch
from tests.support.releases import change, find_states, finish, operate, pass_minutes, read_release, start_release


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


def _prepare_overlapping(world):
    """One user in sin whose list allows nrt as well."""
    [user] = add_users_in_sin(world, ["pro"], "sin,nrt")
    watch(world)
    return user


@pytest.mark.slow
@pytest.mark.parametrize("behaviour", ["crash-at-start", "never-ready", "missing", "crash-after-60s"])
def test_a_bad_image_in_the_new_region_goes_back_to_the_old_machine(fleet, behaviour):
    """The canary alone was touched, and runs on its former machine again."""
    before = {name: [machine.id for machine in machines] for name, machines in fleet.apps().items()}
    release = start_release(fleet, region="nrt", image=f"registry.fly.io/vyx-app:v2-{behaviour}")
    found = finish(fleet, release)
    assert found["state"] == "paused", found
    assert find_states(found) == {"pending", "reverted"}
    check_rest(fleet, region="sin")
    check_costs(fleet)
    assert {name: [machine.id for machine in machines] for name, machines in fleet.apps().items()} == before


@pytest.mark.slow
def test_a_rollback_brings_everybody_back(fleet):
    release = start_release(fleet, region="nrt")
    finish(fleet, release)
    change(fleet, release, "rollback")
    found = finish(fleet, release)
    assert (found["state"], find_states(found)) == ("rolled_back", {"reverted"}), found
    check_rest(fleet, region="sin")
    assert fleet.sql("select default_region from hangar.settings") == [("sin",)]


@pytest.mark.slow
def test_a_rollback_to_a_full_region_ends_with_the_former_image_where_the_app_runs(world, user):
    """The release does not roll back for ever; the next release may bring the app home."""
    before = world.row(user)["docker_image"]
    release = start_release(world, region="nrt", image="registry.fly.io/vyx-app:v2")
    assert finish(world, release)["state"] == "completed"
    world.control("PUT", "regions/sin", {"full": True})
    change(world, release, "rollback")
    found = finish(world, release)
    assert (found["state"], find_states(found)) == ("rolled_back", {"reverted"}), found
    assert "stays in nrt: sin has no room" in found["targets"][0]["reason"]
    assert world.row(user)["docker_image"].partition("@")[0] == before.partition("@")[0]
    check_rest(world, region="nrt", apps=1)
    world.control("PUT", "regions/sin", {"full": False})
    pass_minutes(world, 60)
    assert operate(world, "fly_releases")["differ"]["apps"] == 1
    assert finish(world, start_release(world, kind="plan"))["state"] == "completed"
    check_rest(world, region="sin", apps=1)


@pytest.mark.parametrize("hold_s", [0, 21600], ids=["deleted", "held"])
@pytest.mark.parametrize("returns", ["before", "after"])
def test_a_user_who_leaves_for_two_minutes_goes_back_with_the_others(world, user, hold_s, returns):
    """Whether the app was deleted meanwhile or not, and whether the user is back before the abort or after it."""
    world.allow_mass_losses()
    world.watches_loss = False
    world.sql("update hangar.settings set removal_hold_s = %s", hold_s)
    before = world.row(user)["docker_image"]
    release = start_release(world, region="nrt", image="registry.fly.io/vyx-app:v2", soak_s=1800)
    pass_minutes(world, 5)
    assert running_regions(world) == ["nrt"]
    world.set_tier(user, "free")
    pass_minutes(world, 2)
    if returns == "before":
        world.set_tier(user, "pro")
        pass_minutes(world, 6)
    change(world, release, "abort")
    assert finish(world, release)["state"] == "aborted"
    if returns == "after":
        world.set_tier(user, "pro")
        pass_minutes(world, 6)
    row = world.row(user)
    assert (row["docker_image"].partition("@")[0], row["region"]) == (before.partition("@")[0], "sin")
    if returns == "before":
        check_rest(world, region="sin", apps=1)


def test_a_new_machine_that_never_starts_goes_back_although_the_list_allows_both_regions(world):
    user = _prepare_overlapping(world)
    release = start_release(world, region="nrt", deadline_s=600)
    refuse_starts(world, "*")
    pass_minutes(world, 1)
    refuse_starts(world, world.row(user)["machine_id"])
    pass_minutes(world, 5)
    assert running_regions(world) == ["sin"]
    assert finish(world, release)["state"] in ("paused", "completed")
    assert find_states(read_release(world, release)) == {"skipped"}
    check_rest(world, region="sin", apps=1)


def test_an_abort_in_the_soak_goes_back_although_the_list_allows_both_regions(world):
    _prepare_overlapping(world)
    release = start_release(world, region="nrt", soak_s=1200)
    pass_minutes(world, 5)
    assert running_regions(world) == ["nrt"]
    change(world, release, "abort")
    found = finish(world, release)
    assert (found["state"], find_states(found)) == ("aborted", {"reverted"}), found
    check_rest(world, region="sin", apps=1)
    check_costs(world)
