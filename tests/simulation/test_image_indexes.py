"""Pins and releases that name an image by the digest of an index: Fly shows the digest of the index's image for amd64."""

import pytest

from tests.support.hand_edits import edit_by_hand
from tests.support.releases import ACTOR, find_states, finish, operate, read_release, start_release

INDEX, OURS, OTHER = (f"sha256:{letter * 64}" for letter in "abc")
IMAGE = f"registry.fly.io/vyx-app:v7@{INDEX}"


@pytest.fixture
def fleet(world):
    world.control("PUT", "images", {INDEX: {"digest": INDEX, "runs": OURS}})
    world.users = world.add_users(["pro"] * 4)
    world.sweep()
    world.clock.advance(300)
    world.sweep()
    return world


def pass_sweeps(world, sweeps=6):
    for _ in range(sweeps):
        world.clock.advance(600)
        world.sweep()


def pin(world, user):
    operate(world, "fly_set_user_pin", p_user=user, p_pin={"image": IMAGE}, p_actor=ACTOR)
    world.sweep()


def machine_of(world, user):
    (machine,) = world.apps()[world.row(user)["fly_app_name"]]
    return machine


def test_a_machine_that_is_pinned_to_an_index_does_not_differ(fleet):
    user = fleet.users[0]
    pin(fleet, user)
    instance = machine_of(fleet, user).version
    pass_sweeps(fleet)
    assert machine_of(fleet, user).image_digest == OURS
    assert (fleet.row(user)["drift"], fleet.row(user)["image_digest"]) == ({}, OURS)
    assert machine_of(fleet, user).version == instance  # nothing is repaired again and again
    assert not fleet.open_alerts()


def test_another_image_in_the_place_of_the_pinned_one_is_repaired(fleet):
    user = fleet.users[0]
    pin(fleet, user)
    pass_sweeps(fleet, 2)
    other = f"registry.fly.io/vyx-app:v7@{OTHER}"
    edit_by_hand(fleet, machine_of(fleet, user), lambda config: config.update(image=other))
    assert machine_of(fleet, user).image_digest == OTHER
    pass_sweeps(fleet)
    assert machine_of(fleet, user).image_digest == OURS
    assert machine_of(fleet, user).config["image"] == IMAGE


def test_a_bad_release_puts_an_app_back_to_its_index(fleet):
    """What Fly showed before proves that the former image runs again."""
    fleet.sql("update hangar.settings set default_image = %s", IMAGE)
    (user,) = fleet.add_users(["pro"])
    fleet.sweep()
    pass_sweeps(fleet, 2)
    assert fleet.row(user)["docker_image"] == IMAGE
    release = start_release(fleet, image="registry.fly.io/vyx-app-never-ready:v9", users=[str(user)])
    found = finish(fleet, release)
    assert (found["state"], find_states(found)) == ("paused", {"reverted"})
    assert machine_of(fleet, user).image_digest == OURS
    assert fleet.row(user)["drift"] == {}


def test_without_a_registry_an_index_is_refused_with_what_to_do(fleet):
    """Nobody has said which image belongs to it, so another digest may be another image."""
    release = start_release(fleet, image=IMAGE)
    found = finish(fleet, release)
    assert found["state"] == "paused"
    reasons = {target["reason"] for target in read_release(fleet, release)["targets"] if target["reason"]}
    assert any("release the digest for amd64/linux instead" in reason for reason in reasons)
