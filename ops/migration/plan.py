"""Who a migration would give an app: entitled users without an active app, with size and cost."""

from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from typing import Any

from ops.client import Installation
from shared.adapters.procedures_migration import Candidate
from shared.domain.cost import list_price_monthly_usd, to_cents
from shared.domain.paging import Paging

_PAGE = 500


def read_candidates(installation: Installation) -> list[Candidate]:
    """Every entitled user without an active app, by user id."""
    found: list[Candidate] = []
    after, paging = None, Paging("list the users without an app")
    while True:
        paging.advance(after)
        page = installation.database.read_candidate_page(after, _PAGE)
        found += page.candidates
        after = page.next
        if after is None:
            return found


def total_cost_usd(candidates: Sequence[Candidate]) -> Decimal:
    """The estimated monthly cost of all of them."""
    return sum((candidate.monthly_cost_estimate_usd for candidate in candidates), Decimal("0.00"))


def make_plan(candidates: Sequence[Candidate], on: date) -> dict[str, Any]:
    """The candidates and their cost as JSON. Money is text."""
    total_list_price_usd = sum((_list_price_usd(candidate, on) for candidate in candidates), Decimal(0))
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
                "monthly_list_price_usd": str(to_cents(_list_price_usd(candidate, on))),
                "status": candidate.status,
            }
            for candidate in candidates
        ],
        "total": {
            "users": len(candidates),
            "monthly_cost_estimate_usd": str(total_cost_usd(candidates)),
            "monthly_list_price_usd": str(to_cents(total_list_price_usd)),
        },
    }


def _list_price_usd(candidate: Candidate, on: date) -> Decimal:
    """Fly's list price for a month, not rounded."""
    return list_price_monthly_usd(candidate.cpu_kind, candidate.cpu_count, candidate.memory_mb, candidate.region, on)
