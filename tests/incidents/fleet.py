"""A small fleet of paying users, watched while something goes wrong at Fly or at Supabase."""

from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from shared.domain.errors import HangarError
from tests.support.destruction_watch import RUNNING, Watch, find_wrong_apps, watch
from tests.support.world import World

HOUR = 3600.0
MINUTE = 60.0


@dataclass
class Fleet:
    """`users` pay and have a healthy app each. `alerts` are all that were open at some time since the incident began."""

    world: World
    users: list[UUID]
    watch: Watch
    before: dict[UUID, tuple[str, str]] = field(default_factory=dict)
    alerts: set[tuple[str, str]] = field(default_factory=set)
    failures: list[HangarError] = field(default_factory=list)

    @property
    def kinds(self) -> set[str]:
        """The kinds of these alerts."""
        return {kind for kind, _ in self.alerts}

    def pass_time(self, hours: float, step_s: float = 10 * MINUTE) -> None:
        """Drains and sweeps as the scheduler starts them. What the functions would answer as a failure is in `failures`."""
        for _ in range(max(1, round(hours * HOUR / step_s))):
            for drain_only in (True, False):
                self.world.clock.advance(step_s / 2)
                self.call_health(drain_only=drain_only)

    def call_health(self, *, drain_only: bool = False) -> None:
        """One drain or sweep, after which nobody has anything twice."""
        try:
            self.world.sweep(drain_only=drain_only)
        except HangarError as error:
            self.failures.append(error)
        with suppress(HangarError):
            self.alerts |= self.world.open_alerts()
        assert self.find_doubles() == []

    def find_doubles(self) -> list[str]:
        """Users with two machines that run, and rows with two apps, on the real Fly behind all false answers."""
        self.world.sim.settle()
        machines = Counter(
            machine.config.get("metadata", {}).get("hangar_user")
            for machine in self.world.sim.machines()
            if machine.state in RUNNING
        )
        apps = Counter(app.network for app in self.world.sim.apps.values())
        return sorted(str(name) for counted in (machines, apps) for name, count in counted.items() if count > 1)

    def read_machines(self) -> dict[UUID, tuple[str, str]]:
        """App and machine of each paying user, as they run on Fly."""
        self.world.sim.settle()
        return {
            UUID(machine.config["metadata"]["hangar_user"]): (machine.app.name, machine.id)
            for machine in self.world.sim.machines()
            if machine.state == "started"
        }

    def assert_untouched(self) -> None:
        """The first users still have the very machines that they had before the incident, and nothing was taken from them."""
        now = self.read_machines()
        assert {user: now.get(user) for user in self.users} == self.before
        assert self.watch.find_wrong_calls() == []

    def assert_well(self, *, hours: float = 1.0) -> None:
        """The incident is over: soon everybody has one running app, nobody else has one, and no alert is open."""
        self.pass_time(hours, 20 * MINUTE)
        assert find_wrong_apps(self.world) == []
        assert self.watch.find_wrong_calls() == []
        assert self.world.open_alerts() == set()

    def read_message(self, kind: str) -> str:
        """What the only open alert of this kind says."""
        [(message,)] = self.world.sql("select message from hangar.alerts where kind = %s and resolved_at is null", kind)
        return str(message)


def have_fleet(world: World, count: int = 4) -> Fleet:
    """So many paying users, whose apps were found healthy."""
    users = world.add_users(["pro"] * count)
    world.sweep(drain_only=True)
    world.clock.advance(MINUTE)
    world.sweep()
    assert {world.row(user)["health_status"] for user in users} == {"healthy"}
    fleet = Fleet(world, users, watch(world))
    fleet.before = fleet.read_machines()
    assert fleet.before.keys() == set(users)
    return fleet


def answer(method: str, path: str, **how: Any) -> dict[str, Any]:
    """A rule: Fly answers every such request so, without doing anything."""
    return {"method": method, "path": path, "when": "before", **how}


def answer_everything(**how: Any) -> list[dict[str, Any]]:
    """Rules for all requests to Fly."""
    paths = ["/v1/orgs/*/machines", "/v1/apps", "/v1/apps/*", "/v1/apps/*/*", "/v1/apps/*/*/*", "/v1/apps/*/*/*/*"]
    return [answer("*", path, **how) for path in paths]


def act_after(fleet: Fleet, path_end: str, act: Callable[[], object]) -> None:
    """Run `act` once: after Fly has done the next POST whose path ends so, and before Hangar has written that down."""
    cross, waiting = fleet.watch.cross, [act]

    def cross_and_act(where: str) -> None:
        cross(where)
        if waiting and where.startswith("after POST ") and where.endswith(path_end):
            waiting.pop()()

    fleet.watch.cross = cross_and_act  # type: ignore[method-assign]
