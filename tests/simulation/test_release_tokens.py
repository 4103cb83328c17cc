"""Releases while the project refuses the tokens of some apps: they are not judged, and they keep nothing else from ending."""

import json

import pytest

from shared.adapters.signing_keys import SigningKeys
from tests.simulation.test_signing_keys import MINUTE, Project
from tests.support.releases import NEW, change, find_states, operate, read_release, start_release

OTHER = "registry.fly.io/vyx-app:v3"


def prepare(world, users=3):
    """A release with one app that has passed its proof and one that is under proof."""
    project = Project(world)
    world.add_users(["pro"] * users)
    world.sweep()
    project.pass_time(5 * MINUTE)
    release = start_release(world, image=NEW, deadline_s=300, soak_s=600)
    for _ in range(60):
        project.pass_time(MINUTE)
        if {"done", "verifying"} <= find_states(read_release(world, release)):
            return project, release
    raise AssertionError(read_release(world, release))


def let_fail(world, names, minutes, *, gap_s=MINUTE, drain_only=False):
    """Let time pass while the checks of these apps fail and those of all others pass."""
    for _ in range(minutes):
        world.clock.advance(gap_s)
        for name, (machine,) in world.apps().items():
            status = "critical" if name in names else "passing"
            world.control("PUT", f"machines/{machine.id}", {"checks": {"alive": status, "ready": status}})
        world.sweep(drain_only=drain_only)


def give_new_keys(world, project, old):
    """All apps but `old` have a token of the new key; the old one is revoked, and nobody renews tokens."""
    world.sql("update public.user_fly_apps set token_key_id = 'new' where fly_app_name <> all (%s)", old)
    world.sql("update hangar.settings set token_renewal_share = 0")
    project.deploy("new")
    project.published = ("new",)


def find_app(world, state):
    return world.sql(
        "select a.fly_app_name, a.id from hangar.release_targets t join public.user_fly_apps a on a.id = t.row_id"
        " where t.state = %s order by t.place limit 1",
        state,
    )[0]


def reasons_of(world, release):
    return {each["code"] for each in read_release(world, release)["targets"]}


@pytest.mark.parametrize("users", [3, 14])
@pytest.mark.slow
def test_a_release_does_not_take_refused_tokens_for_its_failures(world, users):
    """With three apps there is no incident. With fourteen there is one, and it is not the release's either."""
    project, release = prepare(world, users)
    project.published = ("new",)
    project.pass_time(5 * MINUTE, 24)
    found = read_release(world, release)
    assert (found["state"], {each["goes_back"] for each in found["targets"]}) == ("rolling", {False})
    assert "token_refused" in reasons_of(world, release)
    project.deploy("new")
    project.pass_time(5 * MINUTE, 60)
    found = read_release(world, release)
    assert (found["state"], find_states(found), reasons_of(world, release)) == ("completed", {"done"}, {None})
    assert {machine.config["image"].partition("@")[0] for (machine,) in world.apps().values()} == {NEW}


def test_a_look_at_an_app_with_a_refused_token_is_not_asked_for(world):
    """A canary that looks well would be restarted for its proof again and again."""
    project = Project(world)
    world.add_users(["pro"])
    world.sweep()
    start_release(world, image=NEW, soak_s=600)
    project.pass_time(MINUTE, 3)
    world.clock.advance(MINUTE)
    assert len(operate(world, "fly_advance_releases")["looks"]) == 1
    operate(world, "fly_record_signing_keys", p_signing="old", p_published='["other"]')
    world.clock.advance(5 * MINUTE)  # the first look was asked for, and its answer never came
    assert operate(world, "fly_advance_releases")["looks"] == []
    operate(world, "fly_record_signing_keys", p_signing="old", p_published='["old"]')
    world.clock.advance(5 * MINUTE)
    assert len(operate(world, "fly_advance_releases")["looks"]) == 1


@pytest.mark.slow
def test_an_image_that_fails_with_a_good_token_too_is_a_failure_of_the_release(world):
    project = Project(world)
    world.add_users(["pro"] * 3)
    world.sweep()
    project.pass_time(5 * MINUTE)
    release = start_release(world, image=NEW, deadline_s=300, soak_s=600)
    project.pass_time(MINUTE, 4)
    project.published = ("new",)
    project.pass_time(5 * MINUTE, 6)
    assert read_release(world, release)["state"] == "rolling"
    project.deploy("new")
    project.published = ()
    world.reconciler.read_signing_keys = lambda: SigningKeys("new", ("new",))
    project.pass_time(5 * MINUTE, 6)
    found = read_release(world, release)
    assert found["state"] == "paused"
    assert "critical" in found["reason"]


@pytest.mark.slow
def test_a_rollback_ends_although_some_apps_have_no_accepted_token(world):
    """The others go back at once. Those two, which would be unhealthy with any image, end with the time of a way back."""
    project = Project(world)
    world.add_users(["pro"] * 10)
    world.sweep()
    project.pass_time(5 * MINUTE)
    project.published = ("old", "new")
    release = start_release(world, image=NEW, deadline_s=300, soak_s=0, moving_share=0.2, wave_shares=[1])
    for _ in range(40):
        project.pass_time(MINUTE)
        if read_release(world, release)["state"] == "completed":
            break
    # Those two have their turn first.
    names = [name for (name,) in world.sql("select fly_app_name from public.user_fly_apps order by id")]
    give_new_keys(world, project, names[:2])
    let_fail(world, names[:2], 3)
    change(world, release, "rollback")
    let_fail(world, names[:2], 9)  # the time of a way back is ten minutes
    images = {name: machine.config["image"].partition("@")[0] for name, (machine,) in world.apps().items()}
    assert [name for name in names[2:] if images[name] == NEW] == []
    let_fail(world, names[:2], 30, gap_s=5 * MINUTE)
    assert read_release(world, release)["state"] == "rolled_back"


@pytest.mark.slow
@pytest.mark.parametrize("renewal", ["no accepted key", "off"])
def test_an_abort_ends_and_another_release_can_begin(world, renewal):
    project, release = prepare(world)
    project.published = ("new",)
    project.pass_time(5 * MINUTE, 3)
    if renewal == "off":
        world.sql("update hangar.settings set token_renewal_share = 0")
        project.deploy("new")
    change(world, release, "abort")
    project.pass_time(5 * MINUTE, 30)
    assert read_release(world, release)["state"] == "aborted"
    assert read_release(world, start_release(world, image=OTHER))["state"] == "rolling"


@pytest.mark.slow
def test_an_app_that_gets_no_token_is_left_out_in_the_end_and_the_others_move(world):
    project = Project(world)
    world.add_users(["pro"] * 10)
    world.sweep()
    project.pass_time(5 * MINUTE)
    project.published = ("old", "new")
    release = start_release(world, image=NEW, deadline_s=300, soak_s=0)
    [(first,)] = world.sql(
        "select a.fly_app_name from hangar.release_targets t join public.user_fly_apps a on a.id = t.row_id"
        " where t.wave = 1 order by t.place limit 1"
    )
    give_new_keys(world, project, [first])
    let_fail(world, [first], 60, gap_s=5 * MINUTE)
    found = read_release(world, release)
    assert found["state"] == "completed"
    [left_out] = [each for each in found["targets"] if each["state"] != "done"]
    assert (left_out["app"], left_out["state"], left_out["code"]) == (first, "skipped", "token_refused")


@pytest.mark.slow
def test_an_app_under_proof_waits_for_its_token_one_hour(world):
    """Then it goes back and is left out, so that the release can end."""
    project, release = prepare(world)
    app, _ = find_app(world, "verifying")
    project.published = ("other",)
    let_fail(world, list(world.apps()), 50)
    waiting = next(each for each in read_release(world, release)["targets"] if each["app"] == app)
    assert (waiting["state"], waiting["code"]) == ("verifying", "token_refused")
    let_fail(world, list(world.apps()), 20, gap_s=5 * MINUTE)
    found = read_release(world, release)
    target = next(each for each in found["targets"] if each["app"] == app)
    assert (target["state"], target["code"], target["goes_back"]) == ("skipped", "token_refused", False)
    assert found["state"] == "completed"


@pytest.mark.slow
def test_an_incident_of_refused_tokens_holds_the_release(world):
    """All that is broken are apps that the release has moved. Those that wait sleep, and would be moved unproved."""
    project = Project(world)
    world.add_users(["pro"] * 30)
    world.sweep()
    project.pass_time(5 * MINUTE)
    release = start_release(world, image=NEW, deadline_s=300, soak_s=0, wave_shares=[0.5, 1], moving_share=1)
    for _ in range(60):
        project.pass_time(MINUTE)
        if world.sql("select count(*) from hangar.release_targets where state = 'done'")[0][0] >= 14:
            break
    change(world, release, "pause")
    moved = {name for name, (machine,) in world.apps().items() if machine.config["image"].partition("@")[0] == NEW}
    project.published = ("new",)
    let_fail(world, moved, 6, gap_s=5 * MINUTE)
    assert ("incident", "health") in world.open_alerts()
    change(world, release, "resume")
    let_fail(world, moved, 3)
    assert read_release(world, release)["held_by"] == "incident"
    now = {name for name, (machine,) in world.apps().items() if machine.config["image"].partition("@")[0] == NEW}
    assert now == moved


@pytest.mark.slow
@pytest.mark.parametrize("outage", ["no function ran", "the project gave no list"])
def test_an_old_answer_of_the_project_makes_nobody_fail(world, outage):
    project, release = prepare(world)
    project.published = ("new",)
    project.pass_time(5 * MINUTE, 6)
    if outage == "no function ran":
        world.clock.advance(61 * MINUTE)
        world.sweep(drain_only=True)
    else:
        project.fails = True
        project.pass_time(5 * MINUTE, 13)
    assert read_release(world, release)["state"] == "rolling"


@pytest.mark.slow
def test_checks_that_recover_after_the_key_was_set_back_are_no_failure(world):
    project, release = prepare(world)
    project.published = ("new",)
    project.pass_time(5 * MINUTE, 6)
    project.published = ("old", "new")
    let_fail(world, list(world.apps()), 1)
    project.pass_time(5 * MINUTE, 20)
    found = read_release(world, release)
    assert (found["state"], find_states(found)) == ("completed", {"done"})


@pytest.mark.slow
def test_an_app_that_got_a_new_token_is_watched_as_before(world):
    project, release = prepare(world)
    app, _ = find_app(world, "done")
    project.published = ("new",)
    project.pass_time(5 * MINUTE)
    project.deploy("new")
    project.pass_time(5 * MINUTE, 2)
    world.sql("update hangar.releases set soak_s = 36000")
    let_fail(world, [app], 12, gap_s=5 * MINUTE)
    assert read_release(world, release)["state"] == "paused"


@pytest.mark.slow
@pytest.mark.parametrize(("code", "state"), [("start_failed", "rolling"), ("image", "paused")])
def test_only_what_a_token_can_cause_is_not_blamed_on_the_image(world, code, state):
    project, release = prepare(world)
    project.published = ("new",)
    project.pass_time(5 * MINUTE)
    world.sql(
        "update public.user_fly_apps a set status = 'error', error_code = %s, error_message = 'because', retry_count = 1,"
        " next_attempt_at = hangar.now() + interval '1 hour'"
        " from hangar.release_targets t where t.row_id = a.id and t.state = 'verifying'",
        code,
    )
    operate(world, "fly_advance_releases")
    assert read_release(world, release)["state"] == state


@pytest.mark.slow
def test_what_fails_with_the_new_token_is_not_called_refused(world):
    project, release = prepare(world)
    project.published = ("new",)
    project.pass_time(5 * MINUTE, 3)
    project.deploy("new")
    operate(world, "fly_record_signing_keys", p_signing="new", p_published='["new"]')
    for _ in range(12):
        world.clock.advance(MINUTE)
        operate(world, "fly_advance_releases")  # the renewal begins, and no worker comes
    found = read_release(world, release)
    assert found["state"] == "paused"
    assert "token_refused" not in {each["code"] for each in found["targets"]}


@pytest.mark.slow
def test_a_release_that_begins_with_refused_tokens_counts_nobody_as_unhealthy_before(world):
    """Otherwise three users would have to fail before a bad image pauses it."""
    project = Project(world)
    world.add_users(["pro"] * 10)
    world.sweep()
    project.pass_time(5 * MINUTE)
    project.published = ("new",)
    project.pass_time(5 * MINUTE, 6)
    start_release(world, image=NEW)
    assert world.sql("select distinct was_unhealthy from hangar.release_targets") == [(False,)]


@pytest.mark.slow
def test_a_canary_that_ended_by_itself_after_the_trouble_proves_itself_again(world):
    project = Project(world)
    world.sql("update public.fly_plans set power = 'on_demand', public_service = true where tier = 'pro'")
    world.add_users(["pro"] * 3)
    world.sweep()
    project.pass_time(5 * MINUTE)
    release = start_release(world, image=NEW, deadline_s=300, soak_s=600)
    proved = "select 1 from hangar.release_targets where restarted_at is not null and good_since is not null"
    for _ in range(30):
        project.pass_time(MINUTE)
        if world.sql(proved):
            break
    assert world.sql(proved)
    project.published = ("new",)
    project.pass_time(5 * MINUTE)
    world.clock.advance(MINUTE)
    operate(world, "fly_record_signing_keys", p_signing="old", p_published='["old", "new"]')
    [look] = operate(world, "fly_advance_releases")["looks"]
    said = {"release": release, "row_id": look["row_id"], "since": look["since"], "verdict": "asleep", "code": "exited"}
    said |= {"detail": "the program has ended by itself", "digest": "", "instance": ""}
    operate(world, "fly_record_release_looks", p_looks=json.dumps([said]))
    operate(world, "fly_advance_releases")
    assert read_release(world, release)["state"] == "rolling"
