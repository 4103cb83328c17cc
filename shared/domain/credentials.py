"""When the credential of a machine has to be made again, and for which moment it is issued. Pure.

The same lengths are in SQL (`hangar.renew_tokens`), which starts renewals; a test compares both.
"""

from datetime import UTC, datetime, timedelta

from shared.domain.models import Row

TOKEN_TTL = timedelta(days=30)
# A renewal starts so long before the end. Within this time the token is also renewed when the machine is updated anyway.
RENEW_BEFORE = timedelta(days=10)
TOKEN_NAME = "SUPABASE_USER_TOKEN"  # noqa: S105  the name of a secret


def issue_moment(row: Row, now: datetime) -> datetime:
    """The whole second for which a new token is issued: later than every moment up to which tokens were revoked.

    `iat` counts seconds, and a token of the second in which its user was revoked is refused.
    """
    moment = now.astimezone(UTC).replace(microsecond=0)
    if row.token_wanted_at is None:
        return moment
    return max(moment, row.token_wanted_at.astimezone(UTC).replace(microsecond=0) + timedelta(seconds=1))


def wants_new_token(row: Row) -> bool:
    """Whether a new token was asked for since the one in Fly's secrets was issued: by a renewal or a revocation."""
    if row.token_wanted_at is None:
        return False
    return row.token_issued_at is None or row.token_issued_at <= row.token_wanted_at


def is_token_due(row: Row, now: datetime) -> bool:
    """Whether the token in Fly's secrets ends soon. One whose end is unknown is left to the renewal, which asks for a new one."""
    return row.token_expires_at is not None and row.token_expires_at - now <= RENEW_BEFORE
