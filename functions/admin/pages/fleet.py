"""The first page: how the fleet stands in figures, and its apps as a list that can be filtered, searched, sorted and exported."""

from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from typing import Any

import flask

from functions.admin.pagination import read_cursor, write_cursor
from functions.admin.request_context import Page, RequestContext
from functions.admin.views.export import write_csv
from functions.admin.views.render import pick

PAGE_ROWS = 50
EXPORT_ROWS = 500
STATUSES = ("active", "provisioning", "error", "deprovisioning")
HEALTHS = ("healthy", "unhealthy", "unknown")
WORK = {
    "due": "due now",
    "overdue": "overdue by 5 minutes",
    "retrying": "failed, trying again",
    "stuck": "failed, needs a person",
    "override": "under an override",
}
SORTS = {"created": True, "app": False, "cost": True, "checked": False, "retries": True}
_EXPORTED = (
    "user_id", "email", "fly_app_name", "status", "desired_state", "health_status", "region", "tier", "cpu_kind", "cpu_count",
    "memory_mb", "machine_id", "machine_state", "docker_image", "monthly_cost_estimate_usd", "last_health_check", "retry_count",
    "error_code", "error_message", "created_at", "next_attempt_at", "override",
)  # fmt: skip


def show_fleet(visit: RequestContext) -> Page:
    """Figures, filter, one page of apps."""
    values = read_values(visit)
    listed = read_page(visit, values, PAGE_ROWS, read_cursor(visit.ask("after")))
    return visit.show(
        "fleet.html",
        figures=add_up(visit.desk.database.rpc("fly_admin_figures")["groups"]),
        values=values,
        rows=listed["rows"],
        more=write_cursor(listed["next"]),
        is_first=not visit.ask("after"),
        search_cut=listed["search_cut"],
        choices={"status": STATUSES, "health": HEALTHS, "work": WORK},
        sorts={name: _link_sort(values, name) for name in SORTS},
        pick=pick,
    )


def read_values(visit: RequestContext) -> dict[str, str]:
    """Filter and order from the address; what is not known there counts as not given."""
    known = {"status": STATUSES, "health": HEALTHS, "work": tuple(WORK), "sort": tuple(SORTS), "order": ("asc", "desc")}
    values = {name: visit.ask(name) for name, words in known.items() if visit.ask(name) in words}
    free = {name: visit.ask(name)[:200] for name in ("region", "tier", "q")}
    return values | {name: text for name, text in free.items() if text}


def read_page(visit: RequestContext, values: Mapping[str, str], limit: int, after: list[str] | None) -> dict[str, Any]:
    """One page of apps as `fly_admin_fleet` tells them."""
    sort = values.get("sort", "created")
    down = values["order"] == "desc" if "order" in values else SORTS[sort]
    asked = {name: text for name, text in values.items() if name not in ("sort", "order")}
    page: dict[str, Any] = visit.desk.database.rpc(
        "fly_admin_fleet", filter=asked, sort=sort, descending=down, after=after, limit=limit
    )
    return page


def add_up(groups: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """The figures of the page from apps grouped by status and health. Money is summed before it is cut to cents."""
    some = list(groups)

    def total(name: str, **where: str) -> int:
        return sum(group[name] for group in some if all(group[key] == value for key, value in where.items()))

    money = {
        name: sum((Decimal(group[name]) for group in some), Decimal(0))
        for name in ("monthly_cost_estimate_usd", "monthly_list_price_usd")
    }
    counts = {name: total(name) for name in ("apps", "running", "due", "overdue", "stuck", "working")}
    status = {word: total("apps", status=word) for word in STATUSES}
    return {**counts, **money, "status": status, "health": {word: total("apps", health=word) for word in HEALTHS}}


def _link_sort(values: Mapping[str, str], name: str) -> dict[str, Any]:
    """Where a column's heading leads, and how the list is ordered by it now."""
    current = values.get("sort", "created") == name
    down = values.get("order", "desc" if SORTS[name] else "asc") == "desc"
    first = "desc" if SORTS[name] else "asc"
    turned = ("asc" if down else "desc") if current else first
    now = ("descending" if down else "ascending") if current else "none"
    return {"values": pick(values, sort=name, order=turned), "now": now}


def export_fleet(visit: RequestContext) -> Page:
    """The whole filtered list as CSV, read page by page while it is sent."""
    values = read_values(visit)
    # Before anything is sent: a database that does not answer becomes an error, not an empty file.
    first = read_page(visit, values, EXPORT_ROWS, None)

    def rows() -> Iterator[Mapping[str, Any]]:
        page = first
        yield from page["rows"]
        while page["next"] is not None:
            page = read_page(visit, values, EXPORT_ROWS, page["next"])
            yield from page["rows"]

    stamp = f"{visit.now:%Y%m%dT%H%M%SZ}"
    headers = {"Content-Disposition": f'attachment; filename="hangar-fleet-{stamp}.csv"'}
    return Page(
        response=flask.Response(write_csv(_EXPORTED, rows()), headers=headers, content_type="text/csv; charset=utf-8")
    )
