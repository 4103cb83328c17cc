"""`/auth/v1`: sign-in by password or provider (PKCE), refresh, sign-out, the signed-in user, the public keys. No sign-up.

Wire forms: supabase/auth, internal/api.
"""

import time
from collections.abc import Callable
from typing import Any

from local.http_server import Request, Response, answer_json
from local.supabase.auth.oauth import OAuth
from local.supabase.auth.responses import AuthFailure, Row, read_fields, transaction
from local.supabase.auth.sessions import SCOPES, Sessions
from local.supabase.auth.users import check_password, describe_user, find_by_email, find_by_id
from local.supabase.keys import Keys
from local.supabase.rest.auth import identify_key, verify_token
from local.supabase.rest.errors import RestError
from local.supabase.rest.pool import Pool

_KEYS_HEADERS = {"Cache-Control": "public, max-age=600"}


class AuthApi:
    """Answers everything below `/auth/v1/`. The address of the service is `sessions.issuer`, set when it is known."""

    def __init__(self, pool: Pool, keys: Keys, now: Callable[[], float] = time.time) -> None:
        self._pool, self._keys, self._now = pool, keys, now
        self.sessions = Sessions(pool, keys, now)
        self._oauth = OAuth(pool, self.sessions, now)

    def respond(self, request: Request, path: str) -> Response:
        """Answer `request`; `path` is what follows `/auth/v1`."""
        try:
            return self._dispatch(request, path)
        except AuthFailure as failure:
            return failure.response(request)
        except RestError as error:
            return error.response()

    def _dispatch(self, request: Request, path: str) -> Response:
        # Redirects of browsers and the public keys need no API key.
        match request.method, path:
            case "GET", "/.well-known/jwks.json":
                return answer_json(self._keys.jwks(), headers=_KEYS_HEADERS)
            case "GET", "/authorize":
                return self._oauth.authorize(request)
            case "GET", "/local-provider":
                return self._oauth.show_provider(request)
            case "GET", "/callback":
                return self._oauth.take_callback(request)
        identify_key(request.headers.get("apikey", ""), self._keys)
        match request.method, path:
            case "GET", "/health":
                return answer_json({"version": "local", "name": "GoTrue"})
            case "GET", "/user":
                user, _ = self._identify(request)
                return answer_json(describe_user(user))
            case "POST", "/token":
                return answer_json(self._grant(request), headers={"Cache-Control": "no-store"})
            case "POST", "/logout":
                return self._sign_out(request)
        raise AuthFailure(501, "not_implemented", f"The local sign-in service does not support {path}")

    def _grant(self, request: Request) -> Row:
        match request.param("grant_type"):
            case "password":
                return self._sign_in(request)
            case "refresh_token":
                [refresh_token] = read_fields(request, "refresh_token")
                if not refresh_token:
                    raise AuthFailure(400, "validation_failed", "refresh_token required")
                return self.sessions.refresh(refresh_token)
            case "pkce":
                return self._oauth.exchange(request)
            case other:
                raise AuthFailure(
                    501, "not_implemented", f"The local sign-in service does not support the grant {other}"
                )

    def _sign_in(self, request: Request) -> Row:
        email, password = read_fields(request, "email", "password")
        if not email or not password:
            raise AuthFailure(400, "validation_failed", "missing email or password")
        with transaction(self._pool) as cursor:
            user = find_by_email(cursor, email)
            if user is None or not check_password(password, user["encrypted_password"]):
                raise AuthFailure(400, "invalid_credentials", "Invalid login credentials")
            if user["banned"]:
                raise AuthFailure(400, "user_banned", "User is banned")
            return self.sessions.open(cursor, user)

    def _sign_out(self, request: Request) -> Response:
        scope = request.param("scope") or "global"
        if scope not in SCOPES:
            raise AuthFailure(400, "validation_failed", f'Unsupported logout scope "{scope}"')
        user, claims = self._identify(request)
        self.sessions.end(user["id"], claims.get("session_id"), scope)
        return Response(204)

    def _identify(self, request: Request) -> tuple[Row, dict[str, Any]]:
        """The signed-in user and the token's claims; AuthFailure when the token, its user or its session is not valid."""
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token or token.startswith("sb_"):
            raise AuthFailure(401, "no_authorization", "This endpoint requires a valid Bearer token")
        try:
            claims = verify_token(token, self._keys, self._now)
        except RestError as error:
            raise AuthFailure(403, "bad_jwt", f"invalid JWT: {error.body['message']}") from error
        with transaction(self._pool) as cursor:
            user = find_by_id(cursor, str(claims.get("sub", "")))
            if user is None:
                raise AuthFailure(403, "user_not_found", "User from sub claim in JWT does not exist")
            session_id = claims.get("session_id")
            if session_id and not self.sessions.exists(cursor, str(session_id)):
                raise AuthFailure(403, "session_not_found", "Session from session_id claim in JWT does not exist")
        return user, claims
