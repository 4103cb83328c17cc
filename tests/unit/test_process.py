"""Children of the local cloud end with their parent, and `stop` ends a child with everything it started."""

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


def test_output_is_appended_to_the_log_and_the_environment_is_exactly_the_given_one(tmp_path):
    """The log keeps what it held, and the child sees the given variables and no others."""
    log = tmp_path / "log"
    log.write_text("before\n")
    program = "import os, sys; print(sorted({*os.environ} - {'LC_CTYPE'})); print(os.environ['ONE'], file=sys.stderr)"
    child = process.spawn([PYTHON, "-c", program], env={"ONE": "1", "PATH": "/bin"}, log=log)
    assert child.wait() == 0
    assert log.read_text().startswith("before\n")
    assert {"['ONE', 'PATH']", "1"} <= set(log.read_text().splitlines())


def test_a_shell_sees_no_variable_of_the_starter(tmp_path):
    """The interpreter that arms the death signal leaves nothing in the environment, LC_CTYPE included."""
    log = tmp_path / "log"
    assert process.spawn(["/usr/bin/env"], env={"ONE": "1"}, log=log).wait() == 0
    assert log.read_text() == "ONE=1\n"


def test_a_piped_child_reads_and_writes_its_pipes():
    """`piped` connects all three streams."""
    child = process.spawn(["sh", "-c", "cat; echo problem >&2"], piped=True)
    assert child.communicate(b"in", timeout=30) == (b"in", b"problem\n")


def test_a_signal_that_the_parent_ignores_is_not_ignored_by_its_children():
    """A shell that starts the parent in the background makes it ignore SIGINT; a child still ends by it."""
    program = (
        "import signal, sys; from local import process\n"
        "signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        "child = process.spawn(['sh', '-c', 'kill -INT $$; exit 3'])\n"
        "sys.exit(0 if child.wait() == -signal.SIGINT else 1)"
    )
    done = subprocess.run([PYTHON, "-c", program], env={**os.environ, "PYTHONPATH": "."}, timeout=60, check=False)
    assert done.returncode == 0


def test_stop_asks_first_and_then_kills_the_process_group(tmp_path):
    """SIGTERM ends a child that obeys it; one that ignores it is killed with everything it started."""
    ignoring = "import signal; signal.signal(15, signal.SIG_IGN); print('up', flush=True)"
    program = f"import subprocess, sys; {ignoring}; subprocess.run([sys.executable, '-c', {ignoring + '; input()'!r}], stdin=0)"
    log = tmp_path / "log"
    obedient = process.spawn([PYTHON, "-c", "import time; time.sleep(60)"])
    assert process.stop(obedient) == -signal.SIGTERM
    assert process.stop(obedient) == -signal.SIGTERM  # twice is no error
    child = process.spawn([PYTHON, "-c", f"{program}; import time; time.sleep(60)"], log=log)
    until(lambda: log.read_text().startswith("up"))
    assert process.stop(child, grace_s=0.1) == -signal.SIGKILL


@pytest.mark.parametrize("command", ["no-such-command", "/no/such/command", "./no-such-command"])
def test_a_command_that_does_not_exist_raises_at_once(command):
    """FileNotFoundError in the caller, and no child."""
    with pytest.raises(FileNotFoundError, match="no such command"):
        process.spawn([command])


def test_a_path_is_relative_to_the_folder_of_the_child(tmp_path):
    """`./run` is looked up in `cwd`."""
    (tmp_path / "run").symlink_to("/bin/sh")
    child = process.spawn(["./run", "-c", "exit 3"], cwd=tmp_path)
    assert child.wait() == 3


def test_a_child_has_its_own_session():
    """A Ctrl-C in the terminal does not reach it."""
    child = process.spawn([PYTHON, "-c", "input(); import time; time.sleep(60)"])
    try:
        assert os.getsid(child.pid) == child.pid
    finally:
        process.kill(child)


@pytest.mark.skipif(sys.platform != "linux", reason="prctl is Linux's")
def test_kill_9_of_the_parent_ends_its_children():
    """Also children started by a thread that has ended since, and only when the whole process ends."""
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
    with subprocess.Popen(
        [PYTHON, "-c", program], stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": "."}
    ) as parent:
        try:
            pids = [int(parent.stdout.readline()) for _ in range(2)]
            alive = [is_alive(pid) for pid in pids]
        finally:
            parent.kill()
    assert alive == [True, True]
    until(lambda: not any(is_alive(pid) for pid in pids))


def test_a_fork_can_start_children_too():
    """A fork has no starter thread and makes a new one."""
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
