"""When a row is tried again after an error, and which errors are no failure at all. Each rule alone."""

from uuid import UUID

from shared.domain.actions import ActionKind
from shared.domain.backoff import (
    asked_to_wait_s,
    back_off_s,
    choose_next_attempt_s,
    counts_as_before,
    needs_a_person,
)
from shared.domain.errors import Capacity, InternalError, OutcomeUnknown, Refused, Throttled, TransientError
from shared.domain.models import Settings
from tests.unit.test_decide import READY, having

SETTINGS = Settings(installation_id=UUID(int=9), fly_org_slug="hangar", retry_base_s=300, retry_cap_s=1800)
ACTIVE = having(READY, status="active", observed_generation=1, health_status="healthy")
ROUNDS = [(0, 150), (1, 300), (4, 300), (5, 600), (8, 600), (9, 1200), (13, 1800), (17, 1800), (10_000, 1800)]


def test_each_round_of_attempts_doubles_the_wait_up_to_its_cap():
    for retries, wait_s in ROUNDS:
        assert back_off_s(retries, SETTINGS, lambda: 1.0) == wait_s, retries


def test_chance_takes_off_up_to_a_quarter():
    """So that many apps that failed together are not tried together."""
    assert [back_off_s(1, SETTINGS, lambda part=part: part) for part in (0.0, 0.5)] == [225, 262.5]
    assert back_off_s(99, SETTINGS, lambda: 0.0) == 1350


PINNED = having(ACTIVE, docker_image="registry.example/app@sha256:1")
TAGGED = having(ACTIVE, docker_image="registry.example/app:v1")
PERSONS = [
    (TAGGED, Refused("x", code="image"), True),
    (TAGGED, Refused("x", code="size"), True),
    (TAGGED, Refused("x", code="token"), False),
    (TAGGED, Refused("x", code="billing"), False),
    (TAGGED, TransientError("x"), False),
    (PINNED, Refused("x", code="image"), False),  # only the registry may be out of reach
    (PINNED, Refused("x", code="size"), True),
    (having(PINNED, observed_generation=None), Refused("x", code="image"), True),
]


def test_which_error_needs_a_person():
    for row, error, needs in PERSONS:
        assert needs_a_person(row, error) is needs, (row.docker_image, error.code)
        assert (choose_next_attempt_s(row, error, 1, SETTINGS, lambda: 1.0) is None) is needs


NEXT = [
    (TransientError("x"), 300),
    (Capacity("x"), 300),
    (Refused("x", code="token"), 1800),
    (InternalError("x"), 1800),
]


def test_what_a_person_mends_for_everybody_is_asked_for_slowly():
    for error, wait_s in NEXT:
        assert choose_next_attempt_s(TAGGED, error, 1, SETTINGS, lambda: 1.0) == wait_s, error


def answered(status, retry_after_s, attempts=1, kind=TransientError):
    error = kind("x", status=status, retry_after_s=retry_after_s)
    error.attempts_made = attempts
    return error


WAITS = [
    (Throttled("x", retry_after_s=40.0), 40.0),
    (Throttled("x", retry_after_s=0.2), 1.0),
    (Throttled("x"), 1.0),
    (answered(429, 60.0), 60.0),
    (answered(429, 0.5), 1.0),
    (answered(429, 9999.0), 1800),
    (answered(429, None), None),
    (answered(429, 60.0, attempts=3), 60.0),
    (answered(429, 60.0, attempts=4), None),  # a whole round was refused: that is a failure
    (answered(503, 60.0), None),
    (answered(429, 60.0, kind=Capacity), None),
]


def test_a_wait_for_a_rate_limit_is_no_failure():
    for error, wait_s in WAITS:
        assert asked_to_wait_s(error, SETTINGS) == wait_s, (error, error.status, error.attempts_made)


UNREAD = [
    (ACTIVE, [], TransientError("x"), True),
    (ACTIVE, [], OutcomeUnknown("x"), True),
    (ACTIVE, [], Throttled("x"), False),
    (ACTIVE, [], TransientError("x", code="contradiction"), False),
    (ACTIVE, [ActionKind.START_MACHINE], TransientError("x"), False),
    (having(ACTIVE, status="provisioning"), [], TransientError("x"), False),
    (having(ACTIVE, generation=2), [], TransientError("x"), False),
    (having(ACTIVE, health_status="unhealthy"), [], TransientError("x"), False),
    (having(ACTIVE, health_status="unknown"), [], TransientError("x"), True),
    (having(ACTIVE, health_status=None), [], TransientError("x"), True),
]


def test_an_app_with_which_nothing_was_wrong_keeps_its_status_when_it_cannot_be_read():
    for row, calls, error, keeps in UNREAD:
        assert counts_as_before(row, calls, error) is keeps, (row.status, row.health_status, calls, error)
