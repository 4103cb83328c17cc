"""Making and operating a release with the dashboard: the form, the plan, each step, and what is refused."""

import re
from html import unescape

import pytest

from local.dev.database import ADMIN
from tests.http.admin_visitor import Forms, notice, text_of

NEW = "registry.test/team/backend:v2"


def buttons(page):
    """The actions that a page offers for its release."""
    return re.findall(r'href="[^"]*actions/([\w-]+)\?release=\d+"', page.text)


def step(operator, name, release, **fields):
    return operator.follow(
        operator.submit(f"actions/{name}?release={release}", **{"reason": f"because {name}", **fields})
    )


def state(sql, release):
    return sql("select state from hangar.releases where id = %s", release)[0][0]


def test_the_form_makes_a_draft_whose_page_is_its_plan(operator, draft, release_apps, sql):
    """Waves, cost before and after, who is left out and why. Nothing moves."""
    sql(
        "insert into hangar.user_pins (user_id, image, reason, actor) values (%s, 'registry.test/team/backend:v0', 'x', 'y')",
        release_apps[0],
    )
    before = sql("select sum(generation) from public.user_fly_apps")
    release = draft(cpu_kind="shared", cpu_count="1", memory_mb="1024", version="2.0", tiers=" pro , elite ")
    page = operator.get(f"releases/{release}")
    text = text_of(page)
    assert "5 apps would move, 1 is left out" in text
    assert re.search(r"Their estimated cost: \$30\.00 a month now, \$\d+\.\d\d afterwards", text)
    assert "1 pending" in text
    assert "an operator has pinned what the release would change" in text
    assert "Size 1 shared vCPU, 1024 MB" in text
    assert "Version 2.0" in text
    assert "tier pro, elite" in text
    assert "Then the canary moves first: 1 app." in text
    assert buttons(page) == ["start-release", "abort-release"]
    assert state(sql, release) == "draft"
    assert sql("select sum(generation) from public.user_fly_apps") == before
    assert sql("select created_by, why from hangar.releases where id = %s", release) == [(ADMIN.email, "a new version")]


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({}, "A release changes at least one of image, region, CPU kind, number of vCPU, memory in MB and env."),
        ({"image": "not an image"}, "Image must be"),
        ({"image": NEW, "cpu_count": "two"}, "Number of vCPU must be a whole number from 1 to 64, not two."),
        ({"image": NEW, "cpu_count": "-1"}, "Number of vCPU must be a whole number from 1 to 64, not -1."),
        ({"image": NEW, "memory_mb": "999999999999999999999"}, "Memory in MB must be a whole number from 256"),
        ({"image": NEW, "cpu_kind": "big"}, "CPU kind must be shared or performance, not big."),
        ({"image": NEW, "cpu_count": "4", "memory_mb": "256"}, "is refused by Fly"),
        ({"image": NEW, "tiers": "gold"}, "Tiers must be dedicated plans (elite, pro), not gold."),
        ({"move_to": "nrt, moon"}, "Move to regions: region 'moon' does not exist on Fly: use one or several of"),
        ({"move_to": ","}, "Move to regions: the list is empty."),
        ({"move_to": "<b>"}, "region '<b>' does not exist on Fly"),
        ({"image": NEW, "regions": "moon"}, "moon"),
        ({"move_to": "nrt", "regions": "fra"}, "No app needs this release"),
        ({"image": NEW, "tiers": "elite"}, "No app needs this release: the selection is empty."),
    ],
)
def test_bad_input_shows_the_databases_sentence_and_keeps_the_form(operator, release_apps, sql, fields, sentence):
    answer = operator.submit("actions/create-release", reason="because", **fields)
    assert answer.status_code == 400
    assert sentence in text_of(answer)
    kept = Forms(answer.text).forms[-1]["fields"]
    assert {name: kept[name] for name in fields if name != "cpu_kind"} == {
        name: value for name, value in fields.items() if name != "cpu_kind"
    }
    assert kept["reason"] == "because"
    assert sql("select count(*) from hangar.releases") == [(0,)]


def test_a_draft_can_move_apps_to_another_region(operator, draft, sql):
    """As with `hangar release create --move-to nrt,hkg --region sin`. Nothing moves before the start."""
    sql("update public.user_fly_apps set machine_region = 'sin' where deleted_at is null and desired_state = 'present'")
    before = sql("select sum(generation) from public.user_fly_apps")
    release = draft(image="", move_to=" NRT, hkg,nrt ", regions="SIN")
    text = text_of(operator.get(f"releases/{release}"))
    assert "Regions nrt,hkg" in text
    assert "region sin" in text
    assert "6 apps would move" in text
    assert sql("select region, regions, image from hangar.releases where id = %s", release) == [
        ("nrt,hkg", ["sin"], None)
    ]
    assert sql("select sum(generation), max(move_release_id) from public.user_fly_apps") == [(before[0][0], None)]
    assert "Regions nrt,hkg" in text_of(operator.get("releases"))
    text = text_of(operator.follow(operator.submit(f"actions/start-release?release={release}", reason="closer")))
    assert "is rolling" in text


def test_a_draft_needs_a_reason_and_a_whole_form(operator, release_apps, sql):
    assert "Give a reason" in operator.submit("actions/create-release", image=NEW, reason=" ").text
    answer = operator.submit("actions/create-release", image=NEW, reason="x", request="none")
    assert (answer.status_code, "was not complete" in answer.text) == (400, True)
    assert sql("select count(*) from hangar.releases") == [(0,)]


def test_the_same_form_twice_makes_one_draft_and_a_changed_form_another(operator, release_apps, sql):
    """A double click or a reload repeats the form. Back, another image and a second press is a new release."""
    page = operator.get("actions/create-release")
    fields = Forms(page.text).forms[-1]["fields"] | {"image": NEW, "reason": "x"}
    first = operator.send("POST", "actions/create-release", data=fields)
    again = operator.send("POST", "actions/create-release", data=fields)
    assert first.headers["location"] == again.headers["location"]
    other = operator.send("POST", "actions/create-release", data=fields | {"image": f"{NEW}.1"})
    assert other.headers["location"] != first.headers["location"]
    assert sql("select image from hangar.releases order by id") == [(NEW,), (f"{NEW}.1",)]


def test_a_release_is_started_paused_resumed_and_aborted_with_its_reasons_in_the_log(operator, draft, sql):
    release = draft()
    page = step(operator, "start-release", release)
    assert "is rolling" in notice(page)
    assert buttons(page) == ["pause-release", "abort-release", "roll-back-release"]
    sql("select public.fly_advance_releases()")
    page = operator.get(f"releases/{release}")
    assert (
        "Hangar is moving 1 app of the canary. When all of them have been good for 60 s, wave 1 (1 app) opens."
        in text_of(page)
    )
    page = step(operator, "pause-release", release)
    assert "is paused" in notice(page)
    assert "Paused : Because pause-release." in text_of(page)
    assert "1 app that had begun to move is still checked" in text_of(page)
    assert buttons(page) == ["resume-release", "abort-release", "roll-back-release"]
    step(operator, "resume-release", release)
    assert state(sql, release) == "rolling"
    page = step(operator, "abort-release", release)
    assert state(sql, release) == "rolling_back"
    assert "still goes back to what ran before" in text_of(page)
    assert buttons(page) == []
    logged = sql(
        "select metadata ->> 'what', metadata ->> 'actor', error_details from public.user_fly_app_events"
        " where event_type = 'release_changed' and metadata ->> 'release' = %s order by seq", str(release),
    )  # fmt: skip
    assert logged == [
        ("created", ADMIN.email, "a new version"),
        *((what, ADMIN.email, f"because {what}-release") for what in ("start", "pause", "resume", "abort")),
    ]
    assert ADMIN.email in operator.get("events?type=release_changed").text


def test_a_complete_release_can_only_be_rolled_back(operator, draft, sql):
    release = draft()
    sql("update hangar.releases set state = 'completed' where id = %s", release)
    page = operator.get(f"releases/{release}")
    assert buttons(page) == ["roll-back-release"]
    page = step(operator, "roll-back-release", release)
    assert "is rolled back" in notice(page)
    assert state(sql, release) in ("rolling_back", "rolled_back")


def test_a_step_needs_a_reason_and_a_confirmation(operator, draft, sql):
    release = draft()
    answer = operator.submit(f"actions/start-release?release={release}", reason=" ")
    assert (answer.status_code, "Give a reason" in answer.text) == (400, True)
    confirmation = text_of(operator.get(f"actions/start-release?release={release}"))
    assert "6 apps in 4 waves. Their estimated cost goes from $36.00 to $36.00 a month." in confirmation
    assert state(sql, release) == "draft"


def test_a_forged_step_is_refused(operator, draft, sql):
    release = draft()
    forged = {"proof": "x" * 64, "reason": "x", "seen": "draft"}
    assert operator.send("POST", f"actions/start-release?release={release}", data=forged).status_code == 403
    assert operator.send("GET", f"actions/start-release?release={release}").status_code == 200
    assert state(sql, release) == "draft"


def open_form(operator, name, release):
    page = operator.get(f"actions/{name}?release={release}")
    assert page.status_code == 200, page.text
    return Forms(page.text).forms[-1]["fields"] | {"reason": "late"}


@pytest.mark.parametrize(
    ("name", "before", "meanwhile", "words"),
    [
        ("start-release", (), "start-release", "rolling (started by"),
        ("pause-release", ("start-release",), "pause-release", "paused (paused by"),
        ("resume-release", ("start-release", "pause-release"), "abort-release", "aborted"),
        ("abort-release", ("start-release",), "pause-release", "paused (paused by"),
        ("start-release", (), "abort-release", "aborted"),
    ],
)
def test_a_form_that_is_out_of_date_is_refused_with_what_changed(operator, draft, sql, name, before, meanwhile, words):
    """Somebody else changed the state while the form was open: nothing is done, and the page says who did what."""
    release = draft()
    for each in before:
        step(operator, each, release)
    fields = open_form(operator, name, release)
    step(operator, meanwhile, release)
    found = state(sql, release)
    events = sql("select count(*) from public.user_fly_app_events where event_type = 'release_changed'")
    page = operator.follow(operator.send("POST", f"actions/{name}?release={release}", data=fields))
    said = unescape(notice(page))
    assert "Nothing was done, because the release has changed since you opened the form" in said
    assert words in said
    assert '<p class="notice bad"' in page.text
    assert state(sql, release) == found
    assert sql("select count(*) from public.user_fly_app_events where event_type = 'release_changed'") == events


def test_a_release_that_has_paused_itself_again_is_not_resumed_by_an_old_form(operator, draft, sql):
    """The state has the same name, but the reason is another one, which the operator has not read."""
    release = draft()
    step(operator, "start-release", release)
    step(operator, "pause-release", release)
    fields = open_form(operator, "resume-release", release)
    step(operator, "resume-release", release)
    step(operator, "pause-release", release)
    page = operator.follow(operator.send("POST", f"actions/resume-release?release={release}", data=fields))
    assert "has changed since you opened the form" in notice(page)
    assert state(sql, release) == "paused"


def test_the_databases_refusal_of_a_race_is_shown_and_names_no_command(operator, draft, sql):
    """Another draft was started after this form had been opened."""
    first, second = draft(), draft(image=f"{NEW}.1")
    fields = open_form(operator, "start-release", second)
    step(operator, "start-release", first)
    page = operator.get(f"releases/{second}")
    assert buttons(page) == ["abort-release"]
    assert f"Release {first} is under way and concerns some of the same apps" in text_of(page)
    answer = operator.follow(operator.send("POST", f"actions/start-release?release={second}", data=fields))
    assert f"Release {first} is under way" in text_of(answer)
    assert state(sql, second) == "draft"
    refused = operator.submit("actions/create-release", image=f"{NEW}.2", reason="x")
    assert refused.status_code == 409
    assert f"Release {first} is under way" in text_of(refused)
    assert "or end it with Abort on the release's page" in text_of(refused)
    assert "`" not in refused.text


def test_a_link_to_a_step_that_is_not_possible_leads_back_and_says_why(operator, draft):
    release = draft()
    page = operator.follow(operator.get(f"actions/pause-release?release={release}"))
    assert f"Nothing was done: release {release} is draft" in notice(page)


def test_resume_waits_until_everything_is_back(operator, draft, sql):
    release = draft()
    step(operator, "start-release", release)
    sql(
        "update hangar.release_targets set state = 'applying', goes_back = true, reason_code = 'oom'"
        " where release_id = %s and place = 1",
        release,
    )
    sql(
        "update hangar.releases set state = 'paused', reason = 'the canary failed: 1 app (app-a): it ended' where id = %s",
        release,
    )
    page = operator.get(f"releases/{release}")
    assert "resume-release" not in buttons(page)
    assert (
        "Paused : The canary failed: 1 app (app-a): it ended. Next: Hangar is putting 1 app back to what ran before."
        in text_of(page)
    )


def test_apps_that_differ_from_their_plan_get_a_release_of_their_own(operator, release_apps, sql):
    """The list counts them; the button makes a draft of kind plan, and says so."""
    sql(
        "update public.user_fly_apps set docker_image = g.default_image, memory_mb = p.memory_mb, cpu_kind = p.cpu_kind,"
        " cpu_count = p.cpu_count, power = p.power, region = coalesce(p.region, g.default_region),"
        " public_service = p.public_service"
        " from public.fly_plans p, hangar.settings g where p.tier = 'pro' and user_id::text = any(%s)",
        release_apps,
    )
    assert "No app differs from its plan." in text_of(operator.get("releases"))
    assert "create-plan-release" not in operator.get("releases").text
    sql("update public.user_fly_apps set memory_mb = memory_mb * 2 where user_id::text = any(%s)", release_apps[:2])
    page = operator.get("releases")
    assert "2 apps differ from their plan" in text_of(page)
    assert "actions/create-plan-release" in page.text
    assert operator.submit("actions/create-plan-release", reason="").status_code == 400
    page = operator.follow(operator.submit("actions/create-plan-release", reason="repair"))
    assert "each app gets what its plan says today" in text_of(page)
    assert "2 apps would move" in text_of(page)
    assert sql("select kind, state, created_by, why from hangar.releases") == [("plan", "draft", ADMIN.email, "repair")]
