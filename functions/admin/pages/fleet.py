"""The first page: the fleet in figures, and its apps as a list to filter, search, sort and export."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any

import flask

from functions.admin.pages.filters import Filter, read_filter
from functions.admin.pagination import read_cursor, write_cursor
from functions.admin.request_context import get_context, read_arg, show
from functions.admin.views.render import pick
from shared.adapters.operator_database import OperatorDatabase
from shared.adapters.procedures_dashboard import AppPage, FleetFigures
from shared.domain.csv_text import write_csv
from shared.domain.paging import Paging

blueprint = flask.Blueprint("fleet", __name__)
PAGE_ROWS = 50
EXPORT_ROWS = 500
STATUSES = ("active", "provisioning", "error", "deprovisioning")
HEALTHS = ("healthy", "unhealthy", "unknown")
WORK = {
    "due": "due now",
    "overdue": "overdue by 5 minutes or more",
    "retrying": "failed, will be retried",
    "stuck": "failed, needs an operator",
    "drift": "differ from what should run",
    "override": "under an override",
    "legacy": "of the original system, not decided",
}
SORTS = {"created": True, "app": False, "cost": True, "checked": False, "retries": True}
# What an address may say beside the filters.
_ORDER = {"sort": tuple(SORTS), "order": ("asc", "desc")}
_FREE = {"cause": 60, "q": 200}
_EXPORTED = (
    "user_id", "email", "fly_app_name", "status", "desired_state", "health_status", "region", "tier", "cpu_kind", "cpu_count",
    "memory_mb", "machine_id", "machine_state", "docker_image", "monthly_cost_estimate_usd", "last_health_check", "retry_count",
    "error_code", "error_message", "created_at", "next_attempt_at", "override", "health_detail",
)  # fmt: skip


@blueprint.get("/")
def show_fleet() -> flask.Response:
    """Figures, filter, one page of apps. 400 without apps if the address names an unknown filter or word."""
    figures = get_context().database.read_figures()
    return _show_list(figures, read_values(figures))


def _show_list(figures: FleetFigures, found: Filter) -> flask.Response:
    values = found.values
    page = AppPage(rows=[], next=None, search_cut=False)
    if not found.problems:
        page = read_counted_page(get_context().database, values)
    return show(
        "fleet.html",
        400 if found.problems else 200,
        figures=add_up(figures.groups),
        values=values,
        problems=found.problems,
        page=page,
        more=write_cursor(page.next),
        previous=write_cursor(page.previous),
        is_first=page.above == 0 if page.rows else not (read_arg("after") or read_arg("before")),
        chosen=[
            {"label": name, "text": text, "without": pick(values, **{name: None})}
            for name, text in values.items()
            if name not in _ORDER
        ],
        choices=_list_choices(figures),
        sorts={name: _link_sort(values, name) for name in SORTS},
        pick=pick,
    )


def _list_choices(figures: FleetFigures) -> dict[str, dict[str, str]]:
    """The words of each filter, with the text that the form shows for each."""
    return {
        "status": {word: word for word in STATUSES},
        "health": {word: word for word in HEALTHS},
        "work": WORK,
        "tier": {each["tier"]: f"{each['tier']} ({each['apps']:,})" for each in figures.tiers},
        "region": {each["region"]: f"{each['region']} ({each['apps']:,})" for each in figures.regions},
    }


def read_values(figures: FleetFigures) -> Filter:
    """Filter and order from the address."""
    return read_filter({**_list_choices(figures), **_ORDER}, _FREE, others=("after", "before"))


def read_page(
    database: OperatorDatabase,
    values: Mapping[str, str],
    limit: int,
    after: list[str] | None,
    before: list[str] | None = None,
    *,
    count: bool = False,
) -> AppPage:
    """One page of apps."""
    sort = values.get("sort", "created")
    descending = values["order"] == "desc" if "order" in values else SORTS[sort]
    chosen = {name: text for name, text in values.items() if name not in _ORDER}
    return database.read_fleet(chosen, sort, after, limit, descending=descending, before=before, count=count)


def read_counted_page(database: OperatorDatabase, values: Mapping[str, str]) -> AppPage:
    """The page that the address names, with the number of apps in all. Links back and forth only to pages that have rows."""
    before, after = read_cursor(read_arg("before")), read_cursor(read_arg("after"))
    page = read_page(database, values, PAGE_ROWS, None if before else after, before, count=True)
    if before and page.above == 0 and len(page.rows) < PAGE_ROWS:
        # Apps that were before this place are gone: the first page is then a whole one again.
        page = read_page(database, values, PAGE_ROWS, None, count=True)
    is_last = page.above + len(page.rows) >= (page.apps or 0)
    return replace(page, next=None if is_last else page.next, previous=page.previous if page.above else None)


def add_up(groups: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """The figures of the page, from apps grouped by status and health. Money is summed before it is rounded to cents."""
    known = list(groups)

    def total(name: str, **where: str) -> int:
        return sum(group[name] for group in known if all(group[key] == value for key, value in where.items()))

    money = {
        name: sum((Decimal(group[name]) for group in known), Decimal(0))
        for name in ("monthly_cost_estimate_usd", "monthly_list_price_usd")
    }
    counts = {name: total(name) for name in ("apps", "running", "due", "overdue", "stuck", "drifted", "working")}
    status = {word: total("apps", status=word) for word in STATUSES}
    return {**counts, **money, "status": status, "health": {word: total("apps", health=word) for word in HEALTHS}}


def _link_sort(values: Mapping[str, str], name: str) -> dict[str, Any]:
    """Where a column's heading leads, and how the list is sorted by it now."""
    current = values.get("sort", "created") == name
    descending = values.get("order", "desc" if SORTS[name] else "asc") == "desc"
    first = "desc" if SORTS[name] else "asc"
    reversed_order = ("asc" if descending else "desc") if current else first
    now = ("descending" if descending else "ascending") if current else "none"
    return {"values": pick(values, sort=name, order=reversed_order), "now": now}


@blueprint.get("/fleet.csv")
def export_fleet() -> flask.Response:
    """The whole filtered list as CSV, read page by page while it is sent."""
    context = get_context()
    figures = context.database.read_figures()
    found = read_values(figures)
    if found.problems:
        return _show_list(figures, found)
    values = found.values
    # Before anything is sent: if the database does not answer, that is an error and not an empty file.
    first = read_page(context.database, values, EXPORT_ROWS, None)

    def rows() -> Iterator[Mapping[str, Any]]:
        page, paging = first, Paging("export the fleet")
        yield from page.rows
        while page.next is not None:
            paging.advance(str(page.next))
            page = read_page(context.database, values, EXPORT_ROWS, page.next)
            yield from page.rows

    stamp = f"{context.now:%Y%m%dT%H%M%SZ}"
    headers = {"Content-Disposition": f'attachment; filename="hangar-fleet-{stamp}.csv"'}
    return flask.Response(write_csv(_EXPORTED, rows()), headers=headers, content_type="text/csv; charset=utf-8")
