"""Releases: new images, sizes and settings reach the fleet in waves that judge themselves."""

import pytest

from tests.support.releases import (
    NEW,
    check_fleet_is_well,
    find_states,
    finish,
    operate,
    read_digests,
    read_release,
    start_release,
)


def images(world):
    return {machine.config["image"].partition("@")[0] for machines in world.apps().values() for machine in machines}


@pytest.fixture
def fleet(world):
    """Twenty healthy users of two tiers."""
    world.add_users(["pro", "elite"] * 10)
    world.sweep()
    world.clock.advance(300)
    world.sweep()
    return world


@pytest.mark.slow
def test_a_good_release_reaches_everybody_in_waves(fleet):
    release = start_release(fleet, image=NEW)
    sizes = [wave["size"] for wave in read_release(fleet, release)["waves"]]
    assert sizes == [1, 1, 4, 14]
    found = finish(fleet, release)
    assert (found["state"], find_states(found)) == ("completed", {"done"})
    assert images(fleet) == {NEW}
    (user,) = fleet.add_users(["pro"])
    fleet.sweep()
    assert images(fleet) == {NEW}
    assert fleet.row(user)["docker_image"].startswith(NEW + "@")
    assert operate(fleet, "fly_releases")["differ"]["apps"] == 0


BAD = (
    "crash-at-start",
    "exit-0",
    "crash-after-60s",
    "oom-at-boot",
    "never-ready",
    "no-checks",
    "flaps",
    "wrong-digest",
    "old-version",
    "wrong-user",
    "pull-reverts",
    "refused",
    "missing",
    "wrong-architecture",
    "entrypoint-missing",
    "crash-loop",
    "wrong-port",
    "too-large",
    "oom-after-20m",
    "cold-resume-broken",
)


@pytest.mark.parametrize("behaviour", ["slow-start", "slow-pull"])
@pytest.mark.slow
def test_a_slow_image_is_waited_for(fleet, behaviour):
    """An image that is good within the deadline is good."""
    release = start_release(fleet, image=f"registry.fly.io/vyx-app:v2-{behaviour}")
    found = finish(fleet, release)
    assert (found["state"], find_states(found)) == ("completed", {"done"}), found["targets"]
    check_fleet_is_well(fleet)


@pytest.mark.slow
@pytest.mark.parametrize("behaviour", BAD)
def test_a_bad_image_stops_at_the_first_wave_and_everything_is_put_back(fleet, behaviour):
    before = read_digests(fleet)
    soak_s = 1500 if "20m" in behaviour else 60
    release = start_release(fleet, image=f"registry.fly.io/vyx-app:v2-{behaviour}", deadline_s=300, soak_s=soak_s)
    found = finish(fleet, release, minutes=120)
    assert found["state"] == "paused", found
    assert {each["wave"] for each in found["targets"] if each["state"] != "pending"} <= {0, 1}
    assert find_states(found) == {"pending", "reverted"}, found["targets"]
    assert ("release_failed", str(release)) in fleet.open_alerts()
    fleet.clock.advance(300)
    fleet.sweep()
    check_fleet_is_well(fleet)
    assert read_digests(fleet) == before


def read_env(world, name):
    return {app: machine.config["env"].get(name) for app, (machine,) in world.apps().items()}


@pytest.mark.slow
def test_a_release_of_variables_reaches_every_machine_and_goes_back(fleet):
    """Variables alone are a change too: the machine has to have them, and to lose them again."""
    assert set(read_env(fleet, "FEATURE").values()) == {None}
    release = start_release(fleet, env={"FEATURE": "on"})
    found = finish(fleet, release)
    assert (found["state"], find_states(found)) == ("completed", {"done"}), found["targets"]
    assert set(read_env(fleet, "FEATURE").values()) == {"on"}
    (user,) = fleet.add_users(["elite"])
    fleet.sweep()
    assert set(read_env(fleet, "FEATURE").values()) == {"on"}
    assert fleet.row(user)["drift"] == {}
    operate(fleet, "fly_change_release", p_id=release, p_action="rollback", p_actor="ops")
    found = finish(fleet, release)
    assert found["state"] == "rolled_back"
    left = read_env(fleet, "FEATURE")
    assert {value for app, value in left.items() if app != fleet.row(user)["fly_app_name"]} == {None}
    fleet.clock.advance(300)
    fleet.sweep()
    check_fleet_is_well(fleet)


def test_a_pinned_variable_reaches_the_users_machine_only(fleet):
    user, name = fleet.sql("select user_id, fly_app_name from public.user_fly_apps order by fly_app_name limit 1")[0]
    operate(fleet, "fly_set_user_pin", p_user=user, p_pin={"env": {"DEBUG": "1"}}, p_actor="ops", p_reason="a test")
    fleet.settle()
    assert {app for app, value in read_env(fleet, "DEBUG").items() if value == "1"} == {name}
    operate(fleet, "fly_set_user_pin", p_user=user, p_pin=None, p_actor="ops", p_reason="over")
    fleet.settle()
    assert set(read_env(fleet, "DEBUG").values()) == {None}
    check_fleet_is_well(fleet)
