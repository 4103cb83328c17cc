"""docs/troubleshooting.md has a heading with the three answers for each kind of alert and each error code."""

import re
from pathlib import Path

import pytest

from functions.admin.views.alerts import TITLES
from shared.domain import errors, remediation
from shared.fly.errors import RULES

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "troubleshooting.md").read_text()
ALERTS, CODES = PAGE.partition("\n## Error codes\n")[::2]
# A run ends with these and leaves no failure on the row.
PASSING = {"lease_lost", "save_failed", "withheld", "error"}


def headings(part):
    return re.findall(r"^### `(\w+)`$", part, re.MULTILINE)


def find_classes(family):
    yield family
    for child in family.__subclasses__():
        yield from find_classes(child)


def test_every_kind_of_alert_has_a_heading():
    assert headings(ALERTS) == sorted({*TITLES, "brake"})


def test_every_error_code_has_a_heading():
    codes = {rule.code for rule in RULES} | {
        each.default_code for each in find_classes(errors.HangarError) if each.__module__ == errors.__name__
    }
    codes |= set(remediation._BY_CODE) | {"unreachable", "unavailable"}
    assert headings(CODES) == sorted(codes - PASSING)


@pytest.mark.parametrize("section", re.findall(r"^### .*?(?=^##|\Z)", PAGE, re.MULTILINE | re.DOTALL))
def test_each_says_what_it_means_what_to_look_at_and_what_to_do(section):
    for word in ("Means", "Look at", "Do"):
        assert section.count(f"**{word}** ") == 1, section
