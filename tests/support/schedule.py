"""How pytest-xdist shares the tests among its workers: what shares a costly fixture goes to one worker, the slowest first.

Every worker has a Postgres server of its own, so databases are never shared. A local cloud, a browser or a second version of
Postgres takes seconds to start: the tests that use the same one form one group, and a group is never split.
"""

import zlib
from collections.abc import Iterable

import pytest
from xdist.scheduler import LoadScopeScheduling

# Folders in the order in which their tests begin: a slow group that begins last keeps every other worker waiting.
FOLDERS = ("kill", "browser", "archive", "http", "simulation", "incidents", "postgres", "mutants", "contract", "unit")
# Tests of the one wait for other processes, those of the other for the processor: mixed, they keep it busy.
MIXED = ("http", "simulation")
# Files that take ten seconds and more; measure with `pytest --durations=0`.
SLOW_FILES = (
    "tests/http/test_canary.py",
    "tests/http/test_deploy_fly.py",
    "tests/http/test_ops_adopt.py",
    "tests/http/test_doctor.py",
    "tests/http/test_ops_migrate.py",
    "tests/http/test_ops_releases.py",
)
# Files beside tests/http/test_ops_* that use its local cloud.
COMMANDS = (
    "tests/http/test_operator_calls.py",
    "tests/http/test_original_leftovers.py",
    "tests/http/test_other_servers.py",
    "tests/http/test_replay.py",
    "tests/http/test_terminal.py",
)


class GroupScheduling(LoadScopeScheduling):
    """Gives a worker one group after another, in the order of collection."""

    def _split_scope(self, nodeid: str) -> str:
        return name_group(nodeid)


def name_group(nodeid: str) -> str:
    """The group of a test, from its id, for example "tests/http/test_canary.py::test_one[a]"."""
    path, _, test = nodeid.partition("::")
    folder = _folder(path)
    if folder == "browser":
        return "one browser and its cloud"
    if path.startswith("tests/http/test_admin_"):
        return "one cloud with a dashboard"
    if path.startswith("tests/http/test_ops_") or path in COMMANDS:
        return "one cloud with commands"
    if "[system" in test:
        return f"the system's Postgres in {folder}"
    if folder in ("simulation", "incidents"):
        return nodeid
    return path


def sort_slowest_first(items: Iterable[pytest.Item]) -> list[pytest.Item]:
    """The same order in every worker; within a file it is kept."""
    return sorted(items, key=lambda item: _rank(item.nodeid))


def _rank(nodeid: str) -> tuple[bool, int, int]:
    path = nodeid.partition("::")[0]
    folder = _folder(path)
    if folder in MIXED:
        return path not in SLOW_FILES, FOLDERS.index(MIXED[0]), zlib.crc32(name_group(nodeid).encode())
    return path not in SLOW_FILES, FOLDERS.index(folder) if folder in FOLDERS else len(FOLDERS), 0


def _folder(path: str) -> str:
    parts = path.split("/")
    return parts[1] if len(parts) > 1 else ""
