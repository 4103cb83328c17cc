"""The keys of a local Supabase project: API keys, signing keys, and the tokens signed with them.

Forms and roles: Supabase docs, guides/api/api-keys and guides/auth/signing-keys (ES256, key id, JWKS, states of a key).
"""

import json
import secrets
import time
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import jwt
from cryptography.hazmat.primitives.asymmetric import ec

from local.service import write_whole
from local.supabase.signing_keys import (
    ALGORITHM,
    IN_USE,
    PREVIOUSLY_USED,
    REVOKED,
    STANDBY,
    SigningKey,
    make_key,
    read_public_key,
    thumbprint,
)


@dataclass
class Keys:
    """One project's keys. `repr` does not show them.

    The sign-in service signs with `signing_key_pem`. Signatures of `others` are accepted too, unless a key is revoked.
    """

    secret_key: str = field(repr=False)
    publishable_key: str = field(repr=False)
    signing_key_pem: str = field(repr=False)
    others: tuple[SigningKey, ...] = field(default=(), repr=False)

    @classmethod
    def generate(cls) -> Self:
        return cls(
            f"sb_secret_{secrets.token_urlsafe(24)}", f"sb_publishable_{secrets.token_urlsafe(24)}", make_key().pem
        )

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read the output of `to_json`; ValueError names the fault and never a value."""
        try:
            found = json.loads(text)
            others = tuple(SigningKey(**each) for each in found.get("others", ()))
            keys = cls(found["secret_key"], found["publishable_key"], found["signing_key_pem"], others)
            if given := found.get("signing_key_id"):
                vars(keys)["kid"] = given
            _ = keys.jwks()
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"not a set of project keys: {type(error).__name__}") from None
        return keys

    def to_json(self) -> str:
        document: dict[str, Any] = {
            "secret_key": self.secret_key,
            "publishable_key": self.publishable_key,
            "signing_key_pem": self.signing_key_pem,
            "signing_key_id": self.kid,
        }
        if self.others:
            document["others"] = [vars(key) for key in self.others]
        return json.dumps(document)

    @classmethod
    def load(cls, path: Path) -> Self:
        return cls.from_json(path.read_text())

    def save(self, path: Path) -> None:
        """Write the keys for a child process, which follows every later change. Only the owner can read the file."""
        write_whole(path, self.to_json(), 0o600)

    def replace_signing_keys(self, newer: "Keys") -> None:
        """Take over the signing keys of `newer`. The API keys stay."""
        self._sign_with(newer.signing_key_pem, newer.kid)
        self.others = newer.others

    @cached_property
    def public_key(self) -> ec.EllipticCurvePublicKey:
        return read_public_key(self.signing_key_pem)

    @cached_property
    def kid(self) -> str:
        """The key's RFC 7638 thumbprint, which the PEM determines. An imported key keeps its own id."""
        return thumbprint(self.public_key)

    @property
    def signing_keys(self) -> tuple[SigningKey, ...]:
        """Every key with its state, the one in use first."""
        return (SigningKey(self.kid, IN_USE, self.signing_key_pem), *self.others)

    def import_standby(self, text: str) -> SigningKey:
        """Import a private key (JWK or PEM) as the standby key. A project has room for one: ValueError while there is one."""
        key = make_key(text)
        self._refuse_second_standby()
        if key.kid in {each.kid for each in self.signing_keys}:
            raise ValueError("the project has a key with this id")
        self.others = (*self.others, key)
        return key

    def retire(self, kid: str) -> None:
        """Move the standby key to the previously used ones. Its signatures stay accepted."""
        self._change(kid, PREVIOUSLY_USED)

    def revoke(self, kid: str) -> None:
        """Accept no signature of this key from now on. The key in use cannot be revoked (ValueError): rotate first."""
        self._change(kid, REVOKED)

    def rotate(self) -> None:
        """Sign with the standby key from now on. The former key is previously used. ValueError without a standby key."""
        standby = next((key for key in self.others if key.state == STANDBY), None)
        if standby is None:
            raise ValueError("the project has no standby key")
        former = SigningKey(self.kid, PREVIOUSLY_USED, self.signing_key_pem)
        self.others = (former, *(key for key in self.others if key is not standby))
        self._sign_with(standby.pem, standby.kid)

    def _refuse_second_standby(self) -> None:
        if any(each.state == STANDBY for each in self.others):
            raise ValueError("the project has a standby key: move it to previously used, or rotate to it, first")

    def _change(self, kid: str, state: str) -> None:
        if kid not in {key.kid for key in self.others}:
            raise ValueError("the key in use, or no key of this project")
        self.others = tuple(SigningKey(key.kid, state, key.pem) if key.kid == kid else key for key in self.others)

    def _sign_with(self, pem: str, kid: str) -> None:
        # The id last: a token that is signed meanwhile has a key and an id that belong together, or is refused.
        self.signing_key_pem = pem
        vars(self).update(public_key=read_public_key(pem), kid=kid)

    def find_accepted(self, kid: str | None) -> list[SigningKey]:
        """The keys that may have signed a token with this id, which is all accepted ones for a token without an id."""
        accepted = [key for key in self.signing_keys if key.state != REVOKED]
        return accepted if kid is None else [key for key in accepted if key.kid == kid]

    def jwks(self) -> dict[str, Any]:
        """The document at `/auth/v1/.well-known/jwks.json`: every key that is not revoked."""
        return {"keys": [key.jwk() for key in self.find_accepted(None)]}

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
