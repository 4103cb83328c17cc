"""How many random small worlds it takes until the code at hand breaks a promise: `python -m tests.mutants.seeds MOST WITHIN_S`.

Run in a tree that holds a planted bug. Prints `caught N` (seeds from 1 on; a world that cannot be played to its end is caught,
too) or `not N`, which is how many were played.
"""

import contextlib
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from local.supabase.postgres.server import Postgres
from tests.simulation.seeds import check_seed, forget
from tests.support.databases import fresh_database


def count_seeds(most: int, within_s: float) -> str:
    """Play seeds from 1 until one breaks, `most` are played, or the time is up."""
    memory = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108  made to be thrown away
    with TemporaryDirectory(dir=memory) as folder, Postgres(Path(folder), fsync=False) as server:
        url, began, seed = fresh_database(server), time.monotonic(), 0
        try:
            while seed < most and time.monotonic() - began < within_s:
                seed += 1
                if is_broken(url, seed):
                    return f"caught {seed}"
        finally:
            with contextlib.suppress(Exception):  # what the bug left of the session is of no use to anybody
                forget(url)
    return f"not {seed}"


def is_broken(url: str, seed: int) -> bool:
    """Whether this seed's promises hold; what raises does not hold either."""
    try:
        return bool(check_seed(url, seed))
    except Exception:  # noqa: BLE001  a bug may do anything
        return True


if __name__ == "__main__":
    print(count_seeds(int(sys.argv[1]), float(sys.argv[2])), flush=True)  # noqa: T201  this is a command
