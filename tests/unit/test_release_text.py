"""Releases and pins in words: bars, reasons in groups, what happens next."""

import io
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
from rich.console import Console
from rich.text import Text

from ops.release_tables import format_headline, format_next, group_reasons, is_at_rest, list_behind, render_release
from shared.domain.release_text import (
    REASONS,
    explain_code,
    format_changes,
    format_differing,
    format_kept,
    format_pin,
    format_user_release,
)
from shared.fly.errors import RULES

NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)
COUNTS = ("size", "done", "failed", "pending", "moving", "skipped", "reverted", "not_back", "to_go_back")


def make_target(app, state, wave=0, **more):
    return {"app": app, "user_id": app, "wave": wave, "state": state, "goes_back": False, "running": "r/a:1@sha256:" + 64 * "a",
            "should_run": "r/a:2", "previous": None, "code": None, "reason": None} | more  # fmt: skip


def make_release(state="rolling", wave=0, targets=(), **more):
    waves = [
        dict.fromkeys(COUNTS, 0) | {"wave": number, "size": size, "pending": size}
        for number, size in enumerate((1, 40))
    ]
    return {
        "id": 3, "kind": "machine", "state": state, "wave": wave, "changes": {"image": "r/a:2"}, "selection": {}, "soak_s": 60,
        "waves": waves, "targets": list(targets), "created_by": "cli:ops", "created_at": "2026-11-27T11:00:00+00:00",
    } | more  # fmt: skip


GOING_BACK = [make_target("a", "failed", goes_back=True)]


@pytest.mark.parametrize(
    ("release", "sentence"),
    [
        (make_release("draft"), "nothing moves until it is started: `hangar release start 3`"),
        (make_release(), "1 app of the canary must be updated and stay good for 60 s; then wave 1 begins (40 apps)"),
        (make_release(wave=1), "then it is complete"),
        (make_release(held_by="paused"), "the release waits because Hangar is paused. It continues when"),
        (make_release(held_by="something_new"), "the release waits because something_new."),
        (make_release("paused"), "nothing moves. `hangar release resume 3` tries again what failed"),
        (
            make_release("paused", targets=[make_target("a", "verifying")]),
            "1 app that had begun to move is still checked; no other app begins. `hangar release resume 3`",
        ),
        (
            make_release("aborted", targets=[make_target("a", "failed"), make_target("b", "reverted")]),
            "1 app is not well on the former machine: see the reasons, and `hangar explain USER`. The other apps run what",
        ),
        (make_release("paused", targets=GOING_BACK), "Hangar puts 1 app back to what ran before. `hangar"),
        (
            make_release("paused", targets=GOING_BACK, held_by="fly_unreachable"),
            "puts 1 app back to what ran before. It waits because Fly does not answer. `hangar",
        ),
        (make_release("rolling_back", held_by="brake"), "a few at a time; 0 apps moving now"),
        (make_release("rolling_back", held_by="paused"), "It waits because Hangar is paused"),
        (make_release("completed", targets=[make_target("a", "skipped")]), "1 app does not have it. Nothing more"),
        (make_release("completed", targets=[make_target("a", "done")]), "Nothing more happens; `hangar release rollback 3`"),
        (make_release("aborted"), "the apps run what they ran before"),
    ],
)  # fmt: skip
def test_every_state_says_what_happens_next(release, sentence):
    assert sentence in format_next(release)


def test_an_app_that_still_goes_back_keeps_a_paused_release_from_rest():
    assert is_at_rest(make_release("paused", targets=[make_target("a", "reverted")]))
    assert not is_at_rest(make_release("paused", targets=[make_target("a", "failed", goes_back=True)]))
    assert not is_at_rest(make_release("paused", targets=[make_target("a", "verifying")]))
    assert not is_at_rest(make_release("rolling"))
    assert is_at_rest(make_release("draft", targets=[make_target("a", "pending")]))


def test_reasons_are_grouped_with_their_first_example():
    targets = [make_target(f"app-{n}", "failed", code="exited", reason=f"exit {n}") for n in range(3)]
    targets += [
        make_target("app-9", "skipped", wave=None, code="pinned", reason="pinned"),
        make_target("app-8", "done"),
    ]
    assert group_reasons(make_release(targets=targets)) == [
        {"state": "failed", "why": "exited", "apps": 3, "for example": "app-0: exit 0"},
        {"state": "skipped", "why": "pinned", "apps": 1, "for example": "app-9: pinned"},
    ]


def test_behind_are_the_apps_of_opened_waves_without_those_left_out():
    """Failures come first. A draft has nobody behind."""
    targets = [
        make_target("waits", "pending"),
        make_target("bad", "failed"),
        make_target("good", "done"),
        make_target("later", "pending", wave=1),
        make_target("pinned", "skipped", wave=None),
    ]
    assert [each["app"] for each in list_behind(make_release(targets=targets))] == ["bad", "waits"]
    assert list_behind(make_release("draft", targets=targets)) == []


def test_a_bar_shows_every_part_that_has_an_app_and_never_grows():
    """One app of ten thousand is still seen."""
    wave = dict.fromkeys(COUNTS, 0) | {"wave": 1, "size": 10_000, "done": 9_997, "moving": 1, "failed": 1, "pending": 1}
    release = make_release(wave=1, waves=[wave])
    [bar] = [
        part.plain
        for part in render_release(release, {})
        if isinstance(part, Text) and "done" in part.plain and "█" in part.plain
    ]
    assert (bar.count("█"), bar.count("▓"), bar.count("x")) == (28, 1, 1)
    assert "9997 of 10000 done, 1 moving, 1 failed, 1 pending" in bar
    assert format_headline(release) == "Release 3: rolling, wave 1 of 1; 9997 of 10000 apps done, 1 moving, 1 failed"


def test_text_from_outside_is_not_read_as_markup():
    """A reason may hold brackets, which Rich would take for a style."""
    target = make_target("app", "failed", code="exited", reason="[/red] [bold]panic[/bold]")
    console = Console(width=200, record=True, file=io.StringIO())
    for part in render_release(make_release("paused", targets=[target], reason="[x]"), {"app": "[red]@example.test"}):
        console.print(part)
    text = console.export_text()
    for shown in ("[/red] [bold]panic[/bold]", "Paused: [x]", "[red]@example.test"):
        assert shown in text


def test_what_a_rollback_has_left_is_named():
    """What somebody has changed after the release: of a plan or of the defaults. Of variables only the names are known."""
    kept = [
        {"what": "image", "value": "r/a:3"},
        {"what": "size", "tier": "pro", "value": "4 shared vCPU, 8192 MB"},
        {"what": "env", "tier": "pro", "names": ["A", "B"]},
        {"what": "region", "tier": "elite", "value": None},
    ]
    release = make_release("rolled_back", kept=kept)
    assert format_kept(release) == (
        "Changed since the release was started, so it stays: default, image r/a:3; plan pro, size 4 shared vCPU, 8192 MB; "
        "plan pro, env A, B; plan elite, region removed"
    )
    assert format_kept(release) in [str(part) for part in render_release(release, {})]
    assert format_kept(make_release("rolled_back")) is None


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"image": "r/a:2"}, "r/a:2"),
        ({"cpu_count": 2, "cpu_kind": "shared", "memory_mb": 512}, "2 shared vCPU, 512 MB"),
        ({"memory_mb": 512}, "512 MB"),
        ({"image": "r/a:2", "env": ["A", "B"]}, "r/a:2; env A, B"),
    ],
)
def test_changes_in_words(changes, text):
    assert format_changes({"kind": "machine", "changes": changes}) == text
    assert format_changes({"kind": "plan", "changes": {}}) == "what each app's plan says"


def test_the_release_of_one_app_in_words():
    target = make_target("app", "verifying", wave=1) | {
        "id": 3,
        "release_state": "rolling",
        "held_by": None,
        "left_out": False,
    }
    assert format_user_release(None) is None
    assert (
        format_user_release(target) == f"release 3, wave 1: verifying; runs r/a:1@sha256:{12 * 'a'}, should run r/a:2"
    )
    back = format_user_release(
        target | {"goes_back": True, "release_state": "paused", "reason": "exit 1", "held_by": "paused"}
    )
    assert "verifying, goes back to what ran before (the release is paused)" in back
    assert "; exit 1; held because Hangar is paused" in back
    out = format_user_release(target | {"left_out": True, "code": "held_back", "running": None})
    assert out == "release 3 leaves this app out: held back until a date that an operator has set for this user"


def test_a_pin_in_words():
    pin = {
        "image": "r/a:1",
        "env": ["A"],
        "actor": "cli:ops",
        "ends_at": "2026-12-04T12:00:00+00:00",
        "held_back_until": "2026-11-01T00:00:00+00:00",
    }
    assert format_pin(None, NOW) is None
    assert format_pin(pin, NOW) == (
        "image r/a:1; env A; no release until 2026-11-01 00:00 UTC (over), until 2026-12-04 12:00 UTC (in 7 days): "
        "no reason given (by cli:ops)"
    )
    assert format_pin(pin | {"ends_at": "2026-11-01T00:00:00+00:00"}, NOW).startswith("ended: image r/a:1")


def test_apps_that_differ_are_counted():
    assert format_differing({"apps": 0, "examples": []}) is None
    assert format_differing({"apps": 1, "examples": ["a"]}) == "1 app differs from its plan (for example a)"
    assert (
        format_differing({"apps": 12, "examples": ["a", "b", "c"]})
        == "12 apps differ from their plan (for example a, b, c)"
    )


def test_every_code_of_a_release_has_a_sentence():
    """What a look at a machine finds, what the migrations write, and every error of Fly. None repeats its code."""
    root = Path(__file__).parents[2]
    looks = (root / "shared/domain/release_look.py").read_text()
    codes = set(re.findall(r'Look\(\s*"\w+", "(\w+)"', looks)) | {
        f"check_{word}" for word in ("critical", "warning", "unknown")
    }
    migrations = root / "supabase/migrations"
    for path in (*migrations.glob("*release*.sql"), *migrations.glob("*given_machines.sql")):
        text = path.read_text()
        codes |= set(re.findall(r"reason_code = '(\w+)'", text)) | set(re.findall(r"\bcode := '(\w+)'", text))
        codes |= set(re.findall(r"v_code := '(\w+)'", text))
    codes |= {rule.code for rule in RULES}
    codes |= {
        "held_back",
        "pinned",
        "other_release",
        "already",
        "deadline",
        "unhealthy",
        "unproven",
        "busy",
        "crash_loop",
    }
    assert len(codes) > 40
    assert codes - REASONS.keys() == set()
    for code, sentence in REASONS.items():
        assert "_" not in sentence, code
        assert len(sentence.split()) >= 4, code
        assert explain_code(code) == sentence
    assert explain_code("new_code") == "new code"
