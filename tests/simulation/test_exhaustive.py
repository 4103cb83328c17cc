"""A share of the exhaustive fault matrix in every test run; `make simulate` plays all of it."""

from random import Random

from tests.simulation.exhaustive import FAILURES, enumerate_cases, play

CASES_OF_EACH_FAILURE = 4


def test_the_promises_hold_whatever_fails(database):
    """The same cases in every run: which ones, a fixed seed has drawn."""
    cases = list(enumerate_cases(database))
    assert len(cases) > 5000
    drawn, broken = Random(20261122), []  # noqa: S311  chance that can be repeated
    for failure in FAILURES:
        for case in drawn.sample([each for each in cases if each.failure == failure], CASES_OF_EACH_FAILURE):
            try:
                play(database, case, seed=cases.index(case))
            except AssertionError as error:
                broken.append(f"{cases.index(case)}: {case}: {error}")
    assert broken == []
