"""Sets and removes one user's secret at Fly. The value goes from this process to Fly; the database hears of name and digest.

The intent is recorded before the call and the answer after it. If this process dies in between, the secret stays
"unconfirmed" until somebody repeats the command.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol
from uuid import UUID

from shared.domain.errors import HangarError, NotOwned, OutcomeUnknown
from shared.domain.models import Json

if TYPE_CHECKING:
    from shared.fly.client import FlyClient


class SecretDatabase(Protocol):
    """The two procedures around the call."""

    def begin_user_secret(
        self, user_id: UUID, name: str, action: str, request: UUID, *, actor: str, reason: str | None
    ) -> Json: ...

    def record_user_secret(
        self, user_id: UUID, name: str, request: UUID, *, version: int | None, digest: str | None
    ) -> Json: ...


@dataclass(frozen=True)
class SecretChange:
    """Which user's secret is changed, by whom and why. `value` None removes it; the repr does not show it."""

    user_id: UUID
    name: str
    value: str | None
    request: UUID
    actor: str
    reason: str | None

    def __repr__(self) -> str:
        return f"SecretChange({self.user_id}, {self.name!r})"


def change_user_secret(database: SecretDatabase, fly: "FlyClient", change: SecretChange) -> Json:
    """Change one secret. `secrets` and `row` as they are now, `digest` and `version` as Fly has answered.

    Raises Conflict and Refused before anything has changed, OutcomeUnknown if Fly may have done it, and what the client
    raises if Fly has refused.
    """
    action = "set" if change.value is not None else "remove"
    begun = database.begin_user_secret(
        change.user_id, change.name, action, change.request, actor=change.actor, reason=change.reason
    )
    app = begun["app"]
    if app is None:
        return {**begun, "digest": None, "version": None}
    try:
        if fly.get_app(app).network != begun["network"]:
            raise NotOwned(f"the Fly app {app} does not carry the ownership proof of this user's row")
        given = fly.change_secrets(app, {change.name: change.value})
    except OutcomeUnknown:
        raise
    except HangarError:
        database.record_user_secret(change.user_id, change.name, change.request, version=None, digest=None)
        raise
    digest = given.digests.get(change.name)
    done = database.record_user_secret(
        change.user_id, change.name, change.request, version=given.version, digest=digest
    )
    return {**done, "digest": digest, "version": given.version}
