"""What command line and dashboard tell an operator to do, and what it says happens next."""

from datetime import UTC, datetime, timedelta

import pytest

from shared.domain.remediation import advise, format_duration, format_next_step, format_time
from shared.fly.errors import RULES

NOW = datetime(2026, 11, 23, 3, 0, tzinfo=UTC)
USER = "11111111-1111-4111-8111-111111111111"
SETTINGS = {"live": True, "paused": False, "deletes_paused": False}
GOING = {
    "status": "deprovisioning",
    "desired_state": "absent",
    "next_attempt_at": (NOW + timedelta(seconds=60)).isoformat(),
}


def at(seconds):
    return (NOW + timedelta(seconds=seconds)).isoformat()


def told(**row):
    usual = {
        "user_id": USER, "status": "active", "desired_state": "present", "lease_holder": None, "lease_expires_at": None,
        "next_attempt_at": None, "delete_after": None, "error_code": None, "retry_count": 0,
    }  # fmt: skip
    return {"row": {**usual, **row}, "last": None, "entitled": True, "brake": None}


@pytest.mark.parametrize(
    ("seconds", "words"), [(0, "0 s"), (89, "89 s"), (90, "2 min"), (5400, "1.5 h"), (172800, "2 days"), (-3, "0 s")]
)
def test_a_span_has_the_unit_a_person_would_choose(seconds, words):
    assert format_duration(seconds) == words


def test_a_moment_is_told_from_the_databases_now():
    assert (format_time(at(30), NOW), format_time(at(-30), NOW), format_time(None, NOW)) == ("in 30 s", "30 s ago", "-")


@pytest.mark.parametrize("code", sorted({rule.code for rule in RULES} | {None, "never heard of"}, key=str))
def test_every_failure_has_a_word_on_what_to_do(code):
    """Whatever Fly answers: who waits for a person is told how to go on, who does not is told that Hangar goes on."""
    assert advise(code, USER, goes_on=True)
    assert "{" not in advise(code, USER, goes_on=False)


@pytest.mark.parametrize(
    ("row", "settings", "words"),
    [
        ({}, {}, "nothing is to be done"),
        ({"lease_holder": "health@a:1", "lease_expires_at": at(60)}, {}, "health@a:1 is working on it"),
        (
            {
                "lease_holder": "a:1",
                "lease_expires_at": at(60),
                "retry_count": 2,
                "error_message": "503; tried again in 4 s",
            },
            {},
            "a:1 is working on it right now; 2 attempts have failed so far: 503; tried again in 4 s",
        ),
        ({"status": "error", "error_code": "image"}, {}, "waits for a person: push the image"),
        (
            {"status": "error", "next_attempt_at": at(300), "retry_count": 4},
            {},
            "another attempt, in 5 min (attempt 5)",
        ),
        ({"status": "error", "next_attempt_at": at(-1)}, {}, "with the next drain (due 1 s ago)"),
        ({"status": "provisioning", "next_attempt_at": at(-5)}, {}, "it is made true with the next drain"),
        ({"status": "provisioning", "next_attempt_at": at(10)}, {}, "it goes on in 10 s"),
        ({"status": "provisioning", "next_attempt_at": at(-5)}, {"paused": True}, "hangar resume"),
        ({"status": "deprovisioning", "desired_state": "absent", "next_attempt_at": at(0)}, {}, "it is taken away"),
        (
            {
                "status": "deprovisioning",
                "desired_state": "absent",
                "next_attempt_at": at(7200),
                "delete_after": at(7200),
            },
            {},
            "its grace ends in 2.0 h; then the app is deleted unless the user pays again",
        ),
    ],
)
def test_what_happens_next_when_and_why(row, settings, words):
    assert words in format_next_step(told(**row), {**SETTINGS, **settings}, NOW)


@pytest.mark.parametrize(
    ("row", "settings", "brake", "words"),
    [
        (
            GOING,
            {"deletes_paused": True},
            None,
            "until deletions are allowed again (`hangar settings set deletes_paused=false`)",
        ),
        (GOING, {}, "many", "the brake is on (too many apps were taken away in the last hour)"),
        (GOING, {}, "lost", "the brake is on (Fly has apps whose rows this database never had)"),
        ({"status": "provisioning", "next_attempt_at": at(10)}, {"deletes_paused": True}, None, "it goes on in 10 s"),
        ({**GOING, "delete_after": at(60)}, {"deletes_paused": True}, None, "its grace ends in 60 s"),
    ],
)
def test_why_a_deletion_waits(row, settings, brake, words):
    assert words in format_next_step({**told(**row), "brake": brake}, {**SETTINGS, **settings}, NOW)


@pytest.mark.parametrize(
    ("entitled", "live", "last", "words"),
    [
        (True, True, None, "the next sweep gives this user an app"),
        (True, False, None, "migrate-users --apply --only"),
        (True, False, {"user_id": USER}, "the next sweep gives"),
        (False, True, None, "no app, and none is due"),
        (None, True, None, "not in fly_plans"),
    ],
)
def test_what_happens_next_to_a_user_without_an_app(entitled, live, last, words):
    assert words in format_next_step({"row": None, "last": last, "entitled": entitled}, {**SETTINGS, "live": live}, NOW)
