"""One listing of the whole organisation, and what may be concluded from it: where to look, never what is gone."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from shared.domain.decide import GONE_STATES
from shared.domain.models import Json, Row
from shared.fly.models import OrgMachine

if TYPE_CHECKING:
    from shared.fly.client import FlyClient

PAGE_BUDGET_S = 40.0
# Above LOOK_AT_ALL_UP_TO apps each one takes its turn within LOOK_EVERY, in one share less than sweeps fit in, so that who
# misses a turn with a sweep that was killed is still looked at in time by the next one.
LOOK_AT_ALL_UP_TO = 1000
LOOK_EVERY = timedelta(minutes=30)
SWEEP_EVERY = timedelta(minutes=5)
SHARES = LOOK_EVERY // SWEEP_EVERY - 1


@dataclass
class Listing:
    """Machines by app, every app's network, and the regions that could not be read."""

    machines: dict[str, list[OrgMachine]] = field(default_factory=dict)
    networks: dict[str, str] = field(default_factory=dict)
    error_regions: set[str] = field(default_factory=set)


def read_listing(fly: "FlyClient") -> Listing:
    """List machines, then apps (which finds apps without machines). Raises what the client raises."""
    listing = Listing()
    for page in fly.list_org_machines(budget_s=PAGE_BUDGET_S):
        listing.error_regions.update(page.error_regions)
        for machine in page.machines:
            if machine.state not in GONE_STATES:
                listing.machines.setdefault(machine.app_name, []).append(machine)
    for apps in fly.list_apps(budget_s=PAGE_BUDGET_S):
        listing.networks.update({app.name: app.network for app in apps.apps})
    return listing


def needs_look(row: Row, listing: Listing, now: datetime) -> bool:
    """Whether to look at this app directly although the fleet is too large to look at all of it."""
    return is_suspect(row, listing) or is_its_turn(row, now)


def is_suspect(row: Row, listing: Listing) -> bool:
    """Whether the list or the last look gives reason to doubt the app. Its silence is a reason to look, no more."""
    machines = listing.machines.get(row.fly_app_name, [])
    machine = next((each for each in machines if each.id == row.machine_id), None)
    if machine is None or len(machines) > 1 or row.health_status != "healthy" or row.status != "active":
        return True
    return machine.state != "started" and row.power == "always_on"


def runs_in_grace(row: Row, listing: Listing, now: datetime) -> bool:
    """Whether the list shows a machine running that is stopped for the grace: a person, or a request to Fly's proxy, woke it."""
    if row.status != "deprovisioning" or row.delete_after is None or row.delete_after <= now:
        return False
    machines = listing.machines.get(row.fly_app_name, [])
    return any(machine.id == row.machine_id and machine.state == "started" for machine in machines)


def is_its_turn(row: Row, now: datetime) -> bool:
    """A rotating share by the row's id; whoever missed a turn is looked at as soon as its time is up."""
    if row.observed_at is None or now - row.observed_at > SHARES * SWEEP_EVERY:
        return True
    turn = int(now.timestamp() // SWEEP_EVERY.total_seconds()) % SHARES
    return row.id.int % SHARES == turn and now - row.observed_at > SWEEP_EVERY


def observe_listed(row: Row, listing: Listing) -> Json | None:
    """What the list alone allows to write down: nothing, or `unknown` where its region could not be read."""
    if row.machine_region in listing.error_regions:
        return make_observation(row, health="unknown", reason=f"Fly could not read region {row.machine_region}")
    return None


def make_observation(row: Row, **seen: object) -> Json:
    """One observation for `fly_record_sweep`; what is not said stays as it was."""
    blank: Json = {
        "id": str(row.id),
        "machine_state": None,
        "health": None,
        "direct": False,
        "due": False,
        "reason": None,
    }
    return blank | seen
