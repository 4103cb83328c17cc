"""How large a test is: small enough for every change in `make test`, as large as it pays in `make proof`.

A test that reads a size has the marker `sized`. A variable of the environment with the size's name comes first, for example
`FLEET=10000 pytest tests/simulation/test_scale.py`; with `PROOF=1` every test has its full size.
"""

import os

# Name: the size in `make test`, and in `make proof`.
_SIZES = {
    "SEEDS": (8, 10_000),
    "MATRIX_STEP": (1_200, 1),
    "DEATH_STEP": (7, 1),
    "RENEWAL_STEP": (7, 1),
    "FLEET": (1_200, 10_000),
    "UPGRADES": (40, 1_000),
    "DOWNGRADES": (120, 1_000),
    "FLIPPING_USERS": (60, 250),
    "STORMS": (1, 6),
    "STATE_MACHINE_EXAMPLES": (8, 100),
    "PARTS_KILLED": (1, 2),
    "AXE_RUNS_PER_PAGE": (1, 2),
    "LOCK_ROUNDS": (2, 15),
    "REPLAYS": (15, 50),
    "INSTALLS_KILLED": (3, 6),
    "STORM_S": (900, 2_400),
    "ARCHIVE_KILL_STEP": (3, 1),
    "RELEASE_FLEET": (60, 1_000),
    "BAD_RELEASE_FLEET": (60, 200),
    "OLD_EVENTS": (60_000, 1_000_000),
}


def size(name: str) -> int:
    """The size to use in this run."""
    small, full = _SIZES[name]
    return int(os.environ.get(name) or (full if os.environ.get("PROOF") else small))
