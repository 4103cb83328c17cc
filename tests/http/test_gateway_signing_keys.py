"""The signing keys of the local Supabase: several are accepted at once, and their states change as in the dashboard."""

import json
import sys
import time

import jwt
import pytest

from local import process
from local.supabase.gateway import FOLLOW_S, Gateway
from local.supabase.keys import Keys
from local.supabase.signing_keys import make_key
from ops.setup.secrets import make_signing_key
from tests.http.running_function import PATIENCE_S, ROOT
from tests.support.loopback import LOOPBACK

USER = "11111111-1111-4111-8111-111111111111"


@pytest.fixture
def keys():
    return Keys.generate()


@pytest.fixture
def gateway(bare_database, keys):
    with Gateway(bare_database.replace("supabase_admin@", "authenticator@"), keys) as gateway:
        yield gateway


def ask(url, keys, token):
    headers = {"apikey": keys.publishable_key, "Authorization": f"Bearer {token}"}
    return LOOPBACK.get(f"{url}/rest/v1/signals?select=id", headers=headers)


def published(url):
    listed = LOOPBACK.get(f"{url}/auth/v1/.well-known/jwks.json").json()["keys"]
    assert all(not set(each) & {"d", "k"} for each in listed)  # no private part
    return [each["kid"] for each in listed]


def sign(jwk, **header):
    """A token that another program signs with an imported key."""
    key = json.loads(jwk)
    claims = {"role": "authenticated", "sub": USER, "exp": int(time.time()) + 60}
    return jwt.encode(claims, jwt.PyJWK(key).key, "ES256", {"kid": key["kid"], **header})


def test_an_imported_standby_key_is_accepted_under_its_own_id_until_it_is_revoked(gateway, keys):
    jwk = make_signing_key()
    assert ask(gateway.url, keys, sign(jwk)).json()["message"] == "No suitable key or wrong key type"
    kid = keys.import_standby(jwk).kid
    assert kid == json.loads(jwk)["kid"]
    assert published(gateway.url) == [keys.kid, kid]
    assert ask(gateway.url, keys, sign(jwk)).status_code == 200
    keys.retire(kid)
    assert ask(gateway.url, keys, sign(jwk)).status_code == 200
    keys.revoke(kid)
    assert published(gateway.url) == [keys.kid]
    refused = ask(gateway.url, keys, sign(jwk))
    assert (refused.status_code, refused.json()["code"]) == (401, "PGRST301")


def test_a_key_is_accepted_only_under_its_own_id(gateway, keys):
    jwk = make_signing_key()
    keys.import_standby(jwk)
    assert ask(gateway.url, keys, sign(jwk, kid=keys.kid)).status_code == 401
    unnamed = jwt.encode(
        {"role": "authenticated", "exp": int(time.time()) + 60}, jwt.PyJWK(json.loads(jwk)).key, "ES256"
    )
    assert ask(gateway.url, keys, unnamed).status_code == 200  # every accepted key is tried


def test_a_rotation_signs_with_the_standby_key_and_keeps_the_former_one(gateway, keys):
    former, session = keys.kid, keys.mint("authenticated", USER)
    standby = keys.import_standby(make_signing_key()).kid
    keys.rotate()
    assert (keys.kid, published(gateway.url)) == (standby, [standby, former])
    assert {ask(gateway.url, keys, token).status_code for token in (session, keys.mint("authenticated", USER))} == {200}
    keys.revoke(former)
    assert ask(gateway.url, keys, session).status_code == 401
    assert ask(gateway.url, keys, keys.mint("authenticated", USER)).status_code == 200


def test_what_the_dashboard_does_not_offer_is_refused(keys):
    with pytest.raises(ValueError, match="no standby key"):
        keys.rotate()
    with pytest.raises(ValueError, match="in use"):
        keys.revoke(keys.kid)
    keys.import_standby(make_signing_key())
    with pytest.raises(ValueError, match="has a standby key"):
        keys.import_standby(make_signing_key())
    with pytest.raises(ValueError, match="not a private ES256 key"):
        make_key('{"kty": "EC"}')


@pytest.mark.slow
def test_the_process_follows_its_file(bare_database, keys, tmp_path):
    """What an operator changes in the dashboard of a hosted project is changed in the file of the local one."""
    path, ready = tmp_path / "keys.json", tmp_path / "url"
    keys.save(path)
    login = bare_database.replace("supabase_admin@", "authenticator@")
    command = [sys.executable, "-m", "local.supabase.gateway", "--database-url", login]
    child = process.spawn(
        [*command, "--keys", path, "--ready-file", ready], env={}, cwd=ROOT, log=tmp_path / "gateway.log"
    )
    try:
        wait_until(ready.exists)
        url, jwk = ready.read_text(), make_signing_key()
        path.write_text("{")  # half a file changes nothing
        time.sleep(2 * FOLLOW_S)
        keys.import_standby(jwk)
        keys.save(path)
        wait_until(lambda: len(published(url)) == 2)
        assert ask(url, keys, sign(jwk)).status_code == 200
    finally:
        process.kill(child)


def wait_until(holds):
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)
