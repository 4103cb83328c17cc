"""The corpus says where each incident was published, and docs/reliability.md lists all of them."""

import ast
import re
from pathlib import Path

HERE = Path(__file__).parent
TABLE = HERE.parents[1] / "docs" / "reliability.md"
SOURCE = re.compile(r"https://\S+|superfly/docs")


def read_incidents() -> dict[str, str]:
    """The docstring of each test of an incident, by its name."""
    return {
        node.name: ast.get_docstring(node) or ""
        for file in HERE.glob("test_*.py")
        if file.name != Path(__file__).name
        for node in ast.parse(file.read_text()).body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    }


def test_every_incident_names_its_source_and_what_the_operator_sees():
    for name, text in read_incidents().items():
        what, source, hangar = text.split("\n\n")
        assert what.endswith("."), name
        assert source.startswith("Source: "), name
        assert SOURCE.search(source), name
        assert re.search(r"operator|alert", hangar, re.IGNORECASE), name


def test_the_documentation_lists_exactly_these_incidents():
    listed = re.findall(r"^\|.*`(test_\w+)`.*\|$", TABLE.read_text(), re.MULTILINE)
    assert sorted(listed) == sorted(read_incidents())
