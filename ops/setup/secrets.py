"""Makes the secrets that an installation needs of its own."""

import base64
import json
import secrets
import uuid

from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm


def make_webhook_secret() -> str:
    """A secret in the form of Standard Webhooks, with 32 random bytes."""
    return "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()


def make_static_secret() -> str:
    """64 hex digits."""
    return secrets.token_hex(32)


def make_signing_key() -> str:
    """A private ES256 key as a JWK on one line, as Supabase imports it."""
    key: dict[str, object] = ECAlgorithm.to_jwk(ec.generate_private_key(ec.SECP256R1()), as_dict=True)
    return json.dumps({**key, "alg": "ES256", "kid": str(uuid.uuid4()), "use": "sig"}, separators=(",", ":"))


MAKERS = {
    "HANGAR_WEBHOOK_SECRET": make_webhook_secret,
    "HANGAR_STATIC_SECRET": make_static_secret,
    "HANGAR_USER_TOKEN_KEY": make_signing_key,
}
