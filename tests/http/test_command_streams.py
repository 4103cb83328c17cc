"""Commands whose output ends early or goes nowhere: a full disk, a reader that has gone, streams that are closed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize("words", [["--help"], ["completion", "bash"]])
def test_a_full_disk_is_named_and_a_reader_that_has_gone_is_no_error(words):
    """As a process of its own, because Python flushes once more at its end."""
    command = [str(Path(sys.executable).with_name("hangar")), *words]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "hangar: the output is not complete: No space left on device (standard output, or a file that this command writes)"
    ]
    ours, theirs = os.pipe()
    os.close(ours)
    with os.fdopen(theirs, "w") as pipe:
        done = subprocess.run(command, stdout=pipe, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.parametrize(
    ("missing", "words", "code", "message"),
    [
        (">&-", ["completion", "bash"], 1, "hangar: the output is not complete: it is closed (standard output)"),
        (">&-", ["--help"], 1, "hangar: the output is not complete: it is closed (standard output)"),
        (">&-", ["status", "nobody"], 1, "hangar: no answer from http://127.0.0.1:1 (ConnectError)"),
        ("<&- >&-", ["status"], 1, "hangar: no answer from http://127.0.0.1:1 (ConnectError)"),
        ("<&-", ["brake", "--release"], 2, 'hangar: this needs --reason "…"; the audit log records it'),
    ],
)
def test_a_command_without_standard_streams_ends_with_a_sentence(tmp_path, missing, words, code, message):
    """A scheduler may start a command with closed streams. The descriptors 0 to 2 then go to no file or connection of it."""
    hangar = str(Path(sys.executable).with_name("hangar"))
    env = os.environ | {"SUPABASE_URL": "http://127.0.0.1:1", "SUPABASE_SECRET_KEY": "x" * 30}
    command = ["sh", "-c", f'exec "$0" "$@" {missing}', hangar, *words]
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False, cwd=tmp_path, env=env)
    assert done.returncode == code, done.stderr
    assert done.stderr.startswith(message)
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("missing", ["2>&-", "<&- >&- 2>&-"])
def test_a_command_without_standard_error_keeps_its_exit_code(tmp_path, missing):
    hangar = str(Path(sys.executable).with_name("hangar"))
    done = subprocess.run(["sh", "-c", f'exec "$0" status {missing}', hangar], check=False, cwd=tmp_path)
    assert done.returncode == 2
