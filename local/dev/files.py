"""The folder of one local cloud: its lock and its temporary files."""

import fcntl
import os
import shutil
from pathlib import Path

from local.dev.child import DevError

TEMPORARY = ("postgres", "run", "keys.json", "gateway.url", "fly.json", "dev.json")
LOGS = "logs"


class FolderLock:
    """The lock of a folder, for one cloud at a time. The kernel releases it when we die, also by SIGKILL."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "lock"
        self._file: int | None = None

    def acquire(self) -> None:
        """Take the lock, or raise DevError that names the process which has it."""
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
            # The previous holder may have removed the file after we opened it: then our lock protects nothing.
            if not self._is_current(file):
                os.close(file)
                continue
            os.ftruncate(file, 0)
            os.pwrite(file, f"{os.getpid()}\n".encode(), 0)
            self._file = file

    def release(self) -> None:
        """Remove the file while the lock is still ours, then release it."""
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
    """Remove a cloud's files from its folder; the logs only with `logs`."""
    for name in (*TEMPORARY, *((LOGS,) if logs else ())):
        path = folder / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
