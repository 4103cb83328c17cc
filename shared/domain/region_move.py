"""A machine cannot change its region, so a release that moves an app makes a second machine. Pure.

The second machine is made without being started, so that Fly says whether it has room while the first one still runs. Then the
first is stopped, and the second becomes the app's machine and is started. The first stays, stopped, as the spare, until the
release has proved the second. On the way back the two change places again. At no time may both run: they would do the same
user's work twice.
"""

from datetime import datetime
from typing import Literal

from shared.domain.actions import Action, ActionKind, Assign, Decision, GiveUp, Wait
from shared.domain.cost import explain_refused_size
from shared.domain.credentials import is_token_due, wants_new_token
from shared.domain.machine_states import ENDING, GONE_STATES, RESTING, STOPPING, TRANSITIONAL, is_stuck
from shared.domain.models import Row
from shared.domain.naming import machine_names, second_machine_name
from shared.domain.observation import Observation, ObservedMachine
from shared.domain.regions import allows

_UNREACHABLE = "Fly cannot reach the host of a machine, so it may run"


def is_running(machine: ObservedMachine) -> bool:
    """Whether the user's work may be done on this machine now."""
    return machine.state == "started"


def is_interrupted(main: ObservedMachine, spare: ObservedMachine) -> bool:
    """Whether a move has stopped the app's machine and the other one does not run either."""
    return main.host_ok and spare.host_ok and main.state in ("stopped", "suspended") and spare.state in RESTING


def may_drop(row: Row, spare: ObservedMachine) -> bool:
    """Whether the second machine is of no more use: the app's own one is as desired, and no release may go back."""
    converged = row.status == "active" and row.observed_generation == row.generation
    return (
        converged
        and row.machine_state not in (None, "absent")
        and not row.keeps_spare
        and spare.host_ok
        and spare.state != "destroying"
    )


def wants_move(row: Row, machine: ObservedMachine, spare: ObservedMachine | None) -> bool:
    """Whether a release lets this app move, and its machine runs outside the regions of its row.

    Going back, it runs in the wrong region as long as the former machine is the other one, although the list may allow both.
    Fly itself starts an on-demand machine at a request, so that two of them could run. Those are not moved.
    """
    if row.move_release_id is None or row.power != "always_on":
        return False
    if spare is not None and spare.region and spare.region == row.home_region:
        return machine.region != row.home_region
    return bool(machine.region) and not allows(row.region, machine.region)


def find_spare(row: Row, observation: Observation, main: ObservedMachine | None) -> ObservedMachine | None:
    """The second machine of a move, by its id or, after a lost answer, by its name.

    The main machine of an adopted app may have any name. Beside one of another name, any other app's second machine is a stray.
    """
    is_named = main is not None and (row.adopted_app_id or main.name in machine_names(row.fly_app_name))
    named = second_machine_name(row.fly_app_name, main.name) if main is not None and is_named else None
    for machine in observation.machines:
        is_ours = machine.id == row.spare_machine_id or (machine.name == named and machine.state not in ENDING)
        if is_ours and machine.state not in GONE_STATES and machine != main:
            return machine
    return None


def decide_move(
    row: Row, main: ObservedMachine, spare: ObservedMachine | None, observation: Observation, now: datetime
) -> Decision | None:
    """The next step of a move, or of tidying up after one. None: the app's machine is the right one, and may run."""
    if not wants_move(row, main, spare):
        return decide_spare(spare, main, now) if spare else None
    if not main.host_ok:
        return Wait(60, _UNREACHABLE)
    if spare is None:
        return _make_spare(row, main, observation, now)
    if not spare.host_ok:
        return Wait(60, _UNREACHABLE)
    if spare.state in STOPPING | ENDING | TRANSITIONAL and not is_stuck(spare, now):
        return Wait(2, f"the machine in the new region is {spare.state}", spare, "stopped")
    is_fit = spare.state in ("started", "stopped", "suspended") and allows(row.region, spare.region)
    if is_fit and main.state in RESTING:
        return Assign(spare, main)
    if is_running(spare):
        return Action(ActionKind.STOP_MACHINE, spare, "move")  # somebody started it
    if not is_fit:
        return Action(ActionKind.DESTROY_MACHINE, spare, "move")
    if is_running(main):
        return Action(ActionKind.STOP_MACHINE, main, "move")
    if main.state in STOPPING | ENDING | TRANSITIONAL and is_stuck(main, now):
        return Action(ActionKind.DESTROY_MACHINE, main, "replace")
    until: Literal["stopped", "started"] = "stopped" if main.state in STOPPING else "started"
    return Wait(5, f"the machine in the former region is {main.state}", main, until)


def decide_spare(spare: ObservedMachine, main: ObservedMachine | None, now: datetime) -> Decision | None:
    """The second machine must not run beside the first. None: it does not, or nothing can be done about it."""
    if not spare.host_ok:
        is_served = main is not None and is_running(main)
        return None if is_served else Wait(60, _UNREACHABLE)
    if is_running(spare):
        return Action(ActionKind.STOP_MACHINE, spare, "move")
    if spare.state in STOPPING | TRANSITIONAL and not is_stuck(spare, now):
        return Wait(2, f"the second machine is {spare.state}", spare, "stopped")
    return None


def _make_spare(row: Row, main: ObservedMachine, observation: Observation, now: datetime) -> Decision:
    if observation.machine_made:
        return Wait(2, "Fly does not show the new machine yet")
    refused = explain_refused_size(row.cpu_kind, row.cpu_count, row.memory_mb)
    if refused:
        return GiveUp("size", refused, f"give the plan of tier {row.tier!r} a size Fly takes, then retry this user")
    if row.secrets_version is None or wants_new_token(row) or is_token_due(row, now):
        return Action(ActionKind.SET_SECRETS, purpose="secrets")
    name = second_machine_name(row.fly_app_name, main.name)
    return Action(ActionKind.CREATE_MACHINE, purpose="move", name=name)
