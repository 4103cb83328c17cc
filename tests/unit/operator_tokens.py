"""A project's keys, its operators and their tokens, for the tests of operator authentication."""

import base64
import json
import uuid
from datetime import UTC, datetime

import httpx
import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm
from pydantic import SecretStr

from shared.adapters.user_tokens import mint_user_token
from shared.http.operator_auth import ProjectKeys

ISSUER = "https://project.example.test/auth/v1"
USER = "11111111-1111-4111-8111-111111111111"
SESSION = "22222222-2222-4222-8222-222222222222"
EMAIL = "operator@example.test"
NOW = 1_700_000_000
ELLIPTIC, RSA = ec.generate_private_key(ec.SECP256R1()), rsa.generate_private_key(65537, 2048)
OTHER = ec.generate_private_key(ec.SECP256R1())


def public_jwk(private, kid, **changes):
    algorithm = ECAlgorithm if isinstance(private, ec.EllipticCurvePrivateKey) else RSAAlgorithm
    return algorithm.to_jwk(private.public_key(), as_dict=True) | {"kid": kid} | changes


def octets(text):
    return base64.urlsafe_b64encode(text).rstrip(b"=").decode()


LISTED = [
    public_jwk(ELLIPTIC, "ec"),
    public_jwk(RSA, "rsa", alg="RS256"),
    {"kty": "oct", "kid": "shared", "k": octets(b"s" * 32), "alg": "HS256"},
    {"kty": "oct", "kid": "pretender", "k": octets(b"s" * 32), "alg": "RS256"},
    public_jwk(ec.generate_private_key(ec.SECP384R1()), "p384"),
    {"kty": "what"},
    "no key",
    None,
]


class Project:
    """The public keys of a project, with a record of the requests for them."""

    def __init__(self, keys=LISTED):
        self.answer = {"keys": keys}
        self.requests, self.seconds, self.down = [], 0.0, False
        self.keys = ProjectKeys(ISSUER, transport=httpx.MockTransport(self.serve), clock=lambda: self.seconds)

    def serve(self, request):
        self.requests.append(str(request.url))
        if self.down:
            raise httpx.ConnectError("refused", request=request)
        return self.answer if isinstance(self.answer, httpx.Response) else httpx.Response(200, json=self.answer)


class Operators:
    """The operators in the database, with a record of the queries."""

    def __init__(self):
        self.queries, self.row = [], {"operator": True, "email": EMAIL}

    def __call__(self, user_id):
        self.queries.append(str(user_id))
        if isinstance(self.row, Exception):
            raise self.row
        return self.row


def mint(key=ELLIPTIC, algorithm="ES256", kid="ec", without=(), **changes):
    claims = {
        "iss": ISSUER,
        "aud": "authenticated",
        "role": "authenticated",
        "sub": USER,
        "iat": NOW,
        "exp": NOW + 3600,
        "email": "spoofed@example.test",
        "aal": "aal1",
        "session_id": SESSION,
        "is_anonymous": False,
        "app_metadata": {"role": "operator"},
    }
    claims = {name: value for name, value in (claims | changes).items() if name not in without}
    headers = {} if kid is None else {"kid": kid}
    return jwt.encode(claims, key, algorithm, headers)


def bearer(token):
    return {"authorization": f"Bearer {token}"}


def machine_token():
    """The token of a machine of this user, signed by the project's key."""
    jwk = json.dumps(ECAlgorithm.to_jwk(ELLIPTIC, as_dict=True) | {"kid": "ec"})
    return mint_user_token(
        SecretStr(jwk),
        issuer=ISSUER,
        user_id=uuid.UUID(USER),
        app_id=uuid.uuid4(),
        now=datetime.fromtimestamp(NOW, UTC),
    )
