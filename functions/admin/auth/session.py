"""The operator's session: a sealed cookie with Supabase's tokens, and the proof that a form came from one of our pages.

The server keeps nothing. The browser keeps the tokens only sealed. The sealing keys are derived from the project's secret
key, whose holder needs no session anyway. If the secret key changes, everybody is signed out.
"""

import hmac
import json
import secrets
import zlib
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import flask
from pydantic import SecretStr

if TYPE_CHECKING:
    from cryptography.fernet import Fernet
    from supabase_auth import Session as Tokens

SESSION_COOKIE = "__Host-hangar"
# Browsers silently drop a cookie with more than 4,096 bytes of name and value.
MOST_COOKIE_CHARS = 4000


@dataclass(frozen=True)
class Session:
    """Who is signed in, with the tokens that Supabase gave. A refresh keeps the `session_id`."""

    session_id: str
    user_id: str
    email: str
    expires_at: float
    access_token: str = field(repr=False)
    refresh_token: str = field(repr=False)


class CookieSealer:
    """Encrypts and signs what a browser keeps for us, with one key for each purpose, and signs forms."""

    def __init__(self, secret: SecretStr) -> None:
        self._secret = secret

    def __repr__(self) -> str:
        return "CookieSealer()"

    def seal(self, purpose: str, content: Mapping[str, Any]) -> str:
        """Text for a cookie that nobody else can read or make."""
        packed = zlib.compress(json.dumps(content).encode(), 9)
        return self._make_fernet(purpose).encrypt(packed).decode()

    def unseal(self, purpose: str, text: str) -> dict[str, Any] | None:
        """What was sealed for this purpose. None for anything else, however it is broken."""
        from cryptography.fernet import InvalidToken  # noqa: PLC0415  paid by the first signed-in request, not by the start

        try:
            packed = self._make_fernet(purpose).decrypt(text.encode("utf-8", "replace"))
        except InvalidToken:
            return None
        content: dict[str, Any] = json.loads(zlib.decompress(packed))
        return content

    def make_form_proof(self, session: Session) -> str:
        """The token that every form of this session carries."""
        return hmac.digest(self.derive_key("forms"), session.session_id.encode(), "sha256").hex()

    def is_form_proof(self, session: Session, given: str) -> bool:
        return hmac.compare_digest(self.make_form_proof(session).encode(), given.encode("utf-8", "replace"))

    def derive_key(self, purpose: str) -> bytes:
        """32 bytes that belong to this purpose alone."""
        # One HMAC is the first half of HKDF (RFC 5869); the secret key is random already.
        return hmac.digest(self._secret.get_secret_value().encode(), f"hangar dashboard 1 {purpose}".encode(), "sha256")

    def _make_fernet(self, purpose: str) -> "Fernet":
        from cryptography.fernet import Fernet  # noqa: PLC0415  as above

        return Fernet(urlsafe_b64encode(self.derive_key(purpose)))


def make_session(tokens: "Tokens", session_id: str | None = None) -> Session:
    """The session for Supabase's tokens. Pass the `session_id` of the session that they renew."""
    return Session(
        session_id=session_id or secrets.token_urlsafe(16),
        user_id=str(tokens.user.id),
        email=str(tokens.user.email or tokens.user.id),
        expires_at=float(tokens.expires_at or 0),
        access_token=tokens.access_token,
        refresh_token=tokens.refresh_token,
    )


def read_session(sealer: CookieSealer, request: flask.Request) -> Session | None:
    """The session in this request's cookie, whether or not its access token has expired."""
    content = sealer.unseal("session", request.cookies.get(SESSION_COOKIE, ""))
    return Session(**content) if content else None


def keep_session(response: flask.Response, sealer: CookieSealer, session: Session) -> None:
    """Put the session into the browser's cookie."""
    set_cookie(response, SESSION_COOKIE, sealer.seal("session", asdict(session)))


def set_cookie(response: flask.Response, name: str, value: str, max_age_s: int | None = None) -> None:
    """Set a cookie that no script can read and no other site can send. It ends with the browser, or after `max_age_s`."""
    response.set_cookie(name, value, max_age=max_age_s, path="/", secure=True, httponly=True, samesite="Strict")


def drop_cookie(response: flask.Response, name: str) -> None:
    """Tell the browser to delete one of our cookies."""
    response.delete_cookie(name, path="/", secure=True, httponly=True, samesite="Strict")
