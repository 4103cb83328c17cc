"""Fixtures that need a real Postgres, for every folder of tests.

`postgres` is the server, `database` the URL of a database of the test's own (bootstrap, host tables, migrations, seed),
`connect` opens sessions to it, as superuser or as a role of Supabase. A test marked `every_postgres` runs on the
default server and once more on the oldest installed system server, which catches what only a newer Postgres knows.
"""

import contextlib
import fcntl
import gc
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings

from local.supabase.postgres.server import Postgres, find_binaries, system_binaries
from tests.mutants.catalog import BUGS
from tests.support.databases import as_role, drop_database, fresh_database
from tests.support.sampling import choose_part, sample
from tests.support.schedule import GroupScheduling, sort_slowest_first
from tests.support.shared_database import SessionPool, SharedDatabases

_ENOUGH_BYTES = 2 * 1024**3
# Nothing has to outlive the tests' server, and nobody follows it.
_SETTINGS = {
    "max_wal_size": "128MB",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "update_process_title": "off",
}
# No test is judged by a clock: on a busy machine a slow example is no finding.
hypothesis_settings.register_profile("hangar", deadline=None, suppress_health_check=[HealthCheck.too_slow])
hypothesis_settings.load_profile("hangar")


def pytest_addoption(parser):
    parser.addoption(
        "--sample", action="store_true", help="few cases of each test, and few slow tests (tests/support/sampling.py)"
    )
    parser.addoption(
        "--slow-part", metavar="K/N", help="the K-th of N parts of the slow tests that --sample leaves out"
    )


def pytest_configure(config):
    # Started in the background, a shell has us ignore Ctrl-C, and every child of ours with us.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    config.addinivalue_line("markers", "every_postgres: also run on an installed system Postgres, when there is one")
    config.addinivalue_line("markers", "own_database: does not share its database with other tests (tests/postgres)")
    config.addinivalue_line(
        "markers", "slow: takes 0.3 s of a processor; `make test` runs few (tests/support/sampling.py)"
    )
    config.addinivalue_line(
        "markers", "proof: a slow test that `make test` leaves out, unless it alone sees a planted bug"
    )
    config.addinivalue_line("markers", "sized: larger in `make proof` than in `make test` (tests/support/sizes.py)")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    config.option.loadscopereorder = False  # by the number of tests, which says nothing about how long they take
    return GroupScheduling(config, log)


def pytest_collection_modifyitems(config, items):
    ids, slow = [item.nodeid for item in items], {item.nodeid for item in items if item.get_closest_marker("slow")}
    kept = set(ids)
    if config.option.sample:
        kept = _sample(items, slow)
    elif config.option.slow_part:
        left_out = sorted(slow - _sample(items, slow))
        try:
            kept = choose_part(left_out, config.option.slow_part)
        except ValueError as error:
            raise pytest.UsageError(f"--slow-part: {error}") from None
    config.hook.pytest_deselected(items=[item for item in items if item.nodeid not in kept])
    items[:] = [item for item in items if item.nodeid in kept]
    if hasattr(config, "workerinput"):
        items[:] = sort_slowest_first(items)


def _sample(items, slow):
    sized, proof = ({item.nodeid for item in items if item.get_closest_marker(name)} for name in ("sized", "proof"))
    return sample([item.nodeid for item in items], slow, sized, [bug.tests for bug in BUGS], proof)


def pytest_collection_finish():
    # Thousands of collected tests stay until the end. Without this the collector of garbage goes through them again and again.
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 50)  # a test makes thousands of objects, and ends soon


def pytest_generate_tests(metafunc):
    if "postgres" in metafunc.fixturenames and metafunc.definition.get_closest_marker("every_postgres"):
        metafunc.parametrize("postgres", ["default", "system"], indirect=True)


@pytest.fixture(scope="session")
def _postgres_folder(tmp_path_factory) -> Iterator[Path]:
    """In memory where there is plenty: a copy of a database then takes 20 ms, on some disks 400."""
    memory = Path("/dev/shm")  # noqa: S108  mkdtemp makes the folders in it
    if not memory.is_dir() or shutil.disk_usage(memory).free < _ENOUGH_BYTES:
        yield tmp_path_factory.mktemp("postgres")
        return
    for lock in memory.glob("hangar-tests-*/lock"):
        # Blocked: that run is alive. Not found: another worker of this run has just removed it.
        with contextlib.suppress(BlockingIOError, FileNotFoundError), lock.open() as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(lock.parent, ignore_errors=True)
    made = Path(tempfile.mkdtemp(dir=memory, prefix="made-hangar-tests-"))
    made.chmod(0o755)  # a test runs as another user
    with (made / "lock").open("w") as file:
        # It is locked before it has the name that other workers look for.
        fcntl.flock(file, fcntl.LOCK_EX)
        folder = made.rename(made.with_name(made.name.removeprefix("made-")))
        yield folder
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def server_folder(_postgres_folder) -> Iterator[Path]:
    """An empty folder for a Postgres of the test's own."""
    folder = Path(tempfile.mkdtemp(dir=_postgres_folder))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def _postgres_servers(_postgres_folder) -> Iterator[Callable[[str], Postgres]]:
    """The local clouds of a worker share a server of their own ("clouds"): a whole server sees their pg_net."""
    running: dict[str, Postgres] = {}

    def server(kind: str) -> Postgres:
        if kind not in running:
            binaries = find_binaries()
            if kind == "system":
                others = [folder for folder in system_binaries() if folder.resolve() != binaries.resolve()]
                if not others:
                    pytest.skip("no system Postgres besides the default one")
                binaries = others[-1]
            server = Postgres(_postgres_folder / kind, fsync=False, binaries=binaries, settings=_SETTINGS)
            running[kind] = server.start()
        return running[kind]

    yield server
    for postgres in running.values():
        postgres.stop()


@pytest.fixture
def postgres(request, _postgres_servers) -> Postgres:
    """A running server, shared by the whole session; make no roles in it and change no settings of it."""
    return _postgres_servers(getattr(request, "param", "default"))


@pytest.fixture
def database(postgres) -> Iterator[str]:
    """The superuser's URL of a database that only this test uses."""
    url = fresh_database(postgres)
    yield url
    drop_database(url)


@pytest.fixture
def bare_database(postgres) -> Iterator[str]:
    """Like `database` but without our migrations and seed: a Supabase project with the host's tables only."""
    url = fresh_database(postgres, migrations=False, seed=False)
    yield url
    drop_database(url)


@pytest.fixture(scope="session")
def shared_databases() -> Iterator[SharedDatabases]:
    """Databases for tests that do not need one of their own."""
    databases = SharedDatabases()
    yield databases
    databases.close()


@pytest.fixture
def session_pools() -> list[SessionPool]:
    """The open sessions of the shared databases that this test uses."""
    return []


@pytest.fixture
def connect(session_pools) -> Iterator[Callable[..., psycopg.Connection]]:
    """`connect(url, role=None, claims=None)`: an autocommit session until the end of the test; None is superuser."""
    opened: list[psycopg.Connection] = []

    def open_session(url: str, role: str | None = None, claims: dict[str, object] | None = None) -> psycopg.Connection:
        for pool in session_pools:
            if url == pool.url:
                return pool.open(role, claims)
        connection = psycopg.connect(url, autocommit=True)
        opened.append(connection)
        if role:
            as_role(connection, role, claims)
        return connection

    yield open_session
    for connection in opened:
        connection.close()
