"""Authenticates operators by a Supabase access token and the user's row in `hangar.operators`.

The project's public keys prove which user the token belongs to. The database is asked at every call whether this user is an
operator, so that removing an operator takes effect at once. Roles in the token and the host's `is_admin` are ignored.
"""

import logging
import re
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from uuid import UUID

import httpx

from shared.adapters.http_client import make_client
from shared.domain.errors import TransientError
from shared.http.webhook_auth import Caller
from shared.settings.validators import parse_uuid

if TYPE_CHECKING:
    from jwt import PyJWK

# Only signatures by private keys: with HS256 a public key could be used as the secret, and `none` proves nothing.
ALGORITHMS = ("ES256", "RS256")
AUDIENCE = "authenticated"
LEEWAY_S = 30
# Supabase limits access tokens to one week. Longer-lived tokens were not issued by a sign-in.
LONGEST_LIFE_S = 7 * 86_400
MAX_TOKEN_CHARS = 16 * 1024
KEYS_FRESH_S = 600  # Supabase lets its own CDN cache the keys for this time
LOOK_AGAIN_S = 30
FAILED_PAUSE_S = 5
_TIMEOUT = httpx.Timeout(5)
_JWT = re.compile(r"[\w-]+\.[\w-]+\.[\w-]+", re.ASCII)

FindOperator = Callable[[UUID], Mapping[str, Any]]

_log = logging.getLogger("hangar.operators")


class ProjectKeys:
    """The public keys of a Supabase project, cached for `KEYS_FRESH_S`.

    Tokens with unknown key ids cause at most one new request to the project in `LOOK_AGAIN_S`.
    """

    def __init__(
        self,
        issuer: str,
        *,
        transport: httpx.BaseTransport | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._url = f"{issuer}/.well-known/jwks.json"
        self._transport = transport
        self._clock = clock
        self._lock = threading.Lock()
        self._keys: dict[str, PyJWK] = {}
        self._read_at: float | None = None
        self._failed_at: float | None = None

    def find(self, kid: str) -> "PyJWK | None":
        """The key with this id, or None. Raises TransientError if the project cannot be reached."""
        with self._lock:  # one thread reads, the others wait for the result
            age_s = None if self._read_at is None else self._clock() - self._read_at
            if age_s is None or age_s >= KEYS_FRESH_S or (kid not in self._keys and age_s >= LOOK_AGAIN_S):
                try:
                    self._read()
                except TransientError as error:
                    error.source = "Supabase Auth"
                    raise
            return self._keys.get(kid)

    def _read(self) -> None:
        if self._failed_at is not None and self._clock() - self._failed_at < FAILED_PAUSE_S:
            raise TransientError(f"{self._url} could not be read a moment ago", retry_after_s=FAILED_PAUSE_S)
        self._failed_at = self._clock()
        self._keys = _parse_keys(self._fetch())
        self._read_at, self._failed_at = self._clock(), None
        if not self._keys:
            _log.warning("%s has no ES256 or RS256 key, so no operator can be authenticated", self._url)

    def _fetch(self) -> Any:
        try:
            with make_client(self._url, timeout=_TIMEOUT, transport=self._transport) as http:
                response = http.get(self._url)
            response.raise_for_status()
            return response.json()
        except (httpx.HTTPError, ValueError) as error:
            raise TransientError(
                f"the public keys at {self._url} could not be read ({type(error).__name__})"
            ) from error


def _parse_keys(document: Any) -> "dict[str, PyJWK]":
    """The keys of the accepted algorithms, by their ids. A project may list other keys, which are ignored."""
    import jwt  # noqa: PLC0415  82 ms with cryptography: paid by the first operator, not by every cold start

    listed = document.get("keys") if isinstance(document, dict) else None
    found: dict[str, PyJWK] = {}
    for each in listed if isinstance(listed, list) else []:
        try:
            key = jwt.PyJWK(each)
        except (jwt.PyJWTError, TypeError, AttributeError, KeyError, ValueError):
            continue
        if key.key_id and key.algorithm_name in ALGORITHMS:
            found[key.key_id] = key
    return found


@dataclass(frozen=True)
class OperatorToken:
    """`Authorization: Bearer <access token>`.

    Authenticates an `operator`, or a signed-in user who is not an operator (`user`, which no function accepts).
    """

    issuer: str
    keys: ProjectKeys = field(repr=False)
    find_operator: FindOperator = field(repr=False)

    def verify(self, headers: Mapping[str, str], body: bytes, now_unix_s: float) -> Caller | None:  # noqa: ARG002  the header alone is the credential
        scheme, _, token = headers.get("authorization", "").partition(" ")
        return self.check(token.strip(), now_unix_s) if scheme.lower() == "bearer" else None

    def check(self, token: str, now_unix_s: float) -> Caller | None:
        """The caller that this token authenticates, or None.

        Raises TransientError if the keys or the database cannot be reached, and other HangarErrors of the database.
        """
        user_id = self._read_user(token, now_unix_s)
        if user_id is None:
            return None
        row = self.find_operator(user_id)
        name = row.get("email") or str(user_id)
        return Caller("operator" if row.get("operator") is True else "user", name)

    def _read_user(self, token: str, now_unix_s: float) -> UUID | None:
        """The user whose session this token belongs to, or None if any check fails."""
        if len(token) > MAX_TOKEN_CHARS or not _JWT.fullmatch(token):
            return None
        import jwt  # noqa: PLC0415  as above

        try:
            kid = jwt.get_unverified_header(token).get("kid")
            key = self.keys.find(kid) if isinstance(kid, str) else None
            if key is None:
                return None
            claims = jwt.decode(
                token,
                key,
                algorithms=[key.algorithm_name],
                audience=AUDIENCE,
                issuer=self.issuer,
                # The times are checked below, by the given clock.
                options={
                    "require": ["exp", "iat", "iss", "aud", "sub"],
                    "verify_exp": False,
                    "verify_iat": False,
                    "verify_nbf": False,
                },
            )
        except (jwt.PyJWTError, ValueError, RecursionError):  # not JSON, too deep nesting, a claim of another type
            return None
        return parse_uuid(claims["sub"]) if _is_session(claims) and _is_now(claims, now_unix_s) else None


def _is_session(claims: Mapping[str, Any]) -> bool:
    """Whether the claims are those of a person who signed in.

    The tokens of machines have the same signer, issuer, audience and role, but they have an `app_id` and live for a year.
    A machine of an operator must not be accepted as an operator.
    """
    return (
        claims.get("role") == AUDIENCE
        and claims.get("is_anonymous", False) is False
        and parse_uuid(claims.get("session_id")) is not None
        and "app_id" not in claims
    )


def _is_now(claims: Mapping[str, Any], now_unix_s: float) -> bool:
    times = [claims["exp"], claims["iat"], claims.get("nbf", claims["iat"])]
    if not all(isinstance(each, int | float) and not isinstance(each, bool) for each in times):
        return False
    ends_at, *begins_at = times
    if not ends_at - claims["iat"] <= LONGEST_LIFE_S:
        return False
    return bool(now_unix_s < ends_at + LEEWAY_S) and all(now_unix_s >= each - LEEWAY_S for each in begins_at)
