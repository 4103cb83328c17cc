"""The whole cloud on one computer: Supabase, Fly and Hangar's functions as real processes.

    with LocalCloud(Path(tmp)) as cloud:
        cloud.addresses["supabase_url"]

Each cloud has its own folder, ports, keys and database. They are new at every start and removed at the end; logs stay.
"""

import contextlib
import itertools
import json
import os
import socket
import sys
import threading
import time
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, Self

from local.dev.alerts import AlertSink
from local.dev.child import BACKEND, CancelledError, Child, DevError
from local.dev.database import ADMIN, DBNAME, ORG, add_people, replace_urls, set_up, store_secrets
from local.dev.files import LOGS, FolderLock, clear_folder
from local.dev.fly import TOKEN_VARIABLE
from local.dev.functions import ADMIN as ADMIN_PAGES
from local.dev.functions import CALLED, Endpoints, Function, Secrets, hold_port, make_settings
from local.fly.runtime.processes import DEFAULT_LIMIT
from local.service import Service, write_private
from local.supabase.extensions.pg_cron import CronScheduler
from local.supabase.extensions.pg_net import PgNetWorker
from local.supabase.keys import Keys
from local.supabase.postgres.database import prepare
from local.supabase.postgres.server import SUPERUSER, Postgres, PostgresError

STOP_GRACE_S = 3.0


class LocalCloud(Service):
    """Starts everything in `folder` and keeps it until `stop`; DevError when a part does not come up.

    `addresses` is the content of `dev.json`. Tests use `pg_net` and `pg_cron`, for example to stop the nudges.
    `alerts=False` leaves the alert sink out, `processes` limits how many machines are real processes, `fsync` makes
    commits survive a power cut. With `database_url`, the superuser's URL of a database in which Hangar is installed, the cloud
    starts no server of its own.
    """

    pg_net: PgNetWorker
    pg_cron: CronScheduler
    postgres: Postgres

    def __init__(
        self,
        folder: Path,
        *,
        alerts: bool = True,
        processes: int = DEFAULT_LIMIT,
        fsync: bool = False,
        cancelled: threading.Event | None = None,
        database_url: str | None = None,
    ) -> None:
        self.folder = folder.resolve()
        self._fsync = fsync
        self.addresses: dict[str, Any] = {}
        self.start_s = 0.0
        self._has_sink = alerts
        self._sink: AlertSink | None = None
        self._processes = processes
        self._cancelled = cancelled or threading.Event()
        self._database_url = database_url or ""
        self._has_server = database_url is None
        self._children: list[Child] = []
        self._functions: dict[str, Function] = {}
        self._deployments = itertools.count()
        self._settings: dict[str, str] = {}
        self._undo = contextlib.ExitStack()

    def start(self) -> Self:
        """Start everything and write `dev.json` last. After a failure nothing is left running."""
        begun = time.monotonic()
        if not BACKEND.exists():
            raise DevError(f"the local cloud needs a clone of Hangar's repository: {BACKEND} does not exist")
        self.folder.mkdir(parents=True, exist_ok=True)
        lock = FolderLock(self.folder)
        lock.acquire()
        self._undo.callback(lock.release)
        try:
            self._start()
        except BaseException as error:
            self.stop()
            if isinstance(error, PostgresError):
                raise DevError(str(error)) from error
            raise
        self.start_s = time.monotonic() - begun
        return self

    def _start(self) -> None:
        clear_folder(self.folder, logs=True)
        (self.folder / LOGS).mkdir()
        self._undo.callback(clear_folder, self.folder, logs=False)
        keys, own = Keys.generate(), Secrets.generate()
        if self._has_server:
            self._start_postgres()
        database_url = self._database_url
        fly = self._start_fly(database_url, own)
        if self._has_server:
            prepare(self.postgres, dbname=DBNAME)
        installation_id = set_up(database_url)
        self._raise_if_cancelled()
        gateway = self._start_gateway(keys)
        alerts_url = self._start_sink()
        add_people(database_url, own.admin_password)
        endpoints = Endpoints(
            supabase_url=gateway.wait_until(lambda: _read(self.folder / "gateway.url"), self._cancelled),
            fly_api_url=json.loads(fly.wait_until(lambda: _read(self.folder / "fly.json"), self._cancelled))["url"],
            alerts_url=alerts_url,
            installation_id=installation_id,
        )
        self._settings = make_settings(endpoints, keys, own)
        urls = self._start_functions(self._settings)
        store_secrets(database_url, {name: urls[name] for name in CALLED}, own.webhook)
        self.pg_net = PgNetWorker(database_url, pause_s=0.1).start()
        self._undo.callback(self.pg_net.stop)
        self.pg_cron = CronScheduler(database_url).start()
        self._undo.callback(self.pg_cron.stop)
        self.addresses = _describe(endpoints, keys, own, urls, database_url)
        write_private(self.folder / "dev.json", self.addresses)
        self._undo.callback((self.folder / "dev.json").unlink, missing_ok=True)

    def _start_postgres(self) -> None:
        self.postgres = Postgres(self.folder / "postgres", fsync=self._fsync)
        # The server's folder is removed at the end, the logs stay.
        self.postgres.log = self.folder / LOGS / "postgres.log"
        self.postgres.start()
        self._undo.callback(self.postgres.stop)
        self._database_url = self.postgres.url(DBNAME)

    def _url_of(self, user: str) -> str:
        return self._database_url.replace(f"{SUPERUSER}@", f"{user}@")

    def _start_gateway(self, keys: Keys) -> Child:
        keys.save(self.folder / "keys.json")
        command: list[str | Path] = [
            *(sys.executable, "-m", "local.supabase.gateway"),
            *("--database-url", self._url_of("authenticator")),
            *("--auth-database-url", self._url_of("supabase_auth_admin")),
            *("--keys", self.folder / "keys.json"),
            *("--ready-file", self.folder / "gateway.url"),
        ]
        return self._start_child("Supabase gateway", "gateway", command, {})

    def _start_fly(self, database_url: str, own: Secrets) -> Child:
        command: list[str | Path] = [
            *(sys.executable, "-m", "local.dev.fly"),
            *("--database-url", database_url, "--org", ORG),
            *("--ready-file", self.folder / "fly.json"),
            *("--log-dir", self.folder / LOGS / "machines"),
            *("--port", "0", "--process-limit", str(self._processes)),
            *("--processes", sys.executable, "-IS", BACKEND),
        ]
        return self._start_child("Fly simulator", "fly", command, {TOKEN_VARIABLE: own.fly_token})

    def _start_sink(self) -> str | None:
        if not self._has_sink:
            return None
        self._sink = AlertSink().start()
        self._undo.callback(self._sink.stop)
        return self._sink.url

    def _start_functions(self, settings: dict[str, str]) -> dict[str, str]:
        """Start all functions at once, then the admin pages: they need the others' URLs, and the others their origin."""
        (self.folder / "run").mkdir()
        with hold_port() as port:
            settings = settings | {"HANGAR_ADMIN_ORIGINS": f"http://127.0.0.1:{port}"}
            urls = self._start_some(CALLED, settings)
            settings = settings | {"HANGAR_FUNCTIONS_URL": json.dumps(urls), "HANGAR_ADMIN_OAUTH_PROVIDERS": "github"}
            return urls | self._start_some((ADMIN_PAGES,), settings, port)

    def _start_some(self, names: tuple[str, ...], settings: dict[str, str], port: int = 0) -> dict[str, str]:
        logs, scratch = self.folder / LOGS, self.folder / "run"
        number = next(self._deployments)
        scratch, suffix = (scratch, "") if number < 2 else (scratch / str(number), f"-{number}")
        scratch.mkdir(exist_ok=True)
        functions = [Function(name, logs / f"{name}{suffix}.log", settings, scratch, port) for name in names]
        for function in functions:
            self._adopt(function.child)
            self._functions[function.name] = function
        # At the end all are asked to stop first, so that they finish their requests at the same time.
        for function in functions:
            self._undo.callback(function.child.ask_to_stop)
        return {function.name: function.wait_ready(self._cancelled) for function in functions}

    def deploy_functions(self, changes: Mapping[str, str]) -> None:
        """Change settings of the functions that the database calls, as a deployment does: start new ones, then end the old."""
        former = [self._functions[name] for name in CALLED]
        self._settings |= changes
        urls = self._start_some(CALLED, self._settings)
        replace_urls(self.addresses["database_url"], urls)
        self.addresses["functions"] |= urls
        write_private(self.folder / "dev.json", self.addresses)
        for function in former:
            self._children.remove(function.child)
            function.child.stop(STOP_GRACE_S)

    def _start_child(self, name: str, log: str, command: list[str | Path], env: dict[str, str]) -> Child:
        return self._adopt(Child(name, command, self.folder / LOGS / f"{log}.log", env))

    def _adopt(self, child: Child) -> Child:
        self._raise_if_cancelled()
        self._undo.callback(child.stop, STOP_GRACE_S)
        child.start()
        self._children.append(child)
        return child

    def _raise_if_cancelled(self) -> None:
        if self._cancelled.is_set():
            raise CancelledError("stopped while starting")

    def check(self) -> None:
        """DevError when a part has ended."""
        for child in self._children:
            if failure := child.failure():
                raise DevError(failure)
        if not self._has_server:
            return
        try:
            socket.create_connection(("127.0.0.1", self.postgres.port), timeout=5).close()
        except OSError as error:
            raise DevError(f"Postgres does not answer ({error.strerror}). Its log is {self.postgres.log}") from error

    def stop(self) -> None:
        """Stop everything in reverse order, free the ports, remove the data. A second call does nothing."""
        self._undo.close()
        self._children.clear()
        self.addresses = {}

    @property
    def alerts(self) -> list[dict[str, Any]]:
        """The alerts that the sink has received."""
        return self._sink.received if self._sink else []


def _describe(
    endpoints: Endpoints, keys: Keys, own: Secrets, urls: dict[str, str], database_url: str
) -> dict[str, Any]:
    """The content of dev.json."""
    return {
        "database_url": database_url,
        "supabase_url": endpoints.supabase_url,
        "secret_key": keys.secret_key,
        "publishable_key": keys.publishable_key,
        "auth_signing_key": keys.signing_key_pem,
        "fly_api_url": endpoints.fly_api_url,
        "fly_api_token": own.fly_token,
        "fly_org": ORG,
        "webhook_secret": own.webhook,
        "static_secret": own.static,
        "functions": {ADMIN_PAGES: None, **urls},
        "admin": {"email": ADMIN.email, "password": own.admin_password},
        "alerts_url": endpoints.alerts_url,
        "pid": os.getpid(),
        "version": version("hangar"),
    }


def _read(path: Path) -> str | None:
    """The file that a child writes when it is ready; None before."""
    try:
        return path.read_text()
    except FileNotFoundError:
        return None
