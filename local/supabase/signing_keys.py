"""One signing key of a local Supabase project, with its state.

States: `in_use` signs; `standby` and `previously_used` sign nothing and are accepted; `revoked` is not accepted.
"""

import hashlib
import json
from base64 import urlsafe_b64encode
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

ALGORITHM = "ES256"
IN_USE, STANDBY, PREVIOUSLY_USED, REVOKED = "in_use", "standby", "previously_used", "revoked"


@dataclass(frozen=True)
class SigningKey:
    """A key of the project. `repr` does not show the private key."""

    kid: str
    state: str
    pem: str = field(repr=False)

    @property
    def public_key(self) -> ec.EllipticCurvePublicKey:
        return read_public_key(self.pem)

    def jwk(self) -> dict[str, Any]:
        """The public key as the project publishes it."""
        jwk = ECAlgorithm.to_jwk(self.public_key, as_dict=True)
        return {**jwk, "kid": self.kid, "alg": ALGORITHM, "use": "sig", "key_ops": ["verify"], "ext": True}


def make_key(text: str | None = None) -> SigningKey:
    """A standby key from a private JWK or PEM, or a new one. An imported JWK keeps its `kid`. ValueError shows no key."""
    given: str | None = None
    if text is None:
        private: object = ec.generate_private_key(ec.SECP256R1())
    else:
        try:
            if text.lstrip().startswith("{"):
                jwk = json.loads(text)
                given, private = jwk.get("kid"), ECAlgorithm.from_jwk(jwk)
            else:
                private = serialization.load_pem_private_key(text.encode(), password=None)
        except Exception:  # noqa: BLE001  no message of a parser about a key may be shown
            private = None
    if not isinstance(private, ec.EllipticCurvePrivateKey):
        raise ValueError("not a private ES256 key")  # noqa: TRY004  the value is wrong, not the call
    pem = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    return SigningKey(given or thumbprint(read_public_key(pem)), STANDBY, pem)


@cache
def read_public_key(pem: str) -> ec.EllipticCurvePublicKey:
    """The public half of a private key on P-256; ValueError for another key."""
    private = serialization.load_pem_private_key(pem.encode(), password=None)
    if not isinstance(private, ec.EllipticCurvePrivateKey) or not isinstance(private.curve, ec.SECP256R1):
        raise ValueError("the signing key is not an EC key on P-256")  # noqa: TRY004  the value is wrong, not the call
    return private.public_key()


def thumbprint(public: ec.EllipticCurvePublicKey) -> str:
    """The RFC 7638 thumbprint, which is the id of a key that was given none."""
    jwk = ECAlgorithm.to_jwk(public, as_dict=True)
    canonical = json.dumps({name: jwk[name] for name in ("crv", "kty", "x", "y")}, separators=(",", ":"))
    return urlsafe_b64encode(hashlib.sha256(canonical.encode()).digest()).rstrip(b"=").decode()
