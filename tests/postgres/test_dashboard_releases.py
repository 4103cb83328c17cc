"""What the dashboard reads about releases: every app in one part, the plan of a draft, pages without gap, and no secret value."""

import json

import psycopg
import pytest
from psycopg import errors

ACTOR = "ops@example.test"
NEW = "registry.test/team/backend:v2"
SECRET = "s3cr3t-value"


@pytest.fixture
def fleet(hangar):
    """Twelve users of two tiers whose apps run."""
    users = [hangar.user("pro" if number % 2 else "elite") for number in range(12)]
    for user in users:
        hangar.converge(user)
    hangar.sql("update user_fly_apps set health_status = 'healthy', docker_image = 'registry.test/team/backend:v1'")
    # The renewal of tokens would otherwise keep one of them busy, at random.
    hangar.sql("update hangar.settings set token_renewal_share = 0")
    return users


def make(hangar, **spec):
    return hangar.rpc("fly_create_release", release=spec, actor=ACTOR, why="test")["id"]


def change(hangar, release, action):
    return hangar.rpc("fly_change_release", id=release, action=action, actor=ACTOR, why=f"why {action}")


def advance(hangar):
    hangar.rpc("fly_advance_releases")


def read(hangar, release, **args):
    return hangar.rpc("fly_admin_release", id=release, **args)


def set_target(hangar, release, place, **columns):
    sets = ", ".join(f"{name} = %s" for name in columns)
    hangar.sql(
        f"update hangar.release_targets set {sets} where release_id = %s and place = %s",
        *columns.values(),
        release,
        place,
    )


def test_every_app_of_a_release_is_in_exactly_one_part(hangar, fleet):
    """Whatever a target's state: bars and lists add up to the apps of the release."""
    hangar.rpc("fly_set_user_pin", user=fleet[0], pin={"held_back_until": "2999-01-01"}, actor=ACTOR, reason="later")
    release = make(hangar, image=NEW, canary_size=1)
    change(hangar, release, "start")
    states = [
        {"state": "done"},
        {"state": "applying"},
        {"state": "verifying"},
        {"state": "failed", "must_go_back": True, "reason_code": "crash_loop", "reason": "it crashes"},
        {"state": "applying", "goes_back": True, "reason_code": "crash_loop", "reason": "it crashes"},
        {"state": "done", "must_go_back": True},
        {"state": "reverted", "reason_code": "oom", "reason": "out of memory"},
        {"state": "skipped", "reason_code": "left", "reason": "the user is no longer entitled to an app"},
    ]
    for place, columns in enumerate(states, 1):
        set_target(hangar, release, place, **columns)
    found = read(hangar, release)
    assert found["parts"] == {
        "done": 1, "moving": 2, "failed": 1, "going_back": 2, "reverted": 1, "skipped": 1, "pending": 3, "left_out": 1,
    }  # fmt: skip
    in_waves = [wave["parts"] for wave in found["waves"]]
    assert sum(sum(parts.values()) for parts in in_waves) == 11
    assert [wave["size"] for wave in found["waves"]] == [sum(parts.values()) for parts in in_waves]
    assert [each["part"] for each in found["apps"]] == [
        "done", "moving", "moving", "failed", "going_back", "going_back", "reverted", "skipped", *["pending"] * 3, "left_out",
    ]  # fmt: skip
    [listed] = hangar.rpc("fly_admin_releases")["releases"]
    assert listed["waves"] == found["waves"]


def test_reasons_are_counted_by_part_with_an_example(hangar, fleet):
    release = make(hangar, image=NEW)
    change(hangar, release, "start")
    for place in (1, 2, 3):
        set_target(hangar, release, place, state="reverted", reason_code="oom", reason=f"memory {place}")
    set_target(hangar, release, 4, state="failed", must_go_back=True, reason_code="oom", reason="memory 4")
    found = read(hangar, release)
    first = found["apps"][0]
    assert [(each["part"], each["code"], each["apps"], each["reason"]) for each in found["reasons"]] == [
        ("reverted", "oom", 3, "memory 1"),
        ("failed", "oom", 1, "memory 4"),
    ]
    assert (found["reasons"][0]["example"], found["reasons"][0]["user_id"]) == (first["app"], first["user_id"])


def test_a_draft_is_planned_with_the_fleet_of_this_moment(hangar, fleet):
    """Who appeared since the draft was made is in its plan, who left is not; an app shows what the release would give it."""
    release = make(hangar, image=NEW, cpu_count=4, memory_mb=1024)
    late = hangar.user("pro")
    hangar.converge(late)
    hangar.subscribe(fleet[1], tier="free")
    found = read(hangar, release)
    users = {each["user_id"] for each in found["apps"]}
    assert str(late) in users
    assert str(fleet[1]) not in users
    assert {(each["should_run"]["image"], each["should_run"]["cpu_count"]) for each in found["apps"]} == {(NEW, 4)}
    assert float(found["plan"]["after_usd"]) > float(found["plan"]["before_usd"]) > 0
    planned = [wave["size"] for wave in found["waves"]]
    change(hangar, release, "start")
    started = read(hangar, release)
    assert [wave["size"] for wave in started["waves"]] == planned
    assert started["plan"] is None
    assert users == {each["user_id"] for each in started["apps"]}


def test_a_draft_names_the_release_that_keeps_it_from_starting(hangar, fleet):
    first = make(hangar, image=NEW)
    second = make(hangar, image=f"{NEW}.1")
    assert read(hangar, second)["plan"]["overlap"] is None
    change(hangar, first, "start")
    assert read(hangar, second)["plan"]["overlap"] == first
    with pytest.raises(psycopg.ProgrammingError, match=f"release {first} is under way"):
        change(hangar, second, "start")


def test_the_pages_of_a_release_hold_every_app_once_and_in_order(hangar, fleet):
    hangar.rpc("fly_set_user_pin", user=fleet[3], pin={"held_back_until": "2999-01-01"}, actor=ACTOR, reason="later")
    release = make(hangar, image=NEW)
    change(hangar, release, "start")
    whole = [each["row_id"] for each in read(hangar, release)["apps"]]
    assert len(whole) == len(set(whole)) == len(fleet)
    found, after = [], None
    while True:
        page = read(hangar, release, after=after, limit=5)
        found += [each["row_id"] for each in page["apps"]]
        after = page["next"]
        if after is None:
            break
    assert found == whole
    assert read(hangar, release, limit=12)["next"] is None


def test_the_apps_are_filtered_by_part_wave_and_reason(hangar, fleet):
    release = make(hangar, image=NEW)
    change(hangar, release, "start")
    set_target(hangar, release, 1, state="skipped", reason_code="left")
    set_target(hangar, release, 2, state="done")

    def places(**filter_):
        return [int(each["rank"]) for each in read(hangar, release, filter=filter_)["apps"]]

    assert places(part="skipped") == [1]
    assert places(part="done") == [2]
    assert places(wave="0") == [1]
    assert places(code="left") == [1]
    assert places(part="done", code="left") == []
    with pytest.raises(errors.InvalidParameterValue, match="p_filter"):
        read(hangar, release, filter={"state": "done"})


def test_no_value_of_an_environment_is_in_an_answer(hangar, fleet):
    """Names only, in the list, the release and the user's page; also in pins and events."""
    hangar.rpc("fly_set_user_pin", user=fleet[2], pin={"env": {"PIN_KEY": SECRET}}, actor=ACTOR, reason="a trial")
    release = make(hangar, image=NEW, env={"API_KEY": SECRET})
    change(hangar, release, "start")
    advance(hangar)
    answers = json.dumps(
        [
            hangar.rpc("fly_admin_releases"),
            read(hangar, release),
            hangar.rpc("fly_admin_fleet"),
            hangar.rpc("fly_admin_events"),
            *(hangar.rpc("fly_admin_user", user=user) for user in fleet),
        ]
    )
    assert SECRET not in answers, answers[answers.index(SECRET) - 300 :][:400]
    assert "API_KEY" in answers
    assert "PIN_KEY" in answers
    assert hangar.lease(fleet[2])["extra_env"]["PIN_KEY"] == SECRET  # the worker that writes it to the machine needs it


def test_a_users_page_has_the_release_and_the_pin(hangar, fleet):
    """The release under way comes before a later one that has ended. Drafts and ended pins do not count."""
    assert hangar.rpc("fly_admin_user", user=fleet[0])["release"] is None
    first = make(hangar, image=NEW)
    assert hangar.rpc("fly_admin_user", user=fleet[0])["release"] is None
    change(hangar, first, "start")
    advance(hangar)
    canary = read(hangar, first)["apps"][0]
    hangar.sql("insert into hangar.releases (image, state, created_by) values ('x', 'aborted', 'test')")
    hangar.sql(
        "insert into hangar.release_targets (release_id, row_id, user_id, wave, place, state)"
        " select max(r.id), %s, %s, 0, 1, 'reverted' from hangar.releases r",
        canary["row_id"],
        canary["user_id"],
    )
    found = hangar.rpc("fly_admin_user", user=canary["user_id"])["release"]
    assert (found["id"], found["state"], found["wave"], found["target"], found["part"]) == (
        first, "rolling", 0, "applying", "moving",
    )  # fmt: skip
    pin = {"image": "registry.test/team/backend:v0", "ends_at": "2999-01-31T00:00:00Z"}
    hangar.rpc("fly_set_user_pin", user=fleet[0], pin=pin, actor=ACTOR, reason="a bug")
    found = hangar.rpc("fly_admin_user", user=fleet[0])["pin"]
    assert (found["image"], found["reason"], found["actor"]) == (pin["image"], "a bug", ACTOR)
    hangar.sql("update hangar.user_pins set ends_at = hangar.now() - interval '1 s'")
    assert hangar.rpc("fly_admin_user", user=fleet[0])["pin"] is None


def test_the_list_of_releases_is_paged_and_counts_the_apps_that_differ(hangar, fleet):
    releases = [make(hangar, image=f"{NEW}.{number}") for number in range(5)]
    page = hangar.rpc("fly_admin_releases", limit=3)
    assert [each["id"] for each in page["releases"]] == releases[:1:-1]
    rest = hangar.rpc("fly_admin_releases", before=page["next"], limit=3)
    assert ([each["id"] for each in rest["releases"]], rest["next"]) == (releases[1::-1], None)
    before = page["differ"]["apps"]
    hangar.sql("update user_fly_apps set memory_mb = memory_mb * 2 where user_id = %s", fleet[0])
    hangar.sql("update user_fly_apps set docker_image = (select default_image from hangar.settings)")
    assert (before, hangar.rpc("fly_admin_releases")["differ"]["apps"]) == (12, 1)


ONE_BY_ONE = """
select count(*) from user_fly_apps a join fly_plans p on p.tier = a.tier cross join hangar.settings g
  left join hangar.user_pins n on n.user_id = a.user_id and (n.ends_at is null or n.ends_at > hangar.now())
 where hangar.differs_from_plan(a, p, g, n)
"""


@pytest.mark.parametrize(
    "change",
    [
        "memory_mb = memory_mb * 2",
        "cpu_count = 4",
        "region = 'nrt'",
        "machine_region = 'nrt'",
        "machine_region = null",
        "power = 'on_demand', machine_region = 'nrt'",
        "env_version = 'other'",
        "public_service = true",
        "docker_image = docker_image || ':v9'",
        "docker_image = 'registry.test/team/backend@sha256:' || repeat('1', 64)",
        "docker_image = docker_image || '@sha256:' || repeat('1', 64)",
        "status = status",
    ],
)
@pytest.mark.parametrize("plan", ["", "region = 'iad,nrt'", 'env = \'{"MODE": "fast"}\'', "docker_image = 'other'"])
def test_apps_that_differ_are_counted_as_if_each_was_asked(hangar, fleet, change, plan):
    """A count over a large fleet looks at columns first. A user with variables of a pin is asked for."""
    hangar.sql("update user_fly_apps set docker_image = (select default_image from hangar.settings)")
    hangar.rpc("fly_set_user_pin", user=fleet[1], pin={"env": {"A": "b"}}, actor=ACTOR, reason="a test")
    hangar.sql(f"update user_fly_apps set {change} where user_id = any (%s)", fleet[:2])
    if plan:
        hangar.sql(f"update fly_plans set {plan} where tier = 'elite'")
    assert hangar.rpc("fly_admin_releases")["differ"]["apps"] == hangar.one(ONE_BY_ONE)


def test_an_unknown_release_is_no_error(hangar):
    assert read(hangar, 99)["known"] is False


def test_the_history_of_a_release_names_who_did_what_and_why(hangar, fleet):
    first, second = make(hangar, image=NEW, users=[str(fleet[0])]), make(hangar, image=NEW, users=[str(fleet[1])])
    change(hangar, first, "start")
    change(hangar, first, "pause")
    change(hangar, second, "abort")
    log = [
        (each["metadata"]["what"], each["metadata"]["actor"], each["error_details"])
        for each in read(hangar, first)["log"]
    ]
    assert log == [("pause", ACTOR, "why pause"), ("start", ACTOR, "why start"), ("created", ACTOR, "test")]
