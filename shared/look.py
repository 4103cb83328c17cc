"""Direct looks at many apps at once, and the question whether what is broken is one app or the world."""

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from shared.errors import Gone, HangarError, Throttled
from shared.lifecycle import GONE_STATES, decide
from shared.listing import Listing, make_observation
from shared.models import Action, AppSeen, Done, Json, MachineSeen, Row, Seen, Settings, Wait
from shared.observe import view

if TYPE_CHECKING:
    from shared.fly import FlyClient

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
        machine = view(fly.get_machine(row.fly_app_name, row.machine_id, budget_s=LOOK_BUDGET_S))
    except Gone:
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
        machine = view(fly.get_machine(row.fly_app_name, str(row.machine_id), budget_s=LOOK_BUDGET_S))
    except HangarError as error:
        _log.warning("%s may run in its grace, the next sweep looks again: %s", row.fly_app_name, error)
        return None
    due = isinstance(decide(row, Seen(AppSeen.OURS, (machine,)), now), Action)
    return make_observation(row, machine_state=machine.state, direct=True, due=due)


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


@dataclass
class MassRepair:
    """Many broken at once is one incident, not many repairs. One guard for a sweep; `broken` counts what it took for one."""

    settings: Settings
    broken: int = 0
    allowed: int = 0

    def __post_init__(self) -> None:
        # While an incident goes on from an earlier sweep, a floor's worth is repaired with each further one.
        self.allowed = self.settings.incident_floor if self.settings.incident_open else 0

    def hold_back(self, observations: list[Json], judged: int) -> None:
        """Keep a large broken share of these `judged` apps from becoming due."""
        broken = [each for each in observations if each["due"]]
        if len(broken) <= max(self.settings.incident_floor, float(self.settings.incident_share) * judged):
            return
        self.broken += len(broken)
        for each in broken[self.allowed :]:
            each["due"] = False
        self.allowed -= min(self.allowed, len(broken))
