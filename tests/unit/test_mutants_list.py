"""The list of planted bugs fits the code: `make mutants` judges what stands there today."""

from collections import Counter

import pytest

from tests.mutants.__main__ import Verdict, summarise_seeds
from tests.mutants.catalog import MUTANTS
from tests.mutants.mutant import ROOT


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_planted_bug_fits_the_code(mutant):
    """Its old text stands in its file exactly once, and the new one is another."""
    text = (ROOT / mutant.file).read_text()
    assert text.count(mutant.old) == 1, f"bring {mutant.name} in tests/mutants/ up to date with {mutant.file}"
    assert mutant.new != mutant.old
    assert mutant.breaks


def test_a_planted_bug_has_tests_to_ask():
    """Every file of tests that is named exists."""
    assert not [test for mutant in MUTANTS for test in mutant.tests if not (ROOT / test).is_file()]


def test_there_are_many_planted_bugs_and_each_has_its_name():
    """At least forty, no name twice."""
    names = Counter(mutant.name for mutant in MUTANTS)
    assert len(names) >= 40
    assert max(names.values()) == 1


def test_seeds_are_summed_up():
    """How many bugs the random worlds caught of those they were asked about; a bug they were not asked about does not count."""
    caught = [Verdict(1, by="a test", seeds=seeds, by_seed=True) for seeds in (2, 40, 6)]
    others = [Verdict(1, by="a test", seeds=200), Verdict(1, by="a test")]
    assert summarise_seeds([*caught, *others]) == "seeds caught 3 of 4: after 6 in the median, 40 at most"
    assert summarise_seeds(others) == "seeds caught none of 1"
    mutant = next(each for each in MUTANTS if each.name == "grace-zero")
    assert [each.describe(mutant).partition("; ")[2] for each in (caught[0], *others)] == [
        "by seed 2",
        "not by 200 seeds",
        "",
    ]
