"""An archiver on a direct session of service_role, and a process of its own that kills itself at a chosen call.

python -m tests.support.archiver DATABASE_URL BUCKET_URL KILL_AT
"""

import importlib
import os
import signal
import sys
from datetime import UTC, datetime
from typing import Any

import psycopg
from psycopg.types.json import Jsonb

from ops.archive.bucket import Bucket
from ops.archive.location import Location
from ops.archive.run import SOURCES, Archiver
from shared.adapters.database import explain_refusal
from shared.adapters.procedures_archive import ArchiveProcedures


class DirectStore:
    """Calls procedures as PostgREST does, on one session."""

    def __init__(self, session: psycopg.Connection) -> None:
        self.session = session

    def rpc(self, name: str, args: dict[str, Any]) -> Any:
        named = ", ".join(f"{key} => %s" for key in args)
        values = [Jsonb(value) if isinstance(value, (dict, list)) else value for value in args.values()]
        try:
            row = self.session.execute(f"select public.{name}({named})".encode(), values).fetchone()
        except psycopg.Error as error:
            raise explain_refusal(name, error.sqlstate, error.diag.message_primary) from error
        assert row is not None
        return row[0]


def make_archiver(session: psycopg.Connection, bucket: Bucket, **more: Any) -> Archiver:
    """An archiver whose database calls go over `session`."""
    given = {"actor": "cli:test", "clock": lambda: datetime.now(UTC), **more}
    return Archiver(ArchiveProcedures(DirectStore(session)), bucket, **given)


class Countdown:
    """Ends this process by SIGKILL: before call number N if N is even, after it if N is odd (calls count in pairs)."""

    def __init__(self, kill_at: int) -> None:
        self.left = kill_at

    def wrap(self, call):
        def run(*args, **kwargs):
            self._tick()
            answer = call(*args, **kwargs)
            self._tick()
            return answer

        return run

    def _tick(self) -> None:
        self.left -= 1
        if self.left < 0:
            os.kill(os.getpid(), signal.SIGKILL)


def archive_until_killed(database_url: str, bucket_url: str, kill_at: int) -> None:
    """Archive everything that is due, and die on the way."""
    countdown = Countdown(kill_at)
    bucket = Bucket(Location("archive", "hangar/", bucket_url, "us-east-1"))
    for name in ("create", "read"):
        setattr(bucket, name, countdown.wrap(getattr(bucket, name)))
    with psycopg.connect(database_url, autocommit=True) as session:
        session.execute("set role service_role")
        store = DirectStore(session)
        store.rpc = countdown.wrap(store.rpc)  # type: ignore[method-assign]
        Archiver(ArchiveProcedures(store), bucket, "cli:test", lambda: datetime.now(UTC)).run(SOURCES)


def main(database_url: str, bucket_url: str) -> None:
    """One process for each number on standard input."""
    importlib.import_module("boto3")
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            archive_until_killed(database_url, bucket_url, int(line))
            os._exit(0)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
