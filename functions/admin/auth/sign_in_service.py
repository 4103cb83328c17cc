"""Signing in at Supabase Auth with Supabase's own client: password, OAuth with PKCE, refresh and sign-out."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, cast

import httpx

from shared.adapters.http_client import make_client
from shared.domain.errors import TransientError

if TYPE_CHECKING:
    from supabase_auth import AuthResponse, SyncGoTrueClient, SyncMemoryStorage
    from supabase_auth import Session as Tokens
    from supabase_auth.errors import AuthError
    from supabase_auth.types import Provider

_TIMEOUT_S = 10
_STORAGE_KEY = "hangar"
_VERIFIER_KEY = f"{_STORAGE_KEY}-code-verifier"  # where supabase_auth keeps the PKCE verifier


class NotSignedIn(Exception):  # noqa: N818  named for what it means
    """Supabase Auth refuses. `code` is its error code (`invalid_credentials`, `refresh_token_not_found`, …)."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class SignInService:
    """The sign-in service of one project. Raises NotSignedIn if it refuses, TransientError if it cannot answer now.

    A client lives for one call: each browser has its own session, and none is kept in this process.
    """

    def __init__(self, issuer: str, publishable_key: str) -> None:
        self._url = issuer
        self._key = publishable_key

    def sign_in(self, email: str, password: str) -> "Tokens":
        """The tokens for an e-mail address and a password."""
        with self._open_client() as client:
            return _require_tokens(client.sign_in_with_password({"email": email, "password": password}))

    def refresh(self, refresh_token: str) -> "Tokens":
        """New tokens. Two callers with one refresh token both get some, within the project's reuse interval."""
        with self._open_client() as client:
            return _require_tokens(client.refresh_session(refresh_token))

    def start_oauth(self, provider: str, return_to: str) -> tuple[str, str]:
        """The address that starts the sign-in with `provider`, and the PKCE verifier that `finish_oauth` needs.

        supabase_auth keeps the verifier in its own storage. The browser may come back to another process, so the caller
        keeps the verifier in a sealed cookie instead.
        """
        from supabase_auth import SyncMemoryStorage  # noqa: PLC0415  as in _open_client

        storage = SyncMemoryStorage()
        with self._open_client(storage) as client:
            started = client.sign_in_with_oauth(
                {"provider": cast("Provider", provider), "options": {"redirect_to": return_to}}
            )
        verifier = storage.get_item(_VERIFIER_KEY)
        if verifier is None:
            raise LookupError("supabase_auth has stored no PKCE verifier")
        return started.url, verifier

    def finish_oauth(self, code: str, verifier: str) -> "Tokens":
        """The tokens for the code with which the provider sent the browser back."""
        with self._open_client() as client:
            return _require_tokens(
                client.exchange_code_for_session({"auth_code": code, "code_verifier": verifier, "redirect_to": ""})
            )

    def sign_out(self, access_token: str) -> None:
        """End this session at Supabase. A session that has already ended is not an error."""
        try:
            with self._open_client() as client:
                client.admin.sign_out(access_token, "local")
        except NotSignedIn:
            return

    @contextmanager
    def _open_client(self, storage: "SyncMemoryStorage | None" = None) -> Iterator["SyncGoTrueClient"]:
        """A client for one call, with its errors translated."""
        # Imported at the first sign-in, so that no cold start pays for it.
        from pydantic import ValidationError  # noqa: PLC0415
        from supabase_auth import SyncGoTrueClient  # noqa: PLC0415
        from supabase_auth.errors import AuthError  # noqa: PLC0415

        with make_client(self._url, timeout=httpx.Timeout(_TIMEOUT_S)) as http:
            try:
                yield SyncGoTrueClient(
                    url=self._url,
                    headers={"apikey": self._key},
                    storage=storage,
                    storage_key=_STORAGE_KEY,
                    flow_type="pkce",
                    auto_refresh_token=False,
                    persist_session=False,
                    http_client=http,
                )
            except AuthError as error:
                raise _translate(error) from error
            except ValidationError as error:
                raise _make_unavailable("Supabase Auth answered a sign-in with a body that is not a session") from error


def _require_tokens(response: "AuthResponse") -> "Tokens":
    if response.session is None:
        raise _make_unavailable("Supabase Auth answered a sign-in without a session")
    return response.session


def _translate(error: "AuthError") -> NotSignedIn | TransientError:
    """What the HTTP status behind the error means. Without a status, no answer came."""
    cause = error.__cause__
    status = cause.response.status_code if isinstance(cause, httpx.HTTPStatusError) else None
    if status == httpx.codes.TOO_MANY_REQUESTS:
        return NotSignedIn("over_request_rate_limit")
    if status is not None and httpx.codes.is_client_error(status):
        return NotSignedIn(error.code or "refused")
    if status is not None:
        return _make_unavailable(f"Supabase Auth answered {status} to a sign-in")
    return _make_unavailable(f"Supabase Auth does not answer ({type(cause or error).__name__})")


def _make_unavailable(message: str) -> TransientError:
    error = TransientError(message)
    error.source = "Supabase Auth"
    return error
