"""Releases in words and as bars: what comes next in each state, which buttons can work, and which forms are out of date."""

import pytest

from functions.admin.actions.registry import ACTIONS
from functions.admin.actions.release_offers import explain_stale_form, mark_state, offer_release_actions
from functions.admin.actions.release_operations import read_release_form
from functions.admin.views.banners import list_banners
from functions.admin.views.commands import replace_commands
from functions.admin.views.releases import (
    PARTS,
    describe_changes,
    describe_next,
    describe_pin,
    describe_progress,
    describe_selection,
    draw_waves,
)


def make(state="rolling", *waves, wave=0, **columns):
    """A release as the database answers it, whose waves are given by part."""
    drawn = [{"wave": number, "size": sum(parts.values()), "parts": parts} for number, parts in enumerate(waves)]
    parts = {part: sum(each.get(part, 0) for each in waves) for part in PARTS}
    return {
        "id": 3, "kind": "machine", "state": state, "wave": wave, "waves": drawn, "parts": parts, "soak_s": 60, "changes": {},
        "selection": {}, "plan": None, "log": [], "back": parts["going_back"] + parts["failed"],
    } | columns  # fmt: skip


def event(number, what="pause", actor="ops@example.test"):
    return {"id": f"event-{number}", "metadata": {"what": what, "actor": actor}}


PLAN = {"before_usd": "10.00", "after_usd": "12.00", "overlap": None}


@pytest.mark.parametrize(
    ("release", "sentence"),
    [
        (
            make("draft", {"pending": 1}, {"pending": 4}, plan=PLAN),
            "Nothing moves until an operator starts it. Then the canary moves first: 1 app.",
        ),
        (make("draft", plan=PLAN), "No app needs this release now, so it cannot be started. Abort it."),
        (
            make("draft", {"pending": 1}, plan=PLAN | {"overlap": 2}),
            "Release 2 is under way and concerns some of the same apps. This release can be started when release 2 has ended.",
        ),
        (
            make("rolling", {"pending": 1}, {"pending": 4}),
            "The next drain, within a minute, moves apps of the canary: 1 is pending.",
        ),
        (
            make("rolling", {"done": 1}, {"moving": 2, "pending": 2}, wave=1),
            (
                "Hangar is moving 2 apps of wave 1, and 2 more wait for a turn. "
                "When all of them have been good for 60 s, the release is complete."
            ),
        ),
        (
            make("rolling", {"done": 1}, {"pending": 4}),
            "The apps of the canary are through. With the next drain, wave 1 (4 apps) opens.",
        ),
        (
            make("rolling", {"done": 1}, {"done": 8, "failed": 1, "moving": 1}, wave=1),
            (
                "1 app still goes back to what ran before. Hangar is moving 1 app of wave 1. "
                "When all of them have been good for 60 s, the release is complete."
            ),
        ),
        (
            make("rolling", {"moving": 1}, held_by="paused"),
            "Held because Hangar is paused: no app moves until that ends. Then Hangar continues automatically.",
        ),
        (
            make("rolling", {"going_back": 2}, held_by="incident"),
            (
                "Held because many apps are broken at once, and not because of this release: 2 apps still go back, and no other "
                "app moves until that ends."
            ),
        ),
        (
            make("rolling", {"going_back": 2}, held_by="fly_unreachable"),
            "Held because Fly does not answer: no app moves until that ends. Then Hangar continues automatically.",
        ),
        (
            make("paused", {"going_back": 1, "failed": 1}, reason="the canary failed: crash_loop"),
            (
                "Hangar is putting 2 apps back to what ran before. "
                "Then an operator can resume it, which tries those apps again, or abort it."
            ),
        ),
        (
            make("paused", {"moving": 1}, reason="lunch."),
            (
                "1 app that had begun to move is still checked, and put back on failure. "
                "No other app moves until an operator resumes or aborts it."
            ),
        ),
        (
            make("paused", {"done": 1}, reason="lunch", held_by="paused"),
            (
                "No app moves until an operator resumes it, which tries failed apps again, or aborts it, "
                "which puts every app back."
            ),
        ),
        (
            make("paused", {"going_back": 1}, reason="lunch", held_by="paused"),
            "Held because Hangar is paused: no app moves until that ends. Then Hangar continues automatically.",
        ),
        (
            make("rolling_back", {"going_back": 1, "reverted": 2}, reason="abort"),
            "1 app still goes back to what ran before. When that is over, the release is aborted.",
        ),
        (
            make("rolling_back", {"going_back": 2}, reason="rollback", held_by="paused"),
            (
                "2 apps still go back to what ran before. Held because Hangar is paused: no app moves until that ends. "
                "Then Hangar continues automatically."
            ),
        ),
    ],
)
def test_the_next_step_of_a_release(release, sentence):
    assert describe_next(release) == sentence


def test_an_app_that_did_not_become_well_on_its_way_back_is_counted():
    """Nothing waits for it: it is not going back any more, so the release may be resumed, and its end says so."""
    ended = describe_next(make("aborted", {"reverted": 3, "failed": 1}, back=0))
    assert "1 app is not well on the former machine" in ended
    paused = make("paused", {"reverted": 3, "failed": 1}, back=0)
    assert describe_next(paused).startswith("No app moves until an operator resumes it")
    assert "resume-release" in [spec.name for spec in offer_release_actions(paused)]


@pytest.mark.parametrize("state", ["completed", "aborted", "rolled_back"])
def test_a_release_that_has_ended_says_so(state):
    assert describe_next(make(state, {"done": 1})).startswith("Nothing more")


@pytest.mark.parametrize(
    ("release", "names"),
    [
        (make("draft", {"pending": 1}, plan=PLAN), ["start-release", "abort-release"]),
        (make("draft", plan=PLAN), ["abort-release"]),
        (make("draft", {"pending": 1}, plan=PLAN | {"overlap": 2}), ["abort-release"]),
        (make("rolling", {"done": 1}), ["pause-release", "abort-release", "roll-back-release"]),
        (make("paused", {"done": 1}), ["resume-release", "abort-release", "roll-back-release"]),
        (make("paused", {"going_back": 1}), ["abort-release", "roll-back-release"]),
        (make("paused", {"failed": 1}), ["abort-release", "roll-back-release"]),
        (make("completed", {"done": 1}), ["roll-back-release"]),
        (make("rolling_back", {"done": 1}), []),
        (make("aborted", {"done": 1}), []),
        (make("rolled_back", {"done": 1}), []),
    ],
)
def test_a_release_offers_only_the_steps_that_can_work(release, names):
    assert [spec.name for spec in offer_release_actions(release)] == names


def test_a_step_says_how_many_apps_it_concerns():
    started = offer_release_actions(make("draft", {"pending": 1}, {"pending": 4}, plan=PLAN))[0]
    assert started.warning.endswith("5 apps in 2 waves. Their estimated cost goes from $10.00 to $12.00 a month.")
    running = make("rolling", {"done": 1}, {"moving": 2, "pending": 5, "reverted": 1, "skipped": 1})
    aborted = offer_release_actions(running)[1]
    assert aborted.warning.endswith("3 apps have moved or begun to.")


PAUSE, START, RESUME = (ACTIONS[f"{name}-release"] for name in ("pause", "start", "resume"))


def test_a_form_is_out_of_date_when_the_state_has_changed():
    rolling = make("rolling", {"moving": 1}, log=[event(1, "start")])
    assert explain_stale_form(PAUSE, rolling, None) == ""
    assert explain_stale_form(PAUSE, rolling, mark_state(rolling)) == ""
    assert explain_stale_form(PAUSE, rolling, "") != ""
    paused = make("paused", {"moving": 1}, log=[event(2)], reason="lunch")
    said = explain_stale_form(PAUSE, paused, mark_state(rolling))
    assert said.startswith(
        "Nothing was done, because the release has changed since you opened the form: release 3 is paused (paused by "
        "ops@example.test). Paused: Lunch."
    )
    assert explain_stale_form(START, rolling, None).startswith(
        "Nothing was done: release 3 is rolling (started by ops@example.test), so start is not possible."
    )


def test_a_release_that_paused_a_second_time_is_another_one_for_a_form():
    first, second = (make("paused", {"done": 1}, log=[event(number)]) for number in (1, 2))
    assert explain_stale_form(RESUME, first, mark_state(first)) == ""
    assert "has changed" in explain_stale_form(RESUME, second, mark_state(first))


def test_the_segments_of_a_bar_fill_it_and_the_smallest_part_can_be_seen():
    [bar] = draw_waves(make("rolling", {"done": 8999, "failed": 1, "left_out": 0}))
    assert [(each.part, each.apps) for each in bar.segments] == [("done", 8999), ("failed", 1)]
    assert bar.segments[1].width > 1
    assert bar.segments[0].x == 0
    assert bar.segments[1].x == bar.segments[0].width
    assert round(sum(each.width for each in bar.segments), 1) == 100
    assert bar.words == "canary, 9,000 apps: 8,999 done, 1 failed"
    assert bar.is_current
    assert not draw_waves(make("completed", {"done": 1}))[0].is_current


def test_a_wave_without_apps_is_an_empty_bar():
    assert draw_waves(make("rolling", {}))[0].segments == []
    assert draw_waves(make("rolling")) == []


def test_what_a_release_changes_names_only_the_names_of_an_environment():
    changes = {
        "image": "a/b:v2",
        "image_digest": "sha256:1",
        "cpu_count": 2,
        "memory_mb": 512,
        "version": "2",
        "env": ["A", "B"],
    }
    assert describe_changes(make(changes=changes)) == [
        ("Image", "a/b:v2"),
        ("Digest", "sha256:1"),
        ("Size", "2 vCPU, 512 MB"),
        ("Version", "2"),
        ("Environment", "A, B"),
    ]
    assert describe_changes(make(kind="plan")) == [("Plan", "each app gets what its plan says today")]


def test_whom_a_release_concerns():
    assert describe_selection(make()) == "all apps"
    chosen = {"tiers": ["pro"], "regions": ["sin", "fra"], "users": ["a"], "share": 0.25}
    assert describe_selection(make(selection=chosen)) == "tier pro; region sin, fra; 1 chosen user; 25 % of the users"


def test_progress_in_words():
    assert describe_progress(make("draft", {"pending": 1})) == "1 app planned"
    waves = {"done": 1}, {"done": 2, "moving": 1, "pending": 4, "reverted": 1}
    assert describe_progress(make("rolling", *waves)) == "3 of 9 done, 1 moving, 1 put back"


def test_a_pin_in_words():
    pin = {
        "cpu_count": 2,
        "cpu_kind": "shared",
        "memory_mb": 512,
        "env": ["A"],
        "held_back_until": "2999-01-31T00:00:00+00:00",
    }
    assert describe_pin(pin) == "Size 2 shared vCPU, 512 MB; environment A; no release before 2999-01-31 00:00 UTC; set"


def test_the_form_leaves_out_what_is_empty_and_lets_the_database_judge_the_rest():
    form = {
        "image": "a:1",
        "version": "",
        "cpu_count": "2",
        "memory_mb": "1 GB",
        "tiers": " pro,, elite ",
        "reason": "x",
    }
    assert read_release_form(form) == {"image": "a:1", "cpu_count": 2, "memory_mb": "1 GB", "tiers": ["pro", "elite"]}
    assert read_release_form({"cpu_count": "٢"}) == {"cpu_count": "٢"}
    assert read_release_form({}) == {}


def test_a_command_becomes_a_button():
    text = "Look at `hangar release status 7`. Then `hangar release abort 7` puts everything back"
    assert replace_commands(text) == "Look at the release's page. Then Abort on the release's page puts everything back"
    assert (
        replace_commands("an operator must run `hangar retry USER`")
        == "an operator must use Retry now on the user's page"
    )
    assert replace_commands("Read `fly logs -a x`") == "Read fly logs -a x"
    assert replace_commands("Read `hangar logs u1`") == "Read the logs on the user's page"


@pytest.mark.parametrize(("key", "where"), [("7", "releases/7"), ("7/../../x", "controls"), ("fleet", "controls")])
def test_an_alert_about_a_release_leads_to_its_page(key, where):
    alert = {"kind": "release_failed", "key": key, "message": "x", "opened_at": "2026-11-27T00:00:00+00:00"}
    settings = {"paused": False, "deletes_paused": False, "live": True}
    sweep = {"under_way": True, "completed_at": None}
    [banner] = list_banners({"settings": settings, "brake": None, "sweep": sweep, "alerts": [alert]}, None)
    assert banner.where == where
