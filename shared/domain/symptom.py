"""What is wrong with an app, as one look at Fly found it: a stable code, and what is known in words. Pure.

The database counts symptoms over several sweeps and decides what happens next (the migrations app_health and health_alerts). A
code that is missing there counts as one about which Hangar can only wait.
"""

from dataclasses import dataclass
from enum import StrEnum


class SymptomCode(StrEnum):
    """Stable: stored with the app and shown to operators."""

    CHECK_CRITICAL = "check_critical"  # the machine runs, and a check fails
    CHECK_WARNING = "check_warning"
    CRASHES = "crashes"  # the machine runs, its checks pass, and its process has failed again and again
    CHECK_MISSING = "check_missing"  # a configured check has no result, or the machine has no check at all
    NOT_RUNNING = "not_running"  # stopped, suspended or failed, although it should run
    NOT_READY = "not_ready"  # in a state that should pass: created, starting, …
    MISSING = "missing"  # Fly has no such machine
    HOST_UNREACHABLE = "host_unreachable"
    DENIED = "denied"  # Fly answers 403 for this app
    UNREADABLE = "unreadable"  # Fly answers every look at this app with another failure
    UNKNOWN_STATE = "unknown_state"
    CONTRADICTION = "contradiction"  # Fly's list and a direct look disagree
    UNLISTED = "unlisted"  # a direct look finds the machine, and the list does not show it
    WRONG_ORGANISATION = "wrong_organisation"  # Fly lists nothing of ours and answers 403 for this app


@dataclass(frozen=True)
class Symptom:
    """One thing that is wrong. `detail` is for people: what Fly says, without the app's name."""

    code: SymptomCode
    detail: str


# The machine runs and something about its checks is wrong, so that changing the machine may help.
_RESTARTABLE = frozenset({SymptomCode.CHECK_CRITICAL, SymptomCode.CHECK_MISSING})
_REPLACEABLE = frozenset({SymptomCode.CHECK_CRITICAL})


def confirms_step(step: str, symptom: Symptom | None) -> bool:
    """Whether a look at the machine, just before the call, still gives the reason to restart or replace it."""
    if symptom is None:
        return False
    return symptom.code in (_REPLACEABLE if step == "replace" else _RESTARTABLE)
