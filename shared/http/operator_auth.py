"""The operator as a caller: a Supabase access token of a signed-in user, and that user's row in `hangar.operators`.

The token proves who it is, by the project's public keys; whether they may operate is asked of the database at every call,
so that a removed operator is out at once. The token's own roles and the host's `is_admin` count for nothing.
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

# Signatures by private keys alone: with HS256 a public key would do as the secret, and `none` proves nothing.
ALGORITHMS = ("ES256", "RS256")
AUDIENCE = "authenticated"
LEEWAY_S = 30
# A week is the longest that Supabase lets an access token live; what was made to live longer is none of its sign-in.
LONGEST_LIFE_S = 7 * 86_400
MAX_TOKEN_CHARS = 16 * 1024
KEYS_FRESH_S = 600  # as long as Supabase lets its own edge cache them
LOOK_AGAIN_S = 30
FAILED_PAUSE_S = 5
_TIMEOUT = httpx.Timeout(5)
_JWT = re.compile(r"[\w-]+\.[\w-]+\.[\w-]+", re.ASCII)

FindOperator = Callable[[UUID], Mapping[str, Any]]

_log = logging.getLogger("hangar.operators")


class ProjectKeys:
    """The public keys a Supabase project signs with, kept for `KEYS_FRESH_S`.

    Whoever sends tokens with made-up key ids makes us ask the project again at most once in `LOOK_AGAIN_S`.
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
        """The key of this id, None when the project has none. Raises TransientError when the project cannot be asked."""
        with self._lock:  # one asks, the others wait for its answer
            age_s = None if self._read_at is None else self._clock() - self._read_at
            if age_s is None or age_s >= KEYS_FRESH_S or (kid not in self._keys and age_s >= LOOK_AGAIN_S):
                self._read()
            return self._keys.get(kid)

    def _read(self) -> None:
        if self._failed_at is not None and self._clock() - self._failed_at < FAILED_PAUSE_S:
            raise TransientError(f"{self._url} did not answer a moment ago", retry_after_s=FAILED_PAUSE_S)
        self._failed_at = self._clock()
        self._keys = _parse_keys(self._fetch())
        self._read_at, self._failed_at = self._clock(), None
        if not self._keys:
            _log.warning("%s lists no ES256 or RS256 key, so nobody can prove to be an operator", self._url)

    def _fetch(self) -> Any:
        try:
            with make_client(self._url, timeout=_TIMEOUT, transport=self._transport) as http:
                answer = http.get(self._url)
            answer.raise_for_status()
            return answer.json()
        except (httpx.HTTPError, ValueError) as error:
            raise TransientError(
                f"the public keys at {self._url} could not be read ({type(error).__name__})"
            ) from error


def _parse_keys(document: Any) -> "dict[str, PyJWK]":
    """The keys we verify with, by their ids; others a project may list, of kinds we do not take, are left out."""
    import jwt  # noqa: PLC0415  82 ms with cryptography, paid by the first operator and not by every cold start

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

    Proves an `operator`, or somebody signed in who is none (`user`, whom no function lets in).
    """

    issuer: str
    keys: ProjectKeys = field(repr=False)
    find_operator: FindOperator = field(repr=False)

    def verify(self, headers: Mapping[str, str], body: bytes, now_unix_s: float) -> Caller | None:  # noqa: ARG002  the header is the whole proof
        scheme, _, token = headers.get("authorization", "").partition(" ")
        return self.check(token.strip(), now_unix_s) if scheme.lower() == "bearer" else None

    def check(self, token: str, now_unix_s: float) -> Caller | None:
        """Who this token proves, None when it proves nothing.

        Raises TransientError when keys or database cannot be asked, and what the database raises when it refuses us.
        """
        user_id = self._read_user(token, now_unix_s)
        if user_id is None:
            return None
        told = self.find_operator(user_id)
        name = told.get("email") or str(user_id)
        return Caller("operator" if told.get("operator") is True else "user", name)

    def _read_user(self, token: str, now_unix_s: float) -> UUID | None:
        """The user whose session this token belongs to; None when anything about it does not hold."""
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
                # The times are judged below, by the clock we are given.
                options={
                    "require": ["exp", "iat", "iss", "aud", "sub"],
                    "verify_exp": False,
                    "verify_iat": False,
                    "verify_nbf": False,
                },
            )
        except (jwt.PyJWTError, ValueError, RecursionError):  # not JSON, nested without end, a claim of another type
            return None
        return parse_uuid(claims["sub"]) if _is_session(claims) and _is_now(claims, now_unix_s) else None


def _is_session(claims: Mapping[str, Any]) -> bool:
    """Whether the claims are those of a person who signed in.

    The tokens of our own machines have the same signer, issuer, audience and role: they name an `app_id`, and live for a
    year. An operator's machine must not be an operator.
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
