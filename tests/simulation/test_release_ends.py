"""How a release ends when an image fails late, and when an app does not become well on its way back."""

import psycopg
import pytest

from tests.support.releases import (
    NEW,
    change,
    find_states,
    finish,
    operate,
    pass_minutes,
    read_digests,
    read_release,
    start_release,
)

OLD, NEXT = "registry.fly.io/vyx-app:v1", "registry.fly.io/vyx-app:v3"
NEVER_READY = "registry.fly.io/vyx-app:v2-never-ready"


@pytest.fixture
def fleet(world):
    """Twelve healthy users of two tiers, who run `OLD`."""
    world.sql("update hangar.settings set default_image = %s", OLD)
    world.add_users(["pro", "elite"] * 6)
    world.settle()
    return world


def find_moving(world, release):
    (target,) = [each for each in read_release(world, release)["targets"] if each["state"] in ("applying", "verifying")]
    return target


@pytest.mark.slow
def test_an_app_whose_former_image_is_gone_is_named_and_keeps_no_release_away(fleet):
    """The registry has removed the former image, so the canary cannot go back. The release ends, and another one may begin."""
    release = start_release(fleet, image=NEW)
    pass_minutes(fleet, 1)
    app = find_moving(fleet, release)["app"]
    (digest,) = set(read_digests(fleet).values()) - {read_digests(fleet)[app]}
    fleet.control("PUT", "images", {OLD: {"behaviour": "refused", "digest": digest}})
    change(fleet, release, "abort")
    pass_minutes(fleet, 5)
    found = read_release(fleet, release)
    assert found["state"] == "rolling_back", "it takes its time first"
    (target,) = [each for each in found["targets"] if each["goes_back"]]
    assert "failed to get manifest" in target["reason"], "why it is not back yet is said at once"
    with pytest.raises(psycopg.Error, match=rf"release {release} puts some of the same apps back: wait"):
        start_release(fleet, image=NEXT)
    found = finish(fleet, release, minutes=20)
    assert found["state"] == "aborted"
    (target,) = [each for each in found["targets"] if each["state"] != "skipped"]
    assert (target["app"], target["state"], target["goes_back"]) == (app, "failed", False)
    assert "It is not well on its former machine" in target["reason"]
    assert {kind for kind, _ in fleet.open_alerts()} == {"provision_failed"}, "the app's own alert stays"
    found = finish(fleet, start_release(fleet, image=NEXT), minutes=150)
    assert found["state"] == "completed"


def test_an_app_that_was_unhealthy_before_is_back_when_it_runs_what_it_ran(fleet):
    """Its checks fail with every image. It is reverted all the same, so the operator can resume, and nothing waits for ever."""
    app = min(fleet.apps())
    [(user,)] = fleet.sql("select user_id from public.user_fly_apps where fly_app_name = %s", app)
    fleet.sql("update public.fly_plans set on_unhealthy = 'alert'")
    fleet.control("PUT", f"machines/{fleet.apps()[app][0].id}", {"checks": {"ready": "critical"}})
    pass_minutes(fleet, 15)
    assert fleet.row(user)["health_status"] == "unhealthy"
    release = start_release(fleet, image=NEVER_READY, users=[str(user)], deadline_s=60)
    found = finish(fleet, release, minutes=40)
    assert (found["state"], find_states(found)) == ("paused", {"reverted"}), found["targets"]
    assert fleet.row(user)["docker_image"].partition("@")[0] == OLD
    assert change(fleet, release, "abort")["state"] in ("aborted", "rolling_back")
    assert finish(fleet, release, minutes=40)["state"] == "aborted"


def test_an_app_that_becomes_well_after_all_counts_as_back(fleet):
    """The registry has the former image again, and an operator retries."""
    release = start_release(fleet, image=NEVER_READY, deadline_s=60)
    pass_minutes(fleet, 1)
    app = find_moving(fleet, release)["app"]
    (digest,) = set(read_digests(fleet).values()) - {read_digests(fleet)[app]}
    fleet.control("PUT", "images", {OLD: {"behaviour": "refused", "digest": digest}})
    assert find_states(finish(fleet, release, minutes=40)) == {"failed", "pending"}
    fleet.control("PUT", "images", {OLD: {"behaviour": "good", "digest": digest}})
    [(user,)] = fleet.sql("select user_id from public.user_fly_apps where fly_app_name = %s", app)
    operate(fleet, "fly_retry", p_user=user, p_actor="ops")
    pass_minutes(fleet, 10)
    assert find_states(read_release(fleet, release)) == {"reverted", "pending"}
    assert set(read_digests(fleet).values()) == {digest}


@pytest.mark.slow
def test_an_image_that_fails_after_twenty_minutes_leaves_nobody_on_it(world):
    """The default soak is shorter. The first apps are still watched, so the release pauses before it is complete.

    Then each app that was moved goes back as it fails.
    """
    world.add_users(["pro", "elite"] * 20)
    world.settle()
    before = read_digests(world)
    release = start_release(world, image="registry.fly.io/vyx-app:v2-oom-after-20m")
    found = finish(world, release, minutes=60)
    assert found["state"] == "paused", found["waves"]
    assert "ran out of memory" in found["reason"]
    assert "pending" in find_states(found), "not everybody was touched"
    pass_minutes(world, 45)
    assert find_states(read_release(world, release)) == {"reverted", "pending"}
    assert read_digests(world) == before


@pytest.mark.slow
def test_a_check_that_fails_for_a_moment_is_no_failure_after_the_soak(fleet):
    """Only an end of the program is; the care for health judges checks."""
    release = start_release(fleet, image=NEW, soak_s=30)
    for _ in range(30):
        pass_minutes(fleet, 1)
        if (found := read_release(fleet, release))["wave"] >= 2:
            break
    (canary,) = [each for each in found["targets"] if each["wave"] == 0]
    machine = fleet.apps()[canary["app"]][0].id
    fleet.control("PUT", f"machines/{machine}", {"checks": {"ready": "critical"}})
    pass_minutes(fleet, 2)
    fleet.control("PUT", f"machines/{machine}", {"checks": {}})
    found = finish(fleet, release)
    assert (found["state"], find_states(found)) == ("completed", {"done"}), found["targets"]


@pytest.mark.slow
def test_a_fleet_that_was_unhealthy_before_gives_three_apps_to_a_bad_image(fleet):
    """Nobody's failure counts by itself, because each was unhealthy before; but three are enough."""
    fleet.sql("update public.user_fly_apps set health_status = 'unhealthy'")
    release = start_release(fleet, image=NEVER_READY, deadline_s=60)
    for _ in range(60):
        fleet.sql("update public.user_fly_apps set health_status = 'unhealthy'")
        pass_minutes(fleet, 1)
    found = read_release(fleet, release)
    assert found["state"] == "paused"
    assert sum(each["state"] != "pending" for each in found["targets"]) == 3
    assert find_states(found) == {"reverted", "pending"}


@pytest.mark.slow
def test_other_variables_of_a_plan_survive_a_rollback(fleet):
    """They were added after the release; only what the release brought goes back."""
    fleet.sql("""update public.fly_plans set env = '{"FEATURE": "0"}' where tier = 'elite'""")
    release = start_release(fleet, env={"FEATURE": "1"}, soak_s=30)
    assert finish(fleet, release)["state"] == "completed"
    fleet.sql("""update public.fly_plans set env = env || '{"OTHER": "x"}' where tier in ('pro', 'elite')""")
    change(fleet, release, "rollback")
    assert finish(fleet, release)["state"] == "rolled_back"
    plans = dict(fleet.sql("select tier, env from public.fly_plans where dedicated"))
    assert plans == {"pro": {"OTHER": "x"}, "elite": {"FEATURE": "0", "OTHER": "x"}}
    assert operate(fleet, "fly_releases")["releases"][0]["state"] == "rolled_back"
