"""Many apps that break at once are one incident: they are repaired a few with each sweep, not all together."""

from dataclasses import dataclass

from shared.domain.models import Json, Settings


@dataclass
class IncidentGuard:
    """Many broken at once is one incident, not many repairs. One guard for a sweep; `broken` counts what it took for one."""

    settings: Settings
    broken: int = 0
    allowed: int = 0

    def __post_init__(self) -> None:
        # While an incident goes on from an earlier sweep, a floor's worth is repaired with each further one.
        self.allowed = self.settings.incident_floor if self.settings.incident_open else 0

    def limit_repairs(self, observations: list[Json], judged: int) -> None:
        """Keep a large broken share of these `judged` apps from becoming due."""
        broken = [each for each in observations if each["due"]]
        if len(broken) <= max(self.settings.incident_floor, float(self.settings.incident_share) * judged):
            return
        self.broken += len(broken)
        for each in broken[self.allowed :]:
            each["due"] = False
        self.allowed -= min(self.allowed, len(broken))
