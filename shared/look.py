"""Direct looks at many apps at once, and the question whether what is broken is one app or the world."""

from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from datetime import datetime
from typing import TYPE_CHECKING

from shared.errors import Gone, HangarError
from shared.lifecycle import GONE_STATES, decide
from shared.listing import Listing, make_observation
from shared.models import AppSeen, Done, Json, MachineSeen, Row, Seen, Settings, Wait
from shared.observe import view

if TYPE_CHECKING:
    from shared.fly import FlyClient

LOOKERS = 16
LOOK_BUDGET_S = 10.0


def look_at_all(fly: "FlyClient", rows: list[Row], listing: Listing, now: datetime) -> dict[str, Json]:
    """One observation for each row, by row id."""
    with ThreadPoolExecutor(LOOKERS, thread_name_prefix="look") as pool:
        futures = [pool.submit(copy_context().run, _look, fly, row, listing, now) for row in rows]
        return {observation["id"]: observation for observation in (future.result() for future in futures)}


def _look(fly: "FlyClient", row: Row, listing: Listing, now: datetime) -> Json:
    """Fly out of reach is unknown. Whatever is wrong makes the row due; only its reconciler draws conclusions."""
    if row.machine_id is None:
        return make_observation(row, due=row.status == "active", reason="the row names no machine")
    try:
        machine = view(fly.get_machine(row.fly_app_name, row.machine_id, budget_s=LOOK_BUDGET_S))
    except Gone:
        return make_observation(row, health="unknown", direct=True, due=True, reason="Fly has no such machine")
    except HangarError as error:
        return make_observation(row, health="unknown", reason=str(error))
    if machine.state in GONE_STATES:
        reason = f"the machine is {machine.state}"
        return make_observation(
            row, machine_state=machine.state, health="unknown", direct=True, due=True, reason=reason
        )
    due, wrong = _judge(row, machine, now)
    if not due and len(listing.machines.get(row.fly_app_name, [])) > 1:
        due, wrong = True, "the app has a second machine"
    return make_observation(row, machine_state=machine.state, health=machine.health, direct=True, due=due, reason=wrong)


def _judge(row: Row, machine: MachineSeen, now: datetime) -> tuple[bool, str | None]:
    """Whether the reconciler would have something to do, by its own decision; and what is wrong, in words."""
    decision = decide(row, Seen(AppSeen.OURS, (machine,)), now)
    # An active row is due when something is to be done, one in error when nothing is left to do; else it keeps its time.
    due = (row.status == "active") != isinstance(decision, Done)
    if isinstance(decision, Wait) and not machine.host_ok:
        return False, "Fly cannot reach the machine's host"
    if machine.state != "started":
        return due, f"the machine is {machine.state}"
    return due, "a check fails" if machine.health == "bad" else None


def hold_back_mass_repair(observations: list[Json], fleet: int, settings: Settings, *, goes_on: bool) -> int:
    """Many broken at once is one incident, not many repairs: keep them from becoming due, and say how many there are.

    0 when it is no incident. While an incident `goes_on` from an earlier sweep, a floor's worth is repaired each sweep.
    """
    broken = [each for each in observations if each["due"]]
    if len(broken) <= max(settings.incident_floor, float(settings.incident_share) * fleet):
        return 0
    for each in broken[settings.incident_floor if goes_on else 0 :]:
        each["due"] = False
    return len(broken)
