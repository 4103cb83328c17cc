"""The operator's guide, with its pages about releases and installing, names every command and every option."""

from pathlib import Path

import click
import pytest

from ops.cli import build_cli
from ops.json_shapes import JSON_SHAPES
from shared.domain.remediation import _BY_CODE
from tools import commands_doc

DOCS = Path(__file__).parents[2] / "docs"
GUIDE = "".join(
    (DOCS / f"{page}.md").read_text()
    for page in ("operating", "releases", "credentials", "install", "deploy", "archive", "commands")
)


def commands(group, prefix="hangar"):
    for name, command in group.commands.items():
        yield f"{prefix} {name}", command
        if isinstance(command, click.Group):
            yield from commands(command, f"{prefix} {name}")


@pytest.mark.parametrize(
    ("name", "command"), list(commands(build_cli())), ids=lambda value: value if isinstance(value, str) else ""
)
def test_every_command_and_option_is_in_the_guide(name, command):
    assert name in GUIDE
    options = [
        option
        for each in command.params
        if isinstance(each, click.Option)
        for option in each.opts
        if option != "--folder"
    ]
    assert [option for option in options if option not in GUIDE] == []


def test_the_page_of_commands_is_the_generated_one():
    """After a change of a command, run `python -m tools.commands_doc`."""
    assert commands_doc.PAGE.read_text(encoding="utf-8") == commands_doc.render_page()


def test_every_command_that_prints_a_result_has_json_with_a_documented_shape():
    """`dev` and `demo` show a process, `completion` prints a script, and `init` asks questions."""
    without = {
        "dev",
        "demo",
        "completion",
        "init",
        "deploy",
        "archive",
        "archive restore",
        "release",
        "user",
        "plans",
        "alerts",
        "export",
    }
    found = {
        name.removeprefix("hangar ")
        for name, command in commands(build_cli())
        if any("--json" in option.opts for option in command.params)
    }
    every = {name.removeprefix("hangar ") for name, _ in commands(build_cli())}
    assert every - found <= without
    assert found == set(JSON_SHAPES)


def test_every_advice_names_commands_and_settings_that_exist():
    """Every `hangar …` in an advice is a command that exists."""
    names = {name for name, _ in commands(build_cli())}
    for advice in _BY_CODE.values():
        for part in advice.render("USER", "cli").split("`")[1::2]:
            if part.startswith("hangar "):
                assert any(part.startswith(name) for name in names), part
