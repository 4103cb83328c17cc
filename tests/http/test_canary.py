"""I9, no secret leaves: a run of a cloud with every kind of failure, and everything it printed, stored or answered.

The secrets of the cloud are random texts, so they serve as canaries; further canaries are added here. The test searches
every log file, every table of the database except Vault's, the alerts sent, each HTTP answer, the output of the command
line, the state of Fly, and the command lines of all processes. The functions, machines and databases are real.
"""

import base64
import contextlib
import json
import re
import socket
import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from urllib.parse import quote

import httpx
import pytest

import local.dev.cloud
from local.dev.child import Child
from local.dev.cloud import LocalCloud
from local.supabase.keys import Keys
from shared.domain.naming import app_name
from tests.http.running_function import FUNCTIONS, sign
from tests.http.running_operator import Operator
from tests.support.loopback import LOOPBACK

pytestmark = pytest.mark.proof
MACHINE_SECRET = "canary-machine-secret-7f3a9c"
ALERT_PATH = "services/canary-alert-webhook-2b8e"
COOKIE = "canary-cookie-51d07c4e"
# Where secrets belong.
VAULT = ("vault.secrets",)
SECRET_FILES = ("dev.json", "keys.json")
# Every JWT starts like this, including one that was made during the run and one that was cut off.
JWT = re.compile(r"eyJ[\w-]{8,}")

# Failures in which Fly repeats what it was sent. Each happens to another user; `{app}` is that user's app.
ECHOES = [
    ("POST", "/v1/apps/{app}/secrets", {"status": 400}),
    ("POST", "/v1/apps/{app}/secrets", {"status": 500, "times": 2}),
    ("POST", "/v1/apps/{app}/secrets", {"status": 200, "when": "after"}),
    ("POST", "/v1/apps/{app}/machines", {"status": 401}),
    ("POST", "/v1/apps/{app}/machines", {"status": 403}),
    ("POST", "/v1/apps/{app}/machines", {"status": 409, "times": 2}),
    ("POST", "/v1/apps/{app}/machines", {"status": 412, "times": 1}),
    ("POST", "/v1/apps/{app}/machines", {"status": 422}),
    ("POST", "/v1/apps/{app}/machines", {"status": 429, "times": 1}),
    ("POST", "/v1/apps/{app}/machines", {"status": 503, "times": 1}),
    ("POST", "/v1/apps/{app}/machines", {"status": 200, "when": "after", "times": 1}),
    ("POST", "/v1/apps/{app}/machines", {"disconnect": True, "when": "after", "times": 1}),
    ("GET", "/v1/apps/{app}", {"status": 500, "times": 1}),
    ("GET", "/v1/apps/{app}", {"status": 404, "times": 1}),
    ("GET", "/v1/apps/{app}/machines", {"status": 418, "times": 1}),
]


@dataclass
class Recorder:
    """The secrets by name, and every text recorded so far with its source."""

    canaries: dict[str, str]
    recorded: list[tuple[str, str]] = field(default_factory=list)

    def record(self, where: str, text: str) -> None:
        self.recorded.append((where, text))

    def forms(self):
        """Each secret as it is and in the forms of URLs, JSON and base64. Of a key, each line."""
        for name, secret in self.canaries.items():
            for part in secret.splitlines():
                if not part.startswith("-----"):
                    encoded = base64.b64encode(part.encode()).decode().rstrip("=")
                    yield from ((name, form) for form in {part, quote(part, safe=""), json.dumps(part)[1:-1], encoded})

    def find(self, texts) -> list[str]:
        """Which secret is in which text, with its surroundings and without the secret itself."""
        found = []
        for where, text in texts:
            found += [
                f"{where}: {name}: {_around(text, text.index(form), form)}"
                for name, form in self.forms()
                if form in text
            ]
            found += [f"{where}: a JWT: {_around(text, match.start(), match[0])}" for match in JWT.finditer(text)]
        return found


def _around(text, start, form):
    return repr(text[max(0, start - 120) : start] + "[HERE]" + text[start + len(form) :][:60])


@dataclass
class Run:
    """A cloud, an operator, and the recorder of their outputs."""

    cloud: LocalCloud
    operator: Operator
    recorder: Recorder
    pass_on: dict[str, str]

    def ask(self, function, body, headers=None):
        """Call with every credential that a caller could send by mistake."""
        sent = {"X-Hangar-Secret": self.cloud.addresses["static_secret"], **self.pass_on, **(headers or {})}
        url = self.cloud.addresses["functions"][function]
        answer = LOOPBACK.post(url, json=body, headers=sent, timeout=150)
        self.recorder.record(f"{function}'s answer", f"{answer.status_code} {answer.headers} {answer.text}")
        return answer.status_code

    def hangar(self, *arguments, **env):
        """Run a command as a process of its own."""
        child = self.operator.start(*arguments, **env)
        out, err = child.communicate(timeout=120)
        self.recorder.record(f"hangar {' '.join(arguments)}", out + err)
        return child.returncode

    def hangar_here(self, *arguments):
        """Run a command in this process."""
        _, out, err = self.operator.run_here(arguments)
        self.recorder.record(f"hangar {' '.join(arguments)}", out + err)

    def child(self, name) -> Child:
        return next(child for child in self.cloud._children if child.name == name)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A cloud with machine secrets and an alert address. One of its machines is a real process."""
    folder = tmp_path_factory.mktemp("cloud")
    with pytest.MonkeyPatch.context() as patch:
        plain = local.dev.cloud.make_settings

        def make_settings(around, keys, own):
            return plain(around, keys, own) | {
                "HANGAR_MACHINE_SECRETS": json.dumps({"EXCHANGE_KEY": MACHINE_SECRET}),
                "HANGAR_ALERT_WEBHOOK_URL": f"{around.alerts_url}/{ALERT_PATH}",
            }

        patch.setattr(local.dev.cloud, "make_settings", make_settings)
        with LocalCloud(folder, processes=1) as cloud:
            cloud.pg_cron.stop()
            known = cloud.addresses
            keys = Keys(known["secret_key"], known["publishable_key"], known["auth_signing_key"])
            canaries = {
                "secret key": known["secret_key"],
                "signing key": known["auth_signing_key"],
                "Fly token": known["fly_api_token"],
                "webhook secret": known["webhook_secret"].removeprefix("whsec_"),
                "static secret": known["static_secret"],
                "operator's password": known["admin"]["password"],
                "machine secret": MACHINE_SECRET,
                "alert address": ALERT_PATH,
                "cookie": COOKIE,
            }
            pass_on = {
                "Authorization": f"Bearer {keys.mint('authenticated', '11111111-1111-4111-8111-111111111111')}",
                "Cookie": f"session={COOKIE}",
            }
            operator = Operator(cloud, folder)
            yield Run(cloud, operator, Recorder(canaries), pass_on)
            operator.database.close()


def run_failures(run):
    """Upgrades that nearly all fail, repair, the command line, downgrades."""
    recorder, operator = run.recorder, run.operator
    users = operator.add_users(len(ECHOES))
    echo = {
        "error": f"no EXCHANGE_KEY={MACHINE_SECRET} for FlyV1 {recorder.canaries['Fly token']} {run.pass_on['Authorization']}",
        "token": recorder.canaries["Fly token"],
        "secrets": {"EXCHANGE_KEY": MACHINE_SECRET},
    }
    echoed = {
        "fly-request-id": recorder.canaries["Fly token"],
        "set-cookie": f"fly-machine={COOKIE}",
        "retry-after": "1",
    }
    faults = [
        {
            "method": method,
            "path": path.format(app=app_name("vyx-user", user, 0)),
            "body": echo,
            "headers": echoed,
            **fault,
        }
        for user, (method, path, fault) in zip(users, ECHOES, strict=True)
    ]
    once = [
        {
            "method": "POST",
            "path": "/v1/apps",
            "status": status,
            "text": f"<p>{echo['error']}</p>",
            "headers": echoed,
            "times": 1,
        }
        for status in (401, 422, 502)
    ]
    operator.set_faults(*faults, *once)
    with ThreadPoolExecutor(len(users)) as callers:
        list(callers.map(lambda user: run.ask("provision", {"user_id": str(user)}), users))
    listing = {
        "method": "GET",
        "path": "/v1/orgs/hangar-local/machines",
        "status": 401,
        "body": echo,
        "headers": echoed,
    }
    operator.set_faults(listing, {**listing, "path": "/v1/apps"})
    assert run.ask("health", {}) == 503
    run_commands(run, users)
    use_dashboard(run, users)
    codes = "select distinct metadata ->> 'error_code' from public.user_fly_app_events where status in ('failed', 'unknown')"
    assert len(operator.sql(codes)) > 5
    operator.set_faults()
    assert run.ask("health", {}) == 200
    with ThreadPoolExecutor(len(users)) as callers:
        list(callers.map(lambda user: run.ask("health", {"user_id": str(user)}), users))
    operator.sql("update public.user_subscriptions set tier = 'free' where user_id = any(%s)", users[:5])
    gone = {"method": "DELETE", "path": "/v1/apps/*", "status": 500, "body": echo, "headers": echoed, "times": 2}
    operator.set_faults(gone)
    with ThreadPoolExecutor(5) as callers:
        list(callers.map(lambda user: run.ask("deprovision", {"user_id": str(user)}), users[:5]))
    operator.set_faults()
    return users


def run_commands(run, users):
    """Every command that an operator reads, as text and as JSON, also with keys that the project refuses."""
    for command in (
        ("status",), ("status", str(users[0])), ("events",), ("cost",), ("settings", "show"), ("orphans",),
        ("brake",), ("retry", str(users[0])), ("sweep",), ("migrate-users", "--dry-run"),
    ):  # fmt: skip
        run.hangar(*command)
        run.hangar_here(*command, "--json")
    other = "sb_secret_canary-that-nobody-knows-4411"
    run.recorder.canaries["unknown secret key"] = other
    for wrong in (
        {"SUPABASE_SECRET_KEY": other},
        {"SUPABASE_SECRET_KEY": f"{other}\nmore"},
        {"SUPABASE_URL": f"http://user:{other}@127.0.0.1:9"},
        {"SUPABASE_URL": f"ftp://{other}"},
        {"HANGAR_FUNCTIONS_URL": f'{{"health": "{other}"'},
        {"HANGAR_WEBHOOK_SECRET": other},
        {"HANGAR_WEBHOOK_SECRET": "whsec_" + base64.b64encode(b"k" * 32).decode()},
    ):
        assert run.hangar("sweep", **wrong) != 0


def use_dashboard(run, users):
    """Sign in with a wrong and a right password, open every page, run an action. The cookie holds the tokens sealed."""
    known = run.cloud.addresses
    url, operator = known["functions"]["admin"], known["admin"]
    wrong = "canary-wrong-password-90ad"
    run.recorder.canaries["wrong password"] = wrong
    cookie = []

    def send(method, path, **request):
        headers = {**run.pass_on, "Cookie": "; ".join([run.pass_on["Cookie"], *cookie])}
        answer = LOOPBACK.request(method, f"{url}{path}", headers=headers, **request)
        named = [(name, value) for name, value in answer.headers.multi_items() if name != "set-cookie"]
        run.recorder.record(f"the dashboard's {method} {path}", f"{answer.status_code} {named} {answer.text}")
        return answer

    assert send("POST", "/sign-in", data={**operator, "password": wrong}).status_code == 400
    send("GET", f"/signed-in?code={wrong}")
    send("GET", "/sign-out")
    signed_in = send("POST", "/sign-in", data=operator)
    assert signed_in.status_code == 303
    sealed = signed_in.headers["Set-Cookie"]
    assert not run.recorder.find([("the session's cookie", sealed)])
    cookie.append(sealed.partition(";")[0])
    user = users[0]
    for page in ("/", "/fleet.csv", "/search?q=user", f"/users/{user}", "/events", "/failures", "/costs", "/controls"):
        assert send("GET", page).status_code == 200, page
    confirmation = send("GET", f"/actions/check?user={user}").text
    proof = re.search(r'name="proof" value="([0-9a-f]+)"', confirmation)[1]
    done = send("POST", f"/actions/check?user={user}", data={"proof": proof, "reason": "a look"})
    assert done.status_code == 303
    run.recorder.canaries["session"] = cookie[0].partition("=")[2]


def run_outages(run, user):
    """Requests that are not HTTP, and calls without a database."""
    static, signed = run.cloud.addresses["static_secret"], sign(b"{}")
    raw_headers = (
        f"Authorization: {run.pass_on['Authorization']}\r\nCookie: s={COOKIE}\r\nX-Hangar-Secret: {static}\r\n"
    )
    for broken in (
        f"POST / HTTP/1.1\r\nHost: x\r\n{raw_headers}Transfer-Encoding: nonsense\r\n\r\n",
        f"POST / HTTP/1.1\r\nHost: x\r\n{raw_headers}Content-Length: -1\r\n\r\n",
        f"POST / HTTP/1.1\r\nHost: x\r\nX-Hangar-Secret {static}\r\n\r\n",
        f"POST / HTTP/1.1\r\nHost: x\r\n X-Hangar-Secret: {static}\r\n\r\n",
        f"POST / HTTP/1.1\r\nHost: x\r\nX-Hangar-Secret\t: {static}\r\n\r\n",
        f"POST / HTTP/1.1\r\nHost: x\r\nX-Hangar-Secret: {static}\x01\r\n\r\n",
        f"X-Hangar-Secret: {static}\r\n\r\n",
        f"POST /?secret={static} HTTP/9.9\r\nHost: x\r\n\r\n",
    ):
        answer = send_raw(run.cloud.addresses["functions"]["health"], broken)
        assert " 4" in answer or " 501 " in answer
        run.recorder.record("an answer to broken HTTP", answer.replace(static, ""))  # the sender may read what it sent
    run.ask("provision", {"user_id": static})
    run.ask("health", {}, {"X-Hangar-Secret": static[:-1], **signed})
    gateway = run.child("Supabase gateway")
    gateway.stop(3)
    for function in FUNCTIONS:
        assert run.ask(function, {"user_id": str(user)}) == 503
    run.hangar("status")


def send_raw(url, request):
    """The whole answer to these bytes."""
    target = httpx.URL(url)
    with socket.create_connection((target.host, target.port), timeout=30) as raw:
        raw.sendall(request.encode("latin-1"))
        raw.settimeout(5)
        got = b""
        with contextlib.suppress(OSError):  # it resets what it does not want to read
            while piece := raw.recv(65536):
                got += piece
    return got.decode("latin-1")


def read_files(folder):
    """Every file of the cloud's folder, except the data of Postgres and the files to which secrets belong."""
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder)
        if path.is_file() and path.name not in SECRET_FILES and inside.parts[0] != "postgres":
            yield str(inside), path.read_text(errors="replace")


def read_tables(database):
    """Every row of every table of every schema, except Vault's."""
    tables = database.execute(
        "select n.nspname || '.' || c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace"
        " where c.relkind in ('r', 'p') and n.nspname not in ('pg_catalog', 'information_schema') and n.nspname !~ '^pg_toast'"
    ).fetchall()
    for (table,) in tables:
        if table not in VAULT:
            rows = database.execute(f"select t::text from {table} t").fetchall()
            yield f"table {table}", "\n".join(row for (row,) in rows)


def read_processes():
    """The command lines of all processes. Everybody on the machine can read them."""
    listed = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True)
    return "\n".join(line for line in listed.stdout.splitlines() if "pytest" not in line)


@pytest.mark.timeout(600)  # takes half a minute on an idle machine
@pytest.mark.slow
def test_no_secret_leaves(run):
    """The whole run, then a search of everything that it left."""
    users = run_failures(run)
    world = LOOPBACK.get(f"{run.cloud.addresses['fly_api_url']}/_sim/world")
    run.recorder.record("Fly's world", world.text)
    run_outages(run, users[0])
    run.recorder.record("alerts", json.dumps(run.cloud.alerts))
    run.recorder.record("processes", read_processes())
    everything = [*run.recorder.recorded, *read_files(run.cloud.folder), *read_tables(run.operator.database)]
    sizes = {where: len(text) for where, text in everything}
    assert len(run.cloud.alerts) > 3
    assert all(sizes[f"logs/{name}.log"] for name in (*FUNCTIONS, "postgres"))
    assert any(where.startswith("logs/machines/") for where in sizes)
    assert sizes["table public.user_fly_app_events"] > 10_000
    assert run.recorder.find(everything) == []


@pytest.mark.slow
def test_the_search_finds_secrets_where_they_belong(run):
    """Each secret is found in dev.json, in Vault or in the settings of this test."""
    dev = (run.cloud.folder / "dev.json").read_text()
    vault = str(run.operator.sql("select decrypted_secret from vault.decrypted_secrets"))
    texts = [("dev.json", dev), ("Vault", vault), ("here", f"{MACHINE_SECRET} {ALERT_PATH} {COOKIE} {run.pass_on}")]
    found = " ".join(run.recorder.find(texts))
    for name in run.recorder.canaries:
        assert f": {name}: " in found or name in ("unknown secret key", "wrong password", "session"), name
    assert "here: a JWT" in found
