"""The steps against an unhealthy app, each once: restart its machine, then replace it. Pure.

The database decides when a step is due (hangar.set_health_steps): after enough bad samples, within the plan's `on_unhealthy`, and
not while many apps are one incident. This is the second, independent check: the look at the machine just before the call.
"""

from shared.domain.actions import Action, ActionKind
from shared.domain.models import Row
from shared.domain.observation import ObservedMachine
from shared.domain.symptom import confirms_step


def decide_health_step(row: Row, machine: ObservedMachine) -> Action | None:
    """The row's step on its running machine, if what was observed now still asks for it."""
    if row.health_step is None or not confirms_step(row.health_step, machine.symptom):
        return None
    kind = ActionKind.DESTROY_MACHINE if row.health_step == "replace" else ActionKind.RESTART_MACHINE
    return Action(kind, machine, "unhealthy")
