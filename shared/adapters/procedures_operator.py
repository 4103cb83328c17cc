"""The procedures behind an operator's actions, on the command line and in the dashboard. `Database` inherits them.

A method returns plain JSON where the command line prints it or a page shows it. Its keys are public; docs/database.md
lists them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from shared.adapters.database import Caller
from shared.adapters.procedures import Operator
from shared.domain.models import Json


@dataclass(frozen=True)
class OperatorChange(Operator):
    """A user after being added to or removed from the operators. `changed` is False if nothing had to change."""

    changed: bool

    def as_json(self) -> Json:
        """The answer of the procedure, with its keys in the order of jsonb."""
        return {"email": self.email, "changed": self.changed, "operator": self.is_operator}


@dataclass(frozen=True)
class SettingsChange:
    """All settings after a change, by column of hangar.settings, and the columns whose value is a new one.

    `unrecorded`: why the audit log could not be written, if a stop took effect without an entry.
    """

    changed: tuple[str, ...]
    settings: Json
    unrecorded: str | None

    def as_json(self) -> Json:
        """The answer of the procedure, with its keys in the order of jsonb."""
        return {"changed": list(self.changed), "settings": self.settings, "unrecorded": self.unrecorded}


@dataclass(frozen=True)
class PauseChange:
    """Whether a pause or resume has changed anything. `unrecorded` as in `SettingsChange`."""

    changed: bool
    unrecorded: str | None


@dataclass(frozen=True)
class Overview:
    """The state of the installation. `settings` holds hangar.settings by column.

    `document` is the whole answer: `now`, `settings`, `due` (`apps`, `oldest`), `working`, `sweep`, `alerts`, `alerts_open`.
    """

    now: datetime
    settings: Mapping[str, Any]
    document: Json

    @property
    def is_paused(self) -> bool:
        return self.settings["paused"] is True

    @property
    def is_live(self) -> bool:
        return self.settings["live"] is True


@dataclass(frozen=True)
class UserStatus:
    """What is known of one user. `is_entitled` is None when the database cannot say; `row` is the live row.

    `document` is the whole answer: `known`, `entitled`, `why`, `subscription`, `override`, `row`, `last`, `brake`, `events`
    (the 50 newest).
    """

    is_known: bool
    is_entitled: bool | None
    why: str
    row: Json | None
    document: Json


class OperatorProcedures(Caller):
    """What an operator asks of the database. `actor` signs the audit log; `reason` goes with it."""

    # Operators

    def list_operators(self) -> list[Json]:
        """Every operator: `user_id`, `email`, `operator` (may sign in now), `added_by`, `added_at`."""
        operators: list[Json] = self._call("fly_operators")["operators"]
        return operators

    def add_operator(self, user_id: UUID, *, actor: str, reason: str | None) -> OperatorChange:
        """Allow a user to operate Hangar."""
        return _read_operator_change(self._call("fly_add_operator", user=str(user_id), actor=actor, reason=reason))

    def remove_operator(self, user_id: UUID, *, actor: str, reason: str | None) -> OperatorChange:
        """Remove a user from the operators."""
        return _read_operator_change(self._call("fly_remove_operator", user=str(user_id), actor=actor, reason=reason))

    # Actions

    def set_override(
        self,
        user_id: UUID,
        override: str | None,
        plan: str | None,
        *,
        actor: str,
        reason: str | None,
        ends_at: str | None = None,
    ) -> bool:
        """Grant ("grant") or deny ("deny") whatever the subscription says, or remove the override (None).

        `ends_at` is an ISO time. Returns whether the user is entitled now.
        """
        answer = self._call(
            "fly_set_override",
            user=str(user_id),
            override=override,
            plan=plan,
            actor=actor,
            reason=reason,
            ends_at=ends_at,
        )
        return bool(answer["entitled"])

    def retry(self, user_id: UUID, *, actor: str, reason: str | None = None) -> None:
        """Make this user's row due now, whatever wait its failures have left."""
        self._call("fly_retry", user=str(user_id), actor=actor, reason=reason)

    def request_new_name(self, user_id: UUID, *, actor: str, reason: str) -> None:
        """Record that this user gives up the name of a lost app; the next run judges it. Raises Conflict and Refused."""
        self._call("fly_request_new_name", user=str(user_id), actor=actor, reason=reason)

    def set_paused(self, *, paused: bool, actor: str, reason: str | None) -> PauseChange:
        """Pause or resume every change on Fly. A pause takes effect also while the audit log cannot be written."""
        answer = self._call("fly_set_paused", paused=paused, actor=actor, reason=reason)
        return PauseChange(changed=answer["changed"] is True, unrecorded=answer.get("unrecorded"))

    def set_settings(
        self, changes: Json, *, actor: str, reason: str | None, expected: Json | None = None
    ) -> SettingsChange:
        """Change columns of hangar.settings, all of them or none.

        `expected` is what the caller saw of some settings. Raises Conflict when one has another value by now, and Refused
        with the code "invalid_value" when a value is not allowed; both leave every setting as it is.
        """
        answer = self._call("fly_set_settings", changes=changes, actor=actor, reason=reason, expected=expected)
        return SettingsChange(
            changed=tuple(answer["changed"]), settings=answer["settings"], unrecorded=answer.get("unrecorded")
        )

    def release_brake(self, *, actor: str, reason: str | None) -> None:
        """Begin the destroy budget again; deletions that waited for it are due."""
        self._call("fly_release_brake", actor=actor, reason=reason)

    def approve_orphan(self, app: str, *, actor: str) -> bool:
        """Let the next sweep remove this orphan without waiting; False when there is no such orphan."""
        return bool(self._call("fly_approve_orphan", app=app, actor=actor)["approved"])

    # State

    def read_overview(self) -> Overview:
        """Counts, settings, alerts and the last sweep."""
        answer: Json = self._call("fly_overview")
        return Overview(now=datetime.fromisoformat(answer["now"]), settings=answer["settings"], document=answer)

    def read_user_status(self, user_id: UUID) -> UserStatus:
        """One user, with the reasons for what Hangar does. Also for an unknown user."""
        answer: Json = self._call("fly_user_status", user=str(user_id))
        return UserStatus(
            is_known=answer["known"] is True,
            is_entitled=answer["entitled"],
            why=answer["why"],
            row=answer["row"],
            document=answer,
        )

    def read_brake(self) -> Json:
        """The destroy budget: `destroyed_last_hour`, `most`, `tripped`, `why`, `lost_apps`, `released_at`."""
        answer: Json = self._call("fly_brake_status")
        return answer

    def read_orphans(self) -> list[Json]:
        """Every orphan of the last sweep.

        `app`, `network`, `first_seen_at`, `sightings`, `approved_by`, `ripe`, `user_id`, `awaits_word`.
        """
        orphans: list[Json] = self._call("fly_list_orphans")["orphans"]
        return orphans

    def read_cost_report(self, top: int) -> Json:
        """What the fleet costs, with the `top` most expensive users. Money is text.

        `now`, `month_start`, `groups`, `to_date`, `users`, `plans`; `make_cost_report` prices it.
        """
        answer: Json = self._call("fly_cost_report", top=top)
        return answer


def _read_operator_change(answer: Json) -> OperatorChange:
    return OperatorChange(is_operator=answer["operator"] is True, email=answer["email"], changed=answer["changed"])
