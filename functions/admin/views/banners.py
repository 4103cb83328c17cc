"""The notices above every page while something needs attention. Pure."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from functions.admin.views.alerts import TITLES, describe_alert, name_kind
from shared.domain.remediation import format_duration
from shared.domain.status_text import format_brake_count, format_brake_release

# pg_cron starts a sweep every 5 minutes. After twice that time, somebody should find out why none came.
SWEEP_IS_LATE_S = 600
# More would push every page's content off the screen. Those of the red kinds are all shown.
MOST_ALERTS = 4
_MOST_KINDS = 6
_DELETES_PAUSED = "Hangar still stops the machines of users who left, but destroys no app or machine."
_BAD = frozenset(
    (
        "installation",
        "fly_unreachable",
        "fly_refused",
        "log_unwritable",
        "sweep_unfinished",
        "incident",
        "host_loss",
        "host_binding",
        "wrong_organisation",
    )
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
    found += _list_alerts(frame, now)
    if snoozed := frame.get("alerts_handled", {}).get("snoozed"):
        title = "An alert is snoozed" if snoozed == 1 else f"{snoozed:,} alerts are snoozed"
        found.append(Banner("snoozed", "plain", title, "What is snoozed is not shown here.", "controls#alerts"))
    return found


def _list_alerts(frame: Mapping[str, Any], now: datetime) -> list[Banner]:
    """The most urgent alerts, each as a banner, and one banner that counts the others by kind."""
    alerts = [alert for alert in frame["alerts"] if alert["kind"] != "brake"]
    counts = Counter(frame.get("alert_kinds") or Counter(alert["kind"] for alert in alerts))
    del counts["brake"]
    ranks = {kind: rank for rank, kind in enumerate(TITLES)}
    alerts.sort(key=lambda each: ranks.get(each["kind"], len(ranks)))
    urgent = sum(alert["kind"] in _BAD for alert in alerts)
    if counts.total() > MOST_ALERTS + 1 or len(alerts) < counts.total():
        alerts = alerts[: max(urgent, MOST_ALERTS)]
    banners = [_format_alert(alert, now) for alert in alerts]
    rest = counts - Counter(alert["kind"] for alert in alerts)
    if others := rest.total():
        kinds = sorted(rest, key=lambda kind: ranks.get(kind, len(ranks)))
        named = ", ".join(f"{name_kind(kind)} ({rest[kind]:,})" for kind in kinds[:_MOST_KINDS])
        more = f", and {len(kinds) - _MOST_KINDS} more kinds" if len(kinds) > _MOST_KINDS else ""
        title = "1 more alert is open" if others == 1 else f"{others:,} more alerts are open"
        banners.append(Banner("more", "busy", title, f"{named}{more}.", "controls#alerts"))
    return banners


def _format_alert(alert: Mapping[str, Any], now: datetime) -> Banner:
    shown = describe_alert(alert)
    tone = "bad" if alert["kind"] in _BAD else "busy"
    text = shown.text
    if alert["kind"] == "fly_unreachable":
        since_s = (now - datetime.fromisoformat(alert["opened_at"])).total_seconds()
        text = f"For {format_duration(since_s)}; the next sweep tries again. {text}"
    if shown.state == "acknowledged":
        text = f"{text} {shown.handled}."
    page = (shown.links[0].where, shown.links[0].text) if len(shown.links) == 1 else ()
    return Banner(f"{alert['kind']} {alert['key']}", tone, shown.title, text, *page)


def _format_brake(brake: Mapping[str, Any]) -> Banner:
    destroyed = f"{format_brake_count(brake)}."
    if brake["tripped"]:
        stop = "No app is destroyed" if brake["why"] == "lost" else "No more apps are stopped or destroyed"
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
