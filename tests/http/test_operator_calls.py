"""Operators call the deployed functions with their own access token: authorised by the database, answered, logged."""

import json
import socket
import uuid
from datetime import UTC, datetime

import httpx
import psycopg
import pytest
from pydantic import SecretStr

from local.dev.database import ADMIN, FREE_USERS
from local.dev.functions import CALLED, hold_port
from local.http_server import Response, Server
from local.supabase.auth.users import hash_password
from local.supabase.keys import Keys
from shared.adapters.user_tokens import mint_user_token
from supabase import ClientOptions, create_client
from tests.http.running_function import DATABASE_DOWN, JSON, SETTINGS, running
from tests.support.loopback import LOOPBACK

USER, STRANGER = FREE_USERS[0], FREE_USERS[1]


@pytest.fixture(scope="module")
def http():
    with httpx.Client(trust_env=False, timeout=60) as client:
        yield client


@pytest.fixture(scope="module")
def sql(cloud):
    cloud.reset()
    with psycopg.connect(cloud.addresses["database_url"], autocommit=True) as session:

        def run(query, *values):
            cursor = session.execute(query, values)
            return cursor.fetchall() if cursor.description else []

        yield run


@pytest.fixture(scope="module")
def sign_in(cloud, http):
    """Sign in through the unmodified Supabase client. Returns the access token."""

    def sign_in(email, password):
        options = ClientOptions(httpx_client=http, auto_refresh_token=False, persist_session=False)
        client = create_client(cloud.addresses["supabase_url"], cloud.addresses["publishable_key"], options=options)
        return client.auth.sign_in_with_password({"email": email, "password": password}).session.access_token

    return sign_in


@pytest.fixture(scope="module")
def token(cloud, sign_in):
    return sign_in(ADMIN.email, cloud.addresses["admin"]["password"])


@pytest.fixture
def ask(cloud, http, token):
    """Call a function as the operator, unless another token or header is given."""

    def ask(function, user=None, *, bearer=None, headers=None, **body):
        headers = {"Authorization": f"Bearer {bearer or token}"} if headers is None else headers
        body = body | ({"user_id": str(user)} if user else {})
        return http.post(cloud.addresses["functions"][function], json=body, headers=headers)

    return ask


@pytest.fixture
def override(sql):
    """Set an override for the user, as the dashboard does."""

    def override(word, plan=None):
        sql("select public.fly_set_override(%s, %s, %s, %s, 'test')", USER.id, word, plan, ADMIN.email)

    return override


def restarts(cloud, http):
    world = http.get(f"{cloud.addresses['fly_api_url']}/_sim/world").json()
    return world["requests"].get("POST /v1/apps/{app_name}/machines/{machine_id}/restart", 0)


@pytest.mark.slow
def test_an_operator_provisions_restarts_and_deprovisions_a_user_by_hand(cloud, http, sql, ask, override):
    """From the refusal that names the override to the deletion of the app, with the operator in every log entry."""
    refused = ask("provision", USER.id)
    assert (refused.status_code, refused.json()["code"]) == (409, "not_entitled")
    assert "override" in refused.json()["detail"]

    override("grant", "pro")
    made = ask("provision", USER.id)
    assert (made.status_code, made.json()["status"]) == (200, "active"), made.text
    assert ask("health", USER.id).json()["status"] == "active"

    first, second = ask("health", USER.id, restart=True), ask("health", USER.id, restart=True)
    assert (first.status_code, first.json()["restarted"], first.json()["status"]) == (200, True, "active"), first.text
    assert (second.status_code, second.json()["restarted"]) == (200, True)
    assert second.json()["code"] == "converged"
    assert restarts(cloud, http) == 1

    kept = ask("deprovision", USER.id)
    assert (kept.status_code, kept.json()["code"]) == (409, "still_entitled")
    override("deny")
    gone = ask("deprovision", USER.id)
    assert (gone.status_code, gone.json()["status"]) == (200, "deleted"), gone.text
    assert http.get(f"{cloud.addresses['fly_api_url']}/_sim/world").json()["apps"] == []
    nothing = ask("health", USER.id, restart=True)
    assert (nothing.status_code, nothing.json()["code"]) == (409, "no_app")

    events = sql("select event_type, metadata from public.user_fly_app_events where user_id = %s", USER.id)
    assert {metadata["actor"] for kind, metadata in events if kind == "action"} == {ADMIN.email}
    sources = [metadata["source"] for kind, metadata in events if kind == "recovery_attempted" and "source" in metadata]
    assert set(sources) == {"provision", "check", "restart", "deprovision"}
    override(None)


@pytest.mark.parametrize("function", CALLED)
def test_an_unknown_user_is_404(ask, function):
    answer = ask(function, uuid.uuid4())
    assert (answer.status_code, answer.json()["code"]) == (404, "unknown_user")


def test_an_operator_may_run_a_sweep(ask):
    answer = ask("health")
    assert (answer.status_code, answer.json()["complete"]) == (200, True)


@pytest.mark.parametrize("function", CALLED)
def test_a_user_who_is_not_an_operator_is_403(sql, ask, sign_in, function):
    """The host's own admin flag, and roles in the token, give no access."""
    sql("update auth.users set encrypted_password = %s where id = %s", hash_password("secret"), STRANGER.id)
    sql("""update auth.users set raw_app_meta_data = '{"role": "operator"}' where id = %s""", STRANGER.id)
    sql("update public.user_profiles set is_admin = true where id = %s", STRANGER.id)
    answer = ask(function, USER.id, bearer=sign_in(STRANGER.email, "secret"))
    assert (answer.status_code, answer.json()["code"]) == (403, "kind")


@pytest.mark.parametrize("function", CALLED)
def test_the_machine_of_an_operator_is_not_an_operator(cloud, ask, function):
    """Its token is signed by the project for the operator's id and is valid for a year at the data API. Here it is 401."""
    machine = mint_user_token(
        SecretStr(cloud.addresses["auth_signing_key"]),
        issuer=f"{cloud.addresses['supabase_url']}/auth/v1",
        user_id=uuid.UUID(ADMIN.id),
        app_id=uuid.uuid4(),
        now=datetime.now(UTC),
    )
    assert ask(function, USER.id, bearer=machine).status_code == 401


def test_a_removed_operator_is_out_at_the_next_call(sql, ask):
    assert ask("health", drain_only=True).status_code == 200
    sql("select public.fly_remove_operator(%s, 'test')", ADMIN.id)
    assert ask("health", drain_only=True).status_code == 403
    sql("select public.fly_add_operator(%s, 'test')", ADMIN.id)
    assert ask("health", drain_only=True).status_code == 200


def test_only_an_operator_may_restart_a_machine(cloud, ask):
    answer = ask("health", USER.id, headers={"X-Hangar-Secret": cloud.addresses["static_secret"]}, restart=True)
    assert (answer.status_code, answer.json()["code"]) == (403, "kind")


@pytest.mark.parametrize("body", [{"restart": "yes"}, {"restart": 1}, {"restart": None}, {"restart": True}])
def test_a_restart_needs_a_boolean_and_a_user(ask, body):
    answer = ask("health", **({"user": USER.id} if body["restart"] is not True else {}), **body)
    assert answer.status_code == 400


@pytest.fixture(scope="module")
def lonely(tmp_path_factory):
    """A function whose project does not answer."""
    with running("provision", SETTINGS, tmp_path_factory.mktemp("lonely")) as function:
        yield function


def test_cors_allows_the_configured_origin_to_read_refusals_too(lonely):
    """Preflight with the Authorization header, and CORS headers on a 401, only for the configured origin."""
    for origin, allowed in (
        ("https://admin.example.test", "https://admin.example.test"),
        ("https://evil.example", None),
    ):
        headers = {
            "Origin": origin,
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "authorization,content-type",
        }
        preflight = lonely.ask(None, headers, method="OPTIONS")
        assert (preflight.status, preflight.headers["Access-Control-Allow-Origin"]) == (204, allowed)
        if allowed:
            assert "authorization" in preflight.headers["Access-Control-Allow-Headers"]
            assert "POST" in preflight.headers["Access-Control-Allow-Methods"]
        refused = lonely.ask(b"{}", JSON | {"Origin": origin, "Authorization": "Bearer a.b.c"})
        assert (refused.status, refused.headers["Access-Control-Allow-Origin"]) == (401, allowed)


def session_of(keys, url):
    """The token of an operator's session at this project, and the header that carries it."""
    token = keys.mint("authenticated", ADMIN.id, iss=f"{url}/auth/v1", session_id=str(uuid.uuid4()))
    return token, JSON | {"Authorization": f"Bearer {token}"}


def assert_unchecked(reply):
    """503 and not 401: the token may be valid, so the operator need not sign in again."""
    assert (reply.status, reply.json()["code"]) == (503, "proof_unchecked")
    assert int(reply.headers["Retry-After"]) >= 1


def test_without_the_projects_keys_it_is_503(lonely):
    """The second call also gets 503, without another request to the project."""
    _, headers = session_of(Keys.generate(), SETTINGS["SUPABASE_URL"])
    for _ in range(2):
        assert_unchecked(lonely.ask(b"{}", headers))


@pytest.mark.slow
def test_without_the_database_it_is_503(tmp_path):
    keys = Keys.generate()
    found = Response(200, json.dumps(keys.jwks()).encode(), {"Content-Type": "application/json"})

    def serve(request):
        return found if request.path.endswith("jwks.json") else DATABASE_DOWN

    with Server(serve) as server, running("health", SETTINGS | {"SUPABASE_URL": server.url}, tmp_path) as function:
        token, headers = session_of(keys, server.url)
        assert_unchecked(function.ask(b"{}", headers))
        assert "fly_operator" in function.output(), "the database was called"
        assert token not in function.output()


def test_a_held_port_is_reserved_for_our_server():
    """The system assigns the port to no other socket, and our server can still listen on it."""
    with hold_port() as port:
        others = [socket.create_server(("127.0.0.1", 0)) for _ in range(200)]
        assert port not in {other.getsockname()[1] for other in others}
        for other in others:
            other.close()
        with Server(lambda _: Response(204), port) as server:
            assert LOOPBACK.get(server.url).status_code == 204
