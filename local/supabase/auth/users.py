"""The users of the local sign-in service: their password hashes, and their form in responses."""

from collections.abc import Mapping
from typing import Any

from werkzeug.security import check_password_hash, generate_password_hash

from local.supabase.auth.responses import Cursor, Row

# As JSON, because a project's version of the table may lack the column.
_COLUMNS = (
    "id::text, email, encrypted_password, to_jsonb(u) -> 'raw_app_meta_data' as app_metadata,"
    " to_jsonb(u) -> 'raw_user_meta_data' as user_metadata, to_jsonb(u) ->> 'created_at' as created_at,"
    " to_jsonb(u) ->> 'updated_at' as updated_at, to_jsonb(u) ->> 'last_sign_in_at' as last_sign_in_at,"
    " coalesce((to_jsonb(u) ->> 'banned_until')::timestamptz > now(), false) as banned"
)
_NOT_DELETED = "to_jsonb(u) ->> 'deleted_at' is null"
# 2 ms of work instead of the usual 80: the passwords of a local cloud protect nothing.
_HASHED_BY = "scrypt:1024:8:1"


def hash_password(password: str) -> str:
    """A salted hash to store in `auth.users.encrypted_password`, in werkzeug's form."""
    return generate_password_hash(password, method=_HASHED_BY)


def check_password(password: str, stored: str | None) -> bool:
    """Whether `stored` is a `hash_password` of this password. A hash of another form never matches."""
    return (stored or "").startswith("scrypt:") and check_password_hash(stored or "", password)


def find_by_email(cursor: Cursor, email: str) -> Row | None:
    """The user with this e-mail, in upper or lower case, unless deleted."""
    query = f"select {_COLUMNS} from auth.users u where lower(email) = $1 and {_NOT_DELETED}"
    return cursor.execute(query, [email.strip().lower()]).fetchone()


def find_by_id(cursor: Cursor, user_id: str) -> Row | None:
    """The user with this id, unless deleted."""
    query = f"select {_COLUMNS} from auth.users u where id::text = $1 and {_NOT_DELETED}"
    return cursor.execute(query, [user_id]).fetchone()


def list_emails(cursor: Cursor, limit: int) -> list[str]:
    """E-mails of the oldest users."""
    query = (
        f"select email from auth.users u where email is not null and {_NOT_DELETED}"
        " order by to_jsonb(u) ->> 'created_at', email limit $1"
    )
    return [row["email"] for row in cursor.execute(query, [limit]).fetchall()]


def describe_user(user: Mapping[str, Any]) -> Row:
    """A user in the API's form."""
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
        "last_sign_in_at": user["last_sign_in_at"],
        "created_at": user["created_at"],
        "updated_at": user["updated_at"],
    }
