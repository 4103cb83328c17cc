"""The simulator's page names everything the simulator does."""

import re
from pathlib import Path

from local.fly.__main__ import _parse
from local.fly.api import routes
from local.fly.api.control import _CONTROLS

PAGE = (Path(__file__).parents[2] / "docs" / "fly-simulator.md").read_text(encoding="utf-8")


def test_every_operation_it_answers_is_on_the_page_and_no_other():
    named = set(re.findall(r"^\| `([A-Z]+) (/v1/[^`]+)` \|", PAGE, re.MULTILINE))
    assert named == set(routes.ANSWERED)


def test_every_control_has_its_heading():
    headings = re.findall(r"^### `[A-Z]+ /_sim/([a-z-]+)", PAGE, re.MULTILINE)
    assert set(headings) == {*_CONTROLS, "machines", "regions"}


def test_every_option_is_on_the_page():
    options = {f"--{name.replace('_', '-')}" for name in vars(_parse([]))}
    assert options == {option for option in options if f"`{option}" in PAGE}
