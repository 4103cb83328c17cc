"""The simulation refuses worlds that cannot exist: a test of an impossible world proves nothing."""

import pytest

from local.fly.state.latency_profiles import Unkindness
from tests.support.consistency import ImpossibleWorldError, check_faults, check_options
from tests.support.world import Options


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"record": True}, "the trace names processes"),
        ({"record": True, "take_turns": True}, "needs a standing database"),
        ({"rewinds": True, "take_turns": True}, "one session"),
        ({"take_turns": True, "keep_turn": 2.0}, "probability"),
        ({"keep_turn": 0.5}, "needs take_turns"),
        ({"unkind": Unkindness(lost_answers=1.5)}, "not a probability"),
        ({"unkind": Unkindness(list_lag_s=(9.0, 1.0))}, "not a range"),
    ],
)
def test_options_that_contradict_one_another_are_refused(options, problem):
    with pytest.raises(ImpossibleWorldError, match=problem):
        check_options(Options(**options))


@pytest.mark.parametrize("options", [{}, {"take_turns": True, "keep_turn": 0.9}, {"rewinds": True}, {"unkind": True}])
def test_a_world_that_can_be_is_accepted(options):
    check_options(Options(**options))


@pytest.mark.parametrize(
    ("rule", "problem"),
    [
        ({"method": "GET", "path": "/v1/machines"}, "has no path"),
        ({"method": "PUT", "path": "/v1/apps/*"}, "no call of the Machines API"),
        ({"method": "POST", "path": "/v1/apps", "times": 0}, "never happens"),
        ({"method": "GET", "path": "/v1/apps/*", "when": "after", "status": 500}, "no effect"),
    ],
)
def test_a_fault_that_no_request_can_meet_is_refused(rule, problem):
    with pytest.raises(ImpossibleWorldError, match=problem):
        check_faults([rule])


def test_a_fault_that_can_happen_is_accepted():
    check_faults([{"method": "DELETE", "path": "/v1/apps/*", "when": "after", "disconnect": True, "times": 1}])
