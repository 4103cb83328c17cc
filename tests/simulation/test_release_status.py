"""What the operator reads about a release: who is behind, or not back, and why."""

import pytest

from ops.release_tables import format_headline, format_next, list_behind
from tests.support.releases import NEW, change, find_states, finish, operate, pass_minutes, read_release, start_release

OLD = "registry.fly.io/vyx-app:v1"
UPDATE = "/v1/apps/*/machines/*"
FULL = {"status": 409, "body": {"error": "aborted: could not reserve resource for machine: insufficient CPUs"}}
LEASED = {"status": 409, "body": {"error": "machine ID m lease currently held by a@tokens.fly.io, expires at 2030"}}
REGISTRY_DOWN = {
    "status": 400,
    "body": {"error": "failed to get manifest registry.fly.io/vyx-app: request failed: 503"},
}


@pytest.fixture
def fleet(world):
    """Six healthy users of one tier, who run `OLD`."""
    world.sql("update hangar.settings set default_image = %s", OLD)
    world.add_users(["pro"] * 6)
    world.settle()
    return world


def test_an_app_that_waits_for_room_says_so(fleet):
    """Fly does not update the machine, whatever the state's name."""
    fleet.fault(method="POST", path=UPDATE, **FULL)
    release = start_release(fleet, image=NEW)
    pass_minutes(fleet, 4)
    (behind,) = list_behind(read_release(fleet, release))
    assert (behind["state"], behind["code"]) == ("applying", "host")
    assert "insufficient CPUs" in behind["reason"]
    [user] = fleet.sql("select user_id from public.user_fly_apps where fly_app_name = %s", behind["app"])
    shown = operate(fleet, "fly_user_status", p_user=user[0])["release"]
    assert shown["reason"] == behind["reason"]


def test_an_app_that_cannot_take_its_turn_says_why(fleet):
    """The canary waits, because somebody holds its machine. Apps of later waves only wait for their turn."""
    user, app = fleet.sql("select user_id, fly_app_name from public.user_fly_apps order by fly_app_name limit 1")[0]
    fleet.fault(method="POST", path=f"/v1/apps/{app}/machines/*", **LEASED)
    operate(fleet, "fly_set_user_pin", p_user=user, p_pin={"env": {"DEBUG": "1"}}, p_actor="ops", p_reason="a test")
    pass_minutes(fleet, 3)
    release = start_release(fleet, image=NEW, canary_users=[str(user)])
    pass_minutes(fleet, 3)
    found = read_release(fleet, release)
    (behind,) = list_behind(found)
    assert (behind["app"], behind["state"], behind["code"]) == (app, "pending", "leased")
    assert "lease currently held" in behind["reason"]
    assert {each["reason"] for each in found["targets"] if each["app"] != app} == {None}


@pytest.mark.slow
def test_a_release_that_goes_back_counts_what_is_back(fleet):
    release = start_release(fleet, image=NEW, soak_s=10)
    assert finish(fleet, release)["state"] == "completed"
    change(fleet, release, "rollback")
    pass_minutes(fleet, 2)
    found = read_release(fleet, release)
    back = sum(each["state"] == "reverted" for each in found["targets"])
    assert 0 < back < 6
    assert format_headline(found).startswith(f"Release {release}: rolling_back; {back} of 6 apps back")
    assert len(list_behind(found)) == 6 - back, "who still has the release is not back"
    found = finish(fleet, release)
    assert format_headline(found) == f"Release {release}: rolled_back; 6 of 6 apps back"
    assert list_behind(found) == []


@pytest.mark.slow
def test_apps_that_keep_a_later_release_are_not_said_to_be_back(fleet):
    first = start_release(fleet, image=NEW, soak_s=10, moving_share=1)
    finish(fleet, first)
    some = [str(user) for (user,) in fleet.sql("select user_id from public.user_fly_apps order by 1 limit 2")]
    later = start_release(fleet, image="registry.fly.io/vyx-app:v3", users=some, soak_s=10, moving_share=1)
    finish(fleet, later)
    change(fleet, first, "rollback")
    found = finish(fleet, first)
    assert (
        format_headline(found)
        == f"Release {first}: rolled_back; 4 of 4 apps back, 2 apps as a later release has changed them"
    )
    assert "2 apps keep what a later release has changed" in format_next(found)
    assert {each["user_id"] for each in list_behind(found)} == set(some)


@pytest.mark.slow
def test_an_app_that_becomes_well_after_its_release_has_ended_counts_as_back(fleet):
    """Its registry was down, so the release gave it up. What was wrong then is not said any more."""
    release = start_release(fleet, image=f"{NEW}-crash-after-60s")
    pass_minutes(fleet, 2)
    fleet.fault(method="POST", path=UPDATE, **REGISTRY_DOWN)
    change(fleet, release, "abort")
    found = finish(fleet, release, minutes=60)
    assert (found["state"], find_states(found)) == ("aborted", {"failed", "skipped"})
    assert format_headline(found) == f"Release {release}: aborted; 0 of 1 app back, 1 not well on the former machine"
    fleet.set_faults()
    pass_minutes(fleet, 120)
    found = read_release(fleet, release)
    assert find_states(found) == {"reverted", "skipped"}
    assert format_headline(found) == f"Release {release}: aborted; 1 of 1 app back"
    assert not [each for each in found["targets"] if "former machine" in (each["reason"] or "")]
    page = operate(fleet, "fly_admin_release", p_id=release)
    assert page["parts"] == {"reverted": 1, "skipped": 5}
