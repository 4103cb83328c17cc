"""Authentication: from API key and bearer token to Postgres role and claims, as in Supabase's edge and PostgREST.

Sources: Supabase docs guides/api/api-keys; PostgREST Auth/Jwt.hs (order of checks, 30 s of allowed skew, messages).
"""

import contextlib
import json
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import jwt

from local.supabase.keys import Keys
from local.supabase.rest.errors import RestError
from local.supabase.signing_keys import ALGORITHM, SigningKey

ANONYMOUS_ROLE = "anon"
SERVICE_ROLE = "service_role"
ALLOWED_SKEW_S = 30


@dataclass(frozen=True)
class Identity:
    """The role of a request, and its claims in `request.jwt.claims`."""

    role: str
    claims: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def anonymous(self) -> bool:
        return self.role == ANONYMOUS_ROLE


def identify(headers: Mapping[str, str], keys: Keys, now: Callable[[], float]) -> Identity:
    """Check `apikey` and `Authorization` (header names lower-case); RestError 401 when authentication fails."""
    api_key = headers.get("apikey", "")
    identity = identify_key(api_key, keys)
    authorization = headers.get("authorization")
    if authorization is None:
        return identity
    scheme, _, token = authorization.partition(" ")
    if scheme.lower() != "bearer":
        raise _invalid_token("PGRST301", "JWT couldn't be decoded")
    if _same(token, api_key):
        return identity
    claims = verify_token(token, keys, now)
    return Identity(str(claims.get("role", ANONYMOUS_ROLE)), claims)


def identify_key(api_key: str, keys: Keys) -> Identity:
    """The role of an API key."""
    if not api_key:
        raise RestError(
            401, None, "No API key found in request", hint="No `apikey` request header or url param was found."
        )
    if _same(api_key, keys.publishable_key):
        return Identity(ANONYMOUS_ROLE, {"role": ANONYMOUS_ROLE})
    if not _same(api_key, keys.secret_key):
        raise RestError(401, None, "Invalid API key", hint="Double check your Supabase API key.")
    return Identity(SERVICE_ROLE, {"role": SERVICE_ROLE})


def verify_token(token: str, keys: Keys, now: Callable[[], float]) -> dict[str, Any]:
    """Check signature, key id and times; returns the claims or raises RestError 401 PGRST301/PGRST303."""
    if not token:
        raise _invalid_token("PGRST301", "Empty JWT is sent in Authorization header")
    parts = token.count(".") + 1
    if parts != 3:
        raise _invalid_token("PGRST301", f"Expected 3 parts in JWT; got {parts}")
    try:
        header = jwt.get_unverified_header(token)
        candidates = keys.find_accepted(header.get("kid")) if header.get("alg") == ALGORITHM else []
        if not candidates:
            raise _invalid_token("PGRST301", "No suitable key or wrong key type", "None of the keys was able to decode")
        claims = _decode(token, candidates)
    except jwt.InvalidSignatureError:
        raise _invalid_token("PGRST301", "JWT cryptographic operation failed") from None
    except (jwt.InvalidTokenError, ValueError):
        raise _invalid_token("PGRST301", "JWT couldn't be decoded") from None
    if not isinstance(claims, dict):
        raise _invalid_token("PGRST303", "Parsing claims failed")
    _check_times(claims, int(now()))
    return claims


def _decode(token: str, candidates: Sequence[SigningKey]) -> object:
    """The claims, by the first key that fits; raises what the last one raised.

    Only the signature is checked: PyJWT's checks of the claims differ from PostgREST's in order, leeway and message.
    """
    for key in candidates[:-1]:
        with contextlib.suppress(jwt.InvalidSignatureError):
            return json.loads(jwt.PyJWS().decode(token, key.public_key, algorithms=[ALGORITHM]))
    return json.loads(jwt.PyJWS().decode(token, candidates[-1].public_key, algorithms=[ALGORITHM]))


def _check_times(claims: Mapping[str, Any], now: int) -> None:
    for name in ("exp", "nbf", "iat"):
        value = claims.get(name)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
            raise _invalid_token("PGRST303", f"The JWT '{name}' claim must be a number")
    if claims.get("exp") is not None and now - ALLOWED_SKEW_S > claims["exp"]:
        raise _invalid_token("PGRST303", "JWT expired", f"Invalid by {int(now - claims['exp'])} seconds")
    for name, message in (("nbf", "JWT not yet valid"), ("iat", "JWT issued at future")):
        if claims.get(name) is not None and now + ALLOWED_SKEW_S < claims[name]:
            raise _invalid_token("PGRST303", message, f"Invalid by {int(claims[name] - now)} seconds")


def _invalid_token(code: str, message: str, details: str | None = None) -> RestError:
    challenge = f'Bearer error="invalid_token", error_description="{message}"'
    return RestError(401, code, message, details, headers={"WWW-Authenticate": challenge})


def _same(given: str, ours: str) -> bool:
    return secrets.compare_digest(given.encode(), ours.encode())
