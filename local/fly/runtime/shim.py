"""Becomes the command it is given, after asking the kernel to kill it when its parent dies.

    python -I -S shim.py PARENT_PID GIVEN_LC_CTYPE COMMAND…

A file of its own, started by path and importing next to nothing, because it stands before every machine's process.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def _die_with(parent_pid: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent_pid:  # it died before we asked
        os._exit(1)


def _run() -> None:
    _die_with(int(sys.argv[1]))
    if not sys.argv[2]:
        os.environ.pop("LC_CTYPE", None)  # Python's own start puts it there (PEP 538); the command shall not see it
    for each in (signal.SIGINT, signal.SIGTERM):
        # A shell that starts the simulator in the background makes it ignore SIGINT, which children would inherit.
        signal.signal(each, signal.SIG_DFL)
    try:
        os.execvp(sys.argv[3], sys.argv[3:])  # noqa: S606  becoming that command is what this file is for
    except OSError as error:
        sys.stderr.write(f"{sys.argv[3]}: {error.strerror}\n")
        os._exit(127)


if __name__ == "__main__":
    _run()
