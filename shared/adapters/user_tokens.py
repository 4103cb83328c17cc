"""The database credential of one user's machine: a Supabase access token minted for that user alone.

Signed with a standby or imported ES256 signing key of the project, so PostgREST and Supabase accept it like any other
user's token and row level security holds the machine to its user's rows. Never the service key.
"""

import base64
import hashlib
import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

from pydantic import SecretStr

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

TOKEN_TTL = timedelta(days=365)


def mint_user_token(
    key: SecretStr, *, issuer: str, user_id: UUID, app_id: UUID, now: datetime, ttl: timedelta = TOKEN_TTL
) -> str:
    """A JWT (ES256) for Supabase: role and aud `authenticated`, sub the user, `app_id` the row it was made for.

    `issuer` is `{SUPABASE_URL}/auth/v1`; `key` a PEM or a JWK with `kid`. A PEM's kid is its RFC 7638 thumbprint, which a
    hosted project does not use: it needs the JWK, since PostgREST refuses a kid it does not know. The claims are those
    that Supabase requires of an access token. `session_id` names a session that does not exist: the data API does not ask, so
    signing the user out does not end the token, and Supabase Auth refuses it (403 session_not_found), so that whoever takes
    it from a machine cannot set the user's password with it, nor sign the user out. `now` must carry its zone. Raises
    ValueError for a key that is none, without repeating it.
    """
    import jwt  # noqa: PLC0415  82 ms with cryptography, and needed only when a machine gets its first secrets

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


def _load_key(text: str) -> "tuple[EllipticCurvePrivateKey, str]":
    """The private key and its kid. A failure's cause is left behind: a parser's message may quote what it read."""
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
    except Exception:  # noqa: BLE001  whatever a parser says about a key is not for anyone's log
        private = None
    if not isinstance(private, ec.EllipticCurvePrivateKey) or not isinstance(private.curve, ec.SECP256R1):
        raise ValueError("HANGAR_USER_TOKEN_KEY is no private ES256 key")  # noqa: TRY004  a wrong value, not a wrong type
    return private, given_kid or _thumbprint(private)


def _thumbprint(private: "EllipticCurvePrivateKey") -> str:
    """RFC 7638: the base64url SHA-256 over the key's required public members, sorted, without spaces."""
    numbers = private.public_key().public_numbers()
    members = {"crv": "P-256", "kty": "EC", "x": _encode_32(numbers.x), "y": _encode_32(numbers.y)}
    canonical = json.dumps(members, separators=(",", ":"), sort_keys=True).encode()
    return _encode(hashlib.sha256(canonical).digest())


def _encode_32(number: int) -> str:
    return _encode(number.to_bytes(32, "big"))


def _encode(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
