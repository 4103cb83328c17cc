"""An operator's restart: on the leased row, with intent and outcome like every other call, and once.

That it fails is told to whoever asked; it is no failure of the app's.
"""

from dataclasses import dataclass, replace
from typing import Any

from shared.domain.actions import Action, ActionKind
from shared.domain.errors import HangarError, OutcomeUnknown
from shared.domain.observation import ObservedMachine
from shared.reconcile.result import REFUSED_WORDS, Result

NOT_RESTARTED = "the machine was not restarted"
RESTART_UNKNOWN = "it is not known whether the machine was restarted"
_BRINGS_UP = {ActionKind.CREATE_MACHINE, ActionKind.UPDATE_MACHINE, ActionKind.START_MACHINE}


@dataclass(frozen=True)
class Restart:
    """What became of the wish: whether the machine runs anew, and how or why not."""

    done: bool
    detail: str


def restart_machine(work: Any, machine: ObservedMachine | None) -> Restart | None:
    """Restart a machine that runs. Asked again within a minute the database refuses the second intent.

    None when the row has moved on meanwhile: what it asks for now comes first. Raises LeaseLost and StoreFailed.
    """
    asked = {"source": "restart"}
    if _BRINGS_UP & work.done.keys():
        work.journal.note(work.row, "recovery_attempted", "info", asked)
        return Restart(done=True, detail="the machine was brought up by this very call")
    if machine is None or machine.state != "started" or not machine.host_ok:
        state = "absent" if machine is None else machine.state if machine.host_ok else "on a host Fly cannot reach"
        return Restart(
            done=False, detail=f"{NOT_RESTARTED}: only a running machine can be restarted, and this one is {state}"
        )
    action = Action(ActionKind.RESTART_MACHINE, machine, "restart")
    intent, refused = work.intend(action)
    if refused == "restarted":
        return Restart(done=True, detail="a restart was asked for less than a minute ago; nothing was done twice")
    if refused is not None:
        if refused not in REFUSED_WORDS:
            return None
        return Restart(done=False, detail=f"{NOT_RESTARTED}: {REFUSED_WORDS[refused]}")
    work.journal.note(work.row, "recovery_attempted", "info", asked)
    try:
        work.call(action, intent)
    except HangarError as error:
        became = RESTART_UNKNOWN if isinstance(error, OutcomeUnknown) else NOT_RESTARTED
        return Restart(done=False, detail=f"{became}: {error}")
    return Restart(done=True, detail="the machine was restarted")


def with_restart(work: Any, outcome: Result) -> Result:
    """The outcome, with what became of the restart that an operator asked for."""
    if work.restart is not None:
        return replace(outcome, restarted=work.restart.done, restart_detail=work.restart.detail)
    if work.asked is None or work.asked.what != "restart":
        return outcome
    called = ActionKind.RESTART_MACHINE in work.done
    return replace(outcome, restart_detail=RESTART_UNKNOWN if called else NOT_RESTARTED)
