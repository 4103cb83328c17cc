"""The size of each scenario: `FULL` for published figures, `QUICK` to check in under 90 seconds that the benchmark runs."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Sizes:
    """Counts of apps, users and repetitions."""

    fleet: int  # apps that a sweep covers
    plain_apps: int  # apps of the plain loop; its time is scaled up to the fleet
    plain_apps_with_latency: int  # with Fly's latency each app takes about 0.13 s
    tier_users: int  # users whose tier changes in one statement
    statement_rows: tuple[int, ...]  # rows of one UPDATE of the host
    statement_rounds: int
    start_rounds: int
    start_functions: tuple[str, ...]
    dashboard_apps: int
    dashboard_events: int
    dashboard_answers: int  # of each page


FULL = Sizes(
    fleet=10_000,
    plain_apps=1_000,
    plain_apps_with_latency=60,
    tier_users=1_000,
    statement_rows=(1, 1_000, 20_000),
    statement_rounds=7,
    start_rounds=3,
    start_functions=("provision", "deprovision", "health"),
    dashboard_apps=100_000,
    dashboard_events=500_000,
    dashboard_answers=20,
)
# More than 1,000 apps, so that the listing has two pages, and a sweep probes only one share and the suspicious apps.
QUICK = Sizes(
    fleet=1_100,
    plain_apps=60,
    plain_apps_with_latency=10,
    tier_users=40,
    statement_rows=(1, 1_000),
    statement_rounds=3,
    start_rounds=1,
    start_functions=("health",),
    dashboard_apps=2_000,
    dashboard_events=40_000,
    dashboard_answers=2,
)
