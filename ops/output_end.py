"""How a command ends whose output cannot be written: its reader has gone, or the disk is full."""

import errno
import os
import sys
from typing import NoReturn

from ops.exit_codes import EXIT_PIPE_CLOSED, EXIT_SOME_FAILED

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)


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
