"""What the programs of the local cloud share: parts that start and stop, the wait for a signal, files written whole."""

import json
import os
import signal
import threading
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, Self


class Service(ABC):
    """A part that runs from `start` to `stop`, or for a `with` block."""

    @abstractmethod
    def start(self) -> Self:
        """Begin to work; returns when others can use it."""

    @abstractmethod
    def stop(self) -> None:
        """End the work. A second call does nothing."""

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()


def stop_on_signals() -> threading.Event:
    """An event that SIGINT and SIGTERM set from now on. Call it in the main thread, before the program serves."""
    stopping = threading.Event()
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, lambda *_: stopping.set())
    return stopping


def write_whole(path: Path, text: str, mode: int = 0o644) -> None:
    """Write a file in one step, so that a reader never sees half of it."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.unlink(missing_ok=True)
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w") as file:
        file.write(text)
    partial.replace(path)


def write_private(path: Path, document: Any) -> None:
    """Write JSON in one step. Only the owner can read the file."""
    write_whole(path, json.dumps(document, indent=2) + "\n", 0o600)
