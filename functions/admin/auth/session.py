"""The operator's session: a sealed cookie with Supabase's tokens in it, and the proof that a form came from our own page.

Nothing is kept on the server. Tokens stand in no browser storage and, sealed, in no cookie jar in clear: the key is derived
from the project's secret key, whose holder needs no session anyway. A changed secret key signs everybody out.
"""

import hmac
import json
import secrets
import zlib
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import flask
from pydantic import SecretStr

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

SESSION_COOKIE = "__Host-hangar"
# Browsers drop a cookie beyond 4,096 bytes of name and value without a word.
MOST_COOKIE_CHARS = 4000
_NONCE_BYTES = 12


@dataclass(frozen=True)
class Session:
    """Who signed in, and the tokens Supabase gave. `mark` stays the same through refreshes."""

    mark: str
    user_id: str
    email: str
    expires_at: float
    access_token: str = field(repr=False)
    refresh_token: str = field(repr=False)


class CookieSealer:
    """Seals what a browser keeps for us, each purpose under a key of its own, and proves forms."""

    def __init__(self, secret: SecretStr) -> None:
        self._secret = secret

    def __repr__(self) -> str:
        return "Seals()"

    def seal(self, purpose: str, content: Mapping[str, Any]) -> str:
        """Text for a cookie that nobody but us can read or make."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        packed = zlib.compress(json.dumps(content).encode(), 9)
        return urlsafe_b64encode(nonce + self._cipher(purpose).encrypt(nonce, packed, None)).decode()

    def unseal(self, purpose: str, text: str) -> dict[str, Any] | None:
        """What was sealed for this purpose; None for anything else, however it is broken."""
        from cryptography.exceptions import InvalidTag  # noqa: PLC0415  paid by the first signed-in request, not by the start

        try:
            raw = urlsafe_b64decode(text.encode())
            packed = self._cipher(purpose).decrypt(raw[:_NONCE_BYTES], raw[_NONCE_BYTES:], None)
        except (InvalidTag, ValueError):
            return None
        content: dict[str, Any] = json.loads(zlib.decompress(packed))
        return content

    def make_form_proof(self, session: Session) -> str:
        """The token every form of this session carries."""
        return hmac.digest(self._derive("forms"), session.mark.encode(), "sha256").hex()

    def is_form_proof(self, session: Session, given: str) -> bool:
        return hmac.compare_digest(self.make_form_proof(session).encode(), given.encode("utf-8", "replace"))

    def _derive(self, purpose: str) -> bytes:
        # One HMAC is HKDF's own first half (RFC 5869); the secret key is random already.
        return hmac.digest(self._secret.get_secret_value().encode(), f"hangar dashboard 1 {purpose}".encode(), "sha256")

    def _cipher(self, purpose: str) -> "AESGCM":
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415  as above

        return AESGCM(self._derive(purpose))


def make_session(told: Mapping[str, Any], mark: str | None = None) -> Session:
    """The session that Supabase's token answer describes; `mark` is that of the session it renews."""
    user = told["user"]
    return Session(
        mark=mark or secrets.token_urlsafe(16),
        user_id=str(user["id"]),
        email=str(user.get("email") or user["id"]),
        expires_at=float(told["expires_at"]),
        access_token=str(told["access_token"]),
        refresh_token=str(told["refresh_token"]),
    )


def read_session(seals: CookieSealer, request: flask.Request) -> Session | None:
    """The session of this request's cookie, whether or not its token still lives."""
    content = seals.unseal("session", request.cookies.get(SESSION_COOKIE, ""))
    return Session(**content) if content else None


def keep_session(response: flask.Response, seals: CookieSealer, session: Session) -> None:
    """Put the session into the browser's cookie."""
    set_cookie(response, SESSION_COOKIE, seals.seal("session", asdict(session)))


def set_cookie(response: flask.Response, name: str, value: str, max_age_s: int | None = None) -> None:
    """A cookie that no script reads and no other site sends; it ends with the browser, or after `max_age_s`."""
    response.set_cookie(name, value, max_age=max_age_s, path="/", secure=True, httponly=True, samesite="Strict")


def drop_cookie(response: flask.Response, name: str) -> None:
    """Have the browser forget a cookie of ours."""
    response.delete_cookie(name, path="/", secure=True, httponly=True, samesite="Strict")
