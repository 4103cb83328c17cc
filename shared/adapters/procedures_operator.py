"""The procedures behind an operator's actions and the dashboard's pages. `Database` inherits them.

The pages return plain JSON, documented in docs/database.md: a template shows it, and no decision rests on it.
"""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from shared.adapters.database import Caller
from shared.domain.models import Json


@dataclass(frozen=True)
class Operator:
    """Whether a user may operate Hangar now, and the e-mail address that signs the audit log."""

    is_operator: bool
    email: str | None


class OperatorProcedures(Caller):
    """What an operator asks of the database. `actor` signs the audit log; `reason` goes with it."""

    def find_operator(self, user_id: UUID) -> Operator:
        """Look a user up by id; an unknown one is no operator."""
        answer = self.rpc("fly_operator", user=str(user_id))
        return Operator(is_operator=answer["operator"] is True, email=answer["email"])

    # Actions

    def set_override(
        self,
        user_id: UUID,
        override: str | None,
        plan: str | None,
        *,
        actor: str,
        reason: str | None,
        ends_at: datetime | str | None = None,
    ) -> Json:
        """Grant ("grant") or deny ("deny") whatever the subscription says, or remove the override (None).

        `{"row", "entitled"}`.
        """
        shown = ends_at.isoformat() if isinstance(ends_at, datetime) else ends_at
        answer: Json = self.rpc(
            "fly_set_override",
            user=str(user_id),
            override=override,
            plan=plan,
            actor=actor,
            reason=reason,
            ends_at=shown,
        )
        return answer

    def retry(self, user_id: UUID, *, actor: str) -> None:
        """Make this user's row due now, whatever wait its failures have left."""
        self.rpc("fly_retry", user=str(user_id), actor=actor)

    def set_paused(self, *, paused: bool, actor: str, reason: str | None) -> bool:
        """Pause or resume every change on Fly; False when it already was so."""
        return bool(self.rpc("fly_set_paused", paused=paused, actor=actor, reason=reason)["changed"])

    def set_settings(self, changes: Json, *, actor: str, reason: str | None) -> bool:
        """Change columns of hangar.settings; False when they already were so."""
        return bool(self.rpc("fly_set_settings", changes=changes, actor=actor, reason=reason)["changed"])

    def release_brake(self, *, actor: str, reason: str | None) -> None:
        """Begin the destroy budget again; deletions that waited for it are due."""
        self.rpc("fly_release_brake", actor=actor, reason=reason)

    def approve_orphan(self, app: str, *, actor: str) -> bool:
        """Let the next sweep remove this orphan without waiting; False when there is no such orphan."""
        return bool(self.rpc("fly_approve_orphan", app=app, actor=actor)["approved"])

    # Pages

    def read_frame(self, user_id: str) -> Json:
        """What every page shows around its content."""
        answer: Json = self.rpc("fly_admin_frame", user=user_id)
        return answer

    def read_figures(self) -> list[Json]:
        """The counts at the head of the fleet page, by group."""
        groups: list[Json] = self.rpc("fly_admin_figures")["groups"]
        return groups

    def read_fleet(self, filters: Json, sort: str, after: list[str] | None, limit: int, *, descending: bool) -> Json:
        """A page of apps."""
        answer: Json = self.rpc(
            "fly_admin_fleet", filter=filters, sort=sort, descending=descending, after=after, limit=limit
        )
        return answer

    def read_user(self, user_id: UUID) -> Json:
        """One user with app, events, costs and override."""
        answer: Json = self.rpc("fly_admin_user", user=str(user_id))
        return answer

    def read_events(self, filters: Json, after: list[str] | None, limit: int) -> Json:
        """A page of the audit log, newest first."""
        answer: Json = self.rpc("fly_admin_events", filter=filters, after=after, limit=limit)
        return answer

    def search_users(self, query: str, limit: int) -> Json:
        """Users whose e-mail address, id or app matches."""
        answer: Json = self.rpc("fly_admin_search", query=query, limit=limit)
        return answer

    def read_cost_report(self, top: int) -> Json:
        """What the fleet costs, with the `top` most expensive users."""
        answer: Json = self.rpc("fly_cost_report", top=top)
        return answer

    def read_overview(self) -> Json:
        """Counts, settings, alerts and the last sweep."""
        answer: Json = self.rpc("fly_overview")
        return answer

    def read_brake(self) -> Json:
        """What was destroyed in the last hour against the budget."""
        answer: Json = self.rpc("fly_brake_status")
        return answer

    def read_orphans(self) -> list[Json]:
        """Every orphan of the last sweep."""
        orphans: list[Json] = self.rpc("fly_list_orphans")["orphans"]
        return orphans
