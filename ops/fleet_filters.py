"""The filters of `hangar apps` and `hangar export apps`: unknown words are refused with the allowed ones."""

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterator, Mapping
from typing import Any

import click

from ops.client import Installation
from ops.connection import TargetError
from shared.adapters.procedures_dashboard import AppPage
from shared.domain.models import Json
from shared.domain.paging import Paging

STATUSES = ("active", "provisioning", "error", "deprovisioning")
HEALTHS = ("healthy", "unhealthy", "unknown")
WORK = ("due", "overdue", "retrying", "stuck", "drift", "override", "legacy")
# The orders, and whether each begins with the highest value.
SORTS = {"created": True, "app": False, "cost": True, "checked": False, "retries": True}
MOST_ROWS_AT_ONCE = 500

_OPTIONS = (
    click.option("--tier", metavar="TIER", help="Only apps of this plan."),
    click.option("--status", type=click.Choice(STATUSES), help="Only apps with this status."),
    click.option("--health", type=click.Choice(HEALTHS), help="Only apps with this health."),
    click.option("--region", metavar="R", help="Only apps in this region."),
    click.option("--work", type=click.Choice(WORK), help="Only apps with this work: see docs/dashboard.md."),
    click.option("--search", "q", metavar="TEXT", help="A user id, or any part of an e-mail, app name or machine id."),
)


def filter_options(command: Any) -> Any:
    """The options that choose apps."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def read_filters(installation: Installation, given: Mapping[str, str | None]) -> dict[str, str]:
    """The filter as fly_admin_fleet takes it. Raises TargetError for a tier or region that no plan and no app has."""
    filters = {name: text.strip() for name, text in given.items() if text is not None}
    if empty := [name for name, text in filters.items() if not text]:
        raise TargetError(f"--{'search' if empty[0] == 'q' else empty[0]} is empty")
    if "region" in filters:
        filters["region"] = filters["region"].lower()
        _check_region(installation, filters["region"])
    if "tier" in filters:
        _check_tier(installation, filters["tier"])
    return filters


def _check_tier(installation: Installation, tier: str) -> None:
    tiers = sorted(row["tier"] for row in installation.read_rows("fly_plans", limit=1000))
    if tier not in tiers and not _has_app(installation, "tier", tier):
        raise TargetError(f"there is no tier {tier!r}; the tiers are: {', '.join(tiers)}")


def _check_region(installation: Installation, region: str) -> None:
    if _has_app(installation, "region", region) or _has_app(installation, "machine_region", region):
        return
    groups = installation.database.read_cost_report(1)["groups"]
    used = sorted({str(group["region"]) for group in groups if group.get("region")})
    raise TargetError(f"no app is in the region {region!r}; the regions in use are: {', '.join(used) or 'none'}")


def _has_app(installation: Installation, column: str, value: str) -> bool:
    quoted = value.replace("\\", "\\\\").replace('"', '\\"')
    return bool(installation.read_rows("user_fly_apps", limit=1, deleted_at="is.null", **{column: f'in.("{quoted}")'}))


def read_apps(
    installation: Installation, filters: Json, sort: str, limit: int | None, after: list[str] | None = None
) -> Iterator[AppPage]:
    """Pages of apps, at most `limit` rows in all."""
    paging, left = Paging("list apps"), limit
    while left is None or left > 0:
        size = MOST_ROWS_AT_ONCE if left is None else min(left, MOST_ROWS_AT_ONCE)
        page = installation.database.read_fleet(filters, sort, after, size, descending=SORTS[sort])
        yield page
        if page.next is None:
            return
        after = page.next
        paging.advance(str(after))
        left = None if left is None else left - len(page.rows)


def write_place(place: list[str] | None) -> str | None:
    """A place in a list as one word for --after. None at the end."""
    return None if place is None else urlsafe_b64encode(json.dumps(place).encode()).rstrip(b"=").decode()


def read_place(word: str | None) -> list[str] | None:
    """The place that `write_place` wrote. Raises TargetError for another text."""
    if word is None:
        return None
    try:
        place = json.loads(urlsafe_b64decode(f"{word}==".encode()))
    except (ValueError, RecursionError):
        place = None
    if not (isinstance(place, list) and len(place) == 2 and all(isinstance(part, str) for part in place)):
        raise TargetError(f"--after {word!r} is not a place in the list; take the word that the page before printed")
    return place
