"""The entry point of the command line, and the options of `hangar dev`."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from ops.cli import build_cli

ROOT = Path(__file__).parents[2]
INTERRUPTED_IMPORT = """
import sys

class Interrupt:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            raise KeyboardInterrupt
        return None

sys.meta_path.insert(0, Interrupt())
from ops.cli import main
main()
"""


@pytest.mark.parametrize("module", ["click", "rich.console", "ops.commands.status"])
def test_ctrl_c_during_the_imports_exits_with_130_and_no_traceback(module):
    code = INTERRUPTED_IMPORT.format(module=module)
    done = subprocess.run(
        [sys.executable, "-c", code, "status"], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout) == (130, "")
    assert "Traceback" not in done.stderr


def test_a_second_ctrl_c_while_the_command_closes_also_exits_with_130():
    press_again = (
        "import atexit, os, signal\natexit.register(lambda: [os.kill(os.getpid(), signal.SIGINT), sum(range(1000))])\n"
    )
    code = press_again + INTERRUPTED_IMPORT.format(module="rich.console")
    done = subprocess.run(
        [sys.executable, "-c", code, "status"], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, "Traceback" in done.stderr) == (130, False)


@pytest.mark.parametrize(
    ("options", "ended_with", "exit_code", "sample"),
    [
        ([], 130, 130, False),
        (["--interrupt-ok"], 130, 0, False),
        (["--interrupt-ok", "--sample"], 1, 1, True),
        ([], 0, 0, False),
    ],
)
def test_dev_exits_with_130_after_ctrl_c_unless_told_otherwise(monkeypatch, options, ended_with, exit_code, sample):
    given = []

    def run_dev(*, sample):
        given.append(sample)
        return ended_with

    monkeypatch.setattr("ops.dev.run.run_dev", run_dev)
    assert CliRunner().invoke(build_cli(), ["dev", *options]).exit_code == exit_code
    assert given == [sample]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script_for_the_shell(shell):
    done = CliRunner().invoke(build_cli(), ["completion", shell])
    assert done.exit_code == 0
    assert "_HANGAR_COMPLETE" in done.output
    if tool := shutil.which(shell):
        subprocess.run([tool, "-n"], input=done.output, text=True, check=True, timeout=30)


def test_an_unknown_shell_names_the_known_ones():
    done = CliRunner().invoke(build_cli(), ["completion", "csh"])
    assert done.exit_code == 2
    assert "'bash', 'zsh', 'fish'" in done.output


@pytest.mark.parametrize(
    ("typed", "position", "expected"),
    [
        ("hangar app", 1, {"app", "apps"}),
        ("hangar apps --status ac", 3, {"active"}),
        ("hangar plans ", 2, {"list", "set"}),
    ],
)
def test_completion_completes_commands_options_and_choices(typed, position, expected):
    """What bash asks of the command at a press of Tab."""
    env = {**os.environ, "_HANGAR_COMPLETE": "bash_complete", "COMP_WORDS": typed, "COMP_CWORD": str(position)}
    command = [sys.executable, "-c", "from ops.cli import main; main()"]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert {line.partition(",")[2] for line in done.stdout.splitlines()} == expected
