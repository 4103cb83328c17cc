"""docs/fly-simulator.md names every operation, control and option."""

import re
from pathlib import Path

from local.fly.__main__ import _parse
from local.fly.api import routes
from local.fly.api.control import _CONTROLS
from local.fly.state.images import BEHAVIOURS

PAGE = (Path(__file__).parents[2] / "docs" / "fly-simulator.md").read_text(encoding="utf-8")


def test_the_page_lists_exactly_the_answered_operations():
    """The table is the route table."""
    named = set(re.findall(r"^\| `([A-Z]+) (/v1/[^`]+)` \|", PAGE, re.MULTILINE))
    assert named == set(routes.ANSWERED)


def test_every_control_has_its_heading():
    """One heading per `/_sim` control."""
    headings = re.findall(r"^### `[A-Z]+ /_sim/([a-z-]+)", PAGE, re.MULTILINE)
    assert set(headings) == {*_CONTROLS, "apps", "machines", "regions"}


def test_every_behaviour_of_an_image_is_on_the_page_and_no_other():
    """The first column of the table."""
    table = PAGE.partition("## Images with behaviours")[2].partition("## The controls")[0]
    named = re.findall(r"^\| `([a-z0-9-]+)` \|", table, re.MULTILINE)
    assert sorted(named) == sorted(BEHAVIOURS)


def test_every_option_is_on_the_page():
    """All command-line options."""
    options = {f"--{name.replace('_', '-')}" for name in vars(_parse([]))}
    assert options == {option for option in options if f"`{option}" in PAGE}
