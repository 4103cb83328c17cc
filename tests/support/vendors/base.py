"""What the recorded stand-ins of flyctl, gcloud and docker share: a strict command line, a memory, and faults on demand.

A stand-in refuses every command and flag that its table lacks, as the real tool does. It remembers what it made in a file, so
that a second run finds it. `faults` in the memory are pairs of words and a fault: a call that has all the words ends so, once.
"""

import fcntl
import json
import os
import shlex
import stat
import sys
import time
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
MEMORY = "STAND_IN_MEMORY"


class RefusedError(Exception):
    """The tool refuses; the message goes to standard error."""


class Memory:
    """What the stand-ins made and heard, in one file."""

    def __init__(self, path):
        self.path = Path(path)

    @contextmanager
    def open(self):
        with self.path.open("a+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.seek(0)
            document = json.loads(file.read() or '{"calls": [], "faults": []}')
            yield document
            file.truncate(0)
            file.write(json.dumps(document))

    def read(self):
        with self.open() as document:
            return document

    def calls(self, tool, *words):
        """The recorded calls of a tool that hold these words."""
        return [each for each in self.read()["calls"] if each["tool"] == tool and set(words) <= set(each["argv"])]

    def fail(self, *words, fault="refuse"):
        with self.open() as document:
            document["faults"].append([list(words), fault])


def install(folder, memory, *tools):
    """Write the commands into `folder`, which goes onto PATH."""
    folder.mkdir(parents=True, exist_ok=True)
    for tool in tools:
        module = {"fly": "flyctl", "flyctl": "flyctl"}.get(tool, tool)
        script = folder / tool
        script.write_text(
            f"#!/bin/sh\n{MEMORY}={shlex.quote(str(memory))} PYTHONPATH={shlex.quote(str(ROOT))} "
            f'exec {shlex.quote(sys.executable)} -m tests.support.vendors.{module} "$@"\n'
        )
        script.chmod(script.stat().st_mode | stat.S_IXUSR)
    return folder


def parse(argv, table, several=()):
    """The command of the table that the words name, its positional words and its flags. Raises RefusedError."""
    for length in range(min(len(argv), 5), 0, -1):
        name = " ".join(argv[:length])
        if name in table:
            return (name, *_parse_flags(argv[length:], name, table[name], several))
    raise RefusedError(f"unknown command: {' '.join(argv[:4])}")


def _parse_flags(words, name, flags, several):
    positional, given, words = [], {}, list(words)
    while words:
        word = words.pop(0)
        if not word.startswith("-") or word == "-":
            positional.append(word)
            continue
        flag, equals, value = word.partition("=")
        if flag not in flags:
            raise RefusedError(f"{name}: unknown flag: {flag}")
        if flags[flag] == 0:
            value = value if equals else True
        elif not equals:
            if not words:
                raise RefusedError(f"{name}: flag needs an argument: {flag}")
            value = words.pop(0)
        if flag in several:
            given.setdefault(flag, []).append(value)
        elif flag in given:
            raise RefusedError(f"{name}: {flag} is given twice")
        else:
            given[flag] = value
    return positional, given


def serve(tool, table, run, several=()):
    """Record the call, end it as a fault says, else run it and print its answer."""
    argv, memory = sys.argv[1:], Memory(os.environ[MEMORY])
    heard = "" if sys.stdin.isatty() else sys.stdin.read()
    environ = {name: value for name, value in os.environ.items() if name not in (MEMORY, "PYTHONPATH")}
    fault = None
    with memory.open() as document:
        document["calls"].append({"tool": tool, "argv": argv, "stdin": heard, "environ": environ})
        for each in document["faults"]:
            if set(each[0]) <= set(argv):
                fault = each[1]
                document["faults"].remove(each)
                break
    if fault == "hang":
        print("still working …", flush=True)
        time.sleep(600)
    if fault == "refuse":
        sys.exit(_complain(tool, f"a fault of the test, which repeats what it read: {heard}"))
    try:
        name, positional, given = parse(argv, table, several)
        with memory.open() as document:
            answer = run(name, positional, given, document.setdefault(tool, {}), heard)
    except RefusedError as error:
        sys.exit(_complain(tool, str(error)))
    if fault == "lose":  # it did the work, and the answer is lost
        sys.exit(_complain(tool, "connection reset"))
    print(answer if isinstance(answer, str) else json.dumps(answer))


def _complain(tool, message):
    print(f"Error: {tool}: {message}", file=sys.stderr)
    return 1
