"""Hangar itself: the kill switch, the brake, the sweep, orphans, alerts and settings."""

import flask

from functions.admin.pages.filters import read_filter
from functions.admin.request_context import get_context, show
from functions.admin.views.alerts import MOST_LISTED, describe_counts
from shared.domain.models import Json
from shared.domain.status_text import describe_deliveries, format_brake_count, format_brake_release

blueprint = flask.Blueprint("controls", __name__)
_SHOWN = (
    "fly_org_slug", "app_prefix", "default_region", "default_image", "max_apps", "max_monthly_cost_usd", "brake_floor",
    "brake_share", "retry_base_s", "retry_cap_s", "orphan_after_s", "incident_floor", "incident_share",
    "unhealthy_after", "bad_sample_gap_s", "drift_share", "token_renewal_share",
    "events_retention_days", "samples_retention_days", "closed_rows_retention_days",
)  # fmt: skip


@blueprint.get("/controls")
def show_controls() -> flask.Response:
    """The state of Hangar, and its switches. With `?alerts=all` up to 1,000 alerts instead of the 100 most urgent."""
    wanted = read_filter({"alerts": ("all",)})
    if wanted.problems:
        return show("error.html", 400, problem=wanted.problems[0])
    database = get_context().database
    overview, brake = database.read_overview(), database.read_brake()
    alerts = database.list_alerts(MOST_LISTED)["alerts"] if wanted.values else overview.document["alerts"]
    return show(
        "controls.html",
        alerts=[alert for alert in alerts if not _is_snoozed(alert)],
        snoozed=[alert for alert in alerts if _is_snoozed(alert)],
        alert_counts=describe_counts(
            overview.document["alerts_open"], len(alerts), overview.document.get("alerts_handled", {})
        ),
        has_more_alerts=not wanted.values and len(alerts) < overview.document["alerts_open"],
        most_alerts=MOST_LISTED,
        overview=overview.document,
        deliveries=describe_deliveries(overview.document["alert_deliveries"], overview.now),
        brake=brake,
        brake_count=format_brake_count(brake),
        brake_release=format_brake_release(brake),
        orphans=database.read_orphans(),
        shown=[(name, overview.settings[name]) for name in _SHOWN],
    )


def _is_snoozed(alert: Json) -> bool:
    return (alert.get("handling") or {}).get("state") == "snoozed"
