"""The notices above every page while something needs attention. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from shared.domain.remediation import format_duration

# pg_cron starts a sweep every 5 minutes. After twice that time, somebody should find out why none came.
SWEEP_IS_LATE_S = 600
_DELETES_PAUSED = "Hangar still stops the machines of users who left, but destroys no app or machine."
# The most urgent first. Alerts of other kinds follow, titled by their kind.
_TITLES = {
    "installation": "Installation mismatch",
    "fly_unreachable": "Fly cannot be reached",
    "incident": "Many apps are unhealthy at once",
    "nudges": "Webhook calls are not arriving",
    "max_apps": "The app limit is reached",
    "max_cost": "The cost limit is reached",
    "unknown_tier": "A tier is not in the plans table",
    "orphans": "Orphans need attention",
    "orphan_look": "An orphan cannot be checked",
    "provisioning_slow": "Provisioning is slow",
    "crash_loop": "An app keeps crashing",
    "drift": "Machines differ from what should run",
}


@dataclass(frozen=True)
class Banner:
    """A notice. `key` stays the same while it lasts, `where` is the page on which to act."""

    key: str
    tone: str
    title: str
    text: str
    where: str = "controls"


def list_banners(frame: Mapping[str, Any], now: datetime) -> list[Banner]:
    """The banners for the answer of `fly_admin_frame`, the most urgent first."""
    settings, found = frame["settings"], []
    if settings["paused"]:
        found.append(Banner("paused", "bad", "Paused", "Hangar changes nothing on Fly until somebody resumes it."))
    if settings["deletes_paused"]:
        found.append(Banner("deletes", "busy", "Deletions are paused", _DELETES_PAUSED))
    if frame["brake"]:
        found.append(_format_brake(frame["brake"]))
    if not settings["live"]:
        text = "Only users who were admitted by hand get an app."
        found.append(Banner("live", "plain", "Not live", text))
    if sweep := _format_sweep(frame["sweep"], now):
        found.append(sweep)
    alerts = [alert for alert in frame["alerts"] if alert["kind"] != "brake"]
    ranks = {kind: rank for rank, kind in enumerate(_TITLES)}
    for alert in sorted(alerts, key=lambda each: ranks.get(each["kind"], len(ranks))):
        title = _TITLES.get(alert["kind"], alert["kind"].replace("_", " ").capitalize())
        tone = "bad" if alert["kind"] in ("installation", "fly_unreachable", "incident") else "busy"
        text = alert["message"]
        if alert["kind"] == "fly_unreachable":
            since_s = (now - datetime.fromisoformat(alert["opened_at"])).total_seconds()
            text = f"For {format_duration(since_s)}; the next sweep tries again. {text}"
        found.append(Banner(f"{alert['kind']} {alert['key']}", tone, title, text))
    return found


def _format_brake(brake: Mapping[str, Any]) -> Banner:
    count, limit = int(brake["destroyed_last_hour"]), float(brake["most"])
    destroyed = (
        f"{count} {'app was' if count == 1 else 'apps were'} destroyed in the last hour; the limit is {limit:g}."
    )
    if brake["tripped"]:
        text = f"{destroyed} No more apps are destroyed until somebody releases the brake."
        return Banner("brake", "bad", "The brake is on", text)
    text = f"{destroyed} Deletions continue. Release the brake to close the alert."
    return Banner("brake", "busy", "The brake was on", text)


def _format_sweep(sweep: Mapping[str, Any] | None, now: datetime) -> Banner | None:
    if sweep is None:
        text = "No sweep has run yet. Check that the scheduler is set up, or run a sweep by hand."
        return Banner("sweep", "busy", "No sweep yet", text)
    if sweep["under_way"]:
        return None
    if sweep["completed_at"] is None:
        text = "No sweep has covered the whole fleet yet. The next sweep continues where the last one stopped."
        return Banner("sweep", "busy", "No complete sweep yet", text)
    age_s = (now - datetime.fromisoformat(sweep["completed_at"])).total_seconds()
    if age_s <= SWEEP_IS_LATE_S:
        return None
    text = (
        f"The last complete sweep ended {format_duration(age_s)} ago. "
        "Check that the scheduler calls the health function every 5 minutes."
    )
    return Banner("sweep", "bad", "The sweep is overdue", text)
