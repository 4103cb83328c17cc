"""How pytest-xdist shares the tests among its workers: what shares a costly fixture goes to one worker, the slowest first.

Every worker has a Postgres server of its own, so databases are never shared. A local cloud, a browser or a second version of
Postgres takes seconds to start: the tests that use the same one form one group, and a group is never split.
"""

from collections.abc import Iterable

import pytest
from xdist.scheduler import LoadScopeScheduling

# Folders in the order in which their tests begin: a slow group that begins last keeps every other worker waiting.
FOLDERS = ("kill", "browser", "archive", "http", "simulation", "incidents", "postgres", "mutants", "contract", "unit")
# Files that take ten seconds and more; measure with `pytest --durations=0`.
SLOW_FILES = (
    "tests/http/test_canary.py",
    "tests/http/test_signing_key_rotation.py",
    "tests/http/test_deploy_fly.py",
    "tests/http/test_ops_adopt.py",
    "tests/http/test_doctor.py",
    "tests/http/test_ops_migrate.py",
    "tests/http/test_ops_releases.py",
    "tests/http/test_replay.py",
    "tests/http/test_first_app.py",
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
    if "[system" in test:
        return f"the system's Postgres in {folder}"
    if folder in ("simulation", "incidents"):
        return nodeid
    return path


def sort_slowest_first(items: Iterable[pytest.Item]) -> list[pytest.Item]:
    """The same order in every worker; within a file it is kept."""
    return sorted(items, key=lambda item: _rank(item.nodeid.partition("::")[0]))


def _rank(path: str) -> tuple[bool, int]:
    folder = _folder(path)
    return path not in SLOW_FILES, FOLDERS.index(folder) if folder in FOLDERS else len(FOLDERS)


def _folder(path: str) -> str:
    parts = path.split("/")
    return parts[1] if len(parts) > 1 else ""
