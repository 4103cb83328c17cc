"""Drift releases beside everything else that gives an app its machine: edited plans, ended pins, earlier and later releases."""

import pytest

from tests.support.hand_edits import edit_by_hand
from tests.support.releases import ACTOR, NEW, change, finish, operate, pass_minutes, read_release, start_release

OLD, OTHER = "registry.fly.io/vyx-app:v1", "registry.fly.io/vyx-app:v3"
FAST = {"kind": "plan", "soak_s": 60, "moving_share": 1, "deadline_s": 300}


@pytest.fixture
def fleet(world):
    world.sql("update public.fly_plans set grace_s = 86400, cpu_kind = 'shared', cpu_count = 2, memory_mb = 1024")
    set_image(world, OLD)
    world.users = world.add_users(["pro"] * 8)
    world.settle()
    world.allow_mass_losses()
    return world


def set_image(world, image):
    world.sql("update hangar.settings set default_image = %s", image)


def images(world):
    return {name: machine.config["image"] for name, (machine,) in world.apps().items()}


def wait_for_target(world, release, holds):
    """The first target of the release for which this holds."""
    for _ in range(60):
        pass_minutes(world, 1)
        for target in read_release(world, release)["targets"]:
            if holds(target):
                return target
    raise AssertionError(read_release(world, release))


def end_pin(world, user, image):
    """Let the user's app run this image well, by a pin that has ended."""
    (until,) = world.sql("select (hangar.now() + interval '30 minutes')::text")[0]
    operate(world, "fly_set_user_pin", p_user=str(user), p_pin={"image": image, "ends_at": until}, p_actor=ACTOR)
    pass_minutes(world, 40)
    assert images(world)[world.row(user)["fly_app_name"]].startswith(image)


@pytest.mark.slow
def test_an_edit_while_the_canary_moves_does_not_reach_it(fleet):
    """Its row has not converged, and such a row takes the plan as it is today, if nothing else is on record."""
    set_image(fleet, NEW)
    release = start_release(fleet, **FAST)
    fleet.sql("select public.fly_advance_releases(1)")
    set_image(fleet, OTHER)
    [moving] = [each for each in read_release(fleet, release)["targets"] if each["state"] == "applying"]
    fleet.sql("select hangar.sync_desired_state(%s, 'sweep')", moving["user_id"])
    assert finish(fleet, release)["state"] == "completed"
    assert {image.partition("@")[0] for image in images(fleet).values()} == {NEW}
    assert fleet.sql("select count(*) from hangar.user_specs")[0][0] == 0


@pytest.mark.slow
@pytest.mark.parametrize("what", [FAST, {"memory_mb": 2048, "soak_s": 60, "deadline_s": 300}], ids=["drift", "size"])
def test_an_app_whose_pin_has_ended_goes_back_to_what_it_ran(fleet, what):
    """Without the pin it would have the very image that is bad. A release of a size leaves the image alone."""
    user = fleet.users[0]
    end_pin(fleet, user, OTHER)
    set_image(fleet, f"{NEW}-never-ready")
    release = start_release(fleet, **what, canary_users=[str(user)], **({} if what is FAST else {"users": [str(user)]}))
    finish(fleet, release)
    pass_minutes(fleet, 20)
    app = fleet.row(user)["fly_app_name"]
    assert images(fleet)[app].startswith(OTHER)
    assert fleet.row(user)["health_status"] == "healthy"


def test_a_release_of_a_size_brings_no_unproved_image_to_a_user_whose_pin_has_ended(fleet):
    """Nobody restarts a canary for a size."""
    user = fleet.users[0]
    end_pin(fleet, user, OTHER)
    set_image(fleet, f"{NEW}-cold-resume-broken")
    release = start_release(fleet, memory_mb=2048, users=[str(user)], soak_s=60, deadline_s=300)
    assert finish(fleet, release)["state"] == "completed"
    assert images(fleet)[fleet.row(user)["fly_app_name"]].startswith(OTHER)
    assert fleet.row(user)["memory_mb"] == 2048


@pytest.mark.slow
def test_a_newcomer_with_the_plan_of_today_is_not_taken_back_to_the_start(fleet):
    """The plan was edited after the last app had moved. Who joins then has what the plan says."""
    set_image(fleet, NEW)
    release = start_release(fleet, **FAST)
    wait_for_target(fleet, release, lambda target: target["wave"] == 3 and target["state"] == "verifying")
    set_image(fleet, OTHER)
    user = fleet.add_user("pro")
    fleet.sweep()
    found = finish(fleet, release)
    pass_minutes(fleet, 5)
    assert found["state"] == "completed"
    assert images(fleet)[fleet.row(user)["fly_app_name"]].startswith(OTHER)
    assert not [kind for kind, _ in fleet.open_alerts() if kind == "release_failed"]


@pytest.mark.parametrize("second", [FAST, {"memory_mb": 1024, "soak_s": 60}], ids=["drift", "size"])
def test_a_user_who_left_returns_to_what_an_earlier_release_gave(fleet, second):
    """The release that took it ended while the user was away, because nobody was left who needs it."""
    user = str(fleet.users[0])
    first = start_release(fleet, memory_mb=2048, users=[user], soak_s=30)
    assert finish(fleet, first)["state"] == "completed"
    release = start_release(fleet, **second, users=[user])
    wait_for_target(fleet, release, lambda target: target["state"] in ("applying", "verifying"))
    fleet.set_tier(user, "free")
    fleet.settle(1)
    assert read_release(fleet, release)["state"] == "completed"
    fleet.set_tier(user, "pro")
    pass_minutes(fleet, 10)
    assert fleet.row(user)["memory_mb"] == 2048


@pytest.mark.slow
@pytest.mark.parametrize("how", ["operator", "variables"])
def test_a_failure_in_the_first_wave_after_a_pause_takes_everything_back(fleet, how):
    """Whoever has paused it: the canary that has proved nothing does not keep the image."""
    fleet.sql("""update public.fly_plans set env = '{"LEVEL": "1"}'""")
    set_image(fleet, NEW)
    release = start_release(fleet, **FAST)
    canary = wait_for_target(fleet, release, lambda target: target["state"] == "done")
    moving = wait_for_target(fleet, release, lambda target: target["wave"] == 1 and target["state"] == "verifying")
    if how == "operator":
        change(fleet, release, "pause")
    else:
        fleet.sql("""update public.fly_plans set env = '{"LEVEL": "2"}'""")
    fleet.sweep(drain_only=True)
    (machine,) = fleet.apps()[moving["app"]]
    edit_by_hand(fleet, machine, lambda config: config.update(image=OTHER))
    pass_minutes(fleet, 30)
    states = {target["app"]: target["state"] for target in read_release(fleet, release)["targets"]}
    assert states[canary["app"]] == "reverted"


@pytest.mark.slow
def test_a_rollback_names_the_apps_that_a_later_release_has_moved(fleet):
    """They keep what the later one has changed; the image, which is the first one's, goes back."""
    first = start_release(fleet, image=NEW, soak_s=30, moving_share=1)
    assert finish(fleet, first)["state"] == "completed"
    later = start_release(fleet, env={"A": "1"}, soak_s=30, moving_share=1)
    assert finish(fleet, later)["state"] == "completed"
    change(fleet, first, "rollback")
    targets = finish(fleet, first)["targets"]
    assert {target["code"] for target in targets} == {"later"}
    assert all(f"release {later}" in target["reason"] for target in targets)
    assert {target["state"] for target in targets} == {"reverted"}
    assert {image.partition("@")[0] for image in images(fleet).values()} == {OLD}
    assert {machine.config["env"].get("A") for machines in fleet.apps().values() for machine in machines} == {"1"}


def test_an_app_that_is_not_well_on_its_way_back_is_not_called_reverted(fleet):
    """Its health was good before. That says nothing about the machine that it has now."""
    release = start_release(fleet, image=f"{OTHER}-never-ready", soak_s=60, deadline_s=300)
    wait_for_target(fleet, release, lambda target: target["state"] == "verifying")
    fleet.control("PUT", "images", {OLD: {"behaviour": "never-ready"}})
    failed = wait_for_target(fleet, release, lambda target: target["state"] in ("failed", "reverted"))
    pass_minutes(fleet, 20)
    [now] = [target for target in read_release(fleet, release)["targets"] if target["app"] == failed["app"]]
    assert (failed["state"], now["state"]) == ("failed", "failed")
