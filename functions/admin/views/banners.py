"""The notices above every page while something needs attention. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from functions.admin.views.releases import replace_commands
from shared.domain.remediation import format_duration
from shared.domain.status_text import format_brake_count, format_brake_release

# pg_cron starts a sweep every 5 minutes. After twice that time, somebody should find out why none came.
SWEEP_IS_LATE_S = 600
_DELETES_PAUSED = "Hangar still stops the machines of users who left, but destroys no app or machine."
# The most urgent first. Alerts of other kinds follow, titled by their kind.
_TITLES = {
    "installation": "Installation mismatch",
    "fly_unreachable": "Fly cannot be reached",
    "host_loss": "Many users would lose their apps at once",
    "host_binding": "The host's subscriptions cannot be read",
    "fly_refused": "Fly refuses the organisation",
    "incident": "Many apps are unhealthy at once",
    "clock_skew": "The clocks of Fly and the database differ",
    "wrong_organisation": "The Fly token belongs to another organisation",
    "unlisted": "Fly's lists do not show every app",
    "nudges": "Webhook calls are not arriving",
    "max_apps": "The app limit is reached",
    "max_cost": "The cost limit is reached",
    "unknown_tier": "A tier is not in the plans table",
    "unknown_status": "A subscription status has no rule",
    "unreadable_end": "The end of a subscription cannot be read",
    "orphans": "Orphans need attention",
    "orphan_look": "An orphan cannot be checked",
    "provisioning_slow": "Provisioning is slow",
    "provision_failed": "Apps cannot be provisioned",
    "deprovision_failed": "Apps cannot be removed",
    "crash_loop": "An app keeps crashing",
    "unhealthy": "An app is unhealthy",
    "unknown_health": "An app cannot be judged",
    "alert_delivery": "Alerts are not being delivered",
    "drift": "Machines differ from what should run",
    "release_failed": "A release has paused itself",
    "renewal_failed": "The renewal of tokens has stopped",
    "token_lapses": "Tokens of machines are about to end",
    "user_secrets_missing": "Secrets of users are missing on Fly",
}
_BAD = frozenset(
    ("installation", "fly_unreachable", "fly_refused", "incident", "host_loss", "host_binding", "wrong_organisation")
)


@dataclass(frozen=True)
class Banner:
    """A notice. `key` stays the same while it lasts; `where` is the page on which to act, and `link` its name."""

    key: str
    tone: str
    title: str
    text: str
    where: str = "controls"
    link: str = "Controls"


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
        tone = "bad" if alert["kind"] in _BAD else "busy"
        text = alert["message"]
        if alert["kind"] == "fly_unreachable":
            since_s = (now - datetime.fromisoformat(alert["opened_at"])).total_seconds()
            text = f"For {format_duration(since_s)}; the next sweep tries again. {text}"
        found.append(Banner(f"{alert['kind']} {alert['key']}", tone, title, replace_commands(text), *_find_page(alert)))
    return found


def _find_page(alert: Mapping[str, Any]) -> tuple[str, ...]:
    """The page of the release that an alert is about."""
    key = str(alert["key"])
    is_release = alert["kind"] == "release_failed" and key.isascii() and key.isdecimal()
    return (f"releases/{key}", f"Release {key}") if is_release else ()


def _format_brake(brake: Mapping[str, Any]) -> Banner:
    destroyed = f"{format_brake_count(brake)}."
    if brake["tripped"]:
        stop = "No app is destroyed" if brake["why"] == "lost" else "No more apps are destroyed"
        text = f"{destroyed} {stop} until an operator releases the brake. {format_brake_release(brake)}."
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
