"""`make audit` does not take silence for innocence."""

import pytest

from tools.audit import judge

GOOD = {"name": "one", "version": "1.0", "vulns": []}
SKIPPED = {"name": "two", "skip_reason": "not found"}
KNOWN = {"name": "three", "version": "3.0", "vulns": [{"id": "CVE-0", "fix_versions": ["3.1"]}]}


@pytest.mark.parametrize(
    ("dependencies", "code", "said"),
    [
        ([GOOD], 0, "no advisory for any of 1 dependencies"),
        ([GOOD, SKIPPED], 3, "could not ask about 1 of 2: two"),
        ([GOOD, SKIPPED, KNOWN], 1, "three 3.0: CVE-0, fixed in 3.1"),
        ([], 3, "proves nothing"),
    ],
)
def test_the_exit_code_says_whether_it_could_be_asked(capsys, dependencies, code, said):
    """pip-audit itself reports nothing found where it could not ask."""
    assert judge(dependencies) == code
    assert said in capsys.readouterr().out
