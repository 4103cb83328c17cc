"""Operators: a session token signed by the project's key, and a check of the database at every call."""

import hmac
import json
import time
import uuid

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from pydantic import SecretStr

from shared.domain.errors import OutcomeUnknown, TransientError
from shared.http.operator_auth import FAILED_PAUSE_S, KEYS_FRESH_S, LOOK_AGAIN_S, OperatorToken
from shared.http.webhook_auth import Caller, Forbidden, StaticHeader, Unauthenticated, authenticate
from tests.unit.operator_tokens import (
    ELLIPTIC,
    EMAIL,
    ISSUER,
    NOW,
    OTHER,
    RSA,
    SESSION,
    USER,
    Operators,
    Project,
    bearer,
    machine_token,
    mint,
    octets,
    public_jwk,
)

ELLIPTIC_PUBLIC = ELLIPTIC.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
KINDS = frozenset({"webhook", "static", "operator"})


@pytest.fixture
def project():
    return Project()


@pytest.fixture
def operators():
    return Operators()


@pytest.fixture
def verifier(project, operators):
    return OperatorToken(ISSUER, project.keys, operators)


@pytest.mark.parametrize(("key", "algorithm", "kid"), [(ELLIPTIC, "ES256", "ec"), (RSA, "RS256", "rsa")])
def test_a_session_of_an_operator_is_named_by_the_database(verifier, operators, key, algorithm, kid):
    """The e-mail comes from the database, because the one in the token may be outdated."""
    assert verifier.verify(bearer(mint(key, algorithm, kid)), b"", NOW) == Caller("operator", EMAIL)
    assert operators.queries == [USER]


def test_the_scheme_is_case_insensitive(verifier):
    token = mint()
    for value in (f"bearer {token}", f"BEARER  {token}"):
        assert verifier.verify({"authorization": value}, b"", NOW)


def test_a_removed_operator_is_forbidden_at_the_next_call(verifier, operators):
    """The row is read at every call. The token alone authenticates a user, which no function accepts."""
    headers = bearer(mint())
    assert authenticate((verifier,), KINDS, headers, b"", NOW).kind == "operator"
    operators.row = {"operator": False, "email": EMAIL}
    with pytest.raises(Forbidden):
        authenticate((verifier,), KINDS, headers, b"", NOW)
    assert operators.queries == [USER, USER]


@pytest.mark.parametrize("row", [{}, {"operator": None}, {"operator": "true"}, {"operator": 1}])
def test_only_true_in_the_row_makes_an_operator(verifier, operators, row):
    operators.row = row
    assert verifier.verify(bearer(mint()), b"", NOW) == Caller("user", USER)


REFUSED = {
    "an operator's own machine": machine_token(),
    "a machine's token with a session": mint(app_id=str(uuid.uuid4())),
    "longer-lived than a sign-in": mint(exp=NOW + 7 * 86_400 + 1),
    "no session": mint(without=("session_id",)),
    "an empty session": mint(session_id=""),
    "a session that is not a uuid": mint(session_id="0" * 32),
    "anonymous": mint(is_anonymous=True),
    "anonymous as text": mint(is_anonymous="true"),
    "another role": mint(role="service_role"),
    "no role": mint(without=("role",)),
    "another audience": mint(aud="anon"),
    "no audience": mint(without=("aud",)),
    "another project": mint(iss="https://other.example.test/auth/v1"),
    "an issuer with a suffix": mint(iss=f"{ISSUER}/"),
    "no issuer": mint(without=("iss",)),
    "no user": mint(without=("sub",)),
    "a user that is not a uuid": mint(sub="operator"),
    "no expiry": mint(without=("exp",)),
    "an expiry as text": mint(exp="never"),
    "an expiry that is not a number": mint(exp=float("nan")),
    "expired": mint(exp=NOW - 31),
    "issued in the future": mint(iat=NOW + 31),
    "not valid yet": mint(nbf=NOW + 31),
    "another key under the id of a known key": mint(OTHER),
    "an unknown key": mint(OTHER, kid="other"),
    "no key id": mint(kid=None),
    "HS256 with the project's public key as its secret": ".".join(
        (
            octets(json.dumps({"alg": "HS256", "kid": "ec"}).encode()),
            mint().split(".")[1],
            octets(b"x" * 32),
        )
    ),
    "HS256 with a listed secret": mint(b"s" * 32, "HS256", "shared"),
    "HS256 with a secret listed as RS256": mint(b"s" * 32, "HS256", "pretender"),
    "HS256 under the id of an RSA key": mint(b"s" * 32, "HS256", "rsa"),
    "ES256 under the id of an RSA key": mint(kid="rsa"),
    "RS256 under the id of an EC key": mint(RSA, "RS256", "ec"),
    "PS256": mint(RSA, "PS256", "rsa"),
    "ES384": mint(ec.generate_private_key(ec.SECP384R1()), "ES384", "p384"),
    "no signature at all": mint(None, "none"),
    "a truncated signature": mint()[:-4],
    "claims of another user": ".".join((mint().split(".")[0], mint(sub=SESSION).split(".")[1], mint().split(".")[2])),
    "a header with too deep nesting": f"{octets(b'[' * 9000)}.e30.e30",
    "a header that is a list": f"{octets(b'[]')}.e30.e30",
    "claims that are a list": jwt.api_jws.PyJWS().encode(b"[]", ELLIPTIC, "ES256", {"kid": "ec"}),
    "a key id that is not text": f"{octets(b'{}')}.e30.e30",
    "a secret key of the project": "sb_secret_0123456789",
    "dots": "a.b.c",
    "empty": "",
    "not ASCII": "é.é.é",
    "half a surrogate": "\udcff.a.b",
    "too long": f"{'a' * 20_000}.b.c",
}


@pytest.mark.parametrize("token", REFUSED.values(), ids=REFUSED)
def test_an_invalid_token_is_rejected_without_a_query(verifier, operators, token):
    with pytest.raises(Unauthenticated):
        authenticate((verifier,), KINDS, bearer(token), b"", NOW)
    assert operators.queries == []


def test_hs256_signed_with_the_public_key_is_rejected(verifier, operators):
    """The known attack: the public key is used as a shared secret."""
    head = octets(json.dumps({"alg": "HS256", "kid": "ec"}).encode())
    signed = f"{head}.{mint().split('.')[1]}"
    forged = f"{signed}.{octets(hmac.digest(ELLIPTIC_PUBLIC, signed.encode(), 'sha256'))}"
    assert verifier.verify(bearer(forged), b"", NOW) is None
    assert operators.queries == []


@pytest.mark.parametrize(
    "headers", [{}, {"authorization": ""}, {"authorization": mint()}, {"authorization": "Basic x"}]
)
def test_without_a_bearer_token_no_key_is_requested(verifier, project, headers):
    assert verifier.verify(headers, b"", NOW) is None
    assert project.requests == []


@pytest.mark.parametrize(
    ("claims", "now"), [({"exp": NOW - 29}, NOW), ({"iat": NOW + 30}, NOW), ({"nbf": NOW + 30}, NOW)]
)
def test_clocks_may_differ_by_thirty_seconds(verifier, claims, now):
    assert verifier.verify(bearer(mint(**claims)), b"", now)


def test_the_keys_are_cached_for_ten_minutes(verifier, project):
    for _ in range(3):
        assert verifier.verify(bearer(mint()), b"", NOW)
    assert project.requests == [f"{ISSUER}/.well-known/jwks.json"]
    project.seconds = KEYS_FRESH_S
    assert verifier.verify(bearer(mint()), b"", NOW)
    assert len(project.requests) == 2


def test_unknown_key_ids_cause_one_request_in_thirty_seconds(verifier, project):
    """A rotation is noticed within that time, and forged tokens cannot cause more requests."""
    assert verifier.verify(bearer(mint()), b"", NOW)
    project.answer = {"keys": [public_jwk(OTHER, "new")]}
    for number in range(20):
        assert verifier.verify(bearer(mint(OTHER, kid=f"made-up-{number}")), b"", NOW) is None
    assert len(project.requests) == 1
    project.seconds = LOOK_AGAIN_S
    assert verifier.verify(bearer(mint(OTHER, kid="new")), b"", NOW)
    assert verifier.verify(bearer(mint()), b"", NOW) is None, "a removed key is no longer accepted"
    assert len(project.requests) == 2


@pytest.mark.parametrize(
    "answer",
    [httpx.Response(503), httpx.Response(200, text="<html>"), httpx.Response(302, headers={"location": "/"})],
    ids=["503", "a page", "a redirect"],
)
def test_an_unreachable_project_is_a_transient_error(verifier, project, operators, answer):
    project.answer = answer
    with pytest.raises(TransientError):
        authenticate((verifier,), KINDS, bearer(mint()), b"", NOW)
    assert operators.queries == []


def test_an_unreachable_project_is_requested_again_only_after_a_pause(verifier, project):
    """Otherwise every forged token would occupy a thread until the time-out."""
    project.down = True
    for _ in range(5):
        with pytest.raises(TransientError):
            verifier.verify(bearer(mint()), b"", NOW)
    assert len(project.requests) == 1
    project.down, project.seconds = False, FAILED_PAUSE_S
    assert verifier.verify(bearer(mint()), b"", NOW)


@pytest.mark.parametrize("keys", [[], None, {}, "x", [{"kty": "oct", "k": "AAAA"}]])
def test_a_project_without_public_keys_authenticates_nobody(operators, keys):
    """For example a project that still signs with a shared secret."""
    verifier = OperatorToken(ISSUER, Project(keys).keys, operators)
    assert verifier.verify(bearer(mint()), b"", NOW) is None


@pytest.mark.parametrize("error", [TransientError("down"), OutcomeUnknown("no answer")])
def test_an_unreachable_database_is_a_transient_error(verifier, operators, error):
    operators.row = error
    with pytest.raises(TransientError):
        authenticate((verifier,), KINDS, bearer(mint()), b"", NOW)


def test_another_credential_counts_if_the_token_cannot_be_checked(verifier, project):
    project.down = True
    static = StaticHeader(SecretStr("a-static-secret-of-32-characters"))
    headers = bearer(mint()) | {"x-hangar-secret": "a-static-secret-of-32-characters"}
    for verifiers in ((verifier, static), (static, verifier)):
        assert authenticate(verifiers, KINDS, headers, b"", NOW).kind == "static"
    with pytest.raises(TransientError):
        authenticate((static, verifier), KINDS, headers | {"x-hangar-secret": "wrong"}, b"", NOW)


def test_the_repr_shows_no_token(verifier):
    assert "Bearer" not in repr(verifier)
    assert repr(verifier) == f"OperatorToken(issuer='{ISSUER}')"


def test_only_the_given_time_counts(verifier):
    """The wall clock is not used."""
    token = mint(iat=int(time.time()) + 10**6, exp=int(time.time()) + 10**6 + 60)
    assert verifier.verify(bearer(token), b"", time.time() + 10**6)
    assert verifier.verify(bearer(token), b"", time.time()) is None
