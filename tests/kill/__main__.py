"""`python -m tests.kill [--sample] [--moves] [KILLS [SEED]]`: kill processes, and check what is left.

With `--sample` any process may be killed from the beginning, and the campaign ends after that many kills. Otherwise a worker is
killed at every point first, and the campaign ends when a process has been killed at each point. With
`--moves` processes are killed at the steps of a move to another region only. Exit code 0: every promise held
after every round; 1: a promise was broken, and the seed, the kills and the app's history are printed; 130: interrupted. No
process and no file is left behind. The seed decides which process is killed where and what the host does. Real processes run
with varying speed, so a second run with the same seed is similar, not identical.
"""

import contextlib
import fcntl
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

from tests.kill.campaign import Campaign, describe
from tests.kill.cloud import KillCloud

PREFIX = "hangar-kill-"
# Each write of a move: in the database, and at Fly. Machines are stopped and started for other reasons as well.
MOVES = r"\(move\)|/machines/\*/(stop|start)$"


def main(kills: int, seed: int, *, sample: bool = False, only: str = "") -> int:
    """Run one campaign and print its table."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    clear_remains()
    started = time.monotonic()
    campaign = None
    with tempfile.TemporaryDirectory(prefix=PREFIX) as folder:
        Path(folder).chmod(0o755)  # Postgres may run as another user
        try:
            with KillCloud(Path(folder) / "cloud") as cloud:
                campaign = Campaign(
                    cloud, seed, mixed=sample, only=only, say=lambda line: print(line, file=sys.stderr, flush=True)
                )
                campaign.run(kills, everywhere=not sample)
        except KeyboardInterrupt:
            print(describe(campaign) if campaign else "interrupted while starting")
            return 130
    print(describe(campaign))
    if campaign.problems:
        print("\nBROKEN: " + "\n".join(campaign.problems))
        print(f"again: python -m tests.kill {kills} {seed}")
        return 1
    print(f"0 lost, 0 doubled, 0 orphaned; seed {seed}, {time.monotonic() - started:.0f} s")
    return 0


def clear_remains() -> None:
    """Remove the folder of a run that was itself killed: its lock is free, and its processes died with it."""
    for lock in Path(tempfile.gettempdir()).glob(f"{PREFIX}*/cloud/lock"):
        with lock.open() as file, contextlib.suppress(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(lock.parents[1], ignore_errors=True)


if __name__ == "__main__":
    numbers = [int(word) for word in sys.argv[1:] if not word.startswith("--")]
    kills, seed = [*numbers, *(500, 1)[len(numbers) :]]
    sys.exit(main(kills, seed, sample="--sample" in sys.argv, only=MOVES if "--moves" in sys.argv else ""))
