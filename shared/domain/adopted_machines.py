"""The machines of an adopted app, to which the original system gave names of its own. Pure."""

from shared.domain.actions import GiveUp
from shared.domain.machine_states import ENDING, GONE_STATES
from shared.domain.models import Row
from shared.domain.observation import Observation, ObservedMachine

TWO_MACHINES = "two_machines"


def _list_lasting(row: Row, observation: Observation) -> list[ObservedMachine]:
    """Those that do not end now, except the spare, which a move to another region has made."""
    over = GONE_STATES | ENDING
    return [each for each in observation.machines if each.state not in over and each.id != row.spare_machine_id]


def find_adopted(row: Row, observation: Observation) -> ObservedMachine | None:
    """The only machine of an adopted app, whatever its name: nobody else's machine is in this app. None if there are several."""
    if row.adopted_app_id is None:
        return None
    lasting = _list_lasting(row, observation)
    ending = [each for each in observation.machines if each.state in ENDING and each.id != row.spare_machine_id]
    return next(iter(lasting or ending), None) if len(lasting) <= 1 else None


def refuse_several(row: Row, observation: Observation) -> GiveUp | None:
    """Why no machine is created: the adopted app has several, and the row knows none of them. One more would run beside them."""
    found = _list_lasting(row, observation)
    if row.adopted_app_id is None or len(found) <= 1:
        return None
    listed = ", ".join(f"{each.id} ({each.state}, {each.region})" for each in found)
    return GiveUp(
        TWO_MACHINES,
        f"the adopted app {row.fly_app_name} has {len(found)} machines, and Hangar does not know which is the user's: {listed}",
        f"destroy those that are not needed with `fly machine destroy ID -a {row.fly_app_name}`; Hangar creates none, and takes "
        "the one that is left with its next attempt",
    )
