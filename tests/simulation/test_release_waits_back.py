"""What may keep one app from its way back keeps no other app on the release, and nothing keeps an app there for good."""

import pytest

from tests.support.releases import (
    NEW,
    change,
    check_fleet_is_well,
    find_states,
    finish,
    operate,
    pass_minutes,
    read_digests,
    read_release,
    start_release,
)

OLD = "registry.fly.io/vyx-app:v1"
REPOSITORY = "registry.fly.io/vyx-app"
UPDATE = "/v1/apps/*/machines/*"
QUOTA = {"status": 422, "body": {"error": "Your organization has reached its machine limit"}}
LEASED = {"status": 409, "body": {"error": "machine ID m lease currently held by a@tokens.fly.io, expires at 2030"}}
REGISTRY_DOWN = {"status": 400, "body": {"error": f"failed to get manifest {REPOSITORY}: request failed: 503"}}


@pytest.fixture
def fleet(world):
    """Twelve healthy users of two tiers, who run `OLD`. One app moves at a time."""
    world.sql("update hangar.settings set default_image = %s", OLD)
    world.add_users(["pro", "elite"] * 6)
    world.settle()
    return world


def release_to(world, apps):
    """Start a release of `NEW`, and let it reach so many apps; its number and their names in the order of the way back."""
    release = start_release(world, image=NEW, soak_s=10)
    for _ in range(60):
        pass_minutes(world, 1)
        done = [each["app"] for each in read_release(world, release)["targets"] if each["state"] == "done"]
        if len(done) >= apps:
            break
    names = world.sql("select fly_app_name from public.user_fly_apps where fly_app_name = any (%s) order by id", done)
    return release, [name for (name,) in names]


@pytest.mark.slow
@pytest.mark.parametrize("obstacle", ["host", "lease"])
def test_one_app_that_cannot_go_back_now_keeps_no_other_on_the_release(fleet, obstacle):
    """Its host is out of reach, or somebody holds its machine. That may last an hour; the others are back in minutes."""
    before = read_digests(fleet)
    release, (stuck, *others) = release_to(fleet, 4)
    if obstacle == "host":
        (machine,) = fleet.apps()[stuck]
        fleet.control("PUT", f"machines/{machine.id}", {"host_status": "unreachable"})
    else:
        fleet.fault(method="POST", path=f"/v1/apps/{stuck}/machines/*", **LEASED)
    change(fleet, release, "abort")
    pass_minutes(fleet, 20)
    found = {each["app"]: each for each in read_release(fleet, release)["targets"]}
    assert {found[app]["state"] for app in others} == {"reverted"}
    digests = read_digests(fleet)
    assert {app: digests[app] for app in others} == {app: before[app] for app in others}
    assert (found[stuck]["state"], found[stuck]["goes_back"]) in (("applying", True), ("verifying", True))


@pytest.mark.slow
def test_a_release_goes_back_while_fly_refuses_the_organisation(fleet):
    """The canary's update met a limit of Fly. The abort takes the image away from it, and does not wait for the limit."""
    before = read_digests(fleet)
    release = start_release(fleet, image=f"{REPOSITORY}:v2-never-ready")
    fleet.fault(method="POST", path=UPDATE, **QUOTA)
    pass_minutes(fleet, 5)
    assert read_release(fleet, release)["held_by"] == "fly_refused"
    change(fleet, release, "abort")
    (moved,) = [each for each in read_release(fleet, release)["targets"] if each["wave"] == 0]
    assert moved["should_run"].partition("@")[0] == OLD, "nobody gets the image when Fly accepts calls again"
    found = finish(fleet, release, minutes=100)
    assert found["state"] == "aborted"
    assert read_digests(fleet) == before
    operate(fleet, "fly_create_release", p_release={"image": NEW}, p_actor="ops", p_dry_run=True)
    fleet.set_faults()
    pass_minutes(fleet, 60)
    check_fleet_is_well(fleet)


@pytest.mark.slow
def test_a_way_back_that_fly_refuses_ends_after_an_hour(fleet):
    """The canary runs the bad image when Fly begins to refuse the organisation. Other releases need not wait for Fly."""
    before = read_digests(fleet)
    release = start_release(fleet, image=f"{REPOSITORY}:v2-never-ready", deadline_s=300)
    pass_minutes(fleet, 2)
    fleet.fault(method="POST", path=UPDATE, **QUOTA)
    change(fleet, release, "abort")
    pass_minutes(fleet, 30)
    assert read_release(fleet, release)["state"] == "rolling_back", "it takes its time first"
    found = finish(fleet, release, minutes=60)
    assert (found["state"], find_states(found)) == ("aborted", {"failed", "skipped"})
    fleet.set_faults()
    pass_minutes(fleet, 60)
    assert read_digests(fleet) == before
    check_fleet_is_well(fleet)


@pytest.mark.slow
def test_a_registry_that_is_down_for_hours_leaves_no_app_on_a_bad_image(fleet):
    """The former image cannot be pulled when the canary has to go back. With the registry the app is well, without a person."""
    before = read_digests(fleet)
    release = start_release(fleet, image=f"{REPOSITORY}:v2-crash-after-60s")
    pass_minutes(fleet, 2)
    fleet.fault(method="POST", path=UPDATE, **REGISTRY_DOWN)
    pass_minutes(fleet, 180)
    assert find_states(read_release(fleet, release)) == {"failed", "pending"}
    fleet.set_faults()
    pass_minutes(fleet, 45)
    assert read_digests(fleet) == before
    check_fleet_is_well(fleet)


@pytest.mark.slow
@pytest.mark.parametrize("held_h", [0, 10])
def test_a_way_back_that_begins_in_a_hold_gets_no_time_from_before(fleet, held_h):
    """Deletions are paused for hours, and the abort comes at the end. Somebody holds the canary's machine."""
    release = start_release(fleet, image=NEW, soak_s=86_400, deadline_s=600)
    pass_minutes(fleet, 3)
    (target,) = [each for each in read_release(fleet, release)["targets"] if each["state"] == "verifying"]
    if held_h:
        fleet.sql("update hangar.settings set deletes_paused = true")
        pass_minutes(fleet, 1)
        for _ in range(held_h * 4):
            fleet.clock.advance(900)
            fleet.sweep()
    fleet.fault(method="POST", path=f"/v1/apps/{target['app']}/machines/*", times=100000, **LEASED)
    change(fleet, release, "abort")
    pass_minutes(fleet, 2)
    fleet.sql("update hangar.settings set deletes_paused = false")
    for _ in range(16):
        pass_minutes(fleet, 5)
        if read_release(fleet, release)["state"] != "rolling_back":
            return
    raise AssertionError(read_release(fleet, release))
