"""Direct looks at many apps at once, and the question whether what is broken is one app or the world."""

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from datetime import datetime
from typing import TYPE_CHECKING

from shared.domain.actions import Action, Done, Wait
from shared.domain.decide import GONE_STATES, decide
from shared.domain.errors import HangarError, NotFound, Throttled
from shared.domain.models import Json, Row
from shared.domain.observation import AppPresence, Observation, ObservedMachine
from shared.fleet.inventory import Listing, make_observation
from shared.reconcile.observer import to_observation

if TYPE_CHECKING:
    from shared.fly.client import FlyClient

_log = logging.getLogger("hangar.look")
LOOKERS = 16
LOOK_BUDGET_S = 10.0


def look_at_all(
    fly: "FlyClient", rows: list[Row], listing: Listing, now: datetime, is_time_up: Callable[[], bool]
) -> dict[str, Json]:
    """One observation by row id, for each row reached before the time is up; the others' turn comes with the next sweep."""

    def look(row: Row) -> Json | None:
        return None if is_time_up() else _look(fly, row, listing, now)

    with ThreadPoolExecutor(LOOKERS, thread_name_prefix="look") as pool:
        futures = [pool.submit(copy_context().run, look, row) for row in rows]
        seen = [future.result() for future in futures]
    return {observation["id"]: observation for observation in seen if observation}


def _look(fly: "FlyClient", row: Row, listing: Listing, now: datetime) -> Json | None:
    """Fly out of reach is unknown. Whatever is wrong makes the row due; only its reconciler draws conclusions."""
    try:
        return (_look_directly if row.desired_state == "present" else _look_in_grace)(fly, row, listing, now)
    except Throttled:
        return None  # nobody asked, so nothing is known that was not before
    except Exception:  # noqa: BLE001  one odd app must not blind the sweep to the others
        _log.exception("looking at %s broke", row.fly_app_name)
        return make_observation(row, health="unknown", reason="looking at it broke; the log has the rest")


def _look_directly(fly: "FlyClient", row: Row, listing: Listing, now: datetime) -> Json:
    active = row.status == "active"
    if row.machine_id is None:
        return make_observation(row, due=active, reason="the row names no machine")
    try:
        machine = to_observation(fly.get_machine(row.fly_app_name, row.machine_id, budget_s=LOOK_BUDGET_S))
    except NotFound:
        reason = "Fly has no such machine"
        return make_observation(row, machine_state="absent", health="unknown", direct=True, due=active, reason=reason)
    except HangarError as error:
        return make_observation(row, health="unknown", reason=str(error))
    if machine.state in GONE_STATES:
        reason = f"the machine is {machine.state}"
        return make_observation(
            row, machine_state=machine.state, health="unknown", direct=True, due=active, reason=reason
        )
    due, wrong = _judge(row, machine, now)
    if not due and len(listing.machines.get(row.fly_app_name, [])) > 1:
        due, wrong = True, "the app has a second machine"
    # An on-demand machine that sleeps is neither well nor unwell.
    asleep = row.power == "on_demand" and machine.state in ("stopped", "suspended")
    health = None if asleep else machine.health
    return make_observation(row, machine_state=machine.state, health=health, direct=True, due=due, reason=wrong)


def _look_in_grace(fly: "FlyClient", row: Row, _listing: Listing, now: datetime) -> Json | None:
    """The list shows a machine running that was stopped for the grace: if it does run, its cost counts and the row is due."""
    try:
        machine = to_observation(fly.get_machine(row.fly_app_name, str(row.machine_id), budget_s=LOOK_BUDGET_S))
    except HangarError as error:
        _log.warning("%s may run in its grace, the next sweep looks again: %s", row.fly_app_name, error)
        return None
    due = isinstance(decide(row, Observation(AppPresence.OURS, (machine,)), now), Action)
    return make_observation(row, machine_state=machine.state, direct=True, due=due)


def _judge(row: Row, machine: ObservedMachine, now: datetime) -> tuple[bool, str | None]:
    """Whether the reconciler would have something to do, by its own decision; and what is wrong, in words."""
    decision = decide(row, Observation(AppPresence.OURS, (machine,)), now)
    # An active row is due when something is to be done, one in error when nothing is left to do; else it keeps its time.
    due = (row.status == "active") != isinstance(decision, Done)
    if isinstance(decision, Wait) and not machine.host_ok:
        return False, "Fly cannot reach the machine's host"
    if machine.state != "started":
        return due, f"the machine is {machine.state}"
    return due, "a check fails" if machine.health == "bad" else None
