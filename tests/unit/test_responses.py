"""The responses of the functions: what became of a user, as JSON."""

import uuid
from decimal import Decimal

import pytest

from functions.responses import answer_outcome
from shared.reconcile.result import Result
from tests.unit.endpoint_calls import USER


def outcome(**changes):
    parts = {
        "state": "converged",
        "code": "converged",
        "status": "active",
        "app_name": "vyx-user-00000000",
        "machine_id": "148e1234",
        "generation": 3,
        "monthly_cost_estimate_usd": Decimal("6.0"),
        "next_attempt_at": None,
        "detail": "active",
        "known": True,
        "entitled": True,
    }
    return Result(**{**parts, **changes})


def test_a_converged_user_is_200_with_money_as_text():
    answer = answer_outcome(outcome(), uuid.UUID(USER), "provision")
    assert (answer.status, answer.body) == (
        200,
        {
            "user_id": USER,
            "status": "active",
            "app_name": "vyx-user-00000000",
            "machine_id": "148e1234",
            "generation": 3,
            "monthly_cost_estimate_usd": "6.00",
            "code": "converged",
            "detail": "active",
        },
    )


def test_a_pending_user_is_202_with_the_next_attempt():
    answer = answer_outcome(
        outcome(state="pending", status="error", next_attempt_at="2026-11-22T12:00:00+00:00"),
        uuid.UUID(USER),
        "provision",
    )
    assert answer.status == 202
    assert answer.body["next_attempt_at"] == "2026-11-22T12:00:00+00:00"


@pytest.mark.parametrize(
    ("changes", "direction", "detail"),
    [
        ({"known": False, "state": "nothing", "entitled": False}, "provision", "why"),
        ({"state": "nothing", "entitled": False}, "provision", "why"),
        ({"entitled": False}, "provision", "not entitled to an app, so none is provisioned; why"),
        ({}, "deprovision", "still entitled to an app, so none is taken away; why"),
        ({}, "provision", "why"),
        ({"entitled": None}, "provision", "why"),
        ({"entitled": False}, "deprovision", "why"),
        ({"entitled": False}, None, "why"),
    ],
)
def test_a_nudge_in_the_wrong_direction_succeeds_and_says_so(changes, direction, detail):
    answer = answer_outcome(outcome(detail="why", **changes), uuid.UUID(USER), direction)
    assert answer.status == 200
    assert answer.body["detail"] == detail
