"""A slice of `make fuzz`: sense and nonsense to every function, over real connections, and what it left behind."""

import pytest

import main
from tests.fuzz.run import find_breakage, open_target

EXAMPLES = 6
SEEN = {"function": {200, 400, 401, 405, 415}, "dashboard": {200, 303, 403, 404, 405}}


@pytest.fixture(scope="module")
def target(tmp_path_factory):
    with open_target(tmp_path_factory.mktemp("fuzz") / "cloud") as target:
        yield target


@pytest.mark.timeout(600)  # seconds, and much more where others need the machine too
@pytest.mark.parametrize("function", main._MODULES)
def test_no_request_breaks_a_function_or_changes_what_it_should_not(target, function):
    """Every answer is a documented one, every error problem+json, and refused requests reach neither database nor Fly."""
    assert target.fuzz(function, EXAMPLES, 1) >= 50
    who = "dashboard" if function == "admin" else "function"
    assert {status for each, status in target.oracle.seen if each == who} >= SEEN[who]
    assert find_breakage(target.read_logs(function)) == []
