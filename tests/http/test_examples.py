"""The examples for hosts: Hangar installs on the smallest schema, and the reference backend fulfils its contract there."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest

from local.dev.child import BACKEND
from local.supabase.gateway import Gateway
from local.supabase.postgres.database import migrate
from tests.support.databases import drop_database, fresh_database
from tests.support.loopback import LOOPBACK

ROOT = Path(__file__).parents[2]
USER, OTHER, APP = (str(uuid4()) for _ in range(3))
DEADLINE_S = 60


def eventually(look, reason="it did not happen"):
    end = time.monotonic() + DEADLINE_S
    while time.monotonic() < end:
        if found := look():
            return found
        time.sleep(0.05)
    pytest.fail(reason)


@pytest.fixture
def host(postgres):
    """A project with the example schema and two users; a superuser's session and the database's URL."""
    url = fresh_database(postgres, migrations=False, seed=False, host_tables=False)
    with psycopg.connect(url, autocommit=True) as session:
        session.execute("set session authorization postgres")
        session.execute((ROOT / "examples" / "host" / "schema.sql").read_bytes())
        session.execute("reset session authorization")
        for number, user in enumerate((USER, OTHER), 1):
            session.execute("insert into auth.users (id, email) values (%s, %s)", (user, f"user-{number}@example.com"))
        yield session, url
    drop_database(url)


@pytest.mark.slow
def test_hangar_installs_on_the_example_schema_and_follows_its_tiers(host):
    """After an upgrade the row's desired state is an app, after a downgrade its removal. A sign-up changes nothing."""
    session, url = host
    migrate(url)
    session.execute((ROOT / "supabase" / "seed.sql").read_bytes())
    session.execute("update hangar.settings set live = true")
    session.execute("insert into auth.users (id, email) values (%s, 'user-3@example.com')", (str(uuid4()),))
    read_app = "select user_id::text, desired_state, status from public.user_fly_apps"
    assert session.execute(read_app).fetchall() == []
    session.execute("update public.user_subscriptions set tier = 'pro' where user_id = %s", (USER,))
    session.execute("select public.fly_apply_marks()")
    assert session.execute(read_app).fetchall() == [(USER, "present", "provisioning")]
    session.execute("update public.user_subscriptions set tier = 'free' where user_id = %s", (USER,))
    session.execute("select public.fly_apply_marks()")
    assert session.execute(read_app).fetchall() == [(USER, "absent", "deprovisioning")]


@pytest.fixture
def environment(host, keys):
    """The environment that Hangar gives a machine of USER, with shorter intervals."""
    _, url = host
    with Gateway(url.replace("supabase_admin@", "authenticator@"), keys) as gateway:
        yield {
            "RUN_MODE": "user_dedicated",
            "USER_ID": USER,
            "HANGAR_APP_ID": APP,
            "SUPABASE_URL": gateway.url,
            "SUPABASE_PUBLISHABLE_KEY": keys.publishable_key,
            "SUPABASE_USER_TOKEN": keys.mint("authenticated", USER),
            "HOST": "127.0.0.1",
            "PORT": "0",
            "POLL_INTERVAL_S": "0.2",
            "SIGNAL_INTERVAL_S": "0.2",
        }


@pytest.fixture
def start(environment, tmp_path):
    """`start(**changes)` runs the backend as a process; `log` is its output."""
    started = []

    def start(**changes):
        env = {name: value for name, value in {**environment, **changes}.items() if value is not None}
        log = tmp_path / f"backend-{len(started)}.log"
        with log.open("wb") as output:
            child = subprocess.Popen(
                [sys.executable, "-I", BACKEND],
                env={"PATH": os.environ["PATH"], **env},
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        child.log = log
        started.append(child)
        return child

    yield start
    for child in started:
        child.kill()
        child.wait()


def get(child, path):
    def find_port():
        lines = [json.loads(line) for line in child.log.read_text().splitlines() if line.startswith("{")]
        return next((line["port"] for line in lines if line["message"] == "listening"), None)

    port = eventually(find_port, "the backend does not listen")
    return LOOPBACK.get(f"http://127.0.0.1:{port}{path}")


def add_trader(session, user, **columns):
    values = {"id": str(uuid4()), "user_id": user, "name": "t", **columns}
    marks = ", ".join(["%s"] * len(values))
    session.execute(f"insert into public.traders ({', '.join(values)}) values ({marks})", list(values.values()))
    return values["id"]


def read_signals(session, trader):
    query = "select user_id::text, fly_app_id::text from public.signals where trader_id = %s"
    return session.execute(query, (trader,)).fetchall()


def test_the_backend_runs_the_users_enabled_traders_and_follows_changes(host, start):
    """Ready after the first signal. A disabled trader stops, a new one starts, and no other trader ever runs."""
    session, _ = host
    own = add_trader(session, USER)
    never = [
        add_trader(session, USER, enabled=False),
        add_trader(session, OTHER),
        add_trader(session, None, is_built_in=True),
    ]
    backend = start()
    eventually(lambda: get(backend, "/ready").status_code == 200, "the backend does not become ready")
    assert set(read_signals(session, own)) == {(USER, APP)}
    ready = get(backend, "/ready").json()
    assert (ready["status"], ready["loaded"], ready["expected"], ready["user_id"]) == ("ready", 1, 1, USER)
    assert (ready["image"], ready["version"]) == (None, "reference")
    health = get(backend, "/health").json()
    assert (health["status"], health["user_id"], health["trader_count"]) == ("healthy", USER, 1)
    session.execute("update public.traders set enabled = false where id = %s", (own,))
    added = add_trader(session, USER)
    eventually(lambda: read_signals(session, added))
    before, seen = len(read_signals(session, own)), len(read_signals(session, added))
    eventually(lambda: len(read_signals(session, added)) >= seen + 3)
    assert len(read_signals(session, own)) == before
    assert [read_signals(session, trader) for trader in never] == [[], [], []]
    assert get(backend, "/nothing").status_code == 404


def test_the_shared_backend_runs_built_in_traders_only(host, start):
    session, _ = host
    built_in, own = add_trader(session, None, is_built_in=True), add_trader(session, USER)
    add_trader(session, None, is_built_in=True, enabled=False)
    backend = start(RUN_MODE="shared_backend", USER_ID=None, HANGAR_APP_ID=None)
    eventually(lambda: get(backend, "/ready").status_code == 200)
    assert get(backend, "/ready").json()["expected"] == 1
    assert set(read_signals(session, built_in)) == {(USER, None)}
    assert read_signals(session, own) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_exits_with_0_within_two_seconds(start, number):
    backend = start()
    get(backend, "/health")
    backend.send_signal(number)
    assert backend.wait(timeout=2) == 0


def test_it_answers_health_but_not_ready_when_the_database_refuses_the_token(start, keys):
    backend = start(SUPABASE_USER_TOKEN=keys.mint("authenticated", USER, expires_in_s=-60))
    assert get(backend, "/health").status_code == 200
    eventually(lambda: "reading the traders failed" in backend.log.read_text())
    answer = get(backend, "/ready")
    assert (answer.status_code, answer.json()["status"]) == (503, "not_ready")


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({"RUN_MODE": None, "SUPABASE_URL": None}, ["RUN_MODE", "SUPABASE_URL"]),
        ({"USER_ID": OTHER}, ["SUPABASE_USER_TOKEN"]),
        ({"ANYTHING": "sb_secret_zzz"}, ["ANYTHING"]),
        ({"POLL_INTERVAL_S": "often"}, ["POLL_INTERVAL_S"]),
    ],
)
def test_a_wrong_environment_exits_with_2_and_names_every_variable(start, changes, names):
    backend = start(**changes)
    assert backend.wait(timeout=DEADLINE_S) == 2
    text = backend.log.read_text()
    assert all(name in text for name in names)
    assert "sb_secret_zzz" not in text
    assert "Traceback" not in text


def test_a_taken_port_exits_with_1(environment, start):
    backend = start(PORT=environment["SUPABASE_URL"].rsplit(":", 1)[1])
    assert backend.wait(timeout=DEADLINE_S) == 1
