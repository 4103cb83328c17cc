"""A rollback takes back what its release brought, and only that, also when other releases have come after it."""

import pytest

from tests.support.release_chains import (
    FAST,
    NEXT,
    OLD,
    first_users,
    have_two_tiers,
    read_given,
    read_machines,
    read_plans,
    release,
    roll_back,
)
from tests.support.releases import NEW, check_fleet_is_well, find_states, finish, operate, start_release


@pytest.fixture
def fleet(world):
    return have_two_tiers(world)


@pytest.fixture(params=["everybody", "some"])
def selection(request, fleet):
    """A release for everybody, which plans follow, or one for three users."""
    return {} if request.param == "everybody" else {"users": first_users(fleet)}


@pytest.mark.slow
def test_a_later_size_keeps_no_app_on_the_image(fleet, selection):
    """The size stays, and image and variable go back. What plans say fits what the apps run."""
    first = release(fleet, image=NEW, env={"MODE": "1"}, **selection)
    release(fleet, cpu_count=2, memory_mb=1536, **selection)
    found = roll_back(fleet, first)
    assert find_states(found) == {"reverted"}
    assert (OLD, 1536, None) in read_machines(fleet)
    assert {image for image, _, _ in read_machines(fleet)} == {OLD}
    assert {(image, str(env)) for image, _, env in read_given(fleet)} <= {(None, "{}")}
    differ = operate(fleet, "fly_releases")["differ"]["apps"]
    assert differ == (3 if selection else 0)
    fleet.clock.advance(300)
    fleet.sweep()
    check_fleet_is_well(fleet)


@pytest.mark.slow
@pytest.mark.parametrize("second", [{"cpu_count": 2, "memory_mb": 1536}, {"image": NEXT}, {"env": {"MODE": "2"}}])
def test_two_rollbacks_in_the_order_of_the_releases_end_at_the_beginning(fleet, selection, second):
    """The second rollback does not bring again what the first one took back: to no app, user or plan."""
    before = read_machines(fleet), read_plans(fleet)
    first = release(fleet, image=NEW, env={"MODE": "1"}, **selection)
    later = release(fleet, **second, **selection)
    roll_back(fleet, first)
    roll_back(fleet, later)
    assert (read_machines(fleet), read_plans(fleet)) == before
    assert read_given(fleet) == []


@pytest.mark.slow
def test_an_image_that_was_released_again_later_stays(fleet):
    """The third release brings what the first one brought. A rollback of the first takes nothing of the third away."""
    first = release(fleet, image=NEW)
    release(fleet, image=NEXT)
    release(fleet, image=NEW)
    found = roll_back(fleet, first)
    assert {each["code"] for each in found["targets"]} == {"later"}
    assert {image for image, _, _ in read_machines(fleet)} == {NEW}
    assert read_plans(fleet)[0] == NEW
    assert found["kept"], "what stays is named"


@pytest.mark.slow
def test_a_user_who_joined_after_both_goes_back_too(fleet):
    """The plan gave that app the image and the size. Only the image goes back."""
    first = release(fleet, image=NEW)
    (user,) = fleet.add_users(["pro"])
    fleet.settle()
    release(fleet, cpu_count=2, memory_mb=1536)
    roll_back(fleet, first)
    assert fleet.row(user)["docker_image"].partition("@")[0] == OLD
    assert read_machines(fleet) == {(OLD, 1536, None)}


@pytest.mark.slow
def test_what_is_edited_while_a_release_rolls_stays(fleet):
    """The image of one plan, the size of another and the default image. Each is named, and a rollback leaves it, too."""
    number = start_release(fleet, image=NEW, cpu_count=2, memory_mb=1536, env={"MODE": "1"}, **FAST)
    fleet.sql("update hangar.settings set default_image = %s", NEXT)
    fleet.sql("update public.fly_plans set docker_image = %s where tier = 'elite'", NEXT)
    fleet.sql("""update public.fly_plans set memory_mb = 2048, env = '{"MODE": "9", "MORE": "1"}' where tier = 'pro'""")
    found = finish(fleet, number)
    assert found["state"] == "completed"
    edited = {
        "elite": (NEXT, 1536, {"MODE": "1"}),
        "pro": (None, 2048, {"MODE": "9", "MORE": "1"}),
    }
    assert read_elite_and_pro(fleet) == edited
    assert fleet.sql("select default_image from hangar.settings") == [(NEXT,)]
    kept = [(each["what"], each.get("tier")) for each in found["kept"]]
    assert sorted(kept, key=str) == [("env", "pro"), ("image", "elite"), ("image", None), ("size", "pro")]
    assert operate(fleet, "fly_releases")["differ"]["apps"] == 6, "what the apps run is no longer what plans say"
    roll_back(fleet, number)
    assert read_elite_and_pro(fleet) == {**edited, "elite": (NEXT, 1024, {})}


def read_elite_and_pro(world):
    rows = world.sql("select tier, docker_image, memory_mb, env from public.fly_plans where tier in ('elite', 'pro')")
    return {tier: (image, memory_mb, env) for tier, image, memory_mb, env in rows}
