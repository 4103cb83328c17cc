"""Many apps that break at once are one incident: each sweep repairs a few of them, not all together.

Apps that Fly hides are another: its lists show no app of the installation, and direct looks at several answer 404.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from shared.adapters.procedures_sweep import AppReport
from shared.domain.models import Settings
from shared.domain.symptom import SymptomCode

FEWEST_HIDDEN = 2


@dataclass
class IncidentGuard:
    """One guard for a sweep. `broken` counts the apps that it takes for an incident, `allowed` the repairs left to this sweep.

    `hidden` counts the apps that are missing while Fly's lists show no app of this installation.
    """

    settings: Settings
    broken: int = 0
    allowed: int = 0
    hidden: int = 0

    def __post_init__(self) -> None:
        # While the incident of an earlier sweep is open, each further sweep repairs `incident_floor` apps.
        self.allowed = self.settings.incident_floor if self.settings.incident_open else 0

    def hold_hidden(self, reports: Sequence[AppReport]) -> list[AppReport]:
        """The reports of a sweep whose lists show nothing of ours: what is missing is not due, unless it is one app alone.

        Empty lists and 404s are one failure of Fly, not two proofs, so nothing is made again in bulk because of them.
        """
        missing = [report for report in reports if report.due and report.symptom == SymptomCode.MISSING.value]
        if len(missing) + self.hidden < FEWEST_HIDDEN:
            return list(reports)
        self.hidden += len(missing)
        return [replace(report, due=False) if report in missing else report for report in reports]

    def limit_repairs(self, reports: Sequence[AppReport], probed: int) -> list[AppReport]:
        """The reports, of which most are no longer due if a large share of the `probed` apps is broken."""
        due = sum(report.due for report in reports)
        if due <= max(self.settings.incident_floor, float(self.settings.incident_share) * probed):
            return list(reports)
        self.broken += due
        return [self._hold_back(report) for report in reports]

    def _hold_back(self, report: AppReport) -> AppReport:
        if not report.due:
            return report
        if self.allowed > 0:
            self.allowed -= 1
            return report
        return replace(report, due=False)
