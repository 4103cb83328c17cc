"""A slice of `make fuzz`: sense and nonsense to every function, over real connections, with what it left behind."""

import pytest

import main
from tests.fuzz.run import KINDS, find_breakage, open_target

EXAMPLES = {"unproven": 12, "proven nonsense": 6, "proven": 12}


@pytest.fixture(scope="module")
def target(tmp_path_factory):
    with open_target(tmp_path_factory.mktemp("fuzz") / "cloud") as target:
        yield target


@pytest.mark.parametrize("function", main._MODULES)
def test_no_request_breaks_a_function_or_changes_what_it_should_not(target, function):
    """Every answer is a documented one, every error problem+json, and refused requests reach neither database nor Fly."""
    sent = sum(target.fuzz(function, kind, EXAMPLES[kind], number) for number, kind in enumerate(KINDS, 1))
    assert sent >= 180
    assert {"200", "400", "401", "405", "415"} <= {status for who, status in target.oracle.seen if who == "function"}
    assert find_breakage(target.read_logs(function)) == []
