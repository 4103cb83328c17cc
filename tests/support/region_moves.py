"""Moves to another region: fleets that begin in sin, an observer of apps that run twice, and the checks at rest."""

from dataclasses import dataclass, field

from tests.support.boundaries import Boundaries
from tests.support.promises import find_wrong_prices
from tests.support.releases import check_fleet_is_well, pass_minutes

RUNS = ("started", "starting")
NO_ROOM = {"error": "aborted: could not reserve resource for machine: insufficient CPUs"}


@dataclass
class NobodyTwice(Boundaries):
    """At every boundary, no app has two machines that run, and none is without a machine."""

    world: object = None
    wrong: list[str] = field(default_factory=list)
    act_at: int | None = None
    act: object = None

    def cross(self, where):
        if self.act_at is not None and self.passed >= self.act_at:
            self.act_at = None
            self.act()
        for name, machines in self.world.apps().items():
            running = [machine.id for machine in machines if machine.state in RUNS]
            if len(running) > 1:
                self.wrong.append(f"{where}: {name} runs twice: {running}")
            if self.world.watches_loss and not machines:
                self.wrong.append(f"{where}: {name} has no machine")
        super().cross(where)


def add_users_in_sin(world, tiers, regions="sin"):
    """Healthy users in sin, with a list of regions for everybody, before anybody watches."""
    world.sql("update hangar.settings set default_region = %s", regions)
    users = world.add_users(tiers)
    world.settle()
    return users


def watch(world):
    world.watches_loss = True
    world.boundaries = NobodyTwice(world=world)
    world.reconciler = world.new_worker()
    return world.boundaries


def regions(world):
    return sorted(machine.region for machines in world.apps().values() for machine in machines)


def running_regions(world):
    return [each.region for machines in world.apps().values() for each in machines if each.state == "started"]


def refuse_starts(world, machine):
    """From now on Fly has no room to start this machine; it replaces what was refused before."""
    path = f"/v1/apps/*/machines/{machine}/start"
    world.fault(method="POST", path=path, status=412, body=NO_ROOM, times=100_000)


def find_spares(world):
    return world.sql(
        "select fly_app_name from public.user_fly_apps where deleted_at is null"
        " and (spare_machine_id is not null or move_release_id is not null)"
    )


def check_rest(world, *, region, apps=6):
    """One running machine for each app, in this region, and no trace of a move."""
    pass_minutes(world, 6)
    assert regions(world) == [region] * apps
    check_fleet_is_well(world)
    assert (find_spares(world), list(find_wrong_prices(world)), world.boundaries.wrong) == ([], [], [])
    rows = "select distinct machine_region from public.user_fly_apps where deleted_at is null"
    assert world.sql(rows) == [(region,)]


def check_costs(world):
    """The intervals of one app never overlap, and name the machine and region that ran."""
    overlaps = world.sql(
        "select 1 from public.fly_cost_intervals a join public.fly_cost_intervals b"
        " on a.fly_app_id = b.fly_app_id and a.id < b.id"
        " where tstzrange(a.started_at, a.ended_at) && tstzrange(b.started_at, b.ended_at)"
    )
    assert overlaps == []
    billed = world.sql("select distinct region from public.fly_cost_intervals where ended_at is null order by 1")
    runs = "select distinct machine_region from public.user_fly_apps where deleted_at is null order by 1"
    assert billed == world.sql(runs)
