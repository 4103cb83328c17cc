"""Sessions in the database: a sign-in opens one, refresh tokens continue it, a sign-out ends it.

Rotation as in supabase/auth, internal/tokens/service.go: a refresh token is valid once. The parent of the current token
returns the current token again, because the response may have been lost. Any older token ends the whole session when it
is used more than `REUSE_S` after its first use.
"""

import secrets
import uuid
from collections.abc import Callable

from local.supabase.auth.responses import AuthFailure, Cursor, Row, transaction
from local.supabase.auth.users import describe_user, find_by_id
from local.supabase.keys import Keys
from local.supabase.rest.pool import Pool

SESSION_S = 3600
REUSE_S = 10
SCOPES = ("global", "local", "others")


class Sessions:
    """Opens, continues and ends sessions. `issuer` is the `iss` of their tokens, set when it is known."""

    def __init__(self, pool: Pool, keys: Keys, now: Callable[[], float]) -> None:
        self.issuer = ""
        self._pool, self._keys, self._now = pool, keys, now

    def open(self, cursor: Cursor, user: Row) -> Row:
        """Open a session of this user and return the response to a sign-in."""
        session_id, now = str(uuid.uuid4()), self._now()
        cursor.execute(
            "insert into auth.sessions (id, user_id, aal, created_at, updated_at)"
            " values ($1::uuid, $2::uuid, 'aal1', to_timestamp($3), to_timestamp($3))",
            [session_id, user["id"], now],
        )
        cursor.execute(
            "update auth.users set last_sign_in_at = to_timestamp($2) where id = $1::uuid", [user["id"], now]
        )
        return self._answer(user, session_id, self._issue(cursor, user["id"], session_id, parent=None))

    def refresh(self, refresh_token: str) -> Row:
        """Continue the session with a new pair of tokens; AuthFailure 400 in supabase/auth's words."""
        with transaction(self._pool) as cursor:
            token = self._find_token(cursor, refresh_token)
            user = find_by_id(cursor, token["user_id"])
            if user is None:
                raise _invalid("refresh_token_not_found", "Refresh Token Not Found")
            if user["banned"]:
                raise _invalid("user_banned", "User Banned")
            issued = self._rotate(cursor, token)
            if issued is not None:
                cursor.execute(
                    "update auth.sessions set refreshed_at = to_timestamp($2), updated_at = to_timestamp($2)"
                    " where id = $1::uuid",
                    [token["session_id"], self._now()],
                )
                return self._answer(user, token["session_id"], issued)
        # Raised after the transaction, which must commit the revocation of the whole family.
        raise _invalid("refresh_token_already_used", "Already Used")

    def end(self, user_id: str, session_id: str | None, scope: str) -> None:
        """End this session, the user's others, or all; without a session id all of them end."""
        with transaction(self._pool) as cursor:
            cursor.execute(
                "delete from auth.sessions where user_id = $1::uuid and case"
                " when $2::uuid is null or $3 = 'global' then true"
                " when $3 = 'local' then id = $2::uuid else id <> $2::uuid end",
                [user_id, session_id, scope],
            )

    def exists(self, cursor: Cursor, session_id: str) -> bool:
        """Whether the session is open."""
        return cursor.execute("select from auth.sessions where id::text = $1", [session_id]).fetchone() is not None

    def _find_token(self, cursor: Cursor, refresh_token: str) -> Row:
        """The token's row, with its session locked: two refreshes of one session run one after the other."""
        query = (
            "select t.token, t.revoked, t.user_id, t.session_id::text,"
            " extract(epoch from t.updated_at)::float8 as updated_at from auth.refresh_tokens t where t.token = $1"
        )
        token = cursor.execute(query, [refresh_token]).fetchone()
        if token is not None:
            cursor.execute("select from auth.sessions where id = $1::uuid for update", [token["session_id"]])
            token = cursor.execute(query, [refresh_token]).fetchone()
        if token is None:
            raise _invalid("refresh_token_not_found", "Refresh Token Not Found")
        return token

    def _rotate(self, cursor: Cursor, token: Row) -> str | None:
        """The next token; None when this one was used before, and then its family is revoked."""
        if token["revoked"]:
            active = cursor.execute(
                "select token, parent from auth.refresh_tokens where session_id = $1::uuid and not revoked"
                " order by id desc limit 1",
                [token["session_id"]],
            ).fetchone()
            if active is not None and active["parent"] == token["token"]:
                return str(active["token"])
            if self._now() > token["updated_at"] + REUSE_S:
                self._revoke(cursor, "session_id = $1::uuid", token["session_id"])
                return None
        self._revoke(cursor, "token = $1", token["token"])
        return self._issue(cursor, token["user_id"], token["session_id"], parent=token["token"])

    def _revoke(self, cursor: Cursor, which: str, value: str) -> None:
        cursor.execute(
            f"update auth.refresh_tokens set revoked = true, updated_at = to_timestamp($2) where {which} and not revoked",
            [value, self._now()],
        )

    def _issue(self, cursor: Cursor, user_id: str, session_id: str, *, parent: str | None) -> str:
        token = secrets.token_urlsafe(16)
        cursor.execute(
            "insert into auth.refresh_tokens (token, user_id, session_id, parent, revoked, created_at, updated_at)"
            " values ($1, $2, $3::uuid, $4, false, to_timestamp($5), to_timestamp($5))",
            [token, user_id, session_id, parent, self._now()],
        )
        return token

    def _answer(self, user: Row, session_id: str, refresh_token: str) -> Row:
        now = int(self._now())
        access_token = self._keys.mint(
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
            session_id=session_id,
            is_anonymous=False,
        )
        return {
            "access_token": access_token,
            "token_type": "bearer",
            "expires_in": SESSION_S,
            "expires_at": now + SESSION_S,
            "refresh_token": refresh_token,
            "user": describe_user(user),
        }


def _invalid(code: str, message: str) -> AuthFailure:
    return AuthFailure(400, code, f"Invalid Refresh Token: {message}")
