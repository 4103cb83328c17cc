"""A release of kind plan gives apps what their plans say, with the same proof as a release that names an image."""

import psycopg
import pytest

from tests.support.releases import (
    ACTOR,
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

OLD, OTHER = "registry.fly.io/vyx-app:v1", "registry.fly.io/vyx-app:v3"
FAST = {"kind": "plan", "soak_s": 60, "moving_share": 1, "deadline_s": 300}
MOVED = "sha256:" + "e" * 64


@pytest.fixture
def fleet(world):
    world.sql("update public.fly_plans set grace_s = 86400, cpu_kind = 'shared', cpu_count = 2, memory_mb = 1024")
    world.sql("update hangar.settings set default_image = %s", OLD)
    world.users = world.add_users(["pro"] * 8)
    world.settle()
    world.allow_mass_losses()
    return world


def set_image(world, image):
    world.sql("update hangar.settings set default_image = %s", image)


def images(world):
    return {name: machine.config["image"].partition("@")[0] for name, (machine,) in world.apps().items()}


def reach_wave(world, release, wave):
    for _ in range(60):
        pass_minutes(world, 1)
        if read_release(world, release)["wave"] >= wave:
            return
    raise AssertionError(f"wave {wave} was not reached: {read_release(world, release)}")


@pytest.mark.parametrize("tag", ["cold-resume-broken", "wrong-digest", "old-version", "never-ready"])
def test_a_bad_image_reaches_only_the_first_apps(fleet, tag):
    """A restart, the answer of /ready and the digest of the canary prove the image of a plan too."""
    bad = f"registry.fly.io/vyx-app:v3-{tag}"
    set_image(fleet, bad)
    release = start_release(fleet, **FAST)
    reached = set()
    for _ in range(90):
        pass_minutes(fleet, 1)
        reached |= {name for name, image in images(fleet).items() if image == bad}
        if (found := read_release(fleet, release))["state"] != "rolling":
            break
    assert found["state"] == "paused"
    assert len(reached) <= 2
    pass_minutes(fleet, 10)
    assert bad not in images(fleet).values()


@pytest.mark.slow
def test_each_image_has_a_canary_of_its_own(world):
    """The two plans have different images. The good one of the first proves nothing about the other."""
    bad = f"{OTHER}-cold-resume-broken"
    world.add_users(["pro"] * 8 + ["elite"] * 8)
    world.settle()
    world.sql("update public.fly_plans set docker_image = %s where tier = 'pro'", NEW)
    world.sql("update public.fly_plans set docker_image = %s where tier = 'elite'", bad)
    release = start_release(world, **FAST)
    reached = set()
    for _ in range(120):
        pass_minutes(world, 1)
        reached |= {name for name, image in images(world).items() if image == bad}
        if (found := read_release(world, release))["state"] != "rolling":
            break
    assert found["state"] == "paused"
    assert len(reached) == 1


@pytest.mark.slow
def test_a_tag_that_moves_meanwhile_changes_nothing(fleet):
    set_image(fleet, NEW)
    release = start_release(fleet, **FAST)
    reach_wave(fleet, release, 2)
    fleet.control("PUT", "images", {NEW: {"digest": MOVED}})
    assert finish(fleet, release)["state"] == "completed"
    assert len(set(read_digests(fleet).values())) == 1
    assert MOVED not in read_digests(fleet).values()


def test_an_app_that_keeps_its_image_keeps_its_digest(fleet):
    """The plan has another size, and the tag of its image means something else by now."""
    before = read_digests(fleet)
    fleet.control("PUT", "images", {OLD: {"digest": MOVED}})
    fleet.sql("update public.fly_plans set memory_mb = 2048")
    found = finish(fleet, start_release(fleet, **FAST))
    assert (found["state"], find_states(found)) == ("completed", {"done"})
    assert read_digests(fleet) == before
    assert {machine.config["guest"]["memory_mb"] for (machine,) in fleet.apps().values()} == {2048}


@pytest.mark.slow
def test_an_edit_meanwhile_does_not_change_the_release(fleet):
    """Image and size are those of the start. The apps then differ from the plan, and the next release brings the edit."""
    set_image(fleet, NEW)
    release = start_release(fleet, **FAST)
    reach_wave(fleet, release, 2)
    bad = f"{OTHER}-crash-at-start"
    set_image(fleet, bad)
    fleet.sql("update public.fly_plans set memory_mb = 2048")
    for _ in range(40):
        pass_minutes(fleet, 1)
        assert bad not in images(fleet).values()
    found = read_release(fleet, release)
    assert (found["state"], find_states(found)) == ("completed", {"done"})
    assert set(images(fleet).values()) == {NEW}
    assert {machine.config["guest"]["memory_mb"] for (machine,) in fleet.apps().values()} == {1024}
    assert operate(fleet, "fly_releases")["differ"]["apps"] == 8


def test_what_a_plan_has_given_is_kept_by_nobody_when_the_release_is_over(fleet):
    """Otherwise a later edit of the plan would not count for a user who is provisioned again."""
    set_image(fleet, NEW)
    assert finish(fleet, start_release(fleet, **FAST))["state"] == "completed"
    assert fleet.sql("select count(*) from hangar.user_specs") == [(0,)]
    assert operate(fleet, "fly_releases")["differ"]["apps"] == 0


def test_variables_that_are_edited_meanwhile_pause_the_release(fleet):
    """Hangar reads them whenever it updates a machine, so the apps that are left would get others than the proven ones."""
    fleet.sql("""update public.fly_plans set env = '{"LEVEL": "1"}'""")
    release = start_release(fleet, **FAST)
    reach_wave(fleet, release, 1)
    fleet.sql("""update public.fly_plans set env = '{"LEVEL": "2"}'""")
    pass_minutes(fleet, 3)
    found = read_release(fleet, release)
    assert (found["state"], found["reason"]) == (
        "paused",
        "the variables of the plan pro were edited after it was started",
    )
    assert fleet.open_alerts() == {("release_failed", str(release))}
    fleet.sql("""update public.fly_plans set env = '{"LEVEL": "1"}'""")
    change(fleet, release, "resume")
    assert finish(fleet, release)["state"] == "completed"
    assert {machine.config["env"]["LEVEL"] for (machine,) in fleet.apps().values()} == {"1"}


def test_a_bad_size_of_a_plan_is_put_back(fleet):
    """What a plan gave and what it takes back is the whole machine."""
    set_image(fleet, f"{OTHER}-never-ready")
    fleet.sql("update public.fly_plans set memory_mb = 2048")
    found = finish(fleet, start_release(fleet, **FAST))
    assert found["state"] == "paused"
    assert "reverted" in find_states(found)
    assert {machine.config["guest"]["memory_mb"] for (machine,) in fleet.apps().values()} == {1024}


def test_a_drift_draft_with_nothing_to_do_is_refused_at_its_start(fleet):
    """The plan was given its former size again. Nothing pauses, and nobody is alerted."""
    ((memory_mb,),) = fleet.sql("select memory_mb from public.fly_plans where tier = 'pro'")
    fleet.sql("update public.fly_plans set memory_mb = memory_mb + 256 where tier = 'pro'")
    draft = operate(fleet, "fly_create_release", p_release={"kind": "plan"}, p_actor=ACTOR)["id"]
    fleet.sql("update public.fly_plans set memory_mb = %s where tier = 'pro'", memory_mb)
    with pytest.raises(psycopg.errors.InvalidParameterValue, match=f"nothing is to do.*hangar release abort {draft}"):
        change(fleet, draft, "start")
    assert read_release(fleet, draft)["state"] == "draft"
    assert change(fleet, draft, "abort")["state"] == "aborted"
    assert not fleet.open_alerts()


def test_a_drift_release_that_no_app_needs_any_more_is_complete(fleet):
    """Its only app is pinned before its turn comes."""
    user = fleet.sql("select user_id from public.user_fly_apps where tier = 'pro' order by 1 limit 1")[0][0]
    fleet.sql("update public.fly_plans set memory_mb = memory_mb + 256 where tier = 'pro'")
    release = start_release(fleet, kind="plan", users=[str(user)])
    operate(fleet, "fly_set_user_pin", p_user=user, p_pin={"image": OLD}, p_actor=ACTOR, p_reason="a test")
    found = finish(fleet, release, minutes=10)
    assert found["state"] == "completed"
    assert [each["code"] for each in found["targets"]] == ["pinned"]
    assert not fleet.open_alerts()
