"""What goes back with an abort or a rollback: what the app still has of the release, and nothing from elsewhere."""

import pytest

from tests.support.releases import (
    ACTOR,
    NEW,
    change,
    find_states,
    finish,
    operate,
    pass_minutes,
    read_release,
    start_release,
)

OLD, NEXT, ELITE = (f"registry.fly.io/{name}" for name in ("vyx-app:v1", "vyx-app:v3", "vyx-elite:v1"))


@pytest.fixture
def fleet(world):
    """Six healthy users of one tier, who run `OLD` with 2 vCPU and 1024 MB."""
    world.sql("update hangar.settings set default_image = %s", OLD)
    world.sql("update public.fly_plans set grace_s = 86400, cpu_kind = 'shared', cpu_count = 2, memory_mb = 1024")
    world.add_users(["pro"] * 6)
    world.settle()
    world.allow_mass_losses()
    return world


def read_images(world):
    return {name: machine.config["image"].partition("@")[0] for name, (machine,) in world.apps().items()}


def read_memory(world):
    return {name: machine.config["guest"]["memory_mb"] for name, (machine,) in world.apps().items()}


def read_envs(world, *names):
    return [
        {name: machine.config["env"][name] for name in names if name in machine.config["env"]}
        for (machine,) in world.apps().values()
    ]


def reach_wave(world, release, wave):
    for _ in range(40):
        pass_minutes(world, 1)
        if (found := read_release(world, release))["wave"] >= wave:
            return found
    raise AssertionError(found)


def find_target(found, state):
    return next(each for each in found["targets"] if each["state"] == state)


def read_target(world, release, user):
    (target,) = [each for each in read_release(world, release)["targets"] if each["user_id"] == str(user)]
    return target


def complete(world, **spec):
    release = start_release(world, soak_s=30, **spec)
    assert finish(world, release)["state"] == "completed"
    return release


def undo(world, release, action="rollback"):
    change(world, release, action)
    found = finish(world, release)
    assert found["state"] == ("aborted" if action == "abort" else "rolled_back")
    pass_minutes(world, 10)
    return found


def leave_for_good(world, *users):
    """The users leave, and their apps are deleted."""
    world.sql("update public.fly_plans set grace_s = 0")
    world.sql("update hangar.settings set removal_hold_s = 0")
    for user in users:
        world.set_tier(user, "free")
    world.settle(3)
    assert all(world.row(user)["deleted_at"] for user in users)


@pytest.mark.parametrize("spec", [{"env": {"A": "1"}}, {"image": NEW}], ids=["env", "image"])
def test_an_abort_gives_nobody_the_image_of_another_plan(fleet, spec):
    """A user whose app was done has bought a plan with an image of its own since."""
    fleet.sql("update public.fly_plans set docker_image = %s where tier = 'elite'", ELITE)
    release = start_release(fleet, soak_s=30, **spec)
    done = find_target(reach_wave(fleet, release, 1), "done")
    fleet.set_tier(done["user_id"], "elite")
    pass_minutes(fleet, 2)
    undo(fleet, release, "abort")
    images = read_images(fleet)
    assert images.pop(done["app"]) == ELITE
    assert set(images.values()) == {OLD}
    assert read_envs(fleet, "A") == [{}] * 6


@pytest.mark.slow
def test_a_rollback_leaves_an_app_alone_that_has_nothing_of_the_release(fleet):
    """The release was for another plan than the user has by now. The app is not even updated."""
    fleet.sql("update public.fly_plans set docker_image = %s where tier = 'elite'", ELITE)
    release = complete(fleet, image=NEW, tiers=["pro"])
    target = read_release(fleet, release)["targets"][2]
    fleet.set_tier(target["user_id"], "elite")
    pass_minutes(fleet, 2)
    generation = fleet.row(target["user_id"])["generation"]
    undo(fleet, release)
    assert read_images(fleet)[target["app"]] == ELITE
    assert fleet.row(target["user_id"])["generation"] == generation
    after = read_target(fleet, release, target["user_id"])
    assert (after["state"], after["code"]) == ("skipped", "changed")


@pytest.mark.slow
def test_who_takes_the_release_with_two_plans_loses_it_with_the_second(fleet):
    """The app is moved twice. What it had of the release before the second time is nothing that it ran before."""
    users = [str(user) for (user,) in fleet.sql("select user_id from public.user_fly_apps order by fly_app_name")]
    release = start_release(fleet, image=NEW, memory_mb=2048, env={"A": "1"}, users=users, soak_s=30)
    done = find_target(reach_wave(fleet, release, 1), "done")
    fleet.set_tier(done["user_id"], "elite")
    assert finish(fleet, release)["state"] == "completed"
    assert read_memory(fleet)[done["app"]] == 2048
    undo(fleet, release)
    assert set(read_images(fleet).values()) == {OLD}
    assert set(read_memory(fleet).values()) == {1024}
    assert read_envs(fleet, "A") == [{}] * 6
    assert fleet.sql("select * from hangar.user_specs") == []


@pytest.mark.slow
def test_an_edited_size_does_not_refuse_the_rollback_and_stays_whole(fleet):
    """2 vCPU with 8192 MB do not exist on Fly. The plan keeps the size of today, and the answer names it."""
    release = complete(fleet, cpu_count=4, memory_mb=4096)
    fleet.sql("update public.fly_plans set memory_mb = 8192 where tier = 'pro'")
    answer = change(fleet, release, "rollback")
    assert answer["kept"] == [{"what": "size", "tier": "pro", "value": "4 shared vCPU, 8192 MB"}]
    found = finish(fleet, release)
    assert (found["state"], find_states(found), found["kept"]) == ("rolled_back", {"reverted"}, answer["kept"])
    assert set(read_memory(fleet).values()) == {1024}
    plans = fleet.sql("select tier, cpu_count, memory_mb from public.fly_plans where dedicated order by tier")
    assert plans == [("elite", 2, 1024), ("pro", 4, 8192)]


@pytest.mark.slow
def test_of_edited_variables_only_the_rest_goes_back(fleet):
    release = complete(fleet, env={"A": "1", "B": "1"})
    fleet.sql("""update public.fly_plans set env = env || '{"A": "2"}' where tier = 'pro'""")
    undo(fleet, release)
    assert read_envs(fleet, "A", "B") == [{"A": "2"}] * 6
    plans = dict(fleet.sql("select tier, env from public.fly_plans where dedicated"))
    assert plans == {"pro": {"A": "2"}, "elite": {}}
    assert read_release(fleet, release)["kept"] == [{"what": "env", "tier": "pro", "names": ["A"]}]


@pytest.mark.slow
def test_a_draft_that_was_started_later_is_the_later_release(fleet):
    """Its number is lower. An app that it has moved keeps what it gave."""
    draft = operate(fleet, "fly_create_release", p_release={"image": NEXT, "soak_s": 30}, p_actor=ACTOR)["id"]
    second = complete(fleet, image=NEW)
    change(fleet, draft, "start")
    assert finish(fleet, draft)["state"] == "completed"
    undo(fleet, second)
    assert set(read_images(fleet).values()) == {NEXT}
    assert fleet.sql("select default_image like %s from hangar.settings", f"{NEXT}@%") == [(True,)]


@pytest.mark.slow
def test_everybody_who_has_the_image_from_the_plan_goes_back_with_it(fleet):
    """Users who joined after the release, returned with another app, or bought another plan. All by the former digest."""
    before = {machine.image_digest for (machine,) in fleet.apps().values()}
    release = complete(fleet, image=NEW, memory_mb=2048, env={"A": "1"})
    returned, changed = (each["user_id"] for each in read_release(fleet, release)["targets"][2:4])
    leave_for_good(fleet, returned)
    fleet.set_tier(returned, "pro")
    fleet.set_tier(changed, "elite")
    newcomer = fleet.add_user("elite")
    pass_minutes(fleet, 5)
    assert set(read_images(fleet).values()) == {NEW}
    fleet.control("PUT", "images", {OLD: {"digest": "sha256:" + "e" * 64}})
    found = undo(fleet, release)
    assert find_states(found) == {"reverted"}, found["targets"]
    assert {each["user_id"] for each in found["targets"]} >= {returned, changed, str(newcomer)}
    assert len(found["targets"]) == 7
    assert {machine.image_digest for (machine,) in fleet.apps().values()} == before
    assert set(read_memory(fleet).values()) == {1024}
    assert read_envs(fleet, "A") == [{}] * 7
    assert operate(fleet, "fly_releases")["differ"]["apps"] == 0


@pytest.mark.slow
def test_no_target_of_a_user_who_has_left_is_called_reverted(fleet):
    release = complete(fleet, image=NEW)
    left = read_release(fleet, release)["targets"][2]["user_id"]
    leave_for_good(fleet, left)
    undo(fleet, release)
    target = read_target(fleet, release, left)
    assert (target["state"], target["code"]) == ("skipped", "left")


@pytest.mark.parametrize("moment", ["before the abort", "with the abort", "while it rolls"])
def test_who_leaves_before_the_proof_returns_to_what_worked(fleet, moment):
    """The app is kept for the time of grace, and with it its machine, which has the image that nobody has proved."""
    release = start_release(fleet, image=f"{NEW}-never-ready", soak_s=30, deadline_s=3600)
    pass_minutes(fleet, 3)
    user = find_target(read_release(fleet, release), "verifying")["user_id"]
    fleet.set_tier(user, "free")
    if moment != "with the abort":
        pass_minutes(fleet, 3)
        assert read_target(fleet, release, user)["code"] == "left"
    if moment != "while it rolls":
        undo(fleet, release, "abort")
    fleet.set_tier(user, "pro")
    pass_minutes(fleet, 3)
    row = fleet.row(user)
    assert (row["docker_image"].partition("@")[0], row["status"]) == (OLD, "active")
    assert read_images(fleet)[row["fly_app_name"]] == OLD


def test_a_pin_that_is_set_with_the_abort_keeps_nothing_of_the_release(fleet):
    release = start_release(fleet, image=f"{NEW}-never-ready", soak_s=30, deadline_s=3600)
    pass_minutes(fleet, 3)
    user = find_target(read_release(fleet, release), "verifying")["user_id"]
    operate(fleet, "fly_set_user_pin", p_user=user, p_pin={"image": NEXT}, p_actor=ACTOR, p_reason="a test")
    undo(fleet, release, "abort")
    assert fleet.row(user)["docker_image"] == NEXT
    operate(fleet, "fly_set_user_pin", p_user=user, p_pin=None, p_actor=ACTOR)
    pass_minutes(fleet, 3)
    assert fleet.row(user)["docker_image"].partition("@")[0] == OLD
    assert fleet.sql("select * from hangar.user_specs") == []


@pytest.mark.slow
@pytest.mark.parametrize("how", ["another tier", "another app", "the same app"])
def test_who_was_put_back_follows_the_plan_again(fleet, how):
    """Like every user whom the release had not reached: what changes the machine anyway brings what the plan says by now."""
    release = start_release(fleet, image=NEW, soak_s=30)
    reach_wave(fleet, release, 2)
    found = undo(fleet, release, "abort")
    users = [find_target(found, state)["user_id"] for state in ("reverted", "skipped")]
    assert fleet.sql("select * from hangar.user_specs") == []
    fleet.sql("update hangar.settings set default_image = %s", NEXT)
    fleet.sql("update public.fly_plans set memory_mb = 2048 where tier = 'pro'")
    if how == "another app":
        leave_for_good(fleet, *users)
    for user in users:
        fleet.set_tier(user, "elite" if how == "another tier" else "free")
    pass_minutes(fleet, 10)
    for user in users:
        fleet.set_tier(user, "pro")
    pass_minutes(fleet, 10)
    rows = [fleet.row(user) for user in users]
    assert [(row["docker_image"], row["memory_mb"]) for row in rows] == [(NEXT, 2048)] * 2


def test_who_was_put_back_and_renews_within_the_hold_costs_no_call(fleet):
    """The row names the digest that runs, and the plan names only a tag. They are the same machine."""
    fleet.sql("update hangar.settings set removal_hold_s = 3600")
    release = start_release(fleet, image=NEW, soak_s=30)
    reach_wave(fleet, release, 2)
    user = find_target(undo(fleet, release, "abort"), "reverted")["user_id"]
    before = fleet.row(user)
    assert before["docker_image"].startswith(f"{OLD}@")
    fleet.set_tier(user, "free")
    pass_minutes(fleet, 3)
    fleet.set_tier(user, "pro")
    pass_minutes(fleet, 3)
    after = fleet.row(user)
    assert (after["docker_image"], after["status"]) == (before["docker_image"], "active")
    updates = """select count(*) from public.user_fly_app_events
        where user_id = %s and metadata ->> 'action' = 'update_machine' and created_at > %s"""
    assert fleet.sql(updates, user, before["updated_at"]) == [(0,)]


@pytest.mark.slow
def test_a_chosen_user_keeps_what_an_earlier_release_gave(fleet):
    """A rollback of a later one restores it, for the app and for another tier."""
    user = str(fleet.sql("select user_id from public.user_fly_apps order by fly_app_name limit 1")[0][0])
    complete(fleet, image=NEXT, env={"MINE": "1"}, users=[user])
    later = complete(fleet, image=NEW, env={"A": "1"})
    assert fleet.sql("select env, image from hangar.user_specs") == [({"MINE": "1"}, None)]
    undo(fleet, later)
    app = fleet.row(user)["fly_app_name"]
    assert read_images(fleet) == {name: NEXT if name == app else OLD for name in fleet.apps()}
    fleet.set_tier(user, "elite")
    pass_minutes(fleet, 3)
    assert read_images(fleet)[app] == NEXT
    assert sorted(len(env) for env in read_envs(fleet, "MINE", "A")) == [0, 0, 0, 0, 0, 1]


def test_what_a_release_gave_a_chosen_user_ends_with_the_app(fleet):
    """Who comes back later has what new users get."""
    user = str(fleet.sql("select user_id from public.user_fly_apps order by fly_app_name limit 1")[0][0])
    complete(fleet, image=NEXT, memory_mb=2048, users=[user])
    leave_for_good(fleet, user)
    fleet.set_tier(user, "pro")
    pass_minutes(fleet, 5)
    row = fleet.row(user)
    assert (row["docker_image"], row["memory_mb"]) == (OLD, 1024)


@pytest.mark.slow
def test_size_and_variables_of_a_chosen_user_end_with_the_tier(fleet):
    """The image stays with the other tier, as every image that a release gives without --tier."""
    user = str(fleet.sql("select user_id from public.user_fly_apps order by fly_app_name limit 1")[0][0])
    complete(fleet, memory_mb=2048, env={"A": "1"}, users=[user])
    complete(
        fleet, image=NEXT, users=[str(other) for (other,) in fleet.sql("select user_id from public.user_fly_apps")]
    )
    for tier in ("elite", "pro"):
        fleet.set_tier(user, tier)
        pass_minutes(fleet, 3)
    app = fleet.row(user)["fly_app_name"]
    assert (read_images(fleet)[app], read_memory(fleet)[app]) == (NEXT, 1024)
