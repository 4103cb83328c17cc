"""Parts of the local cloud: the folder's lock, private files, reports of failed children, the alert sink."""

import os
import stat
import sys
import threading
from pathlib import Path

import pytest

from local.dev import child as dev_child
from local.dev.alerts import AlertSink
from local.dev.child import CancelledError, Child, DevError
from local.dev.cloud import LocalCloud
from local.dev.files import FolderLock, clear_folder
from local.service import write_private
from local.supabase.postgres.server import PostgresError
from tests.support.loopback import LOOPBACK


def test_an_installed_package_says_that_the_local_cloud_needs_a_clone(tmp_path, monkeypatch):
    monkeypatch.setattr("local.dev.cloud.BACKEND", tmp_path / "examples" / "backend.py")
    with pytest.raises(DevError, match=r"needs a clone of Hangar's repository: .*backend.py does not exist"):
        LocalCloud(tmp_path / "state").start()
    assert not (tmp_path / "state").exists()


def test_a_second_cloud_in_a_folder_is_refused_with_the_pid_of_the_first(tmp_path):
    first, second = FolderLock(tmp_path), FolderLock(tmp_path)
    first.acquire()
    with pytest.raises(DevError, match=rf"already runs in .*\(pid {os.getpid()}\)"):
        second.acquire()
    first.release()
    assert list(tmp_path.iterdir()) == []
    second.acquire()
    second.release()


def test_a_lock_file_of_a_killed_cloud_does_not_block(tmp_path):
    (tmp_path / "lock").write_text("4194304\n")
    lock = FolderLock(tmp_path)
    lock.acquire()
    assert (tmp_path / "lock").read_text() == f"{os.getpid()}\n"
    lock.release()


def test_a_lock_on_a_removed_file_is_taken_again(tmp_path, monkeypatch):
    """The holder may remove the file between our open and our lock. A lock on a removed file keeps no other process out."""
    real, opened = os.open, []

    def open_and_lose(path, *arguments):
        file = real(path, *arguments)
        if not opened:
            Path(path).unlink()
        opened.append(path)
        return file

    monkeypatch.setattr("local.dev.files.os.open", open_and_lose)
    lock = FolderLock(tmp_path)
    lock.acquire()
    assert len(opened) == 2
    with pytest.raises(DevError):
        FolderLock(tmp_path).acquire()
    lock.release()


def test_a_private_file_is_readable_by_its_owner_only_and_replaced_atomically(tmp_path):
    path = tmp_path / "dev.json"
    path.write_text("old")
    write_private(path, {"pid": 1})
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_text() == '{\n  "pid": 1\n}\n'
    assert list(tmp_path.iterdir()) == [path]


def test_clearing_removes_a_clouds_files_and_no_others(tmp_path):
    for name in ("postgres/data", "logs/machines"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("dev.json", "keys.json", "notes.txt"):
        (tmp_path / name).touch()
    clear_folder(tmp_path, logs=False)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["logs", "notes.txt"]
    clear_folder(tmp_path, logs=True)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def python(code, log, name="probe"):
    return Child(name, [sys.executable, "-c", code], log, {})


def test_a_failed_child_is_reported_with_code_last_lines_and_log(tmp_path):
    child = python("print('first'); print('no such setting: X'); raise SystemExit(3)", tmp_path / "probe.log")
    child.start()
    with pytest.raises(DevError) as failed:
        child.wait_until(lambda: None, threading.Event())
    text = str(failed.value)
    assert "the probe ended with code 3" in text
    assert str(tmp_path / "probe.log") in text
    assert "no such setting: X" in text


def test_waiting_for_a_child_has_a_limit_and_can_be_cancelled(tmp_path, monkeypatch):
    child = python("import time; time.sleep(60)", tmp_path / "probe.log")
    child.start()
    cancelled = threading.Event()
    monkeypatch.setattr(dev_child, "READY_S", 0.05)
    with pytest.raises(DevError, match=r"was not ready within .*\n.*wrote nothing"):
        child.wait_until(lambda: None, cancelled)
    cancelled.set()
    with pytest.raises(CancelledError):
        child.wait_until(lambda: None, cancelled)
    child.stop(5)
    assert child.failure() is None


def test_a_child_sees_no_variable_of_our_shell(tmp_path, monkeypatch):
    monkeypatch.setenv("FLY_API_TOKEN", "a real one")
    child = Child("probe", [sys.executable, "-c", "import os; print(sorted(os.environ))"], tmp_path / "log", {"A": "b"})
    child.start()
    with pytest.raises(DevError):
        child.wait_until(lambda: None, threading.Event())
    shown = (tmp_path / "log").read_text()
    assert "'A'" in shown
    assert "FLY_API_TOKEN" not in shown


def test_the_sink_stores_and_lists_alerts():
    sink = AlertSink().start()
    try:
        assert LOOPBACK.get(sink.url).json() == []
        LOOPBACK.post(sink.url, json={"kind": "x"})
        LOOPBACK.post(sink.url, content="plain words")
        listed = LOOPBACK.get(sink.url).json()
        assert [entry["body"] for entry in listed] == [{"kind": "x"}, "plain words"]
        assert LOOPBACK.delete(sink.url).status_code == 405
    finally:
        sink.stop()


def test_a_cloud_without_postgres_fails_and_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("PG_BIN", str(tmp_path))
    with pytest.raises(DevError, match="has no postgres and initdb") as failed:
        LocalCloud(tmp_path / "cloud").start()
    assert isinstance(failed.value.__cause__, PostgresError)
    assert sorted(path.name for path in (tmp_path / "cloud").iterdir()) == ["logs"]
