"""docs/deploy.md: its `hangar deploy` lines are run as they are typed; its vendors' commands have only flags that exist."""

import re
import shlex
import tomllib
from pathlib import Path

import pytest

from tests.support.vendors import flyctl, gcloud
from tests.support.vendors.base import parse

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "deploy.md").read_text()
LINES = re.findall(r"^    (\S.*)$", PAGE, re.MULTILINE)
DEPLOYMENTS = [line for line in LINES if line.startswith("hangar deploy ")]
VENDORS = [line for line in LINES if line.startswith(("fly ", "gcloud "))]


def test_the_commands_of_the_page_deploy_from_beginning_to_end(deploy_world):
    """With the `hangar.toml` that the page shows."""
    [project] = re.findall(r"^```toml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    assert set(tomllib.loads(project)) == {"backend", "functions", "deploy"}
    (deploy_world.folder / "hangar.toml").write_text(project)
    assert len(DEPLOYMENTS) == 6
    for line in DEPLOYMENTS:
        deploy_world.hangar(*shlex.split(line)[1:])
    assert len(deploy_world.tool("fly")["apps"]) == len(deploy_world.tool("gcloud")["services"]) == 4
    assert deploy_world.tool("docker")["labels"]["hangar"]


@pytest.mark.parametrize("line", VENDORS)
def test_a_command_that_is_not_run_has_only_flags_that_the_vendor_knows(line):
    tool, *words = shlex.split(line)
    parse(words, {"fly": flyctl.TABLE, "gcloud": gcloud.TABLE}[tool], several=("--env",))


def test_few_commands_are_not_run():
    assert 0 < len(VENDORS) <= 12
