"""The procedures behind secrets and tokens of single users. `OperatorDatabase` inherits them; docs/database.md lists the keys."""

from uuid import UUID

from shared.adapters.database import Caller
from shared.domain.models import Json


class CredentialProcedures(Caller):
    """What an operator does with credentials of machines. No value of a secret is an argument or in an answer."""

    def begin_user_secret(
        self, user_id: UUID, name: str, action: str, request: UUID, *, actor: str, reason: str | None
    ) -> Json:
        """Record the intent to `set` or `remove` a secret. `app` (null: nothing is at Fly), `network`, `secrets`, `row`.

        Raises Refused with the code "invalid_value" for a name that is not allowed, and Conflict when no app can take it now.
        """
        answer: Json = self._call(
            "fly_begin_user_secret",
            user=str(user_id),
            name=name,
            action=action,
            request=str(request),
            actor=actor,
            reason=reason,
        )
        return answer

    def record_user_secret(
        self, user_id: UUID, name: str, request: UUID, *, version: int | None, digest: str | None
    ) -> Json:
        """Record Fly's answer to a secret that was begun; the version None: Fly has refused. `recorded`, `secrets`, `row`."""
        answer: Json = self._call(
            "fly_record_user_secret",
            user=str(user_id),
            name=name,
            request=str(request),
            version=version,
            digest=digest,
        )
        return answer

    def revoke_user(self, user_id: UUID, *, actor: str, reason: str | None) -> Json:
        """Refuse the tokens that the user's machine was given up to now, and ask for a new one. `revoked_at`, `row`."""
        answer: Json = self._call("fly_revoke_user", user=str(user_id), actor=actor, reason=reason)
        return answer

    def renew_tokens(self, *, actor: str, reason: str | None) -> Json:
        """Renew every token that was issued before now. The answer of `read_credentials`."""
        answer: Json = self._call("fly_renew_tokens", actor=actor, reason=reason)
        return answer

    def read_credentials(self) -> Json:
        """How many tokens end soon, what is renewed now, and what holds it."""
        answer: Json = self._call("fly_credentials")
        return answer
