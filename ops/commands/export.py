"""`hangar export`: apps, costs or events as CSV or JSON lines, page by page while they are read."""

import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import click

from ops.cli_support import json_option, open_installation, print_json_line, report_errors
from ops.client import Installation
from ops.commands.events import read_since
from ops.fleet_filters import filter_options, read_apps, read_filters
from ops.plain_text import one_line
from shared.domain.csv_text import write_csv

_PAGE = 1000  # PostgREST returns no more rows at once
APP_COLUMNS = (
    "user_id", "email", "fly_app_name", "status", "desired_state", "health_status", "region", "tier", "cpu_kind", "cpu_count",
    "memory_mb", "machine_id", "machine_state", "docker_image", "monthly_cost_estimate_usd", "last_health_check", "retry_count",
    "error_code", "error_message", "created_at", "next_attempt_at", "override", "health_detail",
)  # fmt: skip
COST_COLUMNS = (
    "user_id", "fly_app_id", "machine_id", "region", "cpu_kind", "cpu_count", "memory_mb", "started_at", "ended_at", "seconds",
    "price_usd_per_s", "cost_usd",
)  # fmt: skip
EVENT_COLUMNS = (
    "seq", "created_at", "id", "user_id", "fly_app_id", "event_type", "status", "metadata", "error_details",
)  # fmt: skip
_format_option = click.option(
    "--format",
    "form",
    type=click.Choice(["csv", "jsonl"]),
    default="csv",
    show_default=True,
    help="How to write the rows.",
)
_since_option = click.option("--since", metavar="SPAN", help="Only since then: 90s, 15m, 24h, 7d, or an ISO time.")


@click.group()
def export() -> None:
    """Write apps, costs or events to standard output, as CSV or as JSON lines.

    The rows are read page by page while they are written, so that a fleet of any size fits.
    """


@export.command("apps")
@filter_options
@_format_option
@json_option
@report_errors
def export_apps(*, form: str, as_json: bool, **given: str | None) -> None:
    """Write one row for each app, with the filters of `hangar apps`. --json means --format jsonl."""
    installation = open_installation()
    filters = read_filters(installation, given)
    rows = (row for page in read_apps(installation, filters, "created", None) for row in page.rows)
    _write(APP_COLUMNS, rows, form, as_json=as_json)


@export.command("costs")
@_since_option
@_format_option
@json_option
@report_errors
def export_costs(since: str | None, form: str, as_json: bool) -> None:
    """Write one row for each time that a machine ran, with its seconds and Fly's list price. --json means --format jsonl.

    With --since it writes those that run now or ended after that time. A machine that runs has no end, and counts up to now.
    """
    installation = open_installation()
    now = installation.database.read_overview().now
    filters = {} if since is None else {"or": f"(ended_at.is.null,ended_at.gte.{_format_time(since)})"}
    rows = _read_all(installation, "fly_cost_intervals", "fly_app_id", "fly_app_id.asc,started_at.asc,id.asc", filters)
    _write(COST_COLUMNS, (_price(row, now) for row in rows), form, as_json=as_json)


@export.command("events")
@_since_option
@_format_option
@json_option
@report_errors
def export_events(since: str | None, form: str, as_json: bool) -> None:
    """Write the audit log, oldest first. --json means --format jsonl."""
    installation = open_installation()
    start = None if since is None else _format_time(since)
    rows = _read_all(installation, "user_fly_app_events", "created_at", "created_at.asc,seq.asc", {}, start)
    _write(EVENT_COLUMNS, rows, form, as_json=as_json)


def _format_time(since: str) -> str:
    return read_since(since, datetime.now(UTC)).astimezone(UTC).isoformat().replace("+00:00", "Z")


def _price(row: Mapping[str, Any], now: datetime) -> dict[str, Any]:
    """The interval with its seconds, and its cost as text. Without a price there is no cost."""
    end = datetime.fromisoformat(row["ended_at"]) if row["ended_at"] else now
    seconds = max(Decimal(0), Decimal(str((end - datetime.fromisoformat(row["started_at"])).total_seconds())))
    price = None if row["price_usd_per_s"] is None else Decimal(str(row["price_usd_per_s"]))
    cost = None if price is None else f"{seconds * price:.6f}"
    return {
        **row,
        "seconds": str(seconds),
        "price_usd_per_s": None if price is None else f"{price:f}",
        "cost_usd": cost,
    }


def _read_all(
    installation: Installation, name: str, key: str, order: str, filters: Mapping[str, str], start: str | None = None
) -> Iterator[dict[str, Any]]:
    """Every row in this order, which begins with `key`. A page begins at the last key, behind the rows of it that are known."""
    last, known = start, 0
    while True:
        place = {} if last is None else {key: f"gte.{last}", "offset": str(known)}
        page = installation.read_rows(name, order=order, limit=_PAGE, **filters, **place)
        yield from page
        if len(page) < _PAGE:
            return
        same = sum(row[key] == page[-1][key] for row in page)
        known = same + known if same == len(page) and page[-1][key] == last else same
        last = page[-1][key]


def _write(columns: Sequence[str], rows: Iterable[Mapping[str, Any]], form: str, *, as_json: bool) -> None:
    if as_json or form == "jsonl":
        for row in rows:
            print_json_line({name: row.get(name) for name in columns})
        return
    texts = ({name: _format_cell(row.get(name)) for name in columns} for row in rows)
    for line in write_csv(columns, texts):
        sys.stdout.write(line)
    sys.stdout.flush()


def _format_cell(value: Any) -> str:
    """Text on one line; JSON as JSON; nothing for None."""
    if value is None:
        return ""
    return json.dumps(value, default=str) if isinstance(value, dict | list) else one_line(str(value))
