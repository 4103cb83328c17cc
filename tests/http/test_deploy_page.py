"""docs/deploy.md: its `hangar deploy` lines are run as they are typed; its vendors' commands have only flags that exist."""

import re
import shlex
import subprocess
import tomllib
from pathlib import Path

import pytest

from tests.support.vendors import flyctl, gcloud
from tests.support.vendors.base import parse

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "deploy.md").read_text()
LINES = re.findall(r"^    (\S.*)$", PAGE, re.MULTILINE)
DEPLOYMENTS = [line for line in LINES if line.startswith("hangar deploy ")]
VENDORS = [line for line in LINES if line.startswith(("fly ", "gcloud "))]

[LISTED] = re.findall(r"tests do not run:\n\n((?:- `.*\n)+)", PAGE)
NOT_RUN = [line.removesuffix(" …") for line in re.findall(r"^- `([^`]+)`", LISTED, re.MULTILINE)]


def is_listed(line):
    """Whether the page says that the tests do not run it."""
    return line.startswith(tuple(NOT_RUN))


@pytest.mark.slow
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


@pytest.mark.slow
def test_the_vendors_commands_of_the_page_run_in_their_order(deploy_world):
    """As they are typed, on the stand-ins, which refuse unknown flags and what the vendor would refuse in this state."""
    assert len(VENDORS) >= 10
    deploy_world.offer("fly", "gcloud")
    settings = deploy_world.secrets() | {
        "SUPABASE_PUBLISHABLE_KEY": "sb_publishable_0000000000",
        "FLY_ORG_SLUG": "acme",
        "HANGAR_INSTALLATION_ID": "33333333-3333-4333-8333-333333333333",
    }
    typed = "".join(f"{name}={value}\n" for name, value in settings.items())
    for line in VENDORS:
        if is_listed(line):
            continue
        ended = subprocess.run(shlex.split(line), cwd=ROOT, input=typed, capture_output=True, text=True, check=False)
        assert ended.returncode == 0, f"{line}: {ended.stdout}{ended.stderr}"
    assert set(deploy_world.tool("fly")["apps"]) == {"acme-hangar-health"}
    assert deploy_world.tool("gcloud")["accounts"] == ["hangar-health"]


@pytest.mark.parametrize("line", [line for line in VENDORS if is_listed(line)])
def test_a_command_that_is_not_run_has_only_flags_that_the_vendor_knows(line):
    tool, *words = shlex.split(line)
    parse(words, {"fly": flyctl.TABLE, "gcloud": gcloud.TABLE}[tool], several=("--env",))


def test_the_list_of_commands_that_are_not_run_is_short_and_true():
    """Every other command line of the page is run by a test: as typed, on a stand-in, or against a Postgres."""
    assert 0 < len(NOT_RUN) <= 10
    rest = PAGE.replace(LISTED, "")
    assert [line for line in NOT_RUN if line not in rest] == []
    run = ("hangar ", "fly ", "gcloud ", "supabase gen ", "supabase db ", "echo ", "openssl ")
    shell = [line for line in LINES if re.match(r"(hangar|fly|gcloud|docker|supabase|curl|psql|echo|openssl) ", line)]
    assert [line for line in shell if not line.startswith(run) and not is_listed(line)] == []
