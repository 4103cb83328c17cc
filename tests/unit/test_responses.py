"""Every answer of provision, deprovision and health carries a stable code for programs."""

import re
import uuid
from decimal import Decimal

import pytest

from functions import responses
from functions.responses import answer_result, answer_sweep
from shared.domain.errors import TransientError
from shared.domain.models import OperatorRequest
from shared.fleet.sweep import SweepReport
from shared.http.problem import Problem
from shared.reconcile.result import Result

USER = uuid.UUID("11111111-1111-4111-8111-111111111111")


@pytest.mark.parametrize(
    ("result", "status"),
    [
        (Result("converged", "converged", "any"), 200),
        (Result("nothing", "not_live", "any"), 200),
        (Result("pending", "leased", "any"), 202),
    ],
)
def test_an_answer_carries_the_code_of_its_result(result, status):
    answer = answer_result(result, USER)
    assert (answer.status, answer.body["code"]) == (status, result.code)


@pytest.mark.parametrize(("complete", "code"), [(True, "complete"), (False, "incomplete")])
def test_a_sweep_says_whether_it_covered_the_fleet(complete, code):
    answer = answer_sweep(SweepReport(complete=complete))
    assert (answer.status, answer.body["code"], answer.body["complete"]) == (200, code, complete)


@pytest.mark.parametrize(
    ("what", "result", "status", "code"),
    [
        ("check", Result("nothing", "any", "any", known=False), 404, "unknown_user"),
        ("provision", Result("nothing", "any", "any", entitled=False), 409, "not_entitled"),
        ("provision", Result("nothing", "any", "any", entitled=True), 409, "not_admitted"),
        ("deprovision", Result("converged", "any", "any", entitled=True), 409, "still_entitled"),
        ("restart", Result("nothing", "any", "any"), 409, "no_app"),
        (
            "restart",
            Result("converged", "any", "any", restarted=False, restart_detail="it was not"),
            409,
            "not_restarted",
        ),
        ("restart", Result("pending", "any", "any", failure=TransientError("any")), 503, "not_restarted"),
    ],
)
def test_an_operator_is_refused_with_a_code(what, result, status, code):
    with pytest.raises(Problem) as refusal:
        answer_result(result, USER, request=OperatorRequest("operator@example.test", what))
    assert (refusal.value.status, refusal.value.code) == (status, code)
    assert refusal.value.detail[0].isupper()
    assert f"`{code}`" in re.sub(r"\s+", " ", responses.__doc__)


def make_result(**changes):
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
    answer = answer_result(make_result(), USER, "provision")
    assert (answer.status, answer.body) == (
        200,
        {
            "user_id": str(USER),
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
    answer = answer_result(
        make_result(state="pending", status="error", next_attempt_at="2026-11-22T12:00:00+00:00"),
        USER,
        "provision",
    )
    assert answer.status == 202
    assert answer.body["next_attempt_at"] == "2026-11-22T12:00:00+00:00"


@pytest.mark.parametrize(
    ("changes", "direction", "detail"),
    [
        ({"known": False, "state": "nothing", "entitled": False}, "provision", "why"),
        ({"state": "nothing", "entitled": False}, "provision", "why"),
        ({"entitled": False}, "provision", "not entitled to an app, so no app is provisioned; why"),
        ({}, "deprovision", "still entitled to an app, so the app is not removed; why"),
        ({}, "provision", "why"),
        ({"entitled": None}, "provision", "why"),
        ({"entitled": False}, "deprovision", "why"),
        ({"entitled": False}, None, "why"),
    ],
)
def test_a_nudge_in_the_wrong_direction_succeeds_and_says_so(changes, direction, detail):
    answer = answer_result(make_result(detail="why", **changes), USER, direction)
    assert answer.status == 200
    assert answer.body["detail"] == detail
