"""Error handling of the database's background workers, which real servers restart."""

import sys
import threading
from types import TracebackType
from typing import Self

import psycopg


class Recovery:
    """A context that turns a database error into one line on stderr and a pause; other errors propagate.

    A repeated message is printed once, so that a server that is down does not fill the log.
    """

    def __init__(self, name: str, stopping: threading.Event, pause_s: float = 1.0) -> None:
        self._name, self._stopping, self._pause_s = name, stopping, pause_s
        self._printed = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> bool:
        if not isinstance(error, psycopg.Error):
            return False
        message = str(error).strip()
        if message != self._printed:
            self._printed = message
            print(f"{self._name}: {message}", file=sys.stderr, flush=True)
        self._stopping.wait(max(self._pause_s, 0.05))
        return True
