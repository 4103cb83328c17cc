"""Ctrl-C during a migration: the first finishes the users in progress, the second ends the process at once."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from ops.exit_codes import EXIT_INTERRUPTED


@contextmanager
def finish_on_ctrl_c(stopping: threading.Event) -> Iterator[None]:
    """Set `stopping` at the first SIGINT, exit with 130 at the second."""
    received: list[int] = []

    def stop_in_order(number: int, _frame: FrameType | None) -> None:
        if received:
            os.write(2, b"hangar: stopped at once; Hangar continues with the users in progress, nothing is lost\n")
            os._exit(EXIT_INTERRUPTED)  # a normal exit would wait for the pool's threads
        received.append(number)  # before anything else, because the next signal may come between any two lines
        os.write(2, b"hangar: finishing the users in progress (press Ctrl-C again to stop at once) ...\n")
        # In a thread, because the interrupted code may hold the event's own lock at this moment.
        threading.Thread(target=stopping.set).start()

    before = signal.signal(signal.SIGINT, stop_in_order)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
