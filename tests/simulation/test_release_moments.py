"""Releases at bad moments: a full region, lost answers, busy machines, an outage, a hold. None of it is the release's fault."""

import pytest

from tests.support.releases import (
    NEW,
    change,
    check_fleet_is_well,
    count_writes,
    find_states,
    finish,
    operate,
    pass_minutes,
    read_digests,
    read_release,
    start_release,
)

UPDATE = "/v1/apps/*/machines/*"


@pytest.fixture
def fleet(world):
    """Twenty healthy users of two tiers."""
    world.add_users(["pro", "elite"] * 10)
    world.settle()
    return world


def images(world):
    return {machine.config["image"].partition("@")[0] for machines in world.apps().values() for machine in machines}


def check_done(world, found):
    assert (found["state"], find_states(found)) == ("completed", {"done"}), found["targets"]
    world.clock.advance(300)
    world.sweep()
    check_fleet_is_well(world)
    assert images(world) == {NEW}


FULL = (
    {"status": 422, "body": {"error": "could not find a candidate host", "code": "insufficient_capacity"}},
    {"status": 409, "body": {"error": "aborted: could not reserve resource for machine: insufficient CPUs"}},
    {"status": 412, "body": {"error": "insufficient resources", "code": "volume_placement_capacity"}},
    {"status": 503, "body": {"error": "out of capacity", "code": "insufficient_capacity"}},
)


@pytest.mark.slow
@pytest.mark.parametrize("answer", FULL, ids=lambda answer: str(answer["status"]))
def test_no_room_for_anybody_fails_nothing(fleet, answer):
    """Not one app could be updated: nobody is hurt, no app counts as failed, and with room again the release completes."""
    before = read_digests(fleet)
    fleet.fault(method="POST", path=UPDATE, **answer)
    release = start_release(fleet, image=NEW, deadline_s=300)
    found = finish(fleet, release, minutes=60)
    assert not {"failed", "done", "reverted"} & find_states(found), found
    assert read_digests(fleet) == before
    assert not fleet.sql("select 1 from hangar.release_targets where failed_at is not null")
    fleet.set_faults()
    pass_minutes(fleet, 15)
    if read_release(fleet, release)["state"] == "paused":
        change(fleet, release, "resume")
    found = finish(fleet, release, minutes=120)
    assert found["state"] == "completed", found
    assert "failed" not in find_states(found)
    check_fleet_is_well(fleet)


@pytest.mark.slow
def test_an_app_without_room_is_skipped_and_named(fleet):
    """One host is full for hours: everybody else gets the release, and the app keeps running what it ran."""
    (name,) = list(fleet.apps())[7:8]
    fleet.fault(method="POST", path=f"/v1/apps/{name}/machines/*", **FULL[1])
    found = finish(fleet, start_release(fleet, image=NEW, deadline_s=300), minutes=120)
    assert found["state"] == "completed", found
    (skipped,) = [each for each in found["targets"] if each["state"] != "done"]
    assert (skipped["app"], skipped["state"]) == (name, "skipped")
    assert "insufficient CPUs" in skipped["reason"]
    fleet.set_faults()
    fleet.clock.advance(900)
    fleet.sweep()
    check_fleet_is_well(fleet)
    # Plans and settings follow the release, and the page says that one app differs from them.
    assert operate(fleet, "fly_releases")["differ"]["apps"] == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    "answer", [{"disconnect": True}, {"status": 408}, {"status": 503}, {"status": 200, "text": ""}]
)
def test_an_update_whose_answer_is_lost_is_found_done(fleet, answer):
    fleet.fault(method="POST", path=UPDATE, when="after", times=12, **answer)
    check_done(fleet, finish(fleet, start_release(fleet, image=NEW), minutes=150))


@pytest.mark.slow
@pytest.mark.parametrize(
    "text",
    [
        "machine ID m lease currently held by a@tokens.fly.io, expires at 2030",
        "aborted: machine update failed due to concurrent update",
    ],
)
def test_a_busy_machine_is_waited_for(fleet, text):
    fleet.fault(method="POST", path=UPDATE, status=409, body={"error": text}, times=5)
    check_done(fleet, finish(fleet, start_release(fleet, image=NEW), minutes=150))


@pytest.mark.slow
def test_a_rate_limit_is_waited_for(fleet):
    release = start_release(fleet, image=NEW)
    pass_minutes(fleet, 4)
    fleet.fault(method="*", path=UPDATE, status=429, headers={"Retry-After": "30"}, times=200)
    check_done(fleet, finish(fleet, release, minutes=150))


@pytest.mark.slow
def test_an_outage_of_fly_in_the_middle_of_a_wave_fails_nothing(fleet):
    release = start_release(fleet, image=NEW)
    pass_minutes(fleet, 4)
    fleet.set_faults(
        *({"method": "*", "path": path, "status": 503} for path in ("/v1/apps", UPDATE, "/v1/apps/*/machines"))
    )
    pass_minutes(fleet, 40)
    assert "failed" not in find_states(read_release(fleet, release))
    fleet.set_faults()
    check_done(fleet, finish(fleet, release, minutes=150))


@pytest.mark.slow
def test_a_host_that_fly_cannot_reach_proves_nothing(fleet):
    """The machine's host disappears after its update. The others go on; that app is named, and is well when the host is back."""
    release = start_release(fleet, image=NEW, deadline_s=300)
    pass_minutes(fleet, 8)
    (moving,) = [
        each for each in read_release(fleet, release)["targets"] if each["state"] in ("applying", "verifying")
    ][:1]
    (machine,) = fleet.apps()[moving["app"]]
    fleet.control("PUT", f"machines/{machine.id}", {"host_status": "unreachable"})
    found = finish(fleet, release, minutes=120)
    assert "failed" not in find_states(found), found["targets"]
    fleet.control("PUT", f"machines/{machine.id}", {"host_status": "ok"})
    found = finish(fleet, release, minutes=60)
    assert found["state"] == "completed", found
    assert {each["app"] for each in found["targets"] if each["state"] != "done"} <= {moving["app"]}
    fleet.clock.advance(900)
    fleet.settle()
    check_fleet_is_well(fleet)


def switch(setting, value):
    return f"select public.fly_set_settings('{{\"{setting}\": {value}}}', 'ops', 'test')"


HOLDS = {
    **{setting: (switch(setting, "true"), switch(setting, "false")) for setting in ("paused", "deletes_paused")},
    **{
        kind: (
            f"select hangar.raise_alert('{kind}', 'fleet', 'a test')",
            f"select hangar.resolve_alert('{kind}', 'fleet')",
        )
        for kind in ("brake", "fly_refused")
    },
}


@pytest.mark.slow
@pytest.mark.parametrize("hold", HOLDS)
def test_a_hold_stops_the_release_without_failing_it(fleet, hold):
    """While it lasts no further app moves; afterwards the release goes on as if that time had not passed."""
    release = start_release(fleet, image=NEW, deadline_s=300)
    pass_minutes(fleet, 6)
    begin, end = HOLDS[hold]
    fleet.sql(begin)
    pass_minutes(fleet, 1)
    moved = {each["app"] for each in read_release(fleet, release)["targets"] if each["state"] != "pending"}
    for _ in range(30):
        if hold != "paused":
            fleet.sql(begin)  # a sweep ends an alert that it finds unfounded
        pass_minutes(fleet, 1)
        found = read_release(fleet, release)
        assert {each["app"] for each in found["targets"] if each["state"] != "pending"} == moved
    assert (found["state"], found["held_by"]) == ("rolling", hold)
    assert "failed" not in find_states(found)
    fleet.sql(end)
    check_done(fleet, finish(fleet, release, minutes=150))


def test_what_is_wrong_for_one_tier_only_is_found_in_the_first_wave(fleet):
    """The canary is of another tier, so it passes; the first wave has an app of each tier."""
    elite = {name for (name,) in fleet.sql("select fly_app_name from public.user_fly_apps where tier = 'elite'")}
    canary = fleet.sql("select user_id::text from public.user_fly_apps where tier = 'pro' limit 1")[0]
    release = start_release(fleet, image=NEW, canary_users=list(canary))
    for _ in range(40):
        pass_minutes(fleet, 1)
        found = read_release(fleet, release)
        for name, (machine,) in fleet.apps().items():
            new = machine.config["image"].startswith(NEW)
            checks = {"ready": "critical", "alive": "critical"} if name in elite and new else {}
            fleet.control("PUT", f"machines/{machine.id}", {"checks": checks})
        if found["state"] != "rolling":
            break
    assert found["state"] == "paused", found
    found = finish(fleet, release)
    assert {each["wave"] for each in found["targets"] if each["state"] == "reverted"} <= {0, 1}
    assert find_states(found) == {"pending", "reverted"}


@pytest.fixture
def sleepers(world):
    """Twelve users whose machines sleep until somebody asks for them."""
    world.sql("update public.fly_plans set power = 'on_demand', public_service = true where tier = 'pro'")
    world.add_users(["pro"] * 12)
    world.settle()
    put_to_sleep(world)
    return world


def put_to_sleep(world):
    for (machine,) in world.apps().values():
        machine.state = "stopped"


def test_a_canary_that_sleeps_is_started_with_an_intent_and_proves_the_release(sleepers):
    """I11: Hangar starts it, not Fly, so the log says so before the call."""
    release = start_release(sleepers, image=NEW, soak_s=30)
    for minute in range(40):
        sleepers.clock.advance(60)
        sleepers.sweep(drain_only=minute % 5 != 4)
        if read_release(sleepers, release)["wave"] > 0:
            break
    [canary] = [each for each in read_release(sleepers, release)["targets"] if each["wave"] == 0]
    assert (canary["state"], canary["code"]) == ("done", None)
    intents = "select metadata ->> 'action' from public.user_fly_app_events where user_id = %s and status = 'intent' order by seq"
    actions = [action for (action,) in sleepers.sql(intents, canary["user_id"])]
    assert "start_machine" in actions[actions.index("update_machine") :]
    assert count_writes(sleepers)[canary["app"]] + 1 == len(actions), (
        "every call has its intent; create_app names no app"
    )


@pytest.mark.parametrize("behaviour", ["crash-at-start", "exit-0", "oom-at-boot", "wrong-architecture", "never-ready"])
def test_an_image_that_does_not_stay_up_is_no_sleep(sleepers, behaviour):
    """The plan lets machines sleep, and a program that has ended looks like that. The canary fails all the same."""
    before = read_digests(sleepers)
    release = start_release(sleepers, image=f"registry.fly.io/vyx-app:v2-{behaviour}", soak_s=30, deadline_s=120)
    found = finish(sleepers, release, minutes=60)
    assert found["state"] == "paused", found["waves"]
    assert find_states(found) == {"pending", "reverted"}
    assert sum(each["state"] == "reverted" for each in found["targets"]) == 1
    sleepers.settle(1)
    assert read_digests(sleepers) == before


@pytest.mark.slow
def test_an_abort_waits_for_no_host(fleet):
    """The host of the only app that moves is out of reach: the app turns back at once, and the release ends."""
    release = start_release(fleet, image=NEW)
    pass_minutes(fleet, 2)
    (moving,) = [each for each in read_release(fleet, release)["targets"] if each["state"] in ("applying", "verifying")]
    (machine,) = fleet.apps()[moving["app"]]
    fleet.control("PUT", f"machines/{machine.id}", {"host_status": "unreachable"})
    change(fleet, release, "abort")
    assert fleet.row(moving["user_id"])["docker_image"].partition("@")[0] != NEW
    found = finish(fleet, release, minutes=90)
    assert found["state"] == "aborted"
    fleet.control("PUT", f"machines/{machine.id}", {"host_status": "ok"})
    fleet.settle()
    assert NEW not in images(fleet)


def test_a_pause_starts_no_canary(sleepers):
    """`hangar pause` stops every change on Fly, also while a release asks for proof."""
    release = start_release(sleepers, image=NEW, soak_s=30)
    for _ in range(20):
        if read_release(sleepers, release)["waves"][0]["moving"]:
            break
        sleepers.clock.advance(60)
        sleepers.sweep(drain_only=True)
    put_to_sleep(sleepers)
    sleepers.sql("update hangar.settings set paused = true")
    before = count_writes(sleepers)
    pass_minutes(sleepers, 10)
    assert count_writes(sleepers) == before


NO_ROOM = {"error": "insufficient resources available to fulfill request: could not reserve resource for machine"}


@pytest.mark.slow
@pytest.mark.parametrize(
    "answer",
    [
        {"status": 412, "body": NO_ROOM},
        {"status": 429, "headers": {"Retry-After": "30"}, "body": {"error": "rate limit exceeded"}},
        {"status": 500, "body": {"error": "internal"}},
    ],
    ids=["no room", "rate limit", "outage"],
)
def test_a_sleeping_canary_that_cannot_be_started_is_no_failure(sleepers, answer):
    """The next apps take its place, and no alert says that the image is bad."""
    sleepers.fault(method="POST", path="/v1/apps/*/machines/*/start", times=100000, **answer)
    release = start_release(sleepers, image=NEW, soak_s=30, deadline_s=120)
    for _ in range(12):
        pass_minutes(sleepers, 1)
        found = read_release(sleepers, release)
        assert found["state"] != "paused", found["reason"]
