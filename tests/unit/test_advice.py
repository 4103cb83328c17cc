"""What the command line and the dashboard advise an operator to do, and what they say happens next."""

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


def make_user(**row):
    usual = {
        "user_id": USER, "status": "active", "desired_state": "present", "lease_holder": None, "lease_expires_at": None,
        "next_attempt_at": None, "delete_after": None, "error_code": None, "retry_count": 0,
    }  # fmt: skip
    return {"row": {**usual, **row}, "last": None, "entitled": True, "brake": None}


@pytest.mark.parametrize(
    ("seconds", "words"), [(0, "0 s"), (89, "89 s"), (90, "2 min"), (5400, "1.5 h"), (172800, "2 days"), (-3, "0 s")]
)
def test_a_duration_has_the_unit_a_person_would_choose(seconds, words):
    assert format_duration(seconds) == words


def test_a_moment_is_relative_to_the_databases_now():
    assert (format_time(at(30), NOW), format_time(at(-30), NOW), format_time(None, NOW)) == ("in 30 s", "30 s ago", "-")


CODES = sorted({rule.code for rule in RULES} | {None, "never heard of"}, key=str)


@pytest.mark.parametrize("surface", ["cli", "dashboard"])
@pytest.mark.parametrize("code", CODES)
def test_every_failure_has_advice(code, surface):
    """If Hangar waits for an operator the advice says how to continue, otherwise it says that Hangar continues."""
    for goes_on in (True, False):
        advice = advise(code, USER, goes_on=goes_on, surface=surface)
        assert advice
        assert "{" not in advice


@pytest.mark.parametrize("code", CODES)
def test_advice_on_the_dashboard_names_no_command(code):
    """A browser has buttons. Only the command line names commands, in backticks."""
    for goes_on in (True, False):
        advice = advise(code, USER, goes_on=goes_on, surface="dashboard")
        assert "`" not in advice
        assert "hangar " not in advice


def test_a_permanent_failure_ends_with_the_retry_of_its_surface():
    assert advise("image", USER, goes_on=False).endswith(f"then run `hangar retry {USER}`")
    assert advise("image", USER, goes_on=False, surface="dashboard").endswith("then press Retry now")


@pytest.mark.parametrize(
    ("row", "settings", "words"),
    [
        ({}, {}, "up to date; every sweep checks it again"),
        ({"lease_holder": "health@a:1", "lease_expires_at": at(60)}, {}, "health@a:1 is working on it"),
        (
            {
                "lease_holder": "a:1",
                "lease_expires_at": at(60),
                "retry_count": 2,
                "error_message": "503; tried again in 4 s",
            },
            {},
            "a:1 is working on it now; 2 attempts have failed so far: 503; tried again in 4 s",
        ),
        ({"status": "error", "error_code": "image"}, {}, "Hangar waits for an operator: push the image"),
        (
            {"status": "error", "next_attempt_at": at(300), "retry_count": 4},
            {},
            f"attempt 5 in 5 min; run `hangar retry {USER}` to try at once",
        ),
        ({"status": "error", "next_attempt_at": at(-1)}, {}, "the next drain makes another attempt (due 1 s ago)"),
        (
            {"status": "provisioning", "next_attempt_at": at(-5)},
            {},
            "the next drain brings the app to its desired state, within a minute",
        ),
        (
            {"status": "provisioning", "next_attempt_at": at(10)},
            {},
            "Hangar brings the app to its desired state in 10 s",
        ),
        ({"status": "provisioning", "next_attempt_at": at(-5)}, {"paused": True}, "hangar resume"),
        (
            {"status": "deprovisioning", "desired_state": "absent", "next_attempt_at": at(0)},
            {},
            "the next drain removes the app",
        ),
        (
            {
                "status": "deprovisioning",
                "desired_state": "absent",
                "next_attempt_at": at(7200),
                "delete_after": at(7200),
            },
            {},
            "the grace period ends in 2.0 h; then the app is deleted unless the user pays again",
        ),
    ],
)
def test_the_next_step_says_what_when_and_why(row, settings, words):
    assert words in format_next_step(make_user(**row), {**SETTINGS, **settings}, NOW)


@pytest.mark.parametrize(
    ("row", "settings", "brake", "words"),
    [
        (
            GOING,
            {"deletes_paused": True},
            None,
            "once somebody allows deletions again (`hangar settings set deletes_paused=false`)",
        ),
        (GOING, {}, "many", "the brake is on (too many apps were removed in the last hour)"),
        (GOING, {}, "lost", "the brake is on (Fly has apps that this database has no rows for)"),
        (
            {"status": "provisioning", "next_attempt_at": at(10)},
            {"deletes_paused": True},
            None,
            "Hangar brings the app to its desired state in 10 s",
        ),
        ({**GOING, "delete_after": at(60)}, {"deletes_paused": True}, None, "the grace period ends in 60 s"),
    ],
)
def test_why_a_deletion_waits(row, settings, brake, words):
    assert words in format_next_step({**make_user(**row), "brake": brake}, {**SETTINGS, **settings}, NOW)


@pytest.mark.parametrize(("cap", "setting"), [("max_apps", "max_apps"), ("max_cost", "max_monthly_cost_usd")])
def test_a_user_whom_a_limit_holds_back_reads_which(cap, setting):
    user = {**make_user(status="provisioning", next_attempt_at=at(240)), "cap": cap}
    said = format_next_step(user, SETTINGS, NOW)
    assert f"the setting {setting} holds this back" in said
    assert "tries again in 4 min" in said
    assert f"`hangar settings set {setting}=…`" in said
    assert "`" not in format_next_step(user, SETTINGS, NOW, "dashboard")


@pytest.mark.parametrize(
    ("entitled", "live", "last", "words"),
    [
        (True, True, None, "the next sweep creates an app for this user"),
        (True, False, None, "migrate-users --apply --only"),
        (True, False, {"user_id": USER}, "the next sweep creates"),
        (False, True, None, "the user has no app and is not entitled to one"),
        (None, True, None, "fly_plans does not list"),
    ],
)
def test_the_next_step_of_a_user_without_an_app(entitled, live, last, words):
    user = {"row": None, "last": last, "entitled": entitled, "why": "unknown_tier"}
    assert words in format_next_step(user, {**SETTINGS, "live": live}, NOW)


@pytest.mark.parametrize(
    ("user", "settings"),
    [
        (make_user(next_attempt_at=at(-5), status="provisioning"), {"paused": True}),
        (make_user(**GOING), {"deletes_paused": True}),
        ({**make_user(**GOING), "brake": "many"}, {}),
        (make_user(status="error", next_attempt_at=at(300), retry_count=4), {}),
        (make_user(status="error", error_code="image"), {}),
        ({"row": None, "last": None, "entitled": True}, {}),
        ({"row": None, "last": None, "entitled": True}, {"live": False}),
    ],
)
def test_the_next_step_on_the_dashboard_names_no_command(user, settings):
    for_cli = format_next_step(user, {**SETTINGS, **settings}, NOW)
    on_page = format_next_step(user, {**SETTINGS, **settings}, NOW, "dashboard")
    assert "`hangar " in for_cli
    assert "`" not in on_page
    assert "hangar " not in on_page
