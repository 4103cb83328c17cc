"""SIGKILL before and after every call of the archiver: nothing is lost, and nothing is in the bucket twice."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.sizes import size

ROOT = Path(__file__).parents[2]
LOOK_EVERY = 4
STEP = size("ARCHIVE_KILL_STEP")


@pytest.mark.sized
@pytest.mark.slow
def test_killed_at_every_step_the_next_run_finishes(past, archive, store, restored):
    """Every attempt gets further than the one before. A last run without a kill ends what is left."""
    before = set(past.log())
    kills, code = 0, -signal.SIGKILL
    command = [sys.executable, "-m", "tests.support.archiver", past.url, store.url]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as forks:
        while code == -signal.SIGKILL:
            past.add_events(3)
            before |= set(past.log())
            forks.stdin.write(f"{kills}\n")
            forks.stdin.flush()
            code = int(forks.stdout.readline())
            kills += STEP
            if kills // STEP % LOOK_EVERY == 0:  # it reads the whole bucket
                kept = restored() if any("manifest" in key for key in store.objects()) else []
                assert {*kept, *past.log()} == before
    assert code == 0
    assert kills > 20
    archive()
    assert past.one("select count(*) from user_fly_app_events where created_at < now() - interval '31 days'") == 0
    kept = restored()
    assert sorted([*kept, *past.log()]) == sorted(before)
    assert len(store.objects()) == 2 * len(past.batches())
