"""What an operator confirmed, with the calls that carry it out."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from functions.admin.actions.function_client import RECORDED, ActionOutcome, Unanswered, call_function
from functions.admin.request_context import RequestContext
from shared.adapters.operator_database import OperatorDatabase

_MOST_REASON_CHARS = 500


@dataclass(frozen=True)
class ActionRequest:
    """What an operator confirmed: about which user, app or release, and with which form.

    `user` is the result of `read_user`, `release` that of `read_release_page`. Each is empty if the action is not about one.
    `details` is what the action will hit: a cause of failures, or what the brake holds back.
    """

    context: RequestContext
    user_id: UUID | None
    user: Mapping[str, Any]
    app: str
    form: Mapping[str, str]
    release: Mapping[str, Any] = field(default_factory=dict)
    cause: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)

    @property
    def database(self) -> OperatorDatabase:
        return self.context.database

    @property
    def actor(self) -> str:
        """The operator's e-mail address, which signs the audit log."""
        return self.context.actor

    @property
    def owner_id(self) -> UUID:
        """The user whose app the action is about. Only for actions about a user."""
        if self.user_id is None:
            raise LookupError("this action is not about a user")
        return self.user_id

    def call(self, name: str, unanswered: Unanswered = RECORDED, **body: Any) -> ActionOutcome:
        user = {"user_id": str(self.user_id)} if self.user_id else {}
        return call_function(self.context, name, {**user, **body}, unanswered)

    @property
    def reason(self) -> str | None:
        return self.form.get("reason", "")[:_MOST_REASON_CHARS] or None

    def set_override(self, override: str | None, plan: str | None = None) -> bool:
        """Set the override, unless it is set already, so that two presses make one log entry. Whether the user is entitled."""
        ends_at = read_day(self.form.get("ends_on", ""))
        now = self.user["override"] or {}
        same = (now.get("override"), now.get("plan"), now.get("ends_at")) == (override, plan, None) and ends_at is None
        if same and (override is not None or not now):
            return bool(self.user["entitled"])
        return self.database.set_override(
            self.owner_id, override, plan, actor=self.actor, reason=self.reason, ends_at=ends_at
        )


def suggest_plan(user: Mapping[str, Any]) -> str | None:
    """The plan of the user's app, else that of the subscription, else the smallest one, which is the first of `plans`."""
    tiers = [(user[part] or {}).get("tier") for part in ("row", "subscription")]
    return next((tier for tier in [*tiers, *user["plans"]] if tier in user["plans"]), None)


def read_day(text: str) -> str | None:
    """The end of a future day, in UTC. None for anything else."""
    try:
        day = datetime.strptime(text.strip(), "%Y-%m-%d").replace(tzinfo=UTC, hour=23, minute=59, second=59)
    except ValueError:
        return None
    return day.isoformat() if day > datetime.now(UTC) else None
