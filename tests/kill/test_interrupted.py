"""A campaign that is interrupted or killed leaves no process and no file."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.kill.cloud import find_children, until

ROOT = Path(__file__).parents[2]


def find_family(pid):
    """All live descendants of a process."""
    children = find_children(pid)
    return children.union(*map(find_family, children))


def is_alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.timeout(600)
@pytest.mark.slow
@pytest.mark.proof
def test_an_interrupted_campaign_leaves_nothing_and_a_killed_one_is_cleared_by_the_next(tmp_path):
    environ = os.environ | {"TMPDIR": str(tmp_path)}

    def start(log, is_far_enough):
        with log.open("wb") as file:
            command = [sys.executable, "-m", "tests.kill", "1000", "1"]
            campaign = subprocess.Popen(command, cwd=ROOT, env=environ, stdout=file, stderr=file)
        until(lambda: is_far_enough() or campaign.poll() is not None, f"no progress in {log.name}")
        assert campaign.poll() is None, log.read_text()
        return campaign, find_family(campaign.pid)

    log = tmp_path / "killed.log"
    killed, orphans = start(log, lambda: [*tmp_path.glob("hangar-kill-*/cloud/logs/health*")])
    assert len(orphans) >= 8
    killed.kill()
    killed.wait()
    until(lambda: not any(map(is_alive, orphans)), "a process outlived the killed campaign")
    (remains,) = tmp_path.glob("hangar-kill-*")
    log = tmp_path / "interrupted.log"
    interrupted, family = start(
        log, lambda: not remains.exists() and [*tmp_path.glob("hangar-kill-*/cloud/logs/health*")]
    )
    assert len(family) >= 4
    interrupted.send_signal(signal.SIGTERM)
    assert interrupted.wait(300) == 130, log.read_text()
    assert not any(map(is_alive, family))
    assert list(tmp_path.glob("hangar-kill-*")) == []
