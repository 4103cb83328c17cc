"""From a project with forty migrations and Stripe's tables to the first paying user's app and back, as the commands say.

Everything is real but three vendors: Fly is the simulator, whose machines are processes of the reference backend. Docker
starts processes with the variables that the compose file lets through. The proxy before them is a function of this test.
"""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
import uuid
from contextlib import contextmanager
from datetime import UTC, datetime

import httpx
import psycopg
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from jwt.algorithms import ECAlgorithm

import ops.commands.deploy
from local.dev.child import BACKEND
from local.fly.runtime.processes import ProcessRunner
from local.fly.server import FlyServer
from local.fly.simulator import FlySim
from local.supabase.extensions.pg_net import PgNetWorker
from local.supabase.gateway import Gateway
from local.supabase.keys import Keys
from local.supabase.postgres.database import migrate
from ops.deploy.runner import probe
from ops.project_files import read_env_file
from tests.http.deploy_world import DeployWorld
from tests.http.running_function import ROOT, RunningFunction
from tests.postgres.installer import as_owner, dump
from tests.postgres.test_ready_bindings_stripe import TYPED
from tests.support.databases import drop_database, fresh_database
from tests.support.loopback import LOOPBACK

FLY_TOKEN = "FlyV1 fm2_canary0000000000"
COMPOSE = (ROOT / "deploy" / "compose.yaml").read_text()
# What the host's application had before Hangar. The last migration brings the tables that Stripe's engine keeps.
MIGRATIONS = [f"create table public.feature_{number} (id bigint primary key, note text);" for number in range(37)]
# What the program in a user's machine reads.
TRADERS = """
create table public.traders (id uuid primary key, user_id uuid, name text, enabled boolean, is_built_in boolean, filter jsonb);
alter table public.traders enable row level security;
grant select on public.traders to authenticated;
create policy own on public.traders for select to authenticated using (user_id = (select auth.uid()));
"""
MIGRATIONS.append(TRADERS)
MIGRATIONS += [
    "create table public.customers (id uuid primary key references auth.users, stripe_customer_id text);",
    TYPED,
]
PATIENCE_S = 60
FILES = "Run as the database owner: examples/bindings/stripe_users_by_table.sql, then examples/bindings/stripe_sync_engine.sql"
PAGE = (ROOT / "docs" / "first-app.md").read_text()
COMMANDS = [shlex.split(line)[1:] for line in re.findall(r"^    (hangar .*)$", PAGE, re.MULTILINE)]
[PLAN] = re.findall(r"^```sql\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


class Business:
    """The SaaS: its project at Supabase, its migrations, its customers at Stripe."""

    def __init__(self, url, folder):
        self.url, self.folder = url, folder
        (folder / "supabase" / "migrations").mkdir(parents=True)
        (folder / "supabase" / "config.toml").write_text('project_id = "shop"\n')
        self.session = psycopg.connect(as_owner(url), autocommit=True)
        self.pushed = 0

    def push(self, *migrations):
        """`supabase db push`, by Supabase's own command where it is, else by the runner that does the same."""
        for text in migrations:
            self.pushed += 1
            name = f"2025{self.pushed:04}000000_step_{self.pushed}.sql"
            (self.folder / "supabase" / "migrations" / name).write_text(f"{text}\n")
        found = shutil.which("supabase") or shutil.which("supabase", path=str(ROOT / "node_modules" / ".bin"))
        if found is None:
            migrate(self.url, folder=self.folder / "supabase")
            return
        ended = subprocess.run(
            [found, "db", "push", "--yes", f"--remote={as_owner(self.url)}?sslmode=disable"],
            cwd=self.folder,
            env={"PATH": os.environ["PATH"], "HOME": str(self.folder), "SUPABASE_TELEMETRY_DISABLED": "1", "DO_NOT_TRACK": "1"},
            stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert ended.returncode == 0, ended.stdout + ended.stderr

    def sign_up(self, email):
        with psycopg.connect(self.url, autocommit=True) as auth:
            [(user,)] = auth.execute(
                "insert into auth.users (id, email) values (%s, %s) returning id", (uuid.uuid4(), email)
            ).fetchall()
        self.session.execute("insert into public.customers values (%s, %s)", (user, f"cus_{user.hex[:8]}"))
        self.session.execute("insert into stripe.customers (id, email) values (%s, %s)", (f"cus_{user.hex[:8]}", email))
        return user

    def subscribe(self, user, status, price="price_pro"):
        item = {"data": [{"id": "si_1", "price": {"id": price, "product": "prod_1"}, "current_period_end": 4102444800}]}
        self.session.execute(
            "insert into stripe.subscriptions (id, customer, status, items, livemode, cancel_at_period_end, ended_at)"
            " values (%s, %s, %s, %s, true, false, %s)"
            " on conflict (id) do update set status = excluded.status, ended_at = excluded.ended_at",
            (f"sub_{user.hex[:8]}", f"cus_{user.hex[:8]}", status, json.dumps(item),
             int(datetime.now(UTC).timestamp()) if status == "canceled" else None),
        )  # fmt: skip


class Host:
    """The computer that `hangar deploy compose` runs on: processes with the variables that the compose file lets through."""

    def __init__(self, world, folder):
        self.world, self.folder, self.functions = world, folder, {}
        folder.mkdir()

    def answer(self, request):
        """The proxy: `/health` and the others lead to their function, everything else to the dashboard."""
        first = request.url.path.split("/")[1]
        name = first if first in ("provision", "deprovision", "health") else "admin"
        path = request.url.path.removeprefix(f"/{first}") if name == first else request.url.path
        reply = self.start(name).ask(request.content, dict(request.headers), request.method, path or "/")
        return httpx.Response(reply.status, content=reply.body)

    def start(self, name):
        if name not in self.functions:
            [up] = self.world.memory.calls("docker", "up")
            passed = {
                each: up["environ"][each]
                for each in re.findall(r"^    ([A-Z_]+):$", COMPOSE, re.MULTILINE)
                if each in up["environ"]
            }
            self.functions[name] = RunningFunction(name, {**passed, "FUNCTION_TARGET": name}, self.folder)
        return self.functions[name]

    def lead_names_to_this_machine(self, database_url):
        """What the name hangar.example.test would lead to."""
        urls = {name: f"http://127.0.0.1:{self.start(name).port}" for name in ("provision", "deprovision", "health")}
        self.world.monkeypatch.setenv("HANGAR_FUNCTIONS_URL", json.dumps(urls))
        with psycopg.connect(database_url, autocommit=True) as session:
            session.execute(
                "select vault.update_secret(id, %s) from vault.secrets where name = 'hangar_functions_url'",
                (json.dumps(urls),),
            )

    def run_schedule(self, body):
        """One call of the schedule's container."""
        passed = {"HANGAR_STATIC_SECRET": self.world.memory.calls("docker", "up")[0]["environ"]["HANGAR_STATIC_SECRET"]}
        call = f"import runpy; m = runpy.run_path('deploy/schedule.py'); print(m['call']({body!r}))"
        said = subprocess.run(
            [sys.executable, "-c", call], cwd=ROOT, text=True, capture_output=True, check=True,
            env={**passed, "PATH": os.environ["PATH"], "HANGAR_HEALTH_URL": f"http://127.0.0.1:{self.start('health').port}/"},
        )  # fmt: skip
        assert said.stdout.strip() == "answered 200", said.stdout

    def stop(self):
        for function in self.functions.values():
            function.stop()


@pytest.fixture
def business(postgres, tmp_path):
    url = fresh_database(postgres, migrations=False, seed=False, host_tables=False)
    made = Business(url, tmp_path / "shop")
    yield made
    made.session.close()
    drop_database(url)


@pytest.fixture
def fly(tmp_path):
    runner = ProcessRunner([sys.executable, "-IS", str(BACKEND)], 4, log_dir=tmp_path / "machines")
    with FlyServer(FlySim(time.time, machines=runner, token=FLY_TOKEN, org="acme"), 0) as server:
        yield server


def started(fly):
    """The names of the apps with a started machine on Fly, one name for each machine."""
    world = LOOPBACK.get(f"{fly.url}/_sim/world").raise_for_status().json()
    return [app["name"] for app in world["apps"] for machine in app["machines"] if machine["state"] == "started"]


def health(operator):
    """Hangar's opinion of each app that is not deleted."""
    return [
        state for (state,) in operator.sql("select health_status from public.user_fly_apps where deleted_at is null")
    ]


def wait_until(what, look):
    deadline = time.monotonic() + PATIENCE_S
    while not (found := look()):
        assert time.monotonic() < deadline, f"not within {PATIENCE_S} s: {what}"
        time.sleep(0.2)
    return found


@pytest.fixture
def operator(business, fly, tmp_path, monkeypatch):
    """The operator's empty folder, the keys of the project and the logins of its HTTP side."""
    keys = Keys.generate()
    logins = [business.url.replace("supabase_admin@", f"{role}@") for role in ("authenticator", "supabase_auth_admin")]
    gateway = Gateway(logins[0], keys, auth_database_url=logins[1])
    with gateway:
        world = DeployWorld(tmp_path / "operator", as_owner(business.url), gateway.url, keys.secret_key, monkeypatch)
    world.keys, world.logins = keys, logins
    for name in (".env.hangar", "hangar.toml"):
        (world.folder / name).unlink()
    monkeypatch.setenv("FLY_API_URL", fly.url)
    return world


@pytest.fixture
def host(operator, tmp_path):
    made = Host(operator, tmp_path / "host")
    operator.monkeypatch.setattr(
        ops.commands.deploy, "probe", lambda action: probe(action, transport=httpx.MockTransport(made.answer), wait_s=0)
    )
    yield made
    made.stop()


@contextmanager
def run_supabase(operator, business, imported=None):
    """Supabase's HTTP side, with this JWK imported as its signing key, and the sender of the database's calls."""
    keys = operator.keys
    if imported:
        private = ECAlgorithm.from_jwk(imported)
        pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
        keys = Keys(keys.secret_key, keys.publishable_key, pem)
        vars(keys)["kid"] = json.loads(imported)["kid"]  # Supabase keeps the id of an imported key
    port = int(operator.gateway_url.rpartition(":")[2])
    with (
        Gateway(operator.logins[0], keys, auth_database_url=operator.logins[1], port=port),
        PgNetWorker(business.url, pause_s=0.1),
    ):
        yield


class Page:
    """The commands of docs/first-app.md, from top to bottom."""

    def __init__(self, operator):
        self.operator, self.commands = operator, iter(COMMANDS)

    def run(self, *first, **environ):
        """The next command, which begins with these words; its output."""
        words = next(self.commands)
        assert words[: len(first)] == list(first)
        for name, value in environ.items():
            self.operator.monkeypatch.setenv(name, value)
        said = self.operator.hangar(*words)
        for name in environ:
            self.operator.monkeypatch.delenv(name)
        return said

    def initialise(self):
        """`hangar init` without a terminal: options and environment have the answers."""
        assert next(self.commands) == ["init"]
        secrets = {
            name: self.operator.secrets()[name] for name in ("SUPABASE_SECRET_KEY", "SUPABASE_DB_URL", "FLY_API_TOKEN")
        }
        self.commands = iter(
            [["init", "--yes", "--supabase-url", self.operator.gateway_url,
              "--publishable-key", self.operator.keys.publishable_key, "--fly-org", "acme",
              "--image", "registry.example.test/acme/backend:1"], *self.commands]
        )  # fmt: skip
        return self.run("init", **secrets)


@pytest.mark.proof
@pytest.mark.slow
def test_the_page_leads_from_forty_migrations_to_the_first_app_and_back(business, fly, operator, host, postgres):
    page = Page(operator)
    business.push(*MIGRATIONS)
    payer, guest = business.sign_up("payer@example.test"), business.sign_up("guest@example.test")
    before = dump(postgres, business.url, "--schema-only")
    with run_supabase(operator, business):
        assert "import HANGAR_USER_TOKEN_KEY of .env.hangar into Supabase" in page.initialise()
    with run_supabase(operator, business, read_env_file(operator.folder / ".env.hangar")["HANGAR_USER_TOKEN_KEY"]):
        said = page.run("install")
        assert FILES in said
        for file in re.findall(r"examples/bindings/(\w+\.sql)", said):
            business.session.execute((ROOT / "examples" / "bindings" / file).read_bytes())
        assert "insert a plan for each of your tiers into public.fly_plans" in said
        business.session.execute(PLAN.encode())
        page.run("deploy", "compose")
        page.run("deploy", "compose")
        host.lead_names_to_this_machine(business.url)
        assert "\twrong\t" not in page.run("doctor")
        page.run("sweep")
        page.run("settings", "set", "live=true")

        business.push("create table public.later (id bigint);")
        business.subscribe(guest, "incomplete")
        business.subscribe(payer, "active")
        [app] = wait_until("the payer has an app", lambda: started(fly))
        assert operator.sql("select user_id, fly_app_name from public.user_fly_apps") == [(payer, app)]
        assert app in page.run("apps")
        assert list(page.commands) == []
        # The backend is ready when the project accepts its token, so the imported key signs.
        wait_until("the app is healthy", lambda: operator.hangar("sweep") and health(operator) == ["healthy"])
        host.run_schedule({})

        business.push("alter table stripe.subscriptions add column note text;")
        operator.hangar("plans", "set", "price_pro", "grace_s=0", "--reason", "no grace in this test")
        operator.hangar("settings", "set", "removal_hold_s=0", "--reason", "no hold in this test")
        business.subscribe(payer, "canceled")
        wait_until("the app is gone", lambda: operator.hangar("sweep", "--drain") and health(operator) == [])
        assert started(fly) == []
        business.push("drop table public.later; alter table stripe.subscriptions drop column note;")
        operator.hangar("uninstall", "--yes")
        business.session.execute("drop schema private cascade")  # the files of examples/bindings made it
        assert dump(postgres, business.url, "--schema-only") == before
