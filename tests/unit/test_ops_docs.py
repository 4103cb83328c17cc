"""The operator's guide, with its page about releases, names every command and every option."""

from pathlib import Path

import click
import pytest

from ops.cli import build_cli
from shared.domain.remediation import _BY_CODE

DOCS = Path(__file__).parents[2] / "docs"
GUIDE = (DOCS / "operating.md").read_text() + (DOCS / "releases.md").read_text()


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


def test_every_advice_names_commands_and_settings_that_exist():
    """Every `hangar …` in an advice is a command that exists."""
    names = {name for name, _ in commands(build_cli())}
    for advice in _BY_CODE.values():
        for part in advice.render("USER", "cli").split("`")[1::2]:
            if part.startswith("hangar "):
                assert any(part.startswith(name) for name in names), part
