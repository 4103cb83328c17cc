"""Which cases `make test` leaves to `make proof`."""

import pytest

from tests.support.sampling import CASES, FOR_EVERY, choose_part, sample, spread


def name_cases(test: str, count: int) -> list[str]:
    return [f"{test}[{number}]" for number in range(count)]


@pytest.mark.parametrize("count", range(1, 40))
def test_the_first_the_last_and_some_between_run_each_once(count):
    cases = name_cases("t", count)
    kept = spread(cases, CASES)
    assert len(set(kept)) == len(kept) == min(count, CASES)
    assert (kept[0], kept[-1]) == (cases[0], cases[-1])
    assert kept == sorted(kept, key=cases.index)


def test_every_test_runs_with_some_of_its_cases():
    ids = [*name_cases("tests/http/test_a.py::test_one", 30), *name_cases("tests/http/test_a.py::test_two", 2)]
    ids += ["tests/http/test_a.py::test_three", "tests/http/test_b.py::test_one"]
    kept = sample(ids)
    assert {each.partition("[")[0] for each in kept} == {each.partition("[")[0] for each in ids}
    assert len(kept) == CASES + 2 + 2


def test_unit_tests_all_run():
    ids = name_cases("tests/unit/test_a.py::test_one", 30)
    assert sample(ids) == set(ids)


def test_each_file_repeats_some_tests_on_the_systems_postgres():
    """The cases on the default server do not count as cases of these, nor these as theirs."""
    on_default = [f"tests/postgres/test_a.py::test_{number}[default]" for number in range(9)]
    on_system = [each.replace("default", "system") for each in on_default]
    other_file = ["tests/postgres/test_b.py::test_one[system-case]"]
    kept = sample([*on_default, *on_system, *other_file])
    assert kept == {*on_default, *on_system[::FOR_EVERY], *other_file}


QUICK = ["tests/http/test_a.py::test_quick", "tests/http/test_b.py::test_quick"]
SLOW = [*name_cases("tests/http/test_a.py::test_slow", 3), "tests/http/test_a.py::test_other"]


def test_a_slow_test_does_not_run():
    assert sample([*QUICK, *SLOW], set(SLOW)) == set(QUICK)


def test_a_file_of_slow_tests_runs_the_first_case_of_the_first():
    assert sample([*QUICK[1:], *SLOW], set(SLOW)) == {*QUICK[1:], SLOW[0]}


def test_a_file_of_tests_for_the_proof_runs_none_but_those_that_see_a_bug():
    assert sample([*QUICK[1:], *SLOW], set(SLOW), proof=set(SLOW)) == {*QUICK[1:]}
    assert sample([*QUICK[1:], *SLOW], set(SLOW), needed=[SLOW[3:]], proof=set(SLOW)) == {*QUICK[1:], SLOW[3]}


def test_a_slow_test_with_a_size_runs_its_first_case():
    assert sample([*QUICK, *SLOW], set(SLOW), sized=set(SLOW[:3])) == {*QUICK, SLOW[0]}


@pytest.mark.parametrize(
    ("catches", "also"),
    [
        (SLOW[3:], SLOW[3:]),  # nothing else sees this bug
        ([SLOW[0].partition("[")[0]], SLOW[:1]),  # any case
        (SLOW[2:3], SLOW[2:3]),  # this case
        ([QUICK[0], SLOW[3]], []),  # a quick test sees it, too
        (["tests/http/test_a.py"], []),  # some test of the file runs
        (["tests/http/test_c.py::test_gone"], []),
    ],
)
def test_what_alone_sees_a_planted_bug_runs(catches, also):
    assert sample([*QUICK, *SLOW], set(SLOW), needed=[catches]) == {*QUICK, *also}


def test_of_many_cases_the_one_that_sees_a_planted_bug_runs():
    ids = name_cases("tests/http/test_a.py::test_one", 30)
    assert sample(ids, needed=[ids[4:5]]) == {*spread(ids, CASES), ids[4]}


@pytest.mark.parametrize("count", [0, 1, 7, 8, 100])
def test_the_parts_are_together_all_and_none_twice(count):
    ids = name_cases("t", count)
    parts = [choose_part(ids, f"{number}/8") for number in range(1, 9)]
    assert set().union(*parts) == set(ids)
    assert sum(map(len, parts)) == count


@pytest.mark.parametrize("part", ["", "3", "0/8", "9/8", "x/8", "3/0", "-1/8"])
def test_what_is_no_part_is_refused(part):
    with pytest.raises(ValueError, match="such as 2/8"):
        choose_part(["t"], part)
