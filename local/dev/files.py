"""The folder of one local cloud: who holds it, and the file that tells others where everything listens."""

import fcntl
import json
import os
import shutil
from pathlib import Path
from typing import Any

from local.dev.child import DevError

TEMPORARY = ("postgres", "run", "keys.json", "gateway.url", "fly.json", "dev.json")
LOGS = "logs"


class FolderLock:
    """The right to run a cloud in one folder. The kernel drops it when we die, so a killed cloud blocks nobody."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "lock"
        self._file: int | None = None

    def acquire(self) -> None:
        """Take it, or raise DevError naming the process that has it."""
        while self._file is None:
            file = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                holder = os.pread(file, 32, 0).decode(errors="replace").strip() or "unknown"
                os.close(file)
                raise DevError(
                    f"a local cloud already runs in {self._path.parent} (pid {holder}); stop it first: kill {holder}"
                ) from None
            # Whoever held it before removed the file at the end: then we hold a file that nobody else will open.
            if not self._is_current(file):
                os.close(file)
                continue
            os.ftruncate(file, 0)
            os.pwrite(file, f"{os.getpid()}\n".encode(), 0)
            self._file = file

    def release(self) -> None:
        """Remove the file while it is still ours, then let go."""
        if self._file is not None:
            self._path.unlink(missing_ok=True)
            os.close(self._file)
            self._file = None

    def _is_current(self, file: int) -> bool:
        try:
            return os.fstat(file).st_ino == self._path.stat().st_ino
        except FileNotFoundError:
            return False


def clear_folder(folder: Path, *, logs: bool) -> None:
    """Remove what a cloud leaves in its folder; the logs only when asked."""
    for name in (*TEMPORARY, *((LOGS,) if logs else ())):
        path = folder / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def write_private(path: Path, document: Any) -> None:
    """Write JSON that only its owner may read, whole or not at all."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.unlink(missing_ok=True)
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        json.dump(document, file, indent=2)
        file.write("\n")
    partial.replace(path)
