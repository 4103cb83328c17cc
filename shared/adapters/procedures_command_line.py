"""The procedures behind alerts, plans and commands in machines."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from shared.adapters.database import Caller
from shared.domain.models import Json


class CommandLineProcedures(Caller):
    """What the command line asks of the database beside `OperatorProcedures`. `actor` signs the audit log."""

    def find_users(self, users: Sequence[str] = (), emails: Sequence[str] = ()) -> list[Json]:
        """Users by id or by e-mail address, upper and lower case alike: `user_id` and `email`. At most 500 in one call."""
        answer: Json = self._call("fly_find_users", users=list(users), emails=list(emails))
        found: list[Json] = answer["users"]
        return found

    def list_alerts(self, limit: int) -> Json:
        """`open` (how many) and `alerts`, the most urgent first, each with `user_id`, `email`, `app` and `handling`."""
        answer: Json = self._call("fly_list_alerts", limit=limit)
        return answer

    def acknowledge_alert(self, alert: UUID, *, actor: str, reason: str | None) -> Json:
        """Record that somebody takes care of an open alert. Raises Conflict when it has ended."""
        answer: Json = self._call("fly_acknowledge_alert", alert=str(alert), actor=actor, reason=reason)
        return answer

    def snooze_alert(self, alert: UUID, until: datetime, *, actor: str, reason: str | None) -> Json:
        """Have an open alert sent again at `until` if it is still open then. Raises Conflict when it has ended."""
        answer: Json = self._call(
            "fly_snooze_alert", alert=str(alert), until=until.isoformat(), actor=actor, reason=reason
        )
        return answer

    def wake_alert(self, alert: UUID, *, actor: str, reason: str | None) -> Json:
        """Take back that an open alert was acknowledged or snoozed. Raises Conflict when it has ended."""
        answer: Json = self._call("fly_wake_alert", alert=str(alert), actor=actor, reason=reason)
        return answer

    def set_plan(self, tier: str, changes: Json, *, actor: str, reason: str | None, create: bool) -> Json:
        """Change a plan, or add one: `tier`, `created`, `changed`, `plan`, `env`, `drift`, `apps`.

        Raises Refused with the code "invalid_value" for a value that is not allowed; then nothing was changed.
        """
        answer: Json = self._call("fly_set_plan", tier=tier, changes=changes, actor=actor, reason=reason, create=create)
        return answer

    def record_command(
        self, command_id: UUID, user_id: UUID, command: str, status: str, *, actor: str, reason: str, detail: Json
    ) -> Json:
        """Record the intent or the outcome of a command in a user's machine: `app`, `machine_id`, `machine_state`."""
        answer: Json = self._call(
            "fly_record_command",
            id=str(command_id),
            user=str(user_id),
            command=command,
            status=status,
            actor=actor,
            reason=reason,
            detail=detail,
        )
        return answer
