"""Pins that have ended or were removed do not come back: not with a later pin, not with a release, not with a rollback."""

import pytest

from tests.support.releases import ACTOR, NEW, change, finish, operate, pass_minutes, start_release

OLD, PINNED = "registry.fly.io/vyx-app:v1", "registry.fly.io/vyx-app:v0"
DAY_S = 86400
BIG = {"cpu_count": 2, "memory_mb": 4096}


@pytest.fixture
def fleet(world):
    """Six healthy users of one tier, who run `OLD` with 2 vCPU and 1024 MB."""
    world.sql("update hangar.settings set default_image = %s, removal_hold_s = 0", OLD)
    world.sql("update public.fly_plans set grace_s = 0, cpu_kind = 'shared', cpu_count = 2, memory_mb = 1024")
    world.add_users(["pro"] * 6)
    world.settle()
    world.allow_mass_losses()
    return world


@pytest.fixture
def user(fleet):
    return str(fleet.sql("select user_id from public.user_fly_apps order by fly_app_name limit 1")[0][0])


def pin(world, user, **fixed):
    return operate(world, "fly_set_user_pin", p_user=user, p_pin=fixed, p_actor=ACTOR, p_reason="a test")["pin"]


def pin_for_an_hour(world, user, **fixed):
    """Pin, let the machine follow, and let the pin end."""
    ((end,),) = world.sql("select to_char(hangar.now() + interval '1 hour', 'YYYY-MM-DD\"T\"HH24:MI:SSOF')")
    pin(world, user, **fixed, ends_at=end)
    pass_minutes(world, 3)
    world.clock.advance(DAY_S)
    world.sweep()
    pass_minutes(world, 3)


def unpin(world, user):
    operate(world, "fly_set_user_pin", p_user=user, p_pin=None, p_actor=ACTOR)
    pass_minutes(world, 3)


def complete(world, **spec):
    release = start_release(world, soak_s=30, **spec)
    assert finish(world, release)["state"] == "completed"
    return release


def roll_back(world, release):
    change(world, release, "rollback")
    assert finish(world, release)["state"] == "rolled_back"
    pass_minutes(world, 10)


def read_config(world, user):
    (machine,) = world.apps()[world.row(user)["fly_app_name"]]
    return machine.config


def read_image(world, user):
    return read_config(world, user)["image"].partition("@")[0]


@pytest.mark.slow
@pytest.mark.parametrize(
    "later",
    [
        {"env": {"DEBUG": "1"}},
        {"held_back_until": "2999-01-01T00:00:00Z"},
        {"memory_mb": 2048},
        {"env": {"DEBUG": "1"}, "ends_at": None},
    ],
    ids=["env", "hold-back", "size", "without an end"],
)
def test_a_later_pin_brings_no_part_of_an_ended_one_back(fleet, user, later):
    """And it counts, although the earlier one has ended."""
    pin_for_an_hour(fleet, user, image=PINNED, env={"SECRET": "x"})
    complete(fleet, image=NEW)
    answer = pin(fleet, user, **later)
    assert "image" not in answer
    assert "ends_at" not in answer
    assert answer.get("env", ["DEBUG"]) == ["DEBUG"]
    pass_minutes(fleet, 5)
    config = read_config(fleet, user)
    assert read_image(fleet, user) == NEW
    assert config["guest"]["memory_mb"] == later.get("memory_mb", 1024)
    assert {name: config["env"].get(name) for name in ("DEBUG", "SECRET")} == {
        "DEBUG": later.get("env", {}).get("DEBUG"),
        "SECRET": None,
    }


def test_a_later_pin_lets_the_machine_follow_the_plan_again(fleet, user):
    """No release has come since the other pin ended, so the machine still had what that one fixed."""
    pin_for_an_hour(fleet, user, image=PINNED, **BIG)
    pin(fleet, user, env={"DEBUG": "1"})
    pass_minutes(fleet, 5)
    config = read_config(fleet, user)
    assert (read_image(fleet, user), config["guest"]["memory_mb"], config["env"]["DEBUG"]) == (OLD, 1024, "1")


def test_a_new_end_alone_does_not_revive_an_ended_pin(fleet, user):
    pin_for_an_hour(fleet, user, image=PINNED)
    with pytest.raises(Exception, match="the pin of this user has ended"):
        pin(fleet, user, ends_at="2999-01-01T00:00:00Z")


def test_a_hold_back_changes_no_machine(fleet, user):
    """Neither after a pin that has ended, nor after the plan was edited."""
    pin_for_an_hour(fleet, user, image=PINNED, **BIG)
    fleet.sql("update hangar.settings set default_image = %s", NEW)
    generation = fleet.row(user)["generation"]
    pin(fleet, user, held_back_until="2999-01-01T00:00:00Z")
    pass_minutes(fleet, 5)
    assert (fleet.row(user)["generation"], read_image(fleet, user)) == (generation, PINNED)


@pytest.mark.slow
@pytest.mark.parametrize("held", [False, True], ids=["at once", "after a hold-back"])
def test_the_next_release_takes_away_what_an_ended_pin_left(fleet, user, held):
    """Size and variables with any release, the image with one that proves images; also if another pin was set meanwhile."""
    pin_for_an_hour(fleet, user, image=PINNED, env={"X": "1"}, **BIG)
    if held:
        ((end,),) = fleet.sql("select to_char(hangar.now() + interval '1 hour', 'YYYY-MM-DD\"T\"HH24:MI:SSOF')")
        pin(fleet, user, held_back_until=end)
        fleet.clock.advance(DAY_S)
        fleet.sweep()
    complete(fleet, env={"A": "1"})
    config = read_config(fleet, user)
    assert (read_image(fleet, user), config["guest"]["memory_mb"], config["env"].get("X")) == (PINNED, 1024, None)
    complete(fleet, kind="plan")
    assert read_image(fleet, user) == OLD
    assert operate(fleet, "fly_releases")["differ"]["apps"] == 0


@pytest.mark.slow
def test_a_size_that_a_release_gives_is_not_that_of_an_ended_pin(fleet, user):
    """They are the same by chance. The release gave it on purpose, so the next one keeps it."""
    pin_for_an_hour(fleet, user, **BIG)
    complete(fleet, memory_mb=4096, users=[user])
    complete(fleet, env={"A": "1"})
    assert read_config(fleet, user)["guest"]["memory_mb"] == 4096


def test_the_size_of_an_ended_pin_is_not_given_to_a_new_app(fleet, user):
    pin_for_an_hour(fleet, user, **BIG)
    complete(fleet, env={"A": "1"}, users=[user])
    fleet.set_tier(user, "free")
    fleet.settle(3)
    assert fleet.row(user)["deleted_at"]
    fleet.set_tier(user, "pro")
    pass_minutes(fleet, 5)
    assert fleet.row(user)["memory_mb"] == 1024


@pytest.mark.slow
@pytest.mark.parametrize("ended", [False, True], ids=["removed", "ended"])
@pytest.mark.parametrize(
    ("fixed", "spec"), [(BIG, {"image": NEW}), ({"image": PINNED}, {"env": {"A": "1"}})], ids=["size", "image"]
)
def test_a_rollback_brings_no_pin_back(fleet, user, fixed, spec, ended):
    """The app was pinned when the release moved it, and is not any more."""
    pin(fleet, user, **fixed)
    pass_minutes(fleet, 3)
    release = complete(fleet, **spec)
    if ended:
        fleet.sql("update hangar.user_pins set ends_at = hangar.now()")
    else:
        unpin(fleet, user)
    roll_back(fleet, release)
    assert (read_image(fleet, user), read_config(fleet, user)["guest"]["memory_mb"]) == (OLD, 1024)
    assert fleet.sql("select * from hangar.user_specs") == []


@pytest.mark.slow
def test_a_rollback_keeps_a_pin_in_force(fleet, user):
    """What is not pinned goes back."""
    pin(fleet, user, **BIG)
    pass_minutes(fleet, 3)
    release = complete(fleet, image=NEW)
    roll_back(fleet, release)
    assert (read_image(fleet, user), read_config(fleet, user)["guest"]["memory_mb"]) == (OLD, 4096)


@pytest.mark.slow
def test_variables_of_one_user_are_no_difference_from_the_plan(fleet, user):
    """A release of the plan leaves such a user alone, and brings an edited plan with the user's variables."""
    pin(fleet, user, env={"MINE": "1"})
    pass_minutes(fleet, 3)
    assert operate(fleet, "fly_releases")["differ"]["apps"] == 0
    with pytest.raises(Exception, match="no app needs this release"):
        start_release(fleet, kind="plan")
    fleet.sql("update public.fly_plans set memory_mb = 2048 where tier = 'pro'")
    assert operate(fleet, "fly_releases")["differ"]["apps"] == 6
    complete(fleet, kind="plan")
    config = read_config(fleet, user)
    assert (config["guest"]["memory_mb"], config["env"]["MINE"]) == (2048, "1")
    assert operate(fleet, "fly_releases")["differ"]["apps"] == 0
