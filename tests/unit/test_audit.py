"""`make audit` does not report dependencies as safe that it could not check."""

import pytest

from tools.audit import report_vulnerabilities

GOOD = {"name": "one", "version": "1.0", "vulns": []}
SKIPPED = {"name": "two", "skip_reason": "not found"}
KNOWN = {"name": "three", "version": "3.0", "vulns": [{"id": "CVE-0", "fix_versions": ["3.1"]}]}


@pytest.mark.parametrize(
    ("dependencies", "code", "printed"),
    [
        ([GOOD], 0, "no advisory for any of 1 dependencies"),
        ([GOOD, SKIPPED], 3, "not checked: 1 of 2: two"),
        ([GOOD, SKIPPED, KNOWN], 1, "three 3.0: CVE-0, fixed in 3.1"),
        ([], 3, "may be vulnerable"),
    ],
)
def test_exit_code_tells_known_vulnerabilities_from_unchecked_dependencies(capsys, dependencies, code, printed):
    """pip-audit itself reports "nothing found" for dependencies it could not check."""
    assert report_vulnerabilities(dependencies) == code
    assert printed in capsys.readouterr().out
