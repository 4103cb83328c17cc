"""The keys of a local Supabase project: API keys, the signing key pair and the tokens signed with it.

Forms and roles: Supabase docs, guides/api/api-keys and guides/auth/signing-keys (ES256, key id, JWKS).
"""

import hashlib
import json
import os
import secrets
import time
from base64 import urlsafe_b64encode
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

ALGORITHM = "ES256"


@dataclass(frozen=True)
class Keys:
    """One project's keys. `repr` does not show them."""

    secret_key: str = field(repr=False)
    publishable_key: str = field(repr=False)
    signing_key_pem: str = field(repr=False)

    @classmethod
    def generate(cls) -> Self:
        private = ec.generate_private_key(ec.SECP256R1())
        pem = private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return cls(
            f"sb_secret_{secrets.token_urlsafe(24)}", f"sb_publishable_{secrets.token_urlsafe(24)}", pem.decode()
        )

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read the output of `to_json`; ValueError names the fault and never a value."""
        try:
            found = json.loads(text)
            keys = cls(found["secret_key"], found["publishable_key"], found["signing_key_pem"])
            _ = keys.kid
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"not a set of project keys: {type(error).__name__}") from None
        return keys

    def to_json(self) -> str:
        return json.dumps(
            {
                "secret_key": self.secret_key,
                "publishable_key": self.publishable_key,
                "signing_key_pem": self.signing_key_pem,
            }
        )

    @classmethod
    def load(cls, path: Path) -> Self:
        return cls.from_json(path.read_text())

    def save(self, path: Path) -> None:
        """Write the keys for a child process. Only the owner can read the file."""
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(self.to_json())

    @cached_property
    def public_key(self) -> ec.EllipticCurvePublicKey:
        private = serialization.load_pem_private_key(self.signing_key_pem.encode(), password=None)
        if not isinstance(private, ec.EllipticCurvePrivateKey) or not isinstance(private.curve, ec.SECP256R1):
            raise ValueError("the signing key is not an EC key on P-256")  # noqa: TRY004  the value is wrong, not the call
        return private.public_key()

    @cached_property
    def kid(self) -> str:
        """The key's RFC 7638 thumbprint, which the PEM determines."""
        jwk = ECAlgorithm.to_jwk(self.public_key, as_dict=True)
        canonical = json.dumps({name: jwk[name] for name in ("crv", "kty", "x", "y")}, separators=(",", ":"))
        return urlsafe_b64encode(hashlib.sha256(canonical.encode()).digest()).rstrip(b"=").decode()

    def jwks(self) -> dict[str, Any]:
        """The document at `/auth/v1/.well-known/jwks.json`."""
        jwk = ECAlgorithm.to_jwk(self.public_key, as_dict=True)
        return {"keys": [{**jwk, "kid": self.kid, "alg": ALGORITHM, "use": "sig", "key_ops": ["verify"], "ext": True}]}

    def mint(
        self,
        role: str | None,
        sub: str | None = None,
        expires_in_s: float = 3600,
        now: float | None = None,
        **claims: Any,
    ) -> str:
        """Sign a token for a Postgres role. `claims` add or replace claims; None removes one."""
        issued_at = int(time.time() if now is None else now)
        payload: dict[str, Any] = {
            "aud": "authenticated",
            "iat": issued_at,
            "exp": int(issued_at + expires_in_s),
            "sub": sub,
            "role": role,
        }
        payload.update(claims)
        payload = {name: value for name, value in payload.items() if value is not None}
        return jwt.encode(payload, self.signing_key_pem, algorithm=ALGORITHM, headers={"kid": self.kid})
