"""The credential in a user's machine gives access to that user's rows and nothing else, whatever its program requests.

The token is the one that Hangar puts there (`mint_user_token`). The path is the real one: gateway, role, grants, row-level
security.
"""

import base64
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID, uuid4

import pytest
from pydantic import SecretStr

from local import process
from local.dev.child import BACKEND
from local.supabase.gateway import Gateway
from local.supabase.keys import Keys
from shared.adapters.user_tokens import mint_user_token
from tests.http.conftest import Project
from tests.http.test_backend_process import eventually
from tests.support.databases import drop_database, fresh_database

A, B = str(uuid4()), str(uuid4())
# Every table with rows of a user, and the column that names the user.
OWNED = (
    ("traders", "user_id"),
    ("signals", "user_id"),
    ("user_fly_apps", "user_id"),
    ("user_fly_app_events", "user_id"),
    ("user_subscriptions", "user_id"),
    ("user_profiles", "id"),
)
NOT_UPDATABLE = (500, "55000")  # PostgreSQL's error for an aggregating view, raised before it checks privileges
VALUES = {"uuid": B, "uuid[]": [B], "integer": 1, "bigint": 1, "boolean": False, "jsonb": {}, "text": "x"}


@dataclass
class Tenants:
    """Two paying users with an app, a trader and a signal each, and the token in A's machine."""

    project: Project
    token: str
    app_a: str
    app_b: str
    trader_b: str

    def ask(self, method: str, path: str, **request):
        """Send a request as the program in A's machine does. `path` is one of the REST API."""
        return self.project.send(method, f"/rest/v1/{path}", token=self.token, **request)

    def rows(self, path: str) -> list[dict]:
        answer = self.ask("GET", path)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def of_b(self) -> str:
        """All rows of B, as the database holds them."""
        parts = [
            self.project.sql(f"select t::text from public.{table} t where {column} = '{B}' order by 1")
            for table, column in OWNED
        ]
        assert all(parts)
        return json.dumps(parts)


@pytest.fixture(scope="module")
def tenants(_postgres_servers, keys, http) -> Iterator[Tenants]:
    database = fresh_database(_postgres_servers("default"))
    login = database.replace("supabase_admin@", "authenticator@")
    with Gateway(login, keys) as gateway:
        project = Project(gateway.url, keys, database, http)
        project.sql("update hangar.settings set live = true")
        (app_a, _), (app_b, trader_b) = settle(project, A), settle(project, B)
        token = mint_for(project, UUID(A), UUID(app_a))
        yield Tenants(project, token, app_a, app_b, trader_b)
    drop_database(database)


def settle(project: Project, user: str) -> tuple[str, str]:
    """Create a user of tier pro with a trader and a signal. Returns the ids of app and trader."""
    project.sql(f"insert into auth.users (id, email) values ('{user}', 'user-{user[:8]}@example.test')")
    project.sql(f"update public.user_subscriptions set tier = 'pro' where user_id = '{user}'")
    [(trader,)] = project.sql(f"insert into public.traders (user_id, name) values ('{user}', 't') returning id::text")
    project.sql(f"insert into public.signals (trader_id, user_id) values ('{trader}', '{user}')")
    project.sql("select public.fly_apply_marks()")
    [(app,)] = project.sql(f"select id::text from public.user_fly_apps where user_id = '{user}'")
    return app, trader


def mint_for(project: Project, user: UUID, app: UUID, keys: Keys | None = None) -> str:
    key = SecretStr((keys or project.keys).signing_key_pem)
    issuer = f"{project.url}/auth/v1"
    return mint_user_token(key, issuer=issuer, user_id=user, app_id=app, now=datetime.now(UTC))


@pytest.mark.parametrize(("table", "column"), OWNED)
def test_a_user_reads_only_their_own_rows(tenants, table, column):
    own = tenants.rows(f"{table}?select=*")
    assert own
    assert {row[column] for row in own} == {A}
    assert tenants.rows(f"{table}?{column}=eq.{B}") == []
    assert tenants.rows(f"{table}?{column}=neq.{A}") == []
    assert tenants.rows(f"{table}?or=({column}.eq.{B},{column}.is.null)") == []
    assert tenants.rows(f"{table}?{column}=in.({B})&select={column}") == []


@pytest.mark.parametrize(
    "path",
    [
        "traders?select=*,signals(*)",
        "signals?select=*,traders(*)",
        "traders?select=name,signals(user_id)&signals.user_id=eq.{b}",
        "traders?select=*,signals!inner(*)&signals.user_id=eq.{b}",
        "user_fly_app_events?select=*,user_fly_apps(*)",
        "user_fly_apps?select=*,fly_cost_intervals(*)",
        "user_fly_apps?select=user_id.count()",
    ],
)
def test_embedded_rows_are_the_users_own_too(tenants, path):
    """Embedded rows are read by the same role: no row of B, and no row of a table that users may not read."""
    answer = tenants.ask("GET", path.format(b=B))
    assert answer.status_code in (200, 400, 403), answer.text
    for mark in (B, tenants.app_b, tenants.trader_b):
        assert mark not in answer.text
    if "fly_cost_intervals" in path:
        assert answer.status_code != 200


def test_a_user_reads_events_of_the_app_and_none_of_operators(tenants):
    tenants.project.sql(f"select public.fly_set_override('{A}', 'grant', 'pro', 'operator-1', 'a private reason')")
    written = {
        kind for (kind,) in tenants.project.sql(f"select event_type from user_fly_app_events where user_id = '{A}'")
    }
    assert {"override_set", "desired_changed", "provision_requested"} <= written
    answer = tenants.ask("GET", "user_fly_app_events")
    assert {row["event_type"] for row in answer.json()} == {"provision_requested"}
    assert "private" not in answer.text


def test_nothing_the_api_exposes_shows_another_user(tenants):
    """Every table and view of the exposed schema, including future ones, either refuses the read or shows no row of B."""
    names = exposed(tenants).keys()
    assert {"user_fly_apps", "fly_plans", "fly_failures", "fly_fleet_summary", "fly_overrides"} <= names
    shown = set()
    for name in names:
        answer = tenants.ask("GET", name)
        if answer.status_code == 200:
            shown.add(name)
        else:
            assert (answer.status_code, answer.json()["code"]) == (403, "42501"), name
        for mark in (B, tenants.app_b, tenants.trader_b):
            assert mark not in answer.text, name
    assert shown == {table for table, _ in OWNED}


def exposed(tenants: Tenants) -> dict[str, str]:
    """Every table and view of the exposed schema, with its first column."""
    return dict(
        tenants.project.sql(
            "select c.relname, a.attname from pg_class c join pg_attribute a on a.attrelid = c.oid and a.attnum = 1"
            " where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'v', 'm', 'p', 'f')"
        )
    )


def try_everything(tenants: Tenants, name: str, column: str, key: str) -> dict[str, tuple[int, str]]:
    """Status and code of reading and of each way of writing a table or view, with only an API key."""
    requests = {
        "read": ("GET", name, None),
        "insert": ("POST", name, {}),
        "update": ("PATCH", f"{name}?{column}=not.is.null", {column: None}),
        "delete": ("DELETE", f"{name}?{column}=not.is.null", None),
    }
    answers = {
        way: tenants.project.send(method, f"/rest/v1/{path}", key=key, json=body)
        for way, (method, path, body) in requests.items()
    }
    return {way: (each.status_code, "" if each.is_success else each.json()["code"]) for way, each in answers.items()}


def procedures(tenants: Tenants) -> list[tuple[str, dict]]:
    """Every procedure of the exposed schema, with arguments of the right types."""
    rows = tenants.project.sql(
        "select p.proname, coalesce(json_object_agg(a.name, format_type(a.type, null)) filter (where a.name is not null), '{}')"
        " from pg_proc p left join lateral unnest(p.proargnames, p.proargtypes::oid[]) a(name, type) on true"
        " where p.pronamespace = 'public'::regnamespace and p.prorettype <> 'trigger'::regtype group by p.oid, p.proname"
    )
    return [
        (name, {key: VALUES.get(kind, "2026-11-22T00:00:00Z") for key, kind in arguments.items()})
        for name, arguments in rows
    ]


@pytest.mark.slow
def test_the_publishable_key_alone_gives_no_access(tenants):
    """A machine knows the publishable key too. It can neither read nor write with it, nor run a procedure."""
    before = tenants.of_b()
    key = tenants.project.keys.publishable_key
    for name, column in exposed(tenants).items():
        tried = try_everything(tenants, name, column, key)
        assert tried.pop("read") == (401, "42501"), name
        assert set(tried.values()) <= {(401, "42501"), NOT_UPDATABLE}, name
    for name, arguments in procedures(tenants):
        answer = tenants.project.send("POST", f"/rest/v1/rpc/{name}", key=key, json=arguments)
        assert (answer.status_code, answer.json()["code"]) == (401, "42501"), f"{name}: {answer.text}"
    assert tenants.of_b() == before


def test_the_secret_key_writes_no_table_of_hangar_except_plans(tenants):
    """The rules of lease, generation, brake and audit also bind service_role: it has to use the procedures."""
    before = tenants.of_b()
    ours = {name: column for name, column in exposed(tenants).items() if name.startswith(("fly_", "user_fly_"))}
    assert len(ours) >= 10
    for name, column in ours.items():
        if name != "fly_plans":
            tried = try_everything(tenants, name, column, tenants.project.keys.secret_key)
            assert tried.pop("read") == (200, ""), name
            assert set(tried.values()) <= {(403, "42501"), NOT_UPDATABLE}, name
    assert tenants.of_b() == before


@pytest.mark.parametrize(("table", "column"), OWNED)
@pytest.mark.parametrize("method", ["PATCH", "DELETE"])
def test_rows_of_another_user_are_neither_changed_nor_deleted(tenants, table, column, method):
    before = tenants.of_b()
    for body in ({column: A}, {"created_at": "2020-01-01T00:00:00Z"}):
        headers = {"Prefer": "return=representation"}
        answer = tenants.ask(method, f"{table}?{column}=eq.{B}", json=body, headers=headers)
        refused = answer.status_code == 403 and answer.json()["code"] == "42501"
        assert refused or (answer.status_code, answer.json()) == (200, []), answer.text
    assert tenants.of_b() == before


@pytest.mark.parametrize(
    ("table", "row"),
    [
        ("signals", {"user_id": B}),
        ("signals", {"user_id": None}),
        ("traders", {"user_id": B, "name": "planted"}),
        ("traders", {"user_id": A, "name": "built in", "is_built_in": True}),
        ("user_subscriptions", {"user_id": B, "tier": "free"}),
        ("user_fly_apps", {"user_id": B, "fly_app_name": "x", "fly_org_slug": "x", "region": "sin", "network": "x"}),
        ("user_fly_app_events", {"user_id": B, "event_type": "action", "status": "info"}),
        ("user_profiles", {"id": B, "email": "other@example.test"}),
        ("fly_overrides", {"user_id": A, "override": "grant", "plan": "elite", "actor": "me"}),
        ("fly_plans", {"tier": "free", "dedicated": True}),
    ],
)
@pytest.mark.parametrize("prefer", ["return=minimal", "resolution=merge-duplicates"])
def test_no_row_is_written_for_another_user_or_in_a_table_of_operators(tenants, table, row, prefer):
    before = tenants.of_b()
    answer = tenants.ask("POST", table, json=row, headers={"Prefer": prefer})
    assert (answer.status_code, answer.json()["code"]) == (403, "42501"), answer.text
    assert tenants.of_b() == before


def test_a_user_writes_their_own_signal(tenants):
    """A signal is the only row that a machine may write. This shows that the refusals above are not a general failure."""
    row = {"user_id": A, "fly_app_id": tenants.app_a, "payload": {"seen": 1}}
    assert tenants.ask("POST", "signals", json=row, headers={"Prefer": "return=minimal"}).status_code == 201
    assert [row for row in tenants.rows("signals?select=payload") if row["payload"] == {"seen": 1}] == [
        {"payload": {"seen": 1}}
    ]


@pytest.mark.parametrize(
    ("table", "changes"),
    [
        ("user_subscriptions?user_id=eq.{a}", {"tier": "elite"}),
        ("user_subscriptions?user_id=eq.{a}", {"expires_at": None, "status": "active"}),
        ("user_profiles?id=eq.{a}", {"is_admin": True}),
        ("user_fly_apps?user_id=eq.{a}", {"memory_mb": 8192, "desired_state": "present"}),
        ("user_fly_apps?user_id=eq.{a}", {"user_id": B}),
        ("user_fly_app_events?user_id=eq.{a}", {"user_id": B}),
    ],
)
def test_a_user_changes_neither_their_tier_nor_their_machine(tenants, table, changes):
    path = table.format(a=A)
    before = tenants.rows(path)
    assert before
    answer = tenants.ask("PATCH", path, json=changes, headers={"Prefer": "return=representation"})
    refused = answer.status_code == 403 and answer.json()["code"] == "42501"
    assert refused or (answer.status_code, answer.json()) == (200, []), answer.text
    assert tenants.rows(path) == before


@pytest.mark.slow
def test_no_procedure_of_hangar_runs_for_a_user(tenants):
    """Every procedure is refused, for B and for A, even with arguments of the right types."""
    found = procedures(tenants)
    assert len(found) >= 18
    before = tenants.of_b()
    for name, filled in found:
        for body in (filled, json.loads(json.dumps(filled).replace(B, A))):
            answer = tenants.ask("POST", f"rpc/{name}", json=body)
            assert (answer.status_code, answer.json()["code"]) == (403, "42501"), f"{name}: {answer.text}"
    assert tenants.of_b() == before


def test_the_schema_hangar_is_not_exposed(tenants):
    answer = tenants.ask("GET", "settings", headers={"Accept-Profile": "hangar"})
    assert (answer.status_code, answer.json()["code"]) == (406, "PGRST106")


def test_a_tampered_or_foreign_token_is_refused(tenants):
    head, claims, signature = tenants.token.split(".")
    payload = json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))
    forged = base64.urlsafe_b64encode(json.dumps(payload | {"sub": B}).encode()).rstrip(b"=").decode()
    served = base64.urlsafe_b64encode(json.dumps(payload | {"role": "service_role"}).encode()).rstrip(b"=").decode()
    unsigned = base64.urlsafe_b64encode(b'{"alg":"none","typ":"JWT"}').rstrip(b"=").decode()
    stranger = mint_for(tenants.project, UUID(B), UUID(tenants.app_b), Keys.generate())
    for token in (f"{head}.{forged}.{signature}", f"{head}.{served}.{signature}", f"{unsigned}.{forged}.", stranger):
        answer = tenants.project.send("GET", "/rest/v1/signals", token=token)
        assert answer.status_code == 401, answer.text


def environment(tenants, **changes):
    """The environment that Hangar gives A's machine, with shorter intervals."""
    return {
        "RUN_MODE": "user_dedicated",
        "USER_ID": A,
        "HANGAR_APP_ID": tenants.app_a,
        "SUPABASE_URL": tenants.project.url,
        "SUPABASE_PUBLISHABLE_KEY": tenants.project.keys.publishable_key,
        "SUPABASE_USER_TOKEN": tenants.token,
        "HOST": "127.0.0.1",
        "PORT": "0",
        "POLL_INTERVAL_S": "0.1",
        "SIGNAL_INTERVAL_S": "0.1",
        **changes,
    }


def test_a_backend_told_to_work_for_another_user_does_not_start(tenants, tmp_path):
    log = tmp_path / "backend.log"
    child = process.spawn([sys.executable, "-IS", BACKEND], env=environment(tenants, USER_ID=B), log=log)
    try:
        assert child.wait(timeout=30) == 2
    finally:
        process.kill(child)
    assert "SUPABASE_USER_TOKEN must be the token of the user that USER_ID names" in log.read_text()


# A backend without that check: it takes A's settings, then works for the user that the first argument names.
UNCHECKED = """
import dataclasses, os, sys
sys.path.insert(0, os.path.dirname(sys.argv[2]))
import backend
settings = dataclasses.replace(backend.read_settings(dict(os.environ)), user_id=sys.argv[1])
sys.exit(backend.serve(settings))
"""


@pytest.mark.parametrize(("user", "expected"), [(A, 1), (B, 0)], ids=["own", "anothers"])
def test_a_backend_that_does_not_check_finds_nothing_of_another_user(tenants, tmp_path, user, expected):
    """The same program with the same token reads the traders of A and of B. The database decides what it gets."""
    before = tenants.of_b()
    log = tmp_path / "backend.log"
    child = process.spawn([sys.executable, "-c", UNCHECKED, user, BACKEND], env=environment(tenants), log=log)

    def ready():
        ports = [json.loads(line)["port"] for line in log.read_text().splitlines() if '"listening"' in line]
        answer = ports and tenants.project.http.get(f"http://127.0.0.1:{ports[0]}/ready")
        return answer.json() if answer and answer.status_code == 200 else None

    try:
        state = eventually(ready, "the backend never got an authenticated read")
        assert (state["user_id"], state["loaded"], state["expected"]) == (user, expected, expected)
    finally:
        process.kill(child)
    assert tenants.of_b() == before
