"""The database credential of a machine: a Supabase access token for its user only.

It is signed with a standby or imported ES256 signing key of the project. PostgREST and Supabase accept it like any other user's
token, and row level security limits the machine to its user's rows. A machine never receives the service key.
"""

import base64
import hashlib
import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from uuid import UUID

from pydantic import SecretStr

from shared.domain.credentials import TOKEN_TTL

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey


def mint_user_token(
    key: SecretStr, *, issuer: str, user_id: UUID, app_id: UUID, now: datetime, ttl: timedelta = TOKEN_TTL
) -> str:
    """A JWT (ES256) for Supabase: role and aud `authenticated`, sub the user, `app_id` the id of the row.

    `issuer` is `{SUPABASE_URL}/auth/v1`. `key` is a PEM or a JWK with `kid`. Hosted Supabase needs the JWK: the kid of a PEM is
    its RFC 7638 thumbprint, and PostgREST rejects a kid that the project does not list. `session_id` names a session that does
    not exist. The data API does not check it, so the token stays valid when the user signs out. Supabase Auth rejects it (403
    session_not_found), so a stolen token cannot change the user's password. `now` needs a time zone. Raises ValueError for an
    invalid key, without showing it.
    """
    import jwt  # noqa: PLC0415  82 ms with cryptography, needed only when an app gets its first secrets

    if now.tzinfo is None:
        raise ValueError("now needs a time zone")
    private, kid = _load_key(key.get_secret_value())
    issued_at = int(now.astimezone(UTC).timestamp())
    claims: dict[str, Any] = {
        "iss": issuer,
        "aud": "authenticated",
        "role": "authenticated",
        "sub": str(user_id),
        "iat": issued_at,
        "exp": issued_at + int(ttl.total_seconds()),
        "email": "",
        "phone": "",
        "aal": "aal1",
        "is_anonymous": False,
        "session_id": str(app_id),
        "app_id": str(app_id),
    }
    return jwt.encode(claims, private, algorithm="ES256", headers={"kid": kid})


@dataclass(frozen=True)
class PublicKey:
    """The public half of a key: its id and the two coordinates as in a JWK."""

    kid: str
    x: str
    y: str


@lru_cache(maxsize=4)
def read_public_key(key: SecretStr) -> PublicKey:
    """The id under which `mint_user_token` signs, and the point. Raises ValueError for an invalid key, without showing it."""
    private, kid = _load_key(key.get_secret_value())
    numbers = private.public_key().public_numbers()
    return PublicKey(kid, _encode_32(numbers.x), _encode_32(numbers.y))


def _load_key(text: str) -> "tuple[EllipticCurvePrivateKey, str]":
    """The private key and its kid. The parser's error is dropped, because it may quote the key."""
    from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415  as above
    from cryptography.hazmat.primitives.serialization import load_pem_private_key  # noqa: PLC0415  as above
    from jwt.algorithms import ECAlgorithm  # noqa: PLC0415  as above

    given_kid: str | None = None
    private: object = None
    try:
        if text.lstrip().startswith("{"):
            jwk = json.loads(text)
            given_kid = jwk.get("kid")
            private = ECAlgorithm.from_jwk(jwk)
        else:
            private = load_pem_private_key(text.encode(), password=None)
    except Exception:  # noqa: BLE001  no message of a parser about a key may reach a log
        private = None
    if not isinstance(private, ec.EllipticCurvePrivateKey) or not isinstance(private.curve, ec.SECP256R1):
        raise ValueError("HANGAR_USER_TOKEN_KEY is not a private ES256 key")  # noqa: TRY004  a wrong value, not a wrong type
    return private, given_kid or _thumbprint(private)


def _thumbprint(private: "EllipticCurvePrivateKey") -> str:
    """The RFC 7638 thumbprint: base64url SHA-256 of the required public members, sorted, without spaces."""
    numbers = private.public_key().public_numbers()
    members = {"crv": "P-256", "kty": "EC", "x": _encode_32(numbers.x), "y": _encode_32(numbers.y)}
    canonical = json.dumps(members, separators=(",", ":"), sort_keys=True).encode()
    return _encode(hashlib.sha256(canonical).digest())


def _encode_32(number: int) -> str:
    return _encode(number.to_bytes(32, "big"))


def _encode(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
