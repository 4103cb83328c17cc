"""Sessions of the local sign-in service, with the unmodified client: refresh, rotation, reuse, sign-out, a restart."""

import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import jwt
import psycopg
import pytest
from pydantic import SecretStr
from supabase_auth.errors import AuthApiError

from local.supabase.auth.sessions import REUSE_S, SESSION_S
from local.supabase.auth.users import hash_password
from local.supabase.gateway import Gateway
from shared.adapters.user_tokens import mint_user_token
from supabase import ClientOptions, create_client

USER, EMAIL, PASSWORD = "11111111-1111-4111-8111-111111111111", "user-1@example.test", "correct horse"
START = 1_900_000_000.0


class Clocked:
    """A project with one user, whose sign-in service uses the test's clock."""

    def __init__(self, project):
        self.project, self.seconds = project, START
        self.login = project.database_url.replace("supabase_admin@", "authenticator@")
        self.auth_login = project.database_url.replace("supabase_admin@", "supabase_auth_admin@")
        row = f"('{USER}', '{EMAIL}', '{hash_password(PASSWORD)}')"
        project.sql(f"insert into auth.users (id, email, encrypted_password) values {row}")

    def open(self, port=0):
        return Gateway(
            self.login, self.project.keys, auth_database_url=self.auth_login, port=port, now=lambda: self.seconds
        )

    def client(self, gateway):
        options = ClientOptions(httpx_client=self.project.http, auto_refresh_token=False, persist_session=False)
        return create_client(gateway.url, self.project.keys.publishable_key, options=options).auth

    def sign_in(self, gateway):
        return self.client(gateway).sign_in_with_password({"email": EMAIL, "password": PASSWORD}).session

    def count(self, table):
        return self.project.sql(f"select count(*) from auth.{table}")[0][0]


@pytest.fixture
def clocked(project):
    return Clocked(project)


@pytest.fixture
def gateway(clocked):
    with clocked.open() as gateway:
        yield gateway


def claims_of(session):
    return jwt.decode(session.access_token, options={"verify_signature": False})


def code_of(act):
    with pytest.raises(AuthApiError) as refused:
        act()
    return refused.value.code


def test_a_refresh_continues_the_session_with_new_tokens(clocked, gateway):
    """The session id and the sign-in method stay; both tokens and the expiry are new."""
    first = clocked.sign_in(gateway)
    clocked.seconds += 1800
    second = clocked.client(gateway).refresh_session(first.refresh_token).session
    before, after = claims_of(first), claims_of(second)
    assert str(uuid.UUID(after["session_id"])) == after["session_id"] == before["session_id"]
    assert after["exp"] == before["exp"] + 1800 == clocked.seconds + SESSION_S
    assert after["iss"] == f"{gateway.url}/auth/v1"
    assert second.refresh_token != first.refresh_token
    assert clocked.client(gateway).get_user(second.access_token).user.id == USER


def test_a_lost_response_can_be_requested_again(clocked, gateway):
    """A refresh with the parent of the current token returns the current token, at any time, and makes no second one."""
    first = clocked.sign_in(gateway).refresh_token
    second = clocked.client(gateway).refresh_session(first).session.refresh_token
    clocked.seconds += REUSE_S + 3600
    assert clocked.client(gateway).refresh_session(first).session.refresh_token == second
    assert clocked.count("refresh_tokens") == 2


def test_an_old_token_used_again_ends_the_session(clocked, gateway):
    """A thief and the owner cannot both continue: reuse after the interval revokes the whole token family."""
    first = clocked.sign_in(gateway).refresh_token
    auth = clocked.client(gateway)
    second = auth.refresh_session(first).session.refresh_token
    third = auth.refresh_session(second).session.refresh_token
    clocked.seconds += REUSE_S + 1
    assert code_of(lambda: auth.refresh_session(first)) == "refresh_token_already_used"
    clocked.seconds += REUSE_S + 1  # as in supabase/auth the interval starts again at the revocation
    for token in (first, second, third):
        assert code_of(lambda token=token: auth.refresh_session(token)) == "refresh_token_already_used"


def test_within_the_reuse_interval_an_older_token_is_accepted(clocked, gateway):
    first = clocked.sign_in(gateway).refresh_token
    auth = clocked.client(gateway)
    second = auth.refresh_session(first).session.refresh_token
    auth.refresh_session(second)
    clocked.seconds += REUSE_S
    assert auth.refresh_session(first).session


def test_two_refreshes_at_once_get_the_same_token(clocked, gateway):
    """Two tabs refresh at the same time: both wait for the session's row and get the same token."""
    token = clocked.sign_in(gateway).refresh_token
    auth = [clocked.client(gateway) for _ in range(2)]
    waiting = "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
    with ThreadPoolExecutor(2) as tabs, psycopg.connect(clocked.project.database_url) as holding:
        holding.execute("select from auth.sessions for update")
        answers = [tabs.submit(lambda one=one: one.refresh_session(token).session.refresh_token) for one in auth]
        deadline = time.monotonic() + 30
        while clocked.project.sql(waiting) != [(2,)]:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        holding.commit()
        assert answers[0].result() == answers[1].result()
    assert clocked.count("refresh_tokens") == 2


def test_unknown_tokens_and_banned_users_are_refused(clocked, gateway):
    auth, token = clocked.client(gateway), clocked.sign_in(gateway).refresh_token
    assert code_of(lambda: auth.refresh_session("made-up-token")) == "refresh_token_not_found"
    clocked.project.sql("update auth.users set banned_until = now() + interval '1 hour'")
    assert code_of(lambda: auth.refresh_session(token)) == "user_banned"
    clocked.project.sql("update auth.users set banned_until = null, deleted_at = now()")
    assert code_of(lambda: auth.refresh_session(token)) == "refresh_token_not_found"


@pytest.mark.parametrize(("scope", "ended"), [("local", {0}), ("others", {1, 2}), ("global", {0, 1, 2})])
def test_signing_out_ends_the_sessions_of_its_scope(clocked, gateway, scope, ended):
    """Their refresh tokens are invalid, and their access tokens no longer show the user."""
    sessions = [clocked.sign_in(gateway) for _ in range(3)]
    leaving = clocked.client(gateway)
    leaving.set_session(sessions[0].access_token, sessions[0].refresh_token)
    leaving.sign_out({"scope": scope})
    for number, session in enumerate(sessions):
        auth = clocked.client(gateway)
        if number in ended:
            assert (
                code_of(lambda auth=auth, session=session: auth.get_user(session.access_token)) == "session_not_found"
            )
            refused = code_of(lambda auth=auth, session=session: auth.refresh_session(session.refresh_token))
            assert refused == "refresh_token_not_found"
        else:
            assert auth.get_user(session.access_token).user.id == USER
            assert auth.refresh_session(session.refresh_token).session


def test_signing_out_needs_a_session_and_a_known_scope(clocked, gateway):
    session = clocked.sign_in(gateway)
    headers = {"apikey": clocked.project.keys.publishable_key}
    post = clocked.project.http.post
    assert post(f"{gateway.url}/auth/v1/logout", headers=headers).status_code == 401
    headers["Authorization"] = f"Bearer {session.access_token}"
    assert post(f"{gateway.url}/auth/v1/logout?scope=nobody", headers=headers).status_code == 400
    assert post(f"{gateway.url}/auth/v1/logout", headers=headers).status_code == 204
    assert post(f"{gateway.url}/auth/v1/logout", headers=headers).status_code == 403


def test_a_session_outlives_the_gateway(clocked):
    """Sessions are in the database: after a restart the refresh and access tokens are valid."""
    with clocked.open() as gateway:
        session, port = clocked.sign_in(gateway), int(gateway.url.rpartition(":")[2])
    with clocked.open(port) as gateway:
        auth = clocked.client(gateway)
        assert auth.get_user(session.access_token).user.email == EMAIL
        assert auth.refresh_session(session.refresh_token).session.user.id == USER


def test_a_machines_token_is_refused_by_the_sign_in_service(clocked, gateway):
    """A stolen token cannot read the user, sign the user out or (on a hosted project) set a password."""
    token = mint_user_token(
        SecretStr(clocked.project.keys.signing_key_pem),
        issuer=f"{gateway.url}/auth/v1",
        user_id=uuid.UUID(USER),
        app_id=uuid.uuid4(),
        now=datetime.fromtimestamp(clocked.seconds, UTC),
    )
    session = clocked.sign_in(gateway)
    headers = {"apikey": clocked.project.keys.publishable_key, "Authorization": f"Bearer {token}"}
    ask = clocked.project.http.request
    assert ask("GET", f"{gateway.url}/rest/v1/items", headers=headers).status_code == 200
    for method, path in (("GET", "user"), ("POST", "logout")):
        answer = ask(method, f"{gateway.url}/auth/v1/{path}", headers=headers)
        assert (answer.status_code, answer.json()["error_code"]) == (403, "session_not_found")
    assert clocked.client(gateway).get_user(session.access_token).user.id == USER


def test_no_api_role_reads_sessions(clocked, gateway):
    """Refresh tokens are credentials, so no API role may read them."""
    clocked.sign_in(gateway)
    for role in ("anon", "authenticated", "service_role"):
        for table in ("sessions", "refresh_tokens"):
            [[allowed]] = clocked.project.sql(f"select has_table_privilege('{role}', 'auth.{table}', 'select')")
            assert allowed is False
