"""`/auth/v1`: sign-in by password, the signed-in user, the public keys. No sign-up, no refresh, no OAuth.

Wire forms: supabase/auth, internal/api; passwords are hashed in a form of our own (`hash_password`).
"""

import hashlib
import hmac
import json
import secrets
import time
import uuid
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping
from typing import Any

import psycopg
from psycopg.rows import dict_row

from local.httpd import Request, Response
from local.supabase.keys import Keys
from local.supabase.rest_auth import identify_key, verify_token
from local.supabase.rest_errors import RestError, from_database
from local.supabase.rest_pool import Pool

SESSION_S = 3600
_API_VERSION = "2024-01-01"
_SCRYPT = {"n": 2**14, "r": 8, "p": 1}
_COLUMNS = (
    "id::text, email, encrypted_password, to_jsonb(u) -> 'raw_app_meta_data' as app_metadata,"
    " to_jsonb(u) -> 'raw_user_meta_data' as user_metadata, to_jsonb(u) ->> 'created_at' as created_at,"
    " to_jsonb(u) ->> 'updated_at' as updated_at, to_jsonb(u) ->> 'deleted_at' as deleted_at,"
    " coalesce((to_jsonb(u) ->> 'banned_until')::timestamptz > now(), false) as banned"
)


def hash_password(password: str) -> str:
    """A salted scrypt hash to store in `auth.users.encrypted_password`."""
    salt = secrets.token_bytes(16)
    return f"scrypt${b64encode(salt).decode()}${b64encode(_scrypt(password, salt)).decode()}"


def check_password(password: str, stored: str | None) -> bool:
    """Whether `stored` came from `hash_password` of this password; a hash of another form never matches."""
    kind, _, rest = (stored or "").partition("$")
    salt, _, digest = rest.partition("$")
    if kind != "scrypt":
        return False
    return hmac.compare_digest(_scrypt(password, b64decode(salt)), b64decode(digest))


def _scrypt(password: str, salt: bytes) -> bytes:
    return hashlib.scrypt(password.encode(), salt=salt, dklen=32, n=_SCRYPT["n"], r=_SCRYPT["r"], p=_SCRYPT["p"])


class AuthApi:
    """Answers everything below `/auth/v1/`. `issuer` is that address itself, set once it is known."""

    def __init__(self, pool: Pool, keys: Keys, now: Callable[[], float] = time.time) -> None:
        self.issuer = ""
        self._pool = pool
        self._keys = keys
        self._now = now

    def respond(self, request: Request, path: str) -> Response:
        """Answer `request`; `path` is what follows `/auth/v1`."""
        if path == "/.well-known/jwks.json":
            return _json(200, self._keys.jwks(), {"Cache-Control": "public, max-age=600"})
        try:
            identify_key(request.headers.get("apikey", ""), request.headers.get("user-agent", ""), self._keys)
            return self._dispatch(request, path)
        except RestError as error:
            return error.response()

    def _dispatch(self, request: Request, path: str) -> Response:
        match request.method, path:
            case "GET", "/health":
                about = "GoTrue is a user registration and authentication API"
                return _json(200, {"version": "local", "name": "GoTrue", "description": about})
            case "GET", "/settings":
                return _json(200, {"external": {"email": True}, "disable_signup": True, "mailer_autoconfirm": True})
            case "GET", "/user":
                return self._show_user(request)
            case "POST", "/token":
                return self._sign_in(request)
            case "POST", "/logout":
                return Response(204)  # tokens are not tracked; they end by themselves
        return _failed(request, 501, "not_implemented", f"The local sign-in service does not know {path}")

    def _show_user(self, request: Request) -> Response:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token or token.startswith("sb_"):
            return _failed(request, 401, "no_authorization", "This endpoint requires a valid Bearer token")
        try:
            claims = verify_token(token, self._keys, self._now)
        except RestError as error:
            message = f"invalid JWT: {error.body['message']}"
            return _failed(request, 403, "bad_jwt", message)
        user = self._find("id::text", str(claims.get("sub", "")))
        if user is None:
            return _failed(request, 403, "user_not_found", "User from sub claim in JWT does not exist")
        return _json(200, _describe(user))

    def _sign_in(self, request: Request) -> Response:
        grant = request.param("grant_type")
        if grant != "password":
            return _failed(request, 501, "not_implemented", f"The local sign-in service does not know grant {grant}")
        try:
            body = json.loads(request.body)
            email, password = str(body["email"]).strip().lower(), str(body["password"])
        except (ValueError, KeyError, TypeError):
            return _failed(request, 400, "validation_failed", "missing email or password")
        user = self._find("lower(email)", email)
        if user is None or not check_password(password, user["encrypted_password"]):
            return _failed(request, 400, "invalid_credentials", "Invalid login credentials")
        if user["banned"]:
            return _failed(request, 400, "user_banned", "User is banned")
        return _json(200, self._open_session(user))

    def _open_session(self, user: Mapping[str, Any]) -> dict[str, Any]:
        now = int(self._now())
        token = self._keys.mint(
            "authenticated",
            user["id"],
            SESSION_S,
            now,
            iss=self.issuer,
            email=user["email"] or "",
            phone="",
            app_metadata=user["app_metadata"] or {},
            user_metadata=user["user_metadata"] or {},
            aal="aal1",
            amr=[{"method": "password", "timestamp": now}],
            session_id=str(uuid.uuid4()),
            is_anonymous=False,
        )
        return {
            "access_token": token,
            "token_type": "bearer",
            "expires_in": SESSION_S,
            "expires_at": now + SESSION_S,
            "refresh_token": secrets.token_urlsafe(16),
            "user": _describe(user),
        }

    def _find(self, column: str, value: str) -> dict[str, Any] | None:
        with self._pool.borrow() as connection, connection.cursor(row_factory=dict_row) as cursor:
            try:
                cursor.execute(f"select {_COLUMNS} from auth.users u where {column} = $1", [value])  # noqa: S608  both are constants of this module
                user = cursor.fetchone()
            except psycopg.Error as error:
                raise from_database(error, anonymous=False) from error
        return user if user is not None and user["deleted_at"] is None else None


def _describe(user: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "id": user["id"],
        "aud": "authenticated",
        "role": "authenticated",
        "email": user["email"],
        "phone": "",
        "app_metadata": user["app_metadata"] or {},
        "user_metadata": user["user_metadata"] or {},
        "identities": [],
        "is_anonymous": False,
        "created_at": user["created_at"],
        "updated_at": user["updated_at"],
    }


def _failed(request: Request, status: int, code: str, message: str) -> Response:
    """An error in the form the caller's API version asks for."""
    if request.headers.get("x-supabase-api-version", "") >= _API_VERSION:
        return _json(status, {"code": code, "message": message}, {"X-Supabase-Api-Version": _API_VERSION})
    return _json(status, {"code": status, "error_code": code, "msg": message})


def _json(status: int, body: object, headers: Mapping[str, str] | None = None) -> Response:
    return Response(status, json.dumps(body).encode(), {"Content-Type": "application/json", **(headers or {})})
