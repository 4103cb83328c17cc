"""The reference backend as a real process against the real gateway."""

import json
import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest

from local import process
from local.dev.child import BACKEND
from local.supabase.gateway import Gateway
from tests.support.example_backend import load_backend
from tests.support.loopback import LOOPBACK

backend = load_backend()
USER, OTHER, APP = (str(uuid4()) for _ in range(3))
DEADLINE_S = 90


def eventually(look, reason="it did not come true"):
    """Wait until `look()` is true and return its value."""
    end = time.monotonic() + DEADLINE_S
    while time.monotonic() < end:
        if found := look():
            return found
        time.sleep(0.02)
    pytest.fail(reason)


@dataclass
class Host:
    """The SaaS: a project with two users, its gateway and a superuser's session."""

    database_url: str
    keys: object
    gateway: Gateway
    sql: psycopg.Connection

    def restart_gateway(self, port):
        self.gateway = open_gateway(self.database_url, self.keys, port)

    def add_trader(self, user=USER, **columns):
        values = {"id": str(uuid4()), "user_id": user, "name": "t", **columns}
        names, marks = ", ".join(values), ", ".join(["%s"] * len(values))
        self.sql.execute(f"insert into public.traders ({names}) values ({marks})", list(values.values()))
        return values["id"]

    def waits(self, table, mode):
        """Whether a session waits for a lock of this mode on this table."""
        query = "select 1 from pg_locks where relation = %s::regclass and mode = %s and not granted"
        return self.sql.execute(query, (table, mode)).fetchone()

    def signals(self, trader):
        query = "select user_id::text, fly_app_id::text from public.signals where trader_id = %s"
        return self.sql.execute(query, (trader,)).fetchall()


def open_gateway(database_url, keys, port=0):
    login = database_url.replace("supabase_admin@", "authenticator@")
    return Gateway(login, keys, port=port).start()


@pytest.fixture
def host(bare_database, keys, connect):
    session = connect(bare_database)
    for number, user in enumerate((USER, OTHER)):
        address = f"user-{number}@example.test"
        session.execute("insert into auth.users (id, email) values (%s, %s)", (user, address))
    host = Host(bare_database, keys, open_gateway(bare_database, keys), session)
    yield host
    host.gateway.stop()


class Backend:
    """One running backend. `url` waits until it listens."""

    def __init__(self, log: Path, env: dict[str, str]) -> None:
        self.log = log
        base = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        self.child = process.spawn([sys.executable, "-IS", BACKEND], env={**base, **env}, log=log)

    def said(self, message):
        if self.child.poll() not in (None, 0):
            pytest.fail(self.log.read_text())
        lines = (json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{"))
        return next((line for line in lines if line["message"] == message), None)

    @property
    def url(self):
        return f"http://127.0.0.1:{eventually(lambda: self.said('listening'))['port']}"

    def get(self, path):
        return LOOPBACK.get(f"{self.url}{path}")

    def ready(self):
        return self.get("/ready").status_code == 200


@pytest.fixture
def environment(host):
    """The environment of a machine of USER, with five polls a second."""
    return {
        "RUN_MODE": "user_dedicated",
        "USER_ID": USER,
        "HANGAR_APP_ID": APP,
        "SUPABASE_URL": host.gateway.url,
        "SUPABASE_PUBLISHABLE_KEY": host.keys.publishable_key,
        "SUPABASE_USER_TOKEN": host.keys.mint("authenticated", USER),
        "HOST": "127.0.0.1",
        "PORT": "0",
        "POLL_INTERVAL_S": "0.2",
        "SIGNAL_INTERVAL_S": "0.2",
    }


@pytest.fixture
def records(environment):
    return backend.Database(backend.read_settings(environment))


@pytest.fixture
def start(environment, tmp_path):
    """`start(**changes)` starts a backend for USER with changes in its environment. It is stopped after the test."""
    running = []

    def start(**changes):
        chosen = {name: value for name, value in {**environment, **changes}.items() if value is not None}
        running.append(Backend(tmp_path / f"backend-{len(running)}.log", chosen))
        return running[-1]

    yield start
    for backend in running:
        process.kill(backend.child)


def test_the_ready_page_names_the_image_and_the_version_within_what_fly_shows_of_it(start):
    """Even while nothing works and the reason is long, a release can read which image runs."""
    image = f"registry.fly.io/hangar/backend:deployment-01@sha256:{'a' * 64}"
    backend = start(FLY_IMAGE_REF=image, VERSION="7.1", SUPABASE_URL=f"http://127.0.0.1:1/{'nowhere/' * 60}")
    answer = eventually(lambda: (page := backend.get("/ready")) and len(page.json()["reason"]) > 60 and page)
    assert (answer.status_code, answer.json()["image"], answer.json()["version"]) == (503, image, "7.1")
    assert len(answer.text) <= 400


@pytest.mark.slow
def test_health_is_always_200_and_ready_follows_the_database(host, start):
    """The gateway is down, starts, is killed and starts again: /health is always 200, /ready follows the gateway."""
    host.add_trader()
    port = int(host.gateway.url.rsplit(":", 1)[1])
    host.gateway.stop()
    backend = start()
    health = backend.get("/health")
    assert health.status_code == 200
    assert {"status", "run_mode", "user_id", "uptime", "version"} <= set(health.json())
    refused = backend.get("/ready")
    assert refused.status_code == 503
    assert "no authenticated read" in refused.json()["reason"]
    host.restart_gateway(port)
    eventually(backend.ready)
    host.gateway.stop()
    eventually(lambda: not backend.ready())
    assert "no authenticated read succeeded within" in backend.get("/ready").json()["reason"]
    assert backend.get("/").json()["status"] == "healthy"
    host.restart_gateway(port)
    eventually(backend.ready)


def test_a_refused_token_is_not_ready(host, start):
    """An expired or foreign token is 401 for every read: /ready must show it."""
    backend = start(SUPABASE_USER_TOKEN=host.keys.mint("authenticated", USER, expires_in_s=-3600))
    reason = eventually(lambda: "PGRST303" in backend.get("/ready").json()["reason"] and backend.get("/ready").json())
    assert reason["status"] == "not_ready"
    assert backend.get("/health").status_code == 200


@pytest.mark.parametrize("ask", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_lets_the_current_write_finish(host, start, connect, ask):
    """The signal to stop arrives during a write, whose table is locked. The write is completed."""
    trader = host.add_trader()
    other = connect(host.database_url)
    with other.transaction():
        other.execute("lock table public.signals in share mode")
        backend = start()
        eventually(lambda: host.waits("public.signals", "RowExclusiveLock"))
        backend.child.send_signal(ask)
    assert backend.child.wait(timeout=DEADLINE_S) == 0
    assert len(host.signals(trader)) == 1
    assert backend.said("stopped")


def test_a_stop_does_not_wait_for_a_database_that_hangs(host, start, connect):
    """The lock is never released. The process ends before its HTTP time-out of five seconds."""
    host.add_trader()
    other = connect(host.database_url)
    with other.transaction():
        other.execute("lock table public.traders in access exclusive mode")
        backend = start()
        assert backend.get("/health").status_code == 200
        eventually(lambda: host.waits("public.traders", "AccessShareLock"))
        backend.child.terminate()
        assert backend.child.wait(timeout=4) == 0


def test_traders_are_read_beyond_one_page(host, records):
    """With a truncated list everything would look fine (loaded equals expected), but the other traders would not run."""
    many = "insert into public.traders (user_id, name) select %s, 't' from generate_series(1, %s)"
    host.sql.execute(many, (USER, backend.PAGE + 1))
    assert len(records.read_traders()) == backend.PAGE + 1


def test_a_signal_sent_again_after_a_lost_response_is_stored_once(host, records):
    trader = host.add_trader()
    signal = {"id": str(uuid4()), "trader_id": trader, "user_id": USER, "fly_app_id": APP, "payload": {}}
    records.write_signal(signal)
    records.write_signal(signal)
    assert host.signals(trader) == [(USER, APP)]


def test_a_signal_in_another_users_name_is_refused_by_the_database(host, records):
    """Row-level security limits a machine to its user, whatever the backend's code does."""
    trader = host.add_trader(OTHER)
    signal = {"id": str(uuid4()), "trader_id": trader, "user_id": OTHER, "fly_app_id": APP, "payload": {}}
    with pytest.raises(backend.DatabaseError, match="42501"):
        records.write_signal(signal)
    assert host.signals(trader) == []
