"""The role of a request: API keys, tokens, row-level security, and the settings that a statement sees."""

import json
import time

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from postgrest.exceptions import APIError

from local.supabase.gateway import Gateway
from local.supabase.keys import Keys

OWNER = "11111111-1111-4111-8111-111111111111"
STRANGER = "22222222-2222-4222-8222-222222222222"


@pytest.fixture
def whoami(project):
    """`whoami(setting)` calls a function that returns a setting of its request."""
    project.sql("""create function public.whoami(p_setting text default 'role') returns text language sql stable as
        $$ select current_setting(p_setting, true) $$""")

    def ask(setting="role", **caller):
        return project.rest(**caller).rpc("whoami", {"p_setting": setting}).execute().data

    return ask


def test_keys_and_tokens_choose_the_role(project, whoami):
    """Secret key: service_role. Publishable: anon. With a user's token: the token's role."""
    assert whoami() == "service_role"
    assert whoami(key=project.keys.publishable_key) == "anon"
    assert whoami(token=project.user_token()) == "authenticated"
    assert whoami(key=project.keys.secret_key, token=project.user_token()) == "authenticated"
    assert whoami(token=project.keys.mint("service_role")) == "service_role"
    assert whoami(token=project.keys.mint(None)) == "anon"


def test_unmodified_supabase_client(project):
    """`create_client` with a secret key reads, writes and calls without a request at construction."""
    client = project.client()
    assert client.table("items").select("name").order("id").limit(1).execute().data == [{"name": "ant"}]
    assert client.table("items").insert({"name": "dog"}).execute().data[0]["name"] == "dog"


def test_row_level_security_holds(project):
    """A user sees and changes its own rows only, and cannot give a row away; the secret key sees all."""
    mine = project.rest(token=project.user_token(OWNER)).from_("items")
    assert [row["name"] for row in mine.select("name").order("id").execute().data] == ["ant", "cat"]
    assert mine.update({"stock": 0}).eq("name", "bee").execute().data == []
    assert len(mine.insert({"name": "dog", "owner": OWNER}).execute().data) == 1
    with pytest.raises(APIError) as refused:
        mine.insert({"name": "eel", "owner": STRANGER}).execute()
    assert refused.value.code == "42501"
    assert len(project.rest().from_("items").select("id").execute().data) == 4


def test_missing_grants_answer_401_or_403(project):
    """Nobody may read a table without grants, not even with the secret key: 403, or 401 with a challenge for anon."""
    closed = "/rest/v1/unreachable"
    anonymous = project.send("GET", closed, key=project.keys.publishable_key)
    assert (anonymous.status_code, anonymous.json()["code"]) == (401, "42501")
    assert anonymous.headers["WWW-Authenticate"] == "Bearer"
    assert anonymous.headers["Proxy-Status"] == "PostgREST; error=42501"
    assert project.send("GET", closed).status_code == 403
    assert project.send("GET", closed, token=project.user_token()).status_code == 403


@pytest.mark.parametrize(
    ("headers", "message"),
    [
        ({}, "No API key found in request"),
        ({"Authorization": "Bearer SECRET"}, "No API key found in request"),
        ({"apikey": "sb_secret_wrong"}, "Invalid API key"),
        ({"apikey": "PUBLISHABLE", "Authorization": "Bearer SECRET"}, "Expected 3 parts in JWT; got 1"),
        ({"apikey": "SECRET", "Authorization": "Bearer sb_secret_other"}, "Expected 3 parts in JWT; got 1"),
        ({"apikey": "SECRET", "Authorization": "Bearer"}, "Empty JWT is sent in Authorization header"),
        ({"apikey": "SECRET", "Authorization": "Basic x"}, "JWT couldn't be decoded"),
    ],
)
def test_failed_authentication_is_401(reading_project, headers, message):
    """401 without a key, with a wrong key, with a bearer key other than the apikey."""
    known = {"SECRET": reading_project.keys.secret_key, "PUBLISHABLE": reading_project.keys.publishable_key}
    sent = {
        name: value.replace("SECRET", known["SECRET"]).replace("PUBLISHABLE", known["PUBLISHABLE"])
        for name, value in headers.items()
    }
    answer = reading_project.http.get(f"{reading_project.url}/rest/v1/items", headers=sent)
    assert (answer.status_code, answer.json()["message"]) == (401, message)


def test_apikey_alone_is_enough(reading_project):
    """A direct caller sends `apikey` only; an equal bearer is allowed; a browser may use the publishable key."""
    for headers in (
        {"apikey": reading_project.keys.secret_key},
        reading_project.headers(),
        {"apikey": reading_project.keys.secret_key, "User-Agent": "hangar/1"},
    ):
        assert reading_project.http.get(f"{reading_project.url}/rest/v1/items", headers=headers).status_code == 200
    browser = {"apikey": reading_project.keys.publishable_key, "User-Agent": "Mozilla/5.0"}
    answer = reading_project.http.get(f"{reading_project.url}/rest/v1/items", headers=browser)
    assert answer.json()["code"] == "42501"  # accepted as anon, which has no grant


@pytest.mark.parametrize(
    ("claims", "code", "message"),
    [
        ({"exp": -31}, "PGRST303", "JWT expired"),
        ({"nbf": 35}, "PGRST303", "JWT not yet valid"),
        ({"iat": 35}, "PGRST303", "JWT issued at future"),
        ({"exp": "soon"}, "PGRST303", "The JWT 'exp' claim must be a number"),
    ],
)
def test_invalid_claims_are_refused(reading_project, claims, code, message):
    """Times must be valid and must be numbers: PGRST303."""
    now = int(time.time())
    moved = {name: now + value if isinstance(value, int) else value for name, value in claims.items()}
    answer = reading_project.send("GET", "/rest/v1/items", token=reading_project.user_token(**moved))
    assert (answer.status_code, answer.json()["code"], answer.json()["message"]) == (401, code, message)


def test_roles_that_cannot_be_set(reading_project):
    """A role that does not exist is 401, one that the login role may not set is 403."""
    absent = reading_project.send("GET", "/rest/v1/items", token=reading_project.keys.mint("nobody_at_all"))
    assert (absent.status_code, absent.json()["message"]) == (401, 'role "nobody_at_all" does not exist')
    foreign = reading_project.send("GET", "/rest/v1/items", token=reading_project.keys.mint("supabase_admin"))
    assert (foreign.status_code, foreign.json()["code"]) == (403, "42501")


def test_a_clock_skew_of_thirty_seconds_is_accepted(bare_database, keys, http):
    """A token is valid until 30 s after its expiry, and not one second longer."""
    clock = [1_900_000_000.0]
    login = bare_database.replace("supabase_admin@", "authenticator@")
    token = keys.mint("anon", expires_in_s=60, now=clock[0])
    with Gateway(login, keys, now=lambda: clock[0]) as gateway:
        headers = {"apikey": keys.publishable_key, "Authorization": f"Bearer {token}"}
        codes = []
        for later in (0, 90, 91):
            clock[0] = 1_900_000_000.0 + later
            codes.append(http.get(f"{gateway.url}/rest/v1/nowhere", headers=headers).json()["code"])
    assert codes == ["PGRST205", "PGRST205", "PGRST303"]


def test_tokens_signed_by_others(reading_project):
    """Another key under the project's key id, an unknown key id, HS256 and no signature at all are PGRST301."""
    keys, other = reading_project.keys, Keys.generate()
    forged = jwt.encode({"role": "service_role"}, ec.generate_private_key(ec.SECP256R1()), "ES256", {"kid": keys.kid})
    hmac = jwt.encode({"role": "service_role"}, "x" * 40, "HS256", {"kid": keys.kid})
    unsigned = jwt.encode({"role": "service_role"}, None, "none", {"kid": keys.kid})
    for token, message in (
        (forged, "JWT cryptographic operation failed"),
        (other.mint("service_role"), "No suitable key or wrong key type"),
        (hmac, "No suitable key or wrong key type"),
        (unsigned, "No suitable key or wrong key type"),
        ("a.b.c", "JWT couldn't be decoded"),
    ):
        answer = reading_project.send("GET", "/rest/v1/items", token=token)
        assert (answer.status_code, answer.json()["code"]) == (401, "PGRST301")
        assert answer.json()["message"] == message
        assert answer.headers["WWW-Authenticate"].startswith('Bearer error="invalid_token"')


def test_settings_a_statement_sees(project, whoami):
    """Claims with the role, headers in lower case without API keys, method, path, search_path."""
    claims = jwt.decode(project.user_token(app="x"), options={"verify_signature": False})
    token = project.user_token(app="x")
    assert json.loads(whoami("request.jwt.claims", token=token))["app"] == claims["app"]
    assert json.loads(whoami("request.jwt.claims")) == {"role": "service_role"}
    headers = json.loads(whoami("request.headers"))
    assert headers["accept-profile"] == "public"
    assert not any("sb_" in value for value in headers.values())
    assert whoami("request.method") == "POST"
    assert whoami("request.path") == "/rpc/whoami"
    assert whoami("search_path") == '"public", "extensions"'
    assert whoami("TimeZone") == "UTC"


def test_statement_timeouts_by_role(project, whoami):
    """3 s for anon, 8 s for authenticated, and 8 s for service_role, which has no timeout of its own."""
    assert whoami("statement_timeout", key=project.keys.publishable_key) == "3s"
    assert whoami("statement_timeout", token=project.user_token()) == "8s"
    assert whoami("statement_timeout") == "8s"


def test_a_login_without_settings_gets_those_of_a_project(project, whoami):
    """8 s and UTC apply to every login role, as in a hosted project."""
    assert whoami("statement_timeout") == "8s"
    headers, ask = project.headers(), {"p_setting": "statement_timeout"}
    with Gateway(project.database_url, project.keys) as gateway:
        answer = project.http.post(f"{gateway.url}/rest/v1/rpc/whoami", json=ask, headers=headers)
    assert answer.json() == "8s"


def test_a_connection_keeps_nothing_of_a_request(project, whoami):
    """The next request on the same connection has neither the role nor the claims of the one before."""
    assert OWNER in whoami("request.jwt.claims", token=project.user_token())
    assert OWNER not in whoami("request.jwt.claims", key=project.keys.publishable_key)
    assert whoami(key=project.keys.publishable_key) == "anon"


def test_browsers_may_call(reading_project):
    """A preflight is answered without a key, and responses have the origin header."""
    sent = {"Origin": "http://localhost:1", "Access-Control-Request-Headers": "apikey,authorization"}
    answer = reading_project.http.request("OPTIONS", f"{reading_project.url}/rest/v1/items", headers=sent)
    assert (answer.status_code, answer.headers["Access-Control-Allow-Headers"]) == (200, "apikey,authorization")
    assert reading_project.send("GET", "/rest/v1/items").headers["Access-Control-Allow-Origin"] == "*"


def test_other_paths_have_no_route(reading_project):
    """A path that belongs to no service is 404, with the body that Supabase's edge returns."""
    answer = reading_project.send("GET", "/storage/v1/object")
    assert (answer.status_code, answer.json()) == (404, {"message": "no Route matched with those values"})
    assert reading_project.send("GET", "/rest/v1/a/b/c").json()["code"] == "PGRST125"
