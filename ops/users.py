"""From what an operator types or reads to a user: a uuid, or an e-mail of `user_profiles`."""

from collections.abc import Iterable
from uuid import UUID

from ops.client import Installation
from ops.connection import TargetError

_AT_ONCE = 100  # uuids in one address: 4 KB of the 8 KB that proxies take


def find_user(installation: Installation, typed: str) -> UUID:
    """The user with this uuid or e-mail. A uuid is not looked up. Raises TargetError when nobody, or several, have the e-mail."""
    try:
        return UUID(typed)
    except ValueError:
        pass
    if "@" not in typed:
        raise TargetError(f"{typed!r} is neither a user id (the uuid of auth.users) nor an e-mail address")
    quoted = typed.replace("\\", "\\\\").replace('"', '\\"')
    rows = installation.read_rows("user_profiles", email=f'in.("{quoted}")', limit=2)
    if len(rows) != 1:
        many = "several users have" if rows else "no user of this installation has"
        raise TargetError(f"{many} the e-mail {typed}; give the user's id, the uuid of auth.users")
    return UUID(rows[0]["id"])


def read_emails(installation: Installation, users: Iterable[str | None]) -> dict[str, str]:
    """E-mail by user id; who has none is left out."""
    wanted = sorted({user for user in users if user})
    found: dict[str, str] = {}
    for start in range(0, len(wanted), _AT_ONCE):
        some = wanted[start : start + _AT_ONCE]
        rows = installation.read_rows("user_profiles", id=f"in.({','.join(some)})", limit=len(some))
        found |= {row["id"]: row["email"] for row in rows if row["email"]}
    return found
