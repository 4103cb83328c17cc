"""`make dev` as a process: its start, its end, and that nothing is left, however it ends."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from local.dev.cloud import LocalCloud
from tests.support.sizes import size

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="children are found in /proc")
ROOT = Path(__file__).parents[2]
DEADLINE_S = 60
RUN_DEV = "import sys; from ops.dev.run import run_dev; sys.exit(run_dev())"
# Parts of the cloud: a word of the command, the words that report its end, and its log.
PARTS = (
    (b"local.supabase.gateway", "the Supabase gateway ended with code -9", "gateway.log"),
    (b"bin/postgres", "Postgres does not answer", "postgres.log"),
)


def eventually(look, reason="it did not come true"):
    end = time.monotonic() + DEADLINE_S
    while time.monotonic() < end:
        if found := look():
            return found
        time.sleep(0.02)
    pytest.fail(reason)


def parents():
    """Parent by pid, of every process that is not a zombie."""
    found = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent = path.read_text().rpartition(")")[2].split()[:2]
        except (FileNotFoundError, ProcessLookupError):
            continue
        if state != "Z":
            found[int(path.parent.name)] = int(parent)
    return found


def descendants(pid):
    family, known = {pid}, parents()
    while more := {child for child, parent in known.items() if parent in family} - family:
        family |= more
    return family - {pid}


def ports(addresses):
    urls = [addresses[name] for name in ("database_url", "supabase_url", "fly_api_url", "alerts_url")]
    return [urlsplit(url).port for url in (*urls, *(url for url in addresses["functions"].values() if url))]


def is_free(port):
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        return probe.connect_ex(("127.0.0.1", port)) != 0


class Dev:
    """One `hangar dev` in a folder of its own, its output in a file."""

    def __init__(self, current: Path, output: Path) -> None:
        self.folder, self.output = current / ".hangar", output
        current.mkdir(exist_ok=True)
        with output.open("wb") as file:
            self.child = subprocess.Popen(
                [sys.executable, "-c", RUN_DEV],
                cwd=current,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
                stdout=file,
                stderr=subprocess.STDOUT,
            )

    @property
    def text(self):
        return self.output.read_text()

    def wait_up(self):
        eventually(lambda: "Ctrl-C stops everything" in self.text or self.child.poll() is not None)
        assert self.child.poll() is None, self.text
        return json.loads((self.folder / "dev.json").read_text())

    def left(self):
        return sorted(path.name for path in self.folder.iterdir())


@pytest.fixture
def start(tmp_path):
    started = []

    def start():
        started.append(Dev(tmp_path / "a folder", tmp_path / f"output-{len(started)}"))
        return started[-1]

    yield start
    for dev in started:
        if dev.child.poll() is None:
            dev.child.kill()
        dev.child.wait()


@pytest.mark.slow
def test_ctrl_c_leaves_no_process_no_port_and_no_file_but_logs(start):
    dev = start()
    addresses = dev.wait_up()
    family = descendants(dev.child.pid)
    assert len(family) >= 6
    assert all(addresses[name] in dev.text for name in ("database_url", "supabase_url", "fly_api_url", "alerts_url"))
    assert "set tier = 'pro'" in dev.text
    second = start()
    assert second.child.wait(timeout=DEADLINE_S) == 1
    assert f"(pid {dev.child.pid})" in second.text
    dev.child.send_signal(signal.SIGINT)
    assert dev.child.wait(timeout=DEADLINE_S) == 130
    assert not family & set(parents())
    assert all(is_free(port) for port in ports(addresses))
    assert dev.left() == ["logs"]
    assert "database system is ready" in (dev.folder / "logs" / "postgres.log").read_text()


@pytest.mark.slow
def test_stop_ends_every_child_while_the_process_lives_on(tmp_path):
    """The process lives on, so `stop` must have ended each child."""
    before = descendants(os.getpid())
    with LocalCloud(tmp_path, alerts=False) as cloud:
        family = descendants(os.getpid()) - before
        assert cloud.addresses["alerts_url"] is None
        assert len(family) >= 6
    assert not family & set(parents())


@pytest.mark.slow
def test_a_killed_dev_ends_its_children_and_the_next_one_starts(start):
    dev = start()
    addresses = dev.wait_up()
    family = descendants(dev.child.pid)
    dev.child.kill()
    dev.child.wait()
    eventually(lambda: not family & set(parents()), "children outlived the killed parent")
    assert all(is_free(port) for port in ports(addresses))
    assert "dev.json" in dev.left()
    again = start()
    assert again.wait_up()["pid"] == again.child.pid
    again.child.terminate()
    assert again.child.wait(timeout=DEADLINE_S) == 0
    assert again.left() == ["logs"]


@pytest.mark.slow
def test_a_stop_while_starting_leaves_nothing(start):
    dev = start()
    eventually((dev.folder / "postgres").exists)
    family = eventually(lambda: descendants(dev.child.pid))
    dev.child.send_signal(signal.SIGINT)
    assert dev.child.wait(timeout=DEADLINE_S) == 130
    assert "Stopped before everything had started" in dev.text
    assert not family & set(parents())
    assert dev.left() == ["logs"]


@pytest.mark.sized
@pytest.mark.parametrize(("command", "words", "log"), PARTS[: size("PARTS_KILLED")])
@pytest.mark.slow
def test_a_part_that_ends_stops_the_cloud_and_is_named(start, command, words, log):
    dev = start()
    dev.wait_up()
    family = descendants(dev.child.pid)
    part = next(pid for pid in sorted(family) if command in Path(f"/proc/{pid}/cmdline").read_bytes())
    os.kill(part, signal.SIGKILL)
    assert dev.child.wait(timeout=DEADLINE_S) == 1
    assert words in dev.text
    assert str(dev.folder / "logs" / log) in dev.text
    assert (dev.folder / "logs" / log).exists()
    assert not family & set(parents())
