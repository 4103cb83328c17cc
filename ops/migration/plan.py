"""Who a migration would give an app: entitled users without an active app, with size and cost."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any, Literal
from uuid import UUID

from ops.client import Installation
from shared.domain.cost import list_price_monthly_usd, to_cents

_PAGE = 500


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

    @classmethod
    def read(cls, user: Mapping[str, Any]) -> "Candidate":
        """From one entry of fly_migration_candidates."""
        fields = {name: user[name] for name in cls.__dataclass_fields__}
        cost = Decimal(user["monthly_cost_estimate_usd"])
        return cls(**{**fields, "user_id": UUID(user["user_id"]), "monthly_cost_estimate_usd": cost})

    @property
    def name(self) -> str:
        return self.email or str(self.user_id)

    def list_price_usd(self, on: date) -> Decimal:
        """Fly's list price for a month, not rounded."""
        return list_price_monthly_usd(self.cpu_kind, self.cpu_count, self.memory_mb, self.region, on)


def read_candidates(installation: Installation) -> list[Candidate]:
    """Every entitled user without an active app, by user id."""
    found: list[Candidate] = []
    after = None
    while True:
        page = installation.database.rpc("fly_migration_candidates", after=after, limit=_PAGE)
        found += map(Candidate.read, page["users"])
        after = page["next"]
        if after is None:
            return found


def total_cost_usd(candidates: Sequence[Candidate]) -> Decimal:
    """The estimated monthly cost of all of them."""
    return sum((candidate.monthly_cost_estimate_usd for candidate in candidates), Decimal("0.00"))


def make_plan(candidates: Sequence[Candidate], on: date) -> dict[str, Any]:
    """The candidates and their cost as JSON. Money is text."""
    list_price_usd = sum((candidate.list_price_usd(on) for candidate in candidates), Decimal(0))
    return {
        "users": [
            {
                "user_id": str(candidate.user_id),
                "email": candidate.email,
                "tier": candidate.tier,
                "why": candidate.why,
                "cpu_kind": candidate.cpu_kind,
                "cpu_count": candidate.cpu_count,
                "memory_mb": candidate.memory_mb,
                "region": candidate.region,
                "monthly_cost_estimate_usd": str(candidate.monthly_cost_estimate_usd),
                "monthly_list_price_usd": str(to_cents(candidate.list_price_usd(on))),
                "status": candidate.status,
            }
            for candidate in candidates
        ],
        "total": {
            "users": len(candidates),
            "monthly_cost_estimate_usd": str(total_cost_usd(candidates)),
            "monthly_list_price_usd": str(to_cents(list_price_usd)),
        },
    }
