"""The release of the brake: what it lets go, by name, and whether there is anything to release. Pure but for one read."""

from collections.abc import Mapping
from typing import Any

from shared.adapters.operator_database import OperatorDatabase
from shared.domain.models import Json

SHOWN_APPS = 50


def read_brake(database: OperatorDatabase) -> Json:
    """The state of the brake, with what a release lets Hangar remove."""
    return database.read_brake_release(SHOWN_APPS)


def count_release(brake: Mapping[str, Any]) -> str:
    """What a form remembers of what it showed: how many apps of each kind go."""
    return ".".join(str(int(brake[name])) for name in ("waiting_apps", "losing_apps", "lost_apps"))


def explain_stale_release(brake: Mapping[str, Any], *, has_alert: bool) -> str:
    """Why there is nothing to release. Empty if there is."""
    if brake["tripped"] or brake["host_loss"] or has_alert:
        return ""
    return "The brake is off and holds nothing back, so there was nothing to release."
