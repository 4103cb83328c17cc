"""User tokens: PostgREST and Supabase accept them for one user, and they never contain the key."""

import base64
import hashlib
import json
import uuid
from datetime import UTC, datetime, timedelta, timezone

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from jwt.algorithms import ECAlgorithm
from pydantic import SecretStr

from local.supabase.keys import Keys
from local.supabase.rest.auth import identify
from local.supabase.rest.errors import RestError
from shared.adapters.user_tokens import mint_user_token

PRIVATE = ec.generate_private_key(ec.SECP256R1())
PUBLIC = PRIVATE.public_key()
PEM = PRIVATE.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
SEC1 = PRIVATE.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()).decode()
JWK = json.dumps(ECAlgorithm.to_jwk(PRIVATE, as_dict=True) | {"kid": "key-1"})
USER = uuid.UUID("11111111-1111-4111-8111-111111111111")
APP = uuid.UUID("22222222-2222-4222-8222-222222222222")
ISSUER = "https://x.supabase.co/auth/v1"
NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


def mint(key=PEM, **changes):
    return mint_user_token(SecretStr(key), **{"issuer": ISSUER, "user_id": USER, "app_id": APP, "now": NOW, **changes})


def claims_of(token):
    return jwt.decode(
        token,
        PUBLIC,
        algorithms=["ES256"],
        audience="authenticated",
        options={"verify_exp": False, "verify_iat": False},
    )


@pytest.mark.parametrize("key", [PEM, SEC1, JWK], ids=["PKCS8", "SEC1", "JWK"])
def test_the_token_names_its_user_and_its_app(key):
    assert claims_of(mint(key)) == {
        "iss": ISSUER,
        "aud": "authenticated",
        "role": "authenticated",
        "sub": str(USER),
        "iat": int(NOW.timestamp()),
        "exp": int(NOW.timestamp()) + 30 * 86_400,
        "email": "",
        "phone": "",
        "aal": "aal1",
        "is_anonymous": False,
        "session_id": str(APP),
        "app_id": str(APP),
    }


def test_the_kid_is_that_of_the_jwk():
    assert jwt.get_unverified_header(mint(JWK)) == {"alg": "ES256", "typ": "JWT", "kid": "key-1"}


def test_the_kid_of_a_pem_is_its_rfc_7638_thumbprint():
    """Computed again from the members of PyJWK, so that a JWKS from the same key has the same kid."""
    kid = jwt.get_unverified_header(mint(PEM))["kid"]
    assert kid == jwt.get_unverified_header(mint(SEC1))["kid"]
    public = ECAlgorithm.to_jwk(PUBLIC, as_dict=True)
    canonical = f'{{"crv":"P-256","kty":"EC","x":"{public["x"]}","y":"{public["y"]}"}}'
    assert kid == base64.urlsafe_b64encode(hashlib.sha256(canonical.encode()).digest()).rstrip(b"=").decode()


def test_a_project_accepts_the_token_for_the_role_authenticated():
    """Checked by the rules of PostgREST: known kid, valid time, role `authenticated`."""
    keys = Keys.generate()
    headers = {"apikey": keys.publishable_key, "authorization": f"Bearer {mint(keys.signing_key_pem)}"}
    identity = identify(headers, keys, lambda: NOW.timestamp() + 29 * 86_400)
    assert (identity.role, identity.claims["sub"]) == ("authenticated", str(USER))
    with pytest.raises(RestError):
        identify(headers, keys, lambda: NOW.timestamp() + 31 * 86_400)


def test_the_caller_sets_lifetime_and_clock():
    claims = claims_of(mint(ttl=timedelta(hours=1), now=NOW.astimezone(timezone(timedelta(hours=5)))))
    assert (claims["iat"], claims["exp"] - claims["iat"]) == (int(NOW.timestamp()), 3600)
    with pytest.raises(ValueError, match="time zone"):
        mint(now=NOW.replace(tzinfo=None))


@pytest.mark.parametrize(
    "key",
    [
        "canary",
        "{canary",
        '{"kty": "EC", "d": "canary"}',
        PEM.replace("M", "canary"),
        ec.generate_private_key(ec.SECP384R1())
        .private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        .decode(),
        rsa.generate_private_key(65537, 2048).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode(),
        json.dumps(ECAlgorithm.to_jwk(PUBLIC, as_dict=True)),
    ],
    ids=["text", "broken JSON", "part of a JWK", "broken PEM", "P-384", "RSA", "public"],
)
def test_an_invalid_key_is_rejected_and_not_shown(key):
    with pytest.raises(ValueError, match="HANGAR_USER_TOKEN_KEY") as caught:
        mint(key)
    assert caught.value.__cause__ is caught.value.__context__ is None
    assert "canary" not in str(caught.value)
