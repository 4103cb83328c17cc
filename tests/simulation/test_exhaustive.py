"""A sample of the matrix in every test run; `make proof` runs all of it."""

import logging

import pytest

from tests.simulation.exhaustive import DELIVERIES, FATES, CaseRunner, draw, enumerate_cases, trace_ways
from tests.simulation.exhaustive_case import Case, CaseRun
from tests.simulation.exhaustive_circumstances import CIRCUMSTANCES
from tests.simulation.exhaustive_faults import FAILURES
from tests.simulation.exhaustive_ways import WAYS
from tests.support.rewind import without_threads
from tests.support.sizes import size
from tests.support.world import World

STEP = size("MATRIX_STEP")


@pytest.mark.slow
def test_the_matrix_has_every_value_of_every_dimension(database):
    """The matrix has its full size, and without a fault every use case reaches its end state."""
    with World(database, rewinds=True) as world, without_threads():
        traces = trace_ways(world)
    cases = list(enumerate_cases(traces))
    assert len(cases) > 100_000
    assert {case.way for case in cases} == set(WAYS)
    assert {case.failure for case in cases if case.call[0] != "rpc"} == set(FAILURES)
    assert {(case.fate, case.delivery) for case in cases} == {(f, d) for f in FATES for d in DELIVERIES}
    assert {(case.way, case.circumstance) for case in cases} == {(way, each) for way in WAYS for each in CIRCUMSTANCES}
    assert {(case.way, case.call) for case in cases if case.call[0] != "rpc"} == {
        (way, call) for way, trace in traces.items() for call in trace.calls
    }


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_promises_hold_whatever_fails(database, caplog):
    """A fixed seed selects the same cases in every run."""
    caplog.set_level(logging.CRITICAL, "hangar")
    runner = CaseRunner(database)
    share = runner.run(draw(runner.cases, STEP))
    runner.world.close()
    assert share.broken == []
    assert share.cases > 100_000 / STEP
    assert {value for name, value in share.values if name == "circumstance"} == set(CIRCUMSTANCES)


def test_a_violation_is_reported(database):
    """The checker reports an app without an owner."""
    with World(database, rewinds=True) as world, without_threads():
        world.rewind.begin()
        start = WAYS["upgrade"](world)
        world.rewind.keep()
        run = CaseRun(world, start, Case("upgrade", -1, ("", ""), "nothing"))
        assert run.run() == []
        world.sim.apps["stray"] = next(iter(world.sim.apps.values()))
        assert [line[:8] for line in run._check()] == ["I1 to I3"]
