"""The key that signs the tokens of machines, and the keys that the project publishes.

Supabase publishes the public half of every key that it accepts (in use, standby, previously used), and removes one that is
revoked: docs, guides/auth/signing-keys. A project that signs with a shared secret publishes none.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx
from pydantic import SecretStr

from shared.adapters.http_client import make_client
from shared.adapters.user_tokens import PublicKey, read_public_key
from shared.domain.errors import TransientError

_TIMEOUT = httpx.Timeout(5)
_MOST_KEYS = 100


@dataclass(frozen=True)
class SigningKeys:
    """`signing` is the id of our key. `published` are the ids of the keys that the project accepts.

    A published key under our id that is another key is not among them: the project would refuse our signature.
    """

    signing: str
    published: tuple[str, ...]

    @property
    def is_published(self) -> bool:
        return self.signing in self.published


def read_signing_keys(issuer: str, key: SecretStr, *, transport: httpx.BaseTransport | None = None) -> SigningKeys:
    """Ask the project (`issuer` is `{SUPABASE_URL}/auth/v1`) for its keys. Raises TransientError without a readable answer."""
    ours = read_public_key(key)
    listed = _parse(_fetch(f"{issuer}/.well-known/jwks.json", transport))
    return SigningKeys(ours.kid, tuple(kid for kid, jwk in listed.items() if kid != ours.kid or _is_same(jwk, ours)))


def _is_same(jwk: Mapping[str, Any], ours: PublicKey) -> bool:
    return all(str(jwk.get(name, "")).rstrip("=") == value for name, value in (("x", ours.x), ("y", ours.y)))


def _parse(document: Any) -> dict[str, Mapping[str, Any]]:
    listed = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(listed, list):
        raise TransientError("the project's list of public keys has an unknown form")
    named = [each for each in listed if isinstance(each, dict) and isinstance(each.get("kid"), str) and each["kid"]]
    return {each["kid"]: each for each in named[:_MOST_KEYS]}


def _fetch(url: str, transport: httpx.BaseTransport | None) -> Any:
    try:
        with make_client(url, timeout=_TIMEOUT, transport=transport) as http:
            return http.get(url).raise_for_status().json()
    except (httpx.HTTPError, ValueError) as error:
        raise TransientError(f"the public keys at {url} could not be read ({type(error).__name__})") from error
