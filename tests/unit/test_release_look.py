"""What one look at a machine says about the release that has moved it."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from shared.domain.release_look import CheckResult, Expected, SeenMachine, judge_look

SINCE = datetime(2026, 11, 26, 12, tzinfo=UTC)
DIGEST = "sha256:" + "a" * 64
EXPECTED = Expected(user_id="u1", image=f"registry.fly.io/app:v2@{DIGEST}", version=None, since=SINCE)
READY = CheckResult("ready", "passing", '200 {"user_id": "u1", "image": "registry.fly.io/app:v2"}')
GOOD = SeenMachine(
    state="started",
    image="registry.fly.io/app:v2",
    image_digest=DIGEST,
    instance="01V2",
    host_ok=True,
    checks=(READY,),
    configured_checks=("ready",),
)
LATER = SINCE + timedelta(minutes=3)


def test_a_machine_that_runs_the_image_and_is_ready_is_good():
    assert judge_look(EXPECTED, GOOD).verdict == "good"


@pytest.mark.parametrize(
    ("seen", "verdict", "code"),
    [
        ({"host_ok": False, "state": "failed"}, "unknown", "host_unreachable"),
        ({"state": "failed"}, "dead", "machine_failed"),
        ({"state": "launch_failed"}, "dead", "machine_failed"),
        ({"state": "replacing"}, "bad", "not_running"),
        ({"state": "a new word"}, "bad", "not_running"),
        ({"state": "stopped"}, "bad", "not_running"),
        ({"state": "stopped", "exited_at": LATER}, "dead", "exited"),
        ({"state": "stopped", "exited_at": SINCE - timedelta(minutes=1)}, "bad", "not_running"),
        ({"image": "registry.fly.io/app:v1"}, "bad", "other_image"),
        ({"image_digest": "sha256:" + "b" * 64}, "dead", "wrong_digest"),
        ({"exited_at": LATER, "out_of_memory": True}, "dead", "out_of_memory"),
        ({"checks": ()}, "bad", "check_missing"),
        ({"checks": (), "configured_checks": ()}, "bad", "check_missing"),
        ({"configured_checks": ("ready", "alive")}, "bad", "check_missing"),
        ({"checks": (READY, CheckResult("alive", "warning"))}, "bad", "check_warning"),
        ({"checks": (replace(READY, status="critical"),)}, "bad", "check_critical"),
        ({"checks": (replace(READY, output='{"user_id": "u2"}'),)}, "dead", "wrong_user"),
        ({"checks": (replace(READY, output='{"image": "registry.fly.io/app:v1"}'),)}, "bad", "old_version"),
    ],
)
def test_what_is_wrong_has_a_verdict_and_a_code(seen, verdict, code):
    look = judge_look(EXPECTED, replace(GOOD, **seen))
    assert (look.verdict, look.code) == (verdict, code)
    assert look.detail


@pytest.mark.parametrize(
    ("exit_failed", "exited_at", "verdict", "code"),
    [
        (True, LATER, "dead", "exited"),
        (False, LATER, "asleep", "exited"),
        (True, SINCE - timedelta(minutes=1), "asleep", "unproven"),
        (False, None, "asleep", "unproven"),
    ],
)
def test_a_program_that_has_ended_is_not_asleep(exit_failed, exited_at, verdict, code):
    """A crash is final. An end without a failure may be how the program goes to sleep; the canary alone is asked for more."""
    seen = replace(GOOD, state="stopped", exit_failed=exit_failed, exited_at=exited_at)
    look = judge_look(replace(EXPECTED, on_demand=True), seen)
    assert (look.verdict, look.code) == (verdict, code)


@pytest.mark.parametrize("output", ["", "ok", "{", "[1]", "200 null", '{"image": 7}', '{"user_id": null}'])
def test_a_ready_answer_that_says_nothing_proves_nothing_against_the_app(output):
    """A backend need not describe itself; only `--version` asks for an answer."""
    machine = replace(GOOD, checks=(replace(READY, output=output),))
    assert judge_look(EXPECTED, machine).verdict == "good"
    assert judge_look(replace(EXPECTED, version="2"), machine).code == "old_version"


def test_an_exit_after_the_machine_was_good_is_final_and_one_before_is_not():
    once = replace(GOOD, exited_at=LATER)
    assert judge_look(EXPECTED, once).verdict == "good"
    was_good = replace(EXPECTED, good_since=LATER - timedelta(minutes=1))
    assert judge_look(was_good, once).code == "exited"
    assert judge_look(replace(EXPECTED, good_since=LATER + timedelta(minutes=1)), once).verdict == "good"


def test_a_machine_that_may_sleep_is_asleep_and_not_stopped():
    asleep = replace(GOOD, state="suspended", checks=())
    assert judge_look(replace(EXPECTED, on_demand=True), asleep).verdict == "asleep"
    assert judge_look(EXPECTED, asleep).verdict == "bad"
