"""How a command ends whose output cannot be written: its reader has gone, the disk is full, or it was started without one."""

import errno
import io
import os
import sys
from typing import NoReturn

from ops.exit_codes import EXIT_PIPE_CLOSED, EXIT_SOME_FAILED

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)


class _ClosedOutput(io.RawIOBase):
    """Standard output of a command that was started without one (`>&-`). The first write fails, as on a full disk."""

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return 1

    def write(self, _data: object) -> NoReturn:
        raise OSError(errno.EIO, "it is closed", "standard output")


def open_missing_streams() -> None:
    """Give the command the standard streams that it was started without (`<&-`, `>&-`, `2>&-`).

    A missing input is empty, messages to a missing standard error are dropped, and output to a missing standard output ends the
    command like a full disk. The descriptors are taken, so that no file or connection of the command gets the number 1 or 2.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            lowest = os.open(os.devnull, os.O_RDWR)  # the lowest free number, which is this one
            os.set_inheritable(lowest, True)  # noqa: FBT003  as the commands that this one starts need it too
    if sys.stdin is None:
        sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115  open until the process ends
    if sys.stderr is None:
        sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115  open until the process ends
    if sys.stdout is None:
        sys.stdout = io.TextIOWrapper(_ClosedOutput(), encoding="utf-8", write_through=True)


def end_quietly() -> NoReturn:
    """End as after a signal: `hangar events | head -1` is no error."""
    _discard_output()
    sys.exit(EXIT_PIPE_CLOSED)


def stop_if_output_failed(error: OSError) -> None:
    """End with a sentence and exit code 1 if nothing more can be written, as on a full disk. Otherwise return."""
    if error.errno not in _FULL:
        return
    _discard_output()
    where = error.filename or "standard output, or a file that this command writes"
    sys.stderr.write(f"hangar: the output is not complete: {error.strerror} ({where})\n")
    sys.exit(EXIT_SOME_FAILED)


def _discard_output() -> None:
    """Python flushes at its end and would complain again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
