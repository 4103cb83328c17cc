"""One app of a world at rest fails in silence: Hangar must alert within three samples, and destroy nothing before."""

from dataclasses import dataclass
from random import Random

from tests.support.world import World

# How one running app can fail (docs/simulation.md): what `/_sim` is told about its machine, or how Fly answers reads of it.
KINDS = {
    "critical": {"checks": {"alive": "critical"}},
    "warning": {"checks": {"ready": "warning"}},
    "no result": {"checks": {"alive": "none"}},
    "unreachable": {"host_status": "unreachable"},
    "unknown state": {"reported_state": "hibernating"},
    "403": {"status": 403, "body": {"error": "unauthorized"}},
    "500": {"status": 500, "body": {"error": "internal: something broke"}},
    "404": {"status": 404, "body": {"error": "not found"}},
}
WELL = {"host_status": "ok", "checks": {}, "reported_state": None}
_ALERTS = (
    "select kind from hangar.alerts where resolved_at is null and key = %s and kind in ('unhealthy', 'unknown_health')"
)


@dataclass
class SilentFailure:
    """One such failure, drawn by chance: `begin`, then `find_silence` after three samples, then `end`."""

    world: World
    chance: Random
    row_id: str = ""
    app: str = ""
    machine: str = ""
    kind: str = ""

    def begin(self) -> bool:
        """Hurt one running app that was well for the last hour. False if there is none.

        Hangar remembers for an hour that it has restarted a machine, and replaces it the next time.
        """
        found = self.world.sql(
            "select id::text, fly_app_name, machine_id from public.user_fly_apps"
            " where deleted_at is null and status = 'active' and health_status = 'healthy' and power = 'always_on'"
            " and id not in (select fly_app_id from hangar.app_health) order by id"
        )
        if not found:
            return False
        self.row_id, self.app, self.machine = self.chance.choice(found)
        self.kind = self.chance.choice(sorted(KINDS))
        how = KINDS[self.kind]
        self.world.note(f"in silence: {self.kind} of {self.app}", "chaos")
        if "status" in how:
            path = f"/v1/apps/{self.app}/machines/{self.machine}"
            self.world.control("PUT", "faults", [{"method": "GET", "path": path, "when": "before", **how}])
        else:
            self.world.control("PUT", f"machines/{self.machine}", how)
        return True

    def find_silence(self) -> list[str]:
        """What is wrong after three samples: no alert, or a machine that was destroyed already."""
        problems = []
        if not self.world.sql(_ALERTS, self.row_id):
            problems.append(f"{self.app} fails in silence: {self.kind}, and no alert after three samples")
        if self.machine not in {machine.id for machine in self.world.sim.machines()}:
            problems.append(f"{self.app} lost its machine because of: {self.kind}")
        return problems

    def end(self) -> None:
        """The app is well again, if its machine is still the same."""
        self.world.control("PUT", "faults", [])
        for machine in self.world.sim.machines():
            if machine.id == self.machine and machine.state != "destroying":
                self.world.control("PUT", f"machines/{machine.id}", WELL)
