"""Releases and pins of variables and sizes: they reach the machine or are told, and they bring no other image."""

import pytest

from shared.domain.drift import ENV
from tests.support.hand_edits import edit_by_hand
from tests.support.releases import ACTOR, find_states, finish, operate, read_digests, start_release

IMAGE = "registry.fly.io/vyx-app:v1"
MOVED = "sha256:" + "e" * 64


@pytest.fixture
def fleet(world):
    world.sql("update public.fly_plans set cpu_kind = 'shared', cpu_count = 2, memory_mb = 1024")
    world.sql("update hangar.settings set default_image = %s", IMAGE)
    world.users = world.add_users(["pro"] * 6)
    world.settle()
    return world


def fail_pulls(world):
    """From now on Fly cannot pull what the apps run, and goes back to the former version of the machine, with green checks."""
    (digest,) = set(read_digests(world).values())
    entry = {"behaviour": "pull-reverts", "digest": digest}
    world.control("PUT", "images", {IMAGE: entry, digest: entry})


def values(world, name="A"):
    return {machine.config["env"].get(name) for (machine,) in world.apps().values()}


def pin(world, user, **changes):
    operate(world, "fly_set_user_pin", p_user=str(user), p_pin=changes, p_actor=ACTOR)


def pass_sweeps(world, sweeps, seconds=300):
    for _ in range(sweeps):
        world.clock.advance(seconds)
        world.sweep()


@pytest.mark.parametrize("spec", [{"env": {"A": "1"}}, {"memory_mb": 2048}], ids=["env", "size"])
def test_a_change_that_fly_takes_back_is_not_done(fleet, spec):
    """The machine runs, its checks pass and its image is right; only what the release changes is not there."""
    fail_pulls(fleet)
    found = finish(fleet, start_release(fleet, soak_s=60, deadline_s=300, **spec))
    assert found["state"] == "paused"
    assert "done" not in find_states(found)
    assert values(fleet) == {None}


def test_a_variable_that_fly_takes_back_is_named(fleet):
    fail_pulls(fleet)
    found = finish(fleet, start_release(fleet, env={"A": "1"}, soak_s=60, deadline_s=300))
    assert "other_env" in {each["code"] for each in found["targets"]}
    assert "runs another environment than the one that Hangar sent" in found["reason"]


@pytest.mark.slow
def test_a_user_s_variable_that_fly_takes_back_is_drift_until_it_is_there(fleet):
    fail_pulls(fleet)
    user = fleet.users[0]
    pin(fleet, user, env={"A": "1"})
    pass_sweeps(fleet, 24, 3600)
    assert values(fleet) == {None}
    assert list(fleet.row(user)["drift"]) == [ENV]
    assert fleet.open_alerts() == {("drift", ENV)}
    (digest,) = set(read_digests(fleet).values())
    fleet.control("PUT", "images", {IMAGE: {"digest": digest}, digest: {"digest": digest}})
    fleet.sql("select hangar.request_drift_repair(id) from public.user_fly_apps where user_id = %s", user)
    fleet.sql("update public.user_fly_apps set next_attempt_at = hangar.now() where user_id = %s", user)
    pass_sweeps(fleet, 3)
    assert values(fleet) == {None, "1"}
    assert not fleet.row(user)["drift"]
    assert not fleet.open_alerts()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["A", "USER_ID"])
def test_a_variable_that_somebody_removes_is_put_back(fleet, name):
    """Hangar's own and a release's. A sweep that does not know the wanted values does not end the difference."""
    assert finish(fleet, start_release(fleet, env={"A": "1"}, soak_s=30))["state"] == "completed"
    app, (machine,) = next(iter(fleet.apps().items()))
    edit_by_hand(fleet, machine, lambda config: config["env"].pop(name))
    pass_sweeps(fleet, 3)
    (machine,) = fleet.apps()[app]
    assert name in machine.config["env"]
    assert not fleet.open_alerts()


@pytest.mark.slow
def test_a_sweep_does_not_end_a_difference_that_is_there(fleet):
    """Nothing is repaired, and the sweep does not know the wanted values."""
    assert finish(fleet, start_release(fleet, env={"A": "1"}, soak_s=30))["state"] == "completed"
    fleet.sql("update hangar.settings set drift_share = 0")
    app, (machine,) = next(iter(fleet.apps().items()))
    edit_by_hand(fleet, machine, lambda config: config["env"].pop("A"))
    for _ in range(6):
        pass_sweeps(fleet, 1)
        (drift,) = fleet.sql("select drift from public.user_fly_apps where fly_app_name = %s", app)[0]
        assert list(drift) == [ENV]
    assert fleet.open_alerts() == {("drift", ENV)}


def test_the_sweep_gets_no_values(fleet):
    assert finish(fleet, start_release(fleet, env={"A": "secret-1"}, soak_s=30))["state"] == "completed"
    rows = operate(fleet, "fly_fleet_page", p_after=None)["rows"]
    assert rows[0]["env_version"] is not None
    assert "secret-1" not in str(rows)
    release = start_release(fleet, env={"A": "secret-2"}, soak_s=30)
    for _ in range(3):
        fleet.clock.advance(60)
        fleet.sweep(drain_only=True)
        assert "secret-2" not in str(operate(fleet, "fly_advance_releases", p_looks=50)["looks"])
    assert release


@pytest.mark.slow
@pytest.mark.parametrize("spec", [{"env": {"A": "1"}}, {"memory_mb": 2048}], ids=["env", "size"])
def test_a_tag_that_has_moved_comes_with_no_release_of_something_else(fleet, spec):
    before = read_digests(fleet)
    fleet.control("PUT", "images", {IMAGE: {"digest": MOVED}})
    assert finish(fleet, start_release(fleet, soak_s=30, **spec))["state"] == "completed"
    assert read_digests(fleet) == before
    pass_sweeps(fleet, 3)
    assert not fleet.sql("select 1 from public.user_fly_apps where drift <> '{}'")


@pytest.mark.parametrize("change", [{"env": {"A": "1"}}, {"memory_mb": 2048}], ids=["env", "size"])
def test_a_tag_that_has_moved_comes_with_no_pin_of_something_else(fleet, change):
    before = read_digests(fleet)
    fleet.control("PUT", "images", {IMAGE: {"digest": MOVED}})
    pin(fleet, fleet.users[0], **change)
    pass_sweeps(fleet, 2)
    assert read_digests(fleet) == before
    (machine,) = fleet.apps()[fleet.row(fleet.users[0])["fly_app_name"]]
    assert machine.config["env"].get("A") == "1" or machine.config["guest"]["memory_mb"] == 2048


@pytest.mark.slow
def test_a_tag_that_has_moved_comes_when_it_is_released_again(fleet):
    fleet.control("PUT", "images", {IMAGE: {"digest": MOVED}})
    assert finish(fleet, start_release(fleet, image=IMAGE, soak_s=30))["state"] == "completed"
    assert set(read_digests(fleet).values()) == {MOVED}
