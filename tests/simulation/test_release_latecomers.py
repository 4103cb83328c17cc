"""Users who leave, return, change their plan or are pinned while a release is under way end on the right machine."""

import pytest

from tests.support.releases import NEW, change, find_states, finish, operate, pass_minutes, read_release, start_release

OLD, NEXT = "registry.fly.io/vyx-app:v1", "registry.fly.io/vyx-app:v3"


@pytest.fixture
def fleet(world):
    """Twelve healthy users of two tiers, who run `OLD`. Each keeps the app for a day after leaving."""
    world.sql("update hangar.settings set default_image = %s", OLD)
    world.sql("update public.fly_plans set grace_s = 86400")
    world.add_users(["pro", "elite"] * 6)
    world.settle()
    world.allow_mass_losses()
    return world


def reach_wave(world, release, wave):
    for _ in range(40):
        pass_minutes(world, 1)
        if (found := read_release(world, release))["wave"] >= wave:
            return found
    raise AssertionError(found)


def change_plan(world, target):
    world.set_tier(target["user_id"], "pro" if world.row(target["user_id"])["tier"] == "elite" else "elite")


def read_config(world, app):
    (machine,) = world.apps()[app]
    return machine.config


@pytest.mark.slow
@pytest.mark.parametrize(
    ("spec", "read"),
    [
        ({"env": {"FEATURE": "1"}}, lambda config: config["env"].get("FEATURE") == "1"),
        ({"memory_mb": 1024}, lambda config: config["guest"]["memory_mb"] == 1024),
        ({"image": NEW}, lambda config: config["image"].partition("@")[0] == NEW),
    ],
    ids=["env", "size", "image"],
)
def test_who_changes_the_plan_meanwhile_has_the_release_at_the_end(fleet, spec, read):
    """One had it already, one is moving, one waits for the last wave."""
    release = start_release(fleet, soak_s=60, **spec)
    found = reach_wave(fleet, release, 1)
    change_plan(fleet, next(each for each in found["targets"] if each["wave"] == 0))
    change_plan(fleet, next(each for each in found["targets"] if each["wave"] == 3))
    pass_minutes(fleet, 1)
    moving = [each for each in read_release(fleet, release)["targets"] if each["state"] in ("applying", "verifying")]
    change_plan(fleet, moving[0])
    found = finish(fleet, release)
    assert (found["state"], find_states(found)) == ("completed", {"done"}), found["targets"]
    pass_minutes(fleet, 5)
    assert [app for app in fleet.apps() if not read(read_config(fleet, app))] == []
    assert operate(fleet, "fly_releases")["differ"]["apps"] == 0
    change(fleet, release, "rollback")
    finish(fleet, release)
    pass_minutes(fleet, 5)
    assert [app for app in fleet.apps() if read(read_config(fleet, app))] == []


@pytest.mark.slow
def test_who_leaves_and_returns_meanwhile_joins_at_the_end(fleet):
    """Within the grace it is the same app. Without this it would run the old image until the next release."""
    release = start_release(fleet, image=NEW)
    found = reach_wave(fleet, release, 2)
    leaver = next(each for each in found["targets"] if each["wave"] == 3)
    tier = fleet.row(leaver["user_id"])["tier"]
    fleet.set_tier(leaver["user_id"], "free")
    reach_wave(fleet, release, 3)
    for _ in range(20):
        pass_minutes(fleet, 1)
        states = {each["app"]: each["state"] for each in read_release(fleet, release)["targets"]}
        if states[leaver["app"]] == "skipped":
            break
    fleet.set_tier(leaver["user_id"], tier)
    found = finish(fleet, release)
    assert (found["state"], find_states(found)) == ("completed", {"done"}), found["targets"]
    assert read_config(fleet, leaver["app"])["image"].partition("@")[0] == NEW


@pytest.mark.slow
@pytest.mark.parametrize("grace_s", [0, 86400], ids=["a new app", "the same app"])
def test_who_was_put_back_and_left_returns_to_what_everybody_has(fleet, grace_s):
    """What a failed release had put back is remembered for the user; a later release for everybody replaces it."""
    fleet.sql("update public.fly_plans set grace_s = %s", grace_s)
    release = start_release(fleet, image="registry.fly.io/vyx-app:v2-never-ready", deadline_s=60)
    found = finish(fleet, release)
    (canary,) = [each for each in found["targets"] if each["state"] == "reverted"]
    change(fleet, release, "abort")
    tier = fleet.row(canary["user_id"])["tier"]
    fleet.set_tier(canary["user_id"], "free")
    pass_minutes(fleet, 15)
    assert finish(fleet, start_release(fleet, image=NEXT, soak_s=30))["state"] == "completed"
    fleet.set_tier(canary["user_id"], tier)
    pass_minutes(fleet, 15)
    images = {machine.config["image"].partition("@")[0] for machines in fleet.apps().values() for machine in machines}
    assert images == {NEXT}
    assert operate(fleet, "fly_releases")["differ"]["apps"] == 0


@pytest.mark.slow
def test_who_was_chosen_before_and_left_returns_to_what_everybody_has(fleet):
    """A release had given this user an image. A later one for everybody came while the user was away, within the grace."""
    user = str(fleet.sql("select user_id from public.user_fly_apps where tier = 'pro' limit 1")[0][0])
    assert finish(fleet, start_release(fleet, image=NEW, users=[user], soak_s=30))["state"] == "completed"
    fleet.set_tier(user, "free")
    pass_minutes(fleet, 10)
    assert finish(fleet, start_release(fleet, image=NEXT, soak_s=30))["state"] == "completed"
    fleet.set_tier(user, "pro")
    pass_minutes(fleet, 10)
    assert fleet.row(user)["docker_image"].startswith(f"{NEXT}@")
    assert fleet.sql("select * from hangar.user_specs") == []


@pytest.mark.slow
def test_who_changes_to_a_plan_outside_the_selection_is_skipped(fleet):
    """The app waited for its wave. Its new plan has an image of its own, and the release is not for that plan."""
    fleet.sql("update public.fly_plans set docker_image = %s where tier = 'elite'", OLD)
    release = start_release(fleet, image=NEW, tiers=["pro"], soak_s=30)
    pass_minutes(fleet, 1)
    waiting = next(each for each in read_release(fleet, release)["targets"] if each["wave"] == 3)
    fleet.set_tier(waiting["user_id"], "elite")
    found = finish(fleet, release)
    (target,) = [each for each in found["targets"] if each["state"] != "done"]
    assert (found["state"], target["app"], target["code"]) == ("completed", waiting["app"], "changed")
    assert "the plan elite" in target["reason"]
    assert read_config(fleet, waiting["app"])["image"].partition("@")[0] == OLD


def test_a_size_that_does_not_exist_with_the_new_plan_skips_the_app_and_pauses_nothing(fleet):
    """4096 MB need 2 vCPU. The user changes to a plan with one while the release is under way."""
    release = start_release(fleet, memory_mb=4096, soak_s=30)
    pass_minutes(fleet, 1)
    last = [each for each in read_release(fleet, release)["targets"] if each["wave"] == 3]
    waiting = next(each for each in last if fleet.row(each["user_id"])["tier"] == "pro")
    fleet.sql("update public.fly_plans set cpu_count = 1, memory_mb = 512 where tier = 'elite'")
    fleet.set_tier(waiting["user_id"], "elite")
    for _ in range(40):
        pass_minutes(fleet, 1)
        (target,) = [each for each in read_release(fleet, release)["targets"] if each["app"] == waiting["app"]]
        if target["state"] != "pending":
            break
    assert (target["state"], target["code"]) == ("skipped", "size")
    assert "4096 MB" in target["reason"]
    assert read_release(fleet, release)["state"] == "rolling"
    assert read_config(fleet, waiting["app"])["guest"]["memory_mb"] == 512


@pytest.mark.slow
def test_a_pin_set_while_the_app_moves_wins_and_is_named(fleet):
    """Not "has another plan": nobody has bought one."""
    release = start_release(fleet, image=NEW)
    pass_minutes(fleet, 1)
    (moving,) = [each for each in read_release(fleet, release)["targets"] if each["state"] in ("applying", "verifying")]
    pin = {"image": "registry.fly.io/vyx-app:v9"}
    operate(fleet, "fly_set_user_pin", p_user=moving["user_id"], p_pin=pin, p_actor="ops", p_reason="a test")
    found = finish(fleet, release)
    assert found["state"] == "completed"
    (target,) = [each for each in found["targets"] if each["state"] != "done"]
    assert (target["app"], target["state"], target["code"]) == (moving["app"], "skipped", "pinned")
    change(fleet, release, "rollback")
    assert finish(fleet, release)["state"] == "rolled_back"
    assert read_config(fleet, moving["app"])["image"] == pin["image"]
