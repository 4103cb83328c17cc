"""What stands above every page while Hangar is not in order. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from shared.domain.remediation import format_duration

# pg_cron sweeps every 5 minutes; after twice that somebody should look why.
SWEEP_IS_LATE_S = 600
_DELETES_PAUSED = "Machines of users who left are still stopped, but no app or machine is destroyed."
# In the order in which they matter at 3 a.m.; other open alerts follow with their own words.
_TITLES = {
    "installation": "Installation mismatch",
    "fly_unreachable": "Fly cannot be reached",
    "incident": "Many apps are broken at once",
    "nudges": "Nudges do not arrive",
    "max_apps": "The limit of apps is reached",
    "max_cost": "The limit of cost is reached",
    "unknown_tier": "A tier is unknown",
    "orphans": "Orphans are left over",
    "orphan_look": "An orphan cannot be looked at",
    "provisioning_slow": "Apps are long on their way",
    "crash_loop": "An app does not stay up",
}


@dataclass(frozen=True)
class Banner:
    """One sentence with a title; `key` stays the same while it lasts, `where` leads to what can be done."""

    key: str
    tone: str
    title: str
    text: str
    where: str = "controls"


def list_banners(frame: Mapping[str, Any], now: datetime) -> list[Banner]:
    """The banners for what `fly_admin_frame` says, the gravest first."""
    settings, found = frame["settings"], []
    if settings["paused"]:
        found.append(Banner("paused", "bad", "Paused", "No change is made on Fly until somebody resumes."))
    if settings["deletes_paused"]:
        found.append(Banner("deletes", "busy", "Deletions are paused", _DELETES_PAUSED))
    if frame["brake"]:
        found.append(_format_brake(frame["brake"]))
    if not settings["live"]:
        text = "Only users who were admitted get apps (hangar migrate-users)."
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
            text = f"Since {format_duration(since_s)}; the next sweep looks again. {text}"
        found.append(Banner(f"{alert['kind']} {alert['key']}", tone, title, text))
    return found


def _format_brake(brake: Mapping[str, Any]) -> Banner:
    count = int(brake["destroyed_last_hour"])
    went = f"{count} {'app was' if count == 1 else 'apps were'} destroyed in the last hour; the bound is {float(brake['most']):g}"
    if brake["tripped"]:
        return Banner("brake", "bad", "The brake is on", f"{went}. No more are destroyed until it is released.")
    return Banner("brake", "busy", "The brake was on", f"{went}. Deletions go on; release it to close the alert.")


def _format_sweep(sweep: Mapping[str, Any] | None, now: datetime) -> Banner | None:
    if sweep is None:
        return Banner("sweep", "busy", "No sweep yet", "Is the scheduler set up? A sweep can be run by hand.")
    if sweep["under_way"]:
        return None
    if sweep["completed_at"] is None:
        return Banner("sweep", "busy", "No whole sweep yet", "None has covered the whole fleet; the next one goes on.")
    age_s = (now - datetime.fromisoformat(sweep["completed_at"])).total_seconds()
    if age_s <= SWEEP_IS_LATE_S:
        return None
    text = f"The last whole one ended {format_duration(age_s)} ago; does the scheduler call health every 5 minutes?"
    return Banner("sweep", "bad", "The sweep is overdue", text)
