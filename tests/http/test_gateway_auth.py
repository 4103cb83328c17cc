"""Sign-in: passwords, the signed-in user, the public keys; with an unmodified Supabase client where possible."""

import os
import re
import signal
import subprocess
import sys
import time

import jwt
import pytest
from jwt import PyJWKClient
from supabase_auth.errors import AuthApiError

from local.supabase.auth.users import check_password, hash_password
from local.supabase.gateway import Gateway
from local.supabase.keys import Keys

USER = "11111111-1111-4111-8111-111111111111"
EMAIL = "user-1@example.test"


@pytest.fixture
def signed_up(project):
    """A project with one user whose password is `correct horse`."""
    password = hash_password("correct horse")
    user = f"""('{USER}', '{EMAIL}', '{password}', '{{"role": "operator"}}')"""
    project.sql(f"insert into auth.users (id, email, encrypted_password, raw_app_meta_data) values {user}")
    return project


def test_sign_in_gives_a_token_that_works(signed_up):
    """A password sign-in gives a token with the claims of a real one, and the API accepts it."""
    client = signed_up.client(signed_up.keys.publishable_key)
    session = client.auth.sign_in_with_password({"email": EMAIL.upper(), "password": "correct horse"}).session
    claims = jwt.decode(session.access_token, signed_up.keys.public_key, ["ES256"], audience="authenticated")
    assert (claims["sub"], claims["role"], claims["email"]) == (USER, "authenticated", EMAIL)
    assert claims["iss"] == f"{signed_up.url}/auth/v1"
    assert claims["app_metadata"] == {"role": "operator"}
    assert {"aud", "exp", "iat", "aal", "session_id", "is_anonymous", "phone"} <= claims.keys()
    assert [row["name"] for row in client.table("items").select("name").order("id").execute().data] == ["ant", "cat"]
    assert client.auth.get_user().user.email == EMAIL
    client.auth.sign_out()


def test_wrong_password_or_unknown_user(signed_up):
    """Both get the same response."""
    client = signed_up.client(signed_up.keys.publishable_key)
    for email, password in ((EMAIL, "wrong"), ("user-2@example.test", "correct horse")):
        with pytest.raises(AuthApiError) as refused:
            client.auth.sign_in_with_password({"email": email, "password": password})
        assert (refused.value.code, refused.value.message) == ("invalid_credentials", "Invalid login credentials")


def test_banned_users_cannot_sign_in(signed_up):
    """A ban that ends in the future refuses the right password; an expired one does not."""
    client = signed_up.client(signed_up.keys.publishable_key)
    signed_up.sql("update auth.users set banned_until = now() + interval '1 hour'")
    with pytest.raises(AuthApiError) as refused:
        client.auth.sign_in_with_password({"email": EMAIL, "password": "correct horse"})
    assert refused.value.code == "user_banned"
    signed_up.sql("update auth.users set banned_until = now() - interval '1 hour'")
    assert client.auth.sign_in_with_password({"email": EMAIL, "password": "correct horse"}).session


def test_user_needs_a_valid_token(signed_up):
    """No token 401, a bad or expired one 403, a token of a deleted user 403."""
    path = "/auth/v1/user"
    assert signed_up.send("GET", path).status_code == 401
    assert signed_up.send("GET", path, token=signed_up.user_token()).json()["id"] == USER
    late = signed_up.send("GET", path, token=signed_up.user_token(expires_in_s=-60))
    assert (late.status_code, late.json()["error_code"]) == (403, "bad_jwt")
    forged = signed_up.send("GET", path, token=Keys.generate().mint("authenticated", USER))
    assert (forged.status_code, forged.json()["error_code"]) == (403, "bad_jwt")
    signed_up.sql("update auth.users set deleted_at = now()")
    assert signed_up.send("GET", path, token=signed_up.user_token()).status_code == 403


def test_public_keys_verify_tokens(reading_project):
    """The JWKS needs no API key, may be cached for ten minutes, and PyJWT's client verifies tokens with it."""
    address = f"{reading_project.url}/auth/v1/.well-known/jwks.json"
    answer = reading_project.http.get(address)
    assert answer.headers["Cache-Control"] == "public, max-age=600"
    assert "d" not in answer.json()["keys"][0]
    token = reading_project.user_token()
    key = PyJWKClient(address).get_signing_key_from_jwt(token)
    assert jwt.decode(token, key, ["ES256"], audience="authenticated")["sub"] == USER


def test_unsupported_endpoints_are_501(reading_project):
    """Sign-up and unknown grants are 501 with a message; health is 200; all need an API key."""
    for method, path in (
        ("POST", "/auth/v1/token?grant_type=id_token"),
        ("POST", "/auth/v1/signup"),
        ("PUT", "/auth/v1/user"),
    ):
        answer = reading_project.send(method, path, json={})
        assert (answer.status_code, answer.json()["error_code"]) == (501, "not_implemented")
    assert reading_project.send("GET", "/auth/v1/health").status_code == 200
    assert reading_project.http.get(f"{reading_project.url}/auth/v1/health").status_code == 401
    for grant in ("password", "refresh_token", "pkce"):
        for body in (b"[]", b"no json", b"{}", b'{"email": 1, "password": null, "refresh_token": {}, "auth_code": []}'):
            answer = reading_project.send("POST", f"/auth/v1/token?grant_type={grant}", content=body)
            assert answer.status_code == 400, (grant, body)


def test_passwords_are_hashed_with_salt():
    """Two hashes of one password differ, both match it, and nothing else matches."""
    first, second = hash_password("pass"), hash_password("pass")
    assert first != second
    assert check_password("pass", first)
    assert check_password("pass", second)
    assert not check_password("Pass", first)
    assert not any(check_password("pass", stored) for stored in (None, "", "pass", "$2a$10$abc"))


def test_keys_are_saved_privately_and_not_shown(tmp_path):
    """Saved keys are readable by the owner only, load unchanged, and are not in a repr."""
    keys = Keys.generate()
    keys.save(tmp_path / "keys.json")
    assert (tmp_path / "keys.json").stat().st_mode & 0o777 == 0o600
    assert Keys.load(tmp_path / "keys.json") == keys
    assert not re.search("sb_|PRIVATE", repr(keys))
    assert Keys.generate().kid != keys.kid
    with pytest.raises(ValueError, match="not a set of project keys"):
        Keys.from_json("{}")


def test_stopping_twice_or_unstarted_does_nothing(keys):
    """stop() may be called at any time and does not close reused file descriptors."""
    nowhere = "postgresql://authenticator@127.0.0.1:1/none"
    gateway = Gateway(nowhere, keys).start()
    gateway.stop()
    gateway.stop()
    Gateway(nowhere, keys).stop()


@pytest.mark.slow
def test_gateway_as_a_process(bare_database, keys, http, tmp_path):
    """`python -m local.supabase.gateway` writes its address when it serves, and ends on SIGTERM."""
    keys.save(tmp_path / "keys.json")
    ready = tmp_path / "ready"
    login = bare_database.replace("supabase_admin@", "authenticator@")
    options = ["--database-url", login, "--keys", str(tmp_path / "keys.json"), "--ready-file", str(ready)]
    command = [sys.executable, "-m", "local.supabase.gateway", *options]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, env={**os.environ, "PYTHONUNBUFFERED": "1"}) as process:
        deadline = time.monotonic() + 20
        while not ready.exists():
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
        answer = http.get(f"{ready.read_text()}/rest/v1/nowhere", headers={"apikey": keys.secret_key})
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=20) == 0
    assert answer.json()["code"] == "PGRST205"
