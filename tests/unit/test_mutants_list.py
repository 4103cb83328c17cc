"""The list of planted bugs fits the code: `make mutants` judges what stands there today."""

from collections import Counter

import pytest

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
