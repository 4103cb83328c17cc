"""An operator's terminal over a whole local cloud, for the tests of the command line."""

import contextlib
import io
import json
import logging
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import psycopg
import pytest

from local.dev.cloud import LocalCloud
from local.supabase.postgres.server import Postgres
from ops.cli import main
from shared.adapters.http_client import make_client
from shared.domain.naming import app_name
from tests.support.databases import fresh_database
from tests.support.loopback import LOOPBACK
from tests.support.shared_database import keep_rows

ROOT = Path(__file__).parents[2]
DEADLINE_S = 60


class CommandCloud(LocalCloud):
    """A cloud with virtual machines and no scheduler: fast, and every effect comes from the command under test.

    Its database is one of `server`, if there is one.
    """

    def __init__(self, folder: Path, server: Postgres | None = None) -> None:
        super().__init__(folder, processes=0, database_url=fresh_database(server) if server else None)
        self._session: psycopg.Connection | None = None

    def start(self) -> Self:
        super().start()
        self.pg_cron.stop()
        # The session stays open: a new one would have to plan again how the rows are brought back.
        self._session = psycopg.connect(self.addresses["database_url"], autocommit=True)
        self._session.execute("update hangar.settings set removal_hold_s = 0")  # nobody waits before an app is removed
        self._restore = keep_rows(self._session)
        return self

    def stop(self) -> None:
        if self._session is not None:
            self._session.close()
        super().stop()

    def reset(self) -> None:
        """Bring back the rows of the start, and no app on Fly."""
        self._session.execute(self._restore, prepare=False)
        LOOPBACK.post(f"{self.addresses['fly_api_url']}/_sim/reset").raise_for_status()


class Operator:
    """An operator at a terminal, with direct access to the database and to Fly to check the effects."""

    def __init__(self, cloud: LocalCloud, folder: Path) -> None:
        self._cloud, known = cloud, cloud.addresses
        self._children: list[subprocess.Popen[str]] = []
        self.folder = folder
        self.fly_url, self.fly_token, self.org = known["fly_api_url"], known["fly_api_token"], known["fly_org"]
        self.database = psycopg.connect(known["database_url"], autocommit=True)
        functions = {name: url for name, url in known["functions"].items() if url}
        self.env = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("SUPABASE_", "HANGAR_"))},
            "PYTHONPATH": str(ROOT),
            "SUPABASE_URL": known["supabase_url"],
            "SUPABASE_SECRET_KEY": known["secret_key"],
            "HANGAR_FUNCTIONS_URL": json.dumps(functions),
            "HANGAR_WEBHOOK_SECRET": known["webhook_secret"],
        }

    def start(self, *arguments, **env):
        command = [sys.executable, "-c", "from ops.cli import main; main()", *arguments]
        pipe = subprocess.PIPE
        child = subprocess.Popen(
            command,
            cwd=self.folder,
            env={**self.env, **env},
            stdin=subprocess.DEVNULL,
            stdout=pipe,
            stderr=pipe,
            text=True,
        )
        self._children.append(child)
        return child

    def close(self):
        """End the commands that a failed test has left running, and the session."""
        for child in self._children:
            if child.poll() is None:
                child.kill()
                child.communicate()
        self.database.close()

    def hangar(self, *arguments, exits=0, **env):
        """Run the command in this process, which takes a tenth of the time, and return its standard output and error."""
        return self._check(arguments, exits, *self.run_here(arguments, env))

    def hangar_process(self, *arguments, exits=0, **env):
        """The same as a process of its own: for exit codes, pipes and everything else that a shell sees."""
        child = self.start(*arguments, **env)
        out, err = child.communicate(timeout=DEADLINE_S * 2)
        return self._check(arguments, exits, child.returncode, out, err)

    def run_here(self, arguments, env=None):
        """Exit code, output and error of the entry point of the console script."""
        out, err, code = io.StringIO(), io.StringIO(), 0
        with (
            contextlib.ExitStack() as connections,
            pytest.MonkeyPatch.context() as patch,
            contextlib.chdir(self.folder),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
        ):
            for name in os.environ.keys() - self.env.keys():
                patch.delenv(name)
            for name, value in {**self.env, **(env or {})}.items():
                patch.setenv(name, value)
            patch.setattr(sys, "argv", ["hangar", *arguments])
            patch.setattr(logging.root, "handlers", [])  # pytest's own would keep warnings from standard error
            # The end of a process closes its connections to the database; here they must be closed one by one.
            open_client = lambda *args, **given: connections.enter_context(make_client(*args, **given))  # noqa: E731
            patch.setattr("shared.adapters.database.make_client", open_client)
            try:
                main()
            except SystemExit as ended:
                code = ended.code or 0
        return code, out.getvalue(), err.getvalue()

    def _check(self, arguments, exits, code, out, err):
        assert code == exits, f"{arguments} ended with {code}:\n{out}\n{err}"
        assert "Traceback" not in out + err
        for secret in ("SUPABASE_SECRET_KEY", "HANGAR_WEBHOOK_SECRET"):
            assert self.env[secret] not in out + err
        return out, err

    def json(self, *arguments, exits=0):
        return json.loads(self.hangar(*arguments, "--json", exits=exits)[0])

    def sql(self, query, *values):
        cursor = self.database.execute(query, values)
        return cursor.fetchall() if cursor.description else []

    def add_users(self, count, tier="pro"):
        """Add users who paid before Hangar was installed. Returns them in the order of their ids."""
        users = sorted(uuid.uuid4() for _ in range(count))
        for number, user in enumerate(users):
            self.sql(
                "insert into auth.users (id, email) values (%s, %s)", user, f"user-{number}-{user.hex[:6]}@example.test"
            )
        self.sql("update public.user_subscriptions set tier = %s where user_id = any(%s)", tier, users)
        return users

    def email(self, user):
        return self.sql("select email from public.user_profiles where id = %s", user)[0][0]

    def statuses(self):
        rows = self.sql("select user_id, status from public.user_fly_apps where deleted_at is null")
        return dict(rows)

    def apps_on_fly(self):
        return sorted(app["name"] for app in self.fly_apps())

    def fly_apps(self):
        """Every app as the simulator holds it, with its machines."""
        return LOOPBACK.get(f"{self.fly_url}/_sim/world").json()["apps"]

    def set_faults(self, *faults):
        LOOPBACK.put(f"{self.fly_url}/_sim/faults", json=list(faults)).raise_for_status()

    def refuse_machine_of(self, user):
        """Make Fly refuse the image of this one user."""
        path = f"/v1/apps/{app_name('vyx-user', user, 0)}/machines"
        self.set_faults({"method": "POST", "path": path, "status": 422, "body": {"error": "image not found"}})

    def is_live(self):
        return self.sql("select live from hangar.settings")[0][0]

    def reset(self):
        """Reset a CommandCloud to: as it was started, but not live, with no app on Fly."""
        self._cloud.reset()
        self.sql("update hangar.settings set live = false")


@contextlib.contextmanager
def open_operator(cloud: CommandCloud, folder: Path) -> Iterator[Operator]:
    """An operator of an installation that is not live and has no apps."""
    operator = Operator(cloud, folder)
    try:
        operator.reset()
        yield operator
    finally:
        operator.close()
