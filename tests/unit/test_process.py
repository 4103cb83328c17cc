"""Children of the local cloud end with us, and we end them whole."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from local import process

PYTHON = sys.executable


def until(condition) -> None:
    deadline = time.monotonic() + 15
    while not condition():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.01)


def is_alive(pid: int) -> bool:
    try:
        return " Z " not in Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_output_is_appended_to_the_log_and_the_environment_is_exactly_ours(tmp_path):
    log = tmp_path / "log"
    log.write_text("before\n")
    program = "import os, sys; print(sorted(os.environ)[:1]); print(os.environ['ONE'], file=sys.stderr)"
    child = process.spawn([PYTHON, "-c", program], env={"ONE": "1", "PATH": "/bin"}, log=log)
    assert child.wait() == 0
    assert log.read_text().startswith("before\n")
    assert "1" in log.read_text().splitlines()


def test_stop_asks_first_and_kills_the_group_of_who_does_not_listen(tmp_path):
    deaf = "import signal; signal.signal(15, signal.SIG_IGN); print('up', flush=True)"
    program = f"import subprocess, sys; {deaf}; subprocess.run([sys.executable, '-c', {deaf + '; input()'!r}], stdin=0)"
    log = tmp_path / "log"
    polite = process.spawn([PYTHON, "-c", "import time; time.sleep(60)"])
    assert process.stop(polite) == -signal.SIGTERM
    assert process.stop(polite) == -signal.SIGTERM  # twice is no error
    child = process.spawn([PYTHON, "-c", f"{program}; import time; time.sleep(60)"], log=log)
    until(lambda: log.read_text().startswith("up"))
    assert process.stop(child, grace_s=0.1) == -signal.SIGKILL


@pytest.mark.parametrize("command", ["no-such-command", "/no/such/command", "./no-such-command"])
def test_a_command_that_does_not_exist_is_told_at_once(command):
    with pytest.raises(FileNotFoundError, match="no such command"):
        process.spawn([command])


def test_a_path_is_relative_to_the_folder_of_the_child(tmp_path):
    (tmp_path / "run").symlink_to("/bin/sh")
    child = process.spawn(["./run", "-c", "exit 3"], cwd=tmp_path)
    assert child.wait() == 3


def test_it_is_in_a_session_of_its_own():
    child = process.spawn([PYTHON, "-c", "input(); import time; time.sleep(60)"])
    try:
        assert os.getsid(child.pid) == child.pid
    finally:
        process.kill(child)


@pytest.mark.skipif(sys.platform != "linux", reason="prctl is Linux's")
def test_kill_9_of_the_parent_ends_its_children_even_those_started_by_a_thread_long_gone():
    program = """
import os, sys, threading, time
from local import process

def start():
    read, write = os.pipe()
    log = open(write, "wb")
    child = process.spawn([sys.executable, "-c", "import time; print('up', flush=True); time.sleep(600)"], log=log)
    os.read(read, 1)  # the death signal is armed by now
    print(child.pid, flush=True)

thread = threading.Thread(target=start)
thread.start()
thread.join()
start()
time.sleep(600)
"""
    with subprocess.Popen([PYTHON, "-c", program], stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": "."}) as us:
        try:
            pids = [int(us.stdout.readline()) for _ in range(2)]
            alive = [is_alive(pid) for pid in pids]
        finally:
            us.kill()
    assert alive == [True, True]
    until(lambda: not any(is_alive(pid) for pid in pids))


def test_a_fork_of_us_can_start_children_too():
    process.kill(process.spawn([PYTHON, "-c", "0"]))
    program = (
        "import os, sys; from local import process\n"
        "process.spawn([sys.executable, '-c', '0']).wait()\n"
        "pid = os.fork()\n"
        "if pid == 0: os._exit(process.spawn([sys.executable, '-c', 'raise SystemExit(7)']).wait())\n"
        "sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))"
    )
    done = subprocess.run([PYTHON, "-c", program], env={**os.environ, "PYTHONPATH": "."}, timeout=60, check=False)
    assert done.returncode == 7
