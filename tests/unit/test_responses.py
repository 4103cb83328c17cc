"""Every answer of provision, deprovision and health carries a stable code for programs."""

import re
import uuid
from dataclasses import dataclass

import pytest

from functions import responses
from functions.responses import answer_result, answer_sweep, find_code
from shared.domain.errors import Refused, TransientError
from shared.domain.models import OperatorRequest
from shared.fleet.sweep import SweepReport
from shared.http.problem import Problem
from shared.reconcile.result import Result

USER = uuid.UUID("11111111-1111-4111-8111-111111111111")


@dataclass(frozen=True)
class CodedResult(Result):
    """A result that names its code itself."""

    code: str | None = None


@pytest.mark.parametrize(
    ("result", "code"),
    [
        (Result("converged", "any"), "converged"),
        (Result("pending", "any"), "waiting"),
        (Result("pending", "any", failure=Refused("any", code="image")), "image"),
        (Result("pending", "any", failure=TransientError("any")), "transient"),
        (Result("nothing", "any", known=False, entitled=False), "unknown_user"),
        (Result("nothing", "any"), "unknown_tier"),
        (Result("nothing", "any", entitled=True), "not_live"),
        (Result("nothing", "any", entitled=False), "not_entitled"),
        (Result("nothing", "any", entitled=False, status="deleted"), "app_gone"),
        (CodedResult("pending", "any", code="leased"), "leased"),
        (CodedResult("pending", "any", failure=Refused("any", code="image"), code="paused"), "paused"),
    ],
)
def test_a_results_code_does_not_depend_on_its_sentence(result, code):
    assert find_code(result) == code
    answer = answer_result(result, USER)
    assert answer.body["code"] == code
    assert answer.status == (202 if result.state == "pending" else 200)


@pytest.mark.parametrize(("complete", "code"), [(True, "complete"), (False, "incomplete")])
def test_a_sweep_says_whether_it_covered_the_fleet(complete, code):
    answer = answer_sweep(SweepReport(complete=complete))
    assert (answer.status, answer.body["code"], answer.body["complete"]) == (200, code, complete)


@pytest.mark.parametrize(
    ("what", "result", "status", "code"),
    [
        ("check", Result("nothing", "any", known=False), 404, "unknown_user"),
        ("provision", Result("nothing", "any", entitled=False), 409, "not_entitled"),
        ("provision", Result("nothing", "any", entitled=True), 409, "not_admitted"),
        ("deprovision", Result("converged", "any", entitled=True), 409, "still_entitled"),
        ("restart", Result("nothing", "any"), 409, "no_app"),
        ("restart", Result("converged", "any", restarted=False, restart_detail="it was not"), 409, "not_restarted"),
        ("restart", Result("pending", "any", failure=TransientError("any")), 503, "not_restarted"),
    ],
)
def test_an_operator_is_refused_with_a_code(what, result, status, code):
    with pytest.raises(Problem) as refusal:
        answer_result(result, USER, request=OperatorRequest("operator@example.test", what))
    assert (refusal.value.status, refusal.value.code) == (status, code)
    assert refusal.value.detail[0].isupper()
    assert f"`{code}`" in re.sub(r"\s+", " ", responses.__doc__)
