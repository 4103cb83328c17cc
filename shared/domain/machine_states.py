"""Fly's words for the state of a machine, grouped by what they mean for Hangar."""

from datetime import datetime, timedelta

from shared.domain.observation import ObservedMachine

# Fly calls a transitional state stuck after 5 minutes, 10 for updates (Fly docs, machine states).
STUCK = timedelta(minutes=10)
TRANSITIONAL = frozenset({"created", "creating", "starting", "restarting", "updating", "replacing"})
STOPPING = frozenset({"stopping", "suspending"})
ENDING = frozenset({"destroying", "launch_failed"})
RESTING = frozenset({"stopped", "suspended", "failed"})
GONE_STATES = frozenset({"destroyed", "replaced", "migrated"})
# States that do not end without an action; a transitional state that lasted longer than it should is stuck.
LASTING = frozenset({"started"}) | RESTING | STOPPING | TRANSITIONAL


def is_stuck(machine: ObservedMachine, now: datetime) -> bool:
    """Whether a state that should pass has lasted for too long."""
    return machine.changed_at is not None and now - machine.changed_at > STUCK
