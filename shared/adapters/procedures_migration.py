"""The procedures of a migration, which gives existing users their apps. `Database` inherits them."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal
from uuid import UUID

from shared.adapters.database import Caller
from shared.domain.models import Json


@dataclass(frozen=True)
class Candidate:
    """An entitled user without an active app: no row (`status` None), or a row that is not active yet."""

    user_id: UUID
    email: str | None
    tier: str
    why: str
    cpu_kind: Literal["shared", "performance"]
    cpu_count: int
    memory_mb: int
    region: str
    monthly_cost_estimate_usd: Decimal
    status: str | None
    error_code: str | None

    @property
    def name(self) -> str:
        return self.email or str(self.user_id)


@dataclass(frozen=True)
class CandidatePage:
    """Candidates by user id. `next` is where the following page begins, None on the last one. A page may be empty before that."""

    candidates: tuple[Candidate, ...]
    next: UUID | None


class MigrationProcedures(Caller):
    """What `hangar migrate-users` asks of the database."""

    def read_candidate_page(self, after: UUID | None, limit: int) -> CandidatePage:
        """Entitled users without an active app, among the next `limit` users after `after`."""
        page = self._call("fly_migration_candidates", after=str(after) if after else None, limit=limit)
        following = page["next"]
        return CandidatePage(
            candidates=tuple(_read_candidate(user) for user in page["users"]),
            next=UUID(following) if following else None,
        )

    def admit(self, users: Sequence[UUID], *, actor: str) -> dict[UUID, str]:
        """Give entitled users a row although the installation is not live. The outcome by user.

        It is "inserted", "changed", "unchanged", or "none" or "unknown" for a user who is not entitled.
        """
        outcomes: dict[str, str] = self._call("fly_admit", users=[str(user) for user in users], actor=actor)["users"]
        return {UUID(user): outcome for user, outcome in outcomes.items()}


def _read_candidate(user: Json) -> Candidate:
    return Candidate(
        user_id=UUID(user["user_id"]),
        email=user["email"],
        tier=user["tier"],
        why=user["why"],
        cpu_kind=user["cpu_kind"],
        cpu_count=user["cpu_count"],
        memory_mb=user["memory_mb"],
        region=user["region"],
        monthly_cost_estimate_usd=Decimal(user["monthly_cost_estimate_usd"]),
        status=user["status"],
        error_code=user["error_code"],
    )
