"""Supabase Auth, as far as signing in needs it: password, OAuth with PKCE, refresh, sign-out. supabase/auth, openapi.yaml."""

import hashlib
import secrets
from base64 import urlsafe_b64encode
from typing import Any
from urllib.parse import urlencode

import httpx

from shared.adapters.http_client import make_client
from shared.domain.errors import TransientError

_TIMEOUT = httpx.Timeout(10)


class NotSignedIn(Exception):  # noqa: N818  named for what it means
    """Supabase Auth refuses: `code` is its own word (`invalid_credentials`, `refresh_token_not_found`, …)."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class GoTrue:
    """One project's `/auth/v1`. Raises NotSignedIn when it refuses, Retry when it cannot answer now."""

    def __init__(self, issuer: str, publishable_key: str) -> None:
        self._url = issuer
        self._key = publishable_key

    def sign_in(self, email: str, password: str) -> dict[str, Any]:
        """The token answer for an e-mail and a password."""
        return self._token("password", {"email": email, "password": password})

    def refresh(self, refresh_token: str) -> dict[str, Any]:
        """A new token answer. Two callers with one refresh token both get one, within the project's reuse interval."""
        return self._token("refresh_token", {"refresh_token": refresh_token})

    def exchange(self, code: str, verifier: str) -> dict[str, Any]:
        """The token answer for the code that came back from `make_authorize_url`."""
        return self._token("pkce", {"auth_code": code, "code_verifier": verifier})

    def sign_out(self, access_token: str) -> None:
        """End this session at Supabase; one that has ended already is no error."""
        answer = self._post("/logout?scope=local", {}, {"Authorization": f"Bearer {access_token}"})
        if answer.status_code >= httpx.codes.INTERNAL_SERVER_ERROR:
            raise TransientError(f"Supabase Auth answered {answer.status_code} to the sign-out")

    def make_authorize_url(self, provider: str, return_to: str, verifier: str) -> str:
        """Where the browser goes to sign in with `provider`; it comes back to `return_to` with a code."""
        challenge = urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
        query = {
            "provider": provider,
            "redirect_to": return_to,
            "code_challenge": challenge,
            "code_challenge_method": "s256",
        }
        return f"{self._url}/authorize?{urlencode(query)}"

    def _token(self, grant: str, body: dict[str, str]) -> dict[str, Any]:
        answer = self._post(f"/token?grant_type={grant}", body, {})
        try:
            told: dict[str, Any] = answer.json()
        except ValueError:
            told = {}
        if answer.is_success and {"access_token", "refresh_token", "expires_at", "user"} <= told.keys():
            return told
        if answer.status_code == httpx.codes.TOO_MANY_REQUESTS:
            raise NotSignedIn("over_request_rate_limit")
        if answer.is_client_error:
            raise NotSignedIn(str(told.get("error_code") or told.get("code") or "refused"))
        raise TransientError(f"Supabase Auth answered {answer.status_code} to a sign-in")

    def _post(self, path: str, body: dict[str, str], headers: dict[str, str]) -> httpx.Response:
        try:
            with make_client(self._url, timeout=_TIMEOUT) as http:
                return http.post(f"{self._url}{path}", json=body, headers={"apikey": self._key, **headers})
        except httpx.HTTPError as error:
            raise TransientError(f"Supabase Auth at {self._url} does not answer ({type(error).__name__})") from error


def make_verifier() -> str:
    """A PKCE code verifier (RFC 7636 4.1)."""
    return secrets.token_urlsafe(48)
