"""Releases that move apps to another region: who is moved, and how the fleet looks afterwards."""

import pytest

from tests.support.region_moves import add_users_in_sin, check_costs, check_rest, regions, watch
from tests.support.releases import (
    change,
    find_states,
    finish,
    operate,
    pass_minutes,
    read_digests,
    read_release,
    start_release,
)


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
def test_a_release_moves_everybody_and_new_users_follow(fleet):
    before = read_digests(fleet)
    release = start_release(fleet, region="NRT, hkg")
    found = finish(fleet, release)
    assert (found["state"], find_states(found)) == ("completed", {"done"}), found
    assert {(each["previous_region"], each["region"]) for each in found["targets"]} == {("sin", "nrt")}
    check_rest(fleet, region="nrt")
    check_costs(fleet)
    assert read_digests(fleet) == before
    assert fleet.open_alerts() == set()
    fleet.add_user("pro")
    fleet.settle()
    assert regions(fleet) == ["nrt"] * 7
    assert operate(fleet, "fly_releases")["differ"]["apps"] == 0


def test_a_moved_tag_brings_no_other_image_with_a_move(world):
    """A region alone changes only the region, although the tag means something else by now."""
    image = "registry.fly.io/vyx-app:latest"
    world.sql("update hangar.settings set default_region = 'sin', default_image = %s", image)
    world.add_user("pro")
    world.settle()
    before = read_digests(world)
    world.control("PUT", "images", {image: {"digest": "sha256:" + "e" * 64}})
    found = finish(world, start_release(world, region="nrt"))
    assert (found["state"], regions(world)) == ("completed", ["nrt"]), found
    assert read_digests(world) == before


@pytest.mark.slow
def test_a_region_and_an_image_move_together(fleet):
    found = finish(fleet, start_release(fleet, region="nrt", image="registry.fly.io/vyx-app:v2"))
    assert (found["state"], find_states(found)) == ("completed", {"done"}), found
    check_rest(fleet, region="nrt")
    assert len(set(read_digests(fleet).values())) == 1


@pytest.mark.slow
def test_the_old_machine_stays_until_the_release_is_done_with_the_app(world, user):
    release = start_release(world, region="nrt", soak_s=600)
    pass_minutes(world, 5)
    found = read_release(world, release)
    assert find_states(found) == {"verifying"}
    (machines,) = world.apps().values()
    assert sorted((machine.region, machine.state) for machine in machines) == [("nrt", "started"), ("sin", "stopped")]
    assert world.open_alerts() == set()
    pass_minutes(world, 30)
    assert find_states(read_release(world, release)) == {"done"}
    check_rest(world, region="nrt", apps=1)


@pytest.mark.slow
def test_the_brake_counts_no_move(fleet):
    """Moves take nothing away from anybody, so they use up nothing of the destroy budget."""
    fleet.sql("update hangar.settings set brake_floor = 2, brake_share = 0")
    release = start_release(fleet, region="nrt")
    assert finish(fleet, release)["state"] == "completed"
    assert operate(fleet, "fly_brake_status")["destroyed_last_hour"] == 0
    check_rest(fleet, region="nrt")


@pytest.mark.slow
def test_an_on_demand_app_is_skipped_and_named(fleet):
    fleet.sql("update public.fly_plans set power = 'on_demand', public_service = true where tier = 'pro'")
    (sleeper,) = fleet.add_users(["pro"])
    fleet.settle()
    shown = operate(fleet, "fly_create_release", p_release={"region": "nrt"}, p_actor="ops", p_dry_run=True)
    assert shown["left_out"] == {"on_demand": 1}
    release = start_release(fleet, region="nrt")
    found = finish(fleet, release)
    assert (found["state"], find_states(found)) == ("completed", {"done", "skipped"})
    assert fleet.row(sleeper)["machine_region"] == "sin"


def test_an_app_that_becomes_on_demand_in_the_middle_is_skipped_and_named(world, user):
    """The release does not call it moved. An abort puts back what the app got of the release all the same."""
    world.sql("update public.fly_plans set power = 'on_demand', public_service = true where tier = 'elite'")
    before = world.row(user)["docker_image"]
    release = start_release(world, region="nrt", image="registry.fly.io/vyx-app:v2", soak_s=60)
    world.control("PUT", "regions/nrt", {"full": True})
    pass_minutes(world, 3)
    world.set_tier(user, "elite")
    pass_minutes(world, 30)
    (target,) = read_release(world, release)["targets"]
    assert (target["state"], target["code"]) == ("skipped", "on_demand")
    assert regions(world) == ["sin"]
    change(world, release, "abort")
    assert finish(world, release)["state"] == "aborted"
    pass_minutes(world, 6)
    row = world.row(user)
    assert (row["docker_image"].partition("@")[0], row["region"], row["status"]) == (
        before.partition("@")[0],
        "sin",
        "active",
    )


@pytest.mark.slow
def test_drift_brings_an_edited_region_to_the_fleet(fleet):
    """An edited plan moves nobody; the release does."""
    fleet.sql("update hangar.settings set default_region = 'nrt'")
    pass_minutes(fleet, 10)
    assert regions(fleet) == ["sin"] * 6
    assert operate(fleet, "fly_releases")["differ"]["apps"] == 6
    assert finish(fleet, start_release(fleet, kind="plan"))["state"] == "completed"
    check_rest(fleet, region="nrt")
    assert operate(fleet, "fly_releases")["differ"]["apps"] == 0


def test_drift_moves_a_machine_that_runs_outside_its_list(world, user):
    """A user of another plan keeps the machine where it is, which is drift, until a release repairs it."""
    world.sql("update public.fly_plans set region = 'nrt' where tier = 'elite'")
    world.set_tier(user, "elite")
    pass_minutes(world, 10)
    assert regions(world) == ["sin"]
    assert ("drift", "region") in world.open_alerts()
    assert operate(world, "fly_releases")["differ"]["apps"] == 1
    assert finish(world, start_release(world, kind="plan"))["state"] == "completed"
    check_rest(world, region="nrt", apps=1)
    assert world.open_alerts() == set()


def test_a_release_of_an_image_moves_nobody(world, user):
    """A machine outside its list is moved by a release for regions or drift alone."""
    world.sql("update public.fly_plans set region = 'nrt' where tier = 'elite'")
    world.set_tier(user, "elite")
    pass_minutes(world, 10)
    assert finish(world, start_release(world, image="registry.fly.io/vyx-app:v2"))["state"] == "completed"
    assert regions(world) == ["sin"]


def test_a_user_with_another_tier_keeps_the_region_of_the_release(world, user):
    world.add_user("pro")
    world.settle()
    release = start_release(world, region="nrt", users=[str(user)])
    assert finish(world, release)["state"] == "completed"
    world.set_tier(user, "elite")
    world.settle()
    assert (world.row(user)["region"], world.row(user)["machine_region"]) == ("nrt", "nrt")
    assert regions(world) == ["nrt", "sin"]


BAD = (
    {"region": "mars"},
    {"region": ""},
    {"region": " , "},
    {"region": 5},
    {"region": ["nrt"]},
    {"region": "sin,bom"},
    {"kind": "plan", "region": "nrt"},
    {"region": "sin"},
    {"region": "apac"},
)


@pytest.mark.slow
@pytest.mark.parametrize("spec", BAD, ids=str)
def test_a_bad_region_is_refused_and_nothing_moves(fleet, spec):
    """The last two need nobody: everybody is there already, but a new list is given without a move."""
    if spec == {"region": "apac"}:
        found = finish(fleet, start_release(fleet, **spec))
        assert found["state"] == "completed"
        check_rest(fleet, region="sin")
        return
    with pytest.raises(Exception, match=r"region|no app needs"):
        operate(fleet, "fly_create_release", p_release=spec, p_actor="ops")
    assert fleet.sql("select count(*) from hangar.releases") == [(0,)]
