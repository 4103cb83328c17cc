"""The sentences about the installation that the command line and the dashboard share."""

from datetime import UTC, datetime, timedelta

import pytest

from shared.domain import status_text
from shared.domain.status_text import (
    SWEEP_LATE_AFTER_S,
    describe_deliveries,
    describe_sweep,
    format_brake_count,
    format_brake_release,
    format_deletes_paused,
    format_paused,
)

GIVEN_UP = " 1 message was given up in the last 7 days, because the alert had been over for three days"
NOW = datetime(2026, 11, 23, 3, 0, tzinfo=UTC)


def sweep(age_s, *, under_way=False):
    completed_at = None if age_s is None else (NOW - timedelta(seconds=age_s)).isoformat()
    return {"under_way": under_way, "completed_at": completed_at}


@pytest.mark.parametrize(
    ("found", "state"),
    [
        (None, "none"),
        (sweep(None), "incomplete"),
        (sweep(SWEEP_LATE_AFTER_S), "ok"),
        (sweep(SWEEP_LATE_AFTER_S + 1), "late"),
        (sweep(SWEEP_LATE_AFTER_S + 1, under_way=True), "ok"),
    ],
)
def test_a_sweep_is_late_after_ten_minutes_unless_one_is_running(found, state):
    assert describe_sweep(found, NOW).state == state


def test_a_late_sweep_names_the_age_and_the_scheduler():
    text = describe_sweep(sweep(3600), NOW).text
    assert (
        text
        == "The last complete sweep ended 60 min ago. Check that the scheduler calls the health function every 5 minutes"
    )


@pytest.mark.parametrize(
    ("destroyed", "limit", "text"),
    [
        (1, "20.00", "1 app was stopped or destroyed in the last hour; the limit is 20"),
        ("2", 2.5, "2 apps were stopped or destroyed in the last hour; the limit is 3"),
        (0, "21.35", "0 apps were stopped or destroyed in the last hour; the limit is 22"),
    ],
)
def test_the_brake_counts_whole_apps(destroyed, limit, text):
    assert format_brake_count({"destroyed_last_hour": destroyed, "most": limit}) == text


def deliveries(*destinations, given_up=0):
    return {"destinations": list(destinations), "given_up": given_up}


def destination(waiting, *, error=None, next_in_s=None):
    since = (NOW - timedelta(minutes=70)).isoformat() if waiting else None
    next_at = None if next_in_s is None else (NOW + timedelta(seconds=next_in_s)).isoformat()
    return {"destination": "hooks.test-1a", "waiting": waiting, "since": since} | {
        "last_error": error,
        "next_attempt_at": next_at,
    }


@pytest.mark.parametrize(
    ("found", "text"),
    [
        (
            deliveries(),
            "Alerts are not sent anywhere, because no function has named a webhook (HANGAR_ALERT_WEBHOOK_URL)",
        ),
        (deliveries(destination(0)), "Every message was delivered to hooks.test-1a"),
        (deliveries(destination(1)), "1 message waits for hooks.test-1a, the oldest for 70 min"),
        (
            deliveries(destination(2, error="answered 503", next_in_s=300)),
            "2 messages wait for hooks.test-1a, the oldest for 70 min (the last error: answered 503; the next attempt: in 5 min)",
        ),
        (
            deliveries(destination(1, error="gone", next_in_s=-5), given_up=1),
            "1 message waits for hooks.test-1a, the oldest for 70 min (the last error: gone; the next attempt: within a minute);"
            + GIVEN_UP,
        ),
    ],
)
def test_the_state_of_the_outbox_names_what_waits_and_why(found, text):
    assert describe_deliveries(found, NOW) == text


def test_after_a_release_the_count_says_since_when():
    """It starts at zero, and not because nothing was destroyed in the last hour."""
    brake = {"destroyed_last_hour": 0, "most": "2.00", "counted_since": "2026-11-26T14:05:09+02:00"}
    assert (
        format_brake_count(brake) == "0 apps were stopped or destroyed since the release at 12:05 UTC; the limit is 2"
    )


@pytest.mark.parametrize(
    ("waiting", "lost", "text"),
    [
        (0, 0, "No app waits for the brake now"),
        (1, 0, "A release lets Hangar remove 1 app of users who are no longer entitled, at most 3 in the next hour"),
        (0, 4, "A release lets Hangar remove 4 apps that this database has no record of, at most 3 in the next hour"),
        (
            2,
            1,
            (
                "A release lets Hangar remove 2 apps of users who are no longer entitled "
                "and 1 app that this database has no record of, at most 3 in the next hour"
            ),
        ),
    ],
)
def test_what_a_release_lets_go_is_said_before(waiting, lost, text):
    assert format_brake_release({"waiting_apps": waiting, "lost_apps": lost, "most": "2.50"}) == text


def test_a_change_that_was_made_before_is_reported_as_already_made():
    assert format_paused(paused=True, changed=False) == "Hangar is already paused: no change is made on Fly"
    assert format_paused(paused=False, changed=True) == "Hangar is now running"
    assert format_deletes_paused(paused=False, changed=False) == "Deletions are already allowed"


def test_no_shared_sentence_names_a_command():
    """The dashboard shows a button where the command line names a command."""
    texts = [text for name, text in vars(status_text).items() if name.isupper() and isinstance(text, str)]
    assert len(texts) >= 4
    assert not [text for text in texts if "`" in text or "hangar " in text]
