"""The alert about clocks that differ: Fly's, by its `Date`, and the database's."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from shared.domain.remediation import format_duration

if TYPE_CHECKING:
    from shared.reconcile.worker import Worker

ALERT_ABOVE = timedelta(seconds=30)
# Lower than the other bound, so that a skew close to it does not open and close the alert with every sweep.
RESOLVE_BELOW = timedelta(seconds=20)


def alert_clock_skew(worker: "Worker", now: datetime, end_alert: Callable[[str, str], bool]) -> None:
    """Open or end the alert `clock_skew`; `now` is the database's time at this moment."""
    lead = worker.fly.lead_over(now)
    if lead is None:
        return
    if abs(lead) <= ALERT_ABOVE:
        if abs(lead) < RESOLVE_BELOW:
            end_alert("clock_skew", "fleet")
        return
    theirs, ours = ((moment.astimezone(UTC)).strftime("%Y-%m-%d %H:%M:%S UTC") for moment in (now + lead, now))
    message = (
        f"The clocks differ by {format_duration(abs(lead).total_seconds())}: Fly's shows {theirs}, the database's {ours}. "
        "Hangar allows for it in the age of every machine, and destroys nothing because of it. Subscriptions end by the "
        "database's clock: compare both with a third one, and correct the database's host if that is the wrong one"
    )
    metadata = {"skew_s": round(lead.total_seconds()), "fly_time": theirs, "database_time": ours}
    worker.notifier.open("clock_skew", "fleet", message, metadata)
