"""A worker's view of one app on Fly: looks directly, and only for what its own actions have made stale."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from shared.domain.cost import CpuKind
from shared.domain.decide import GONE_STATES
from shared.domain.errors import NotFound, NotOwned, TransientError
from shared.domain.machine_config import SPEC_KEY
from shared.domain.models import Row
from shared.domain.observation import AppPresence, Observation, ObservedMachine
from shared.fly.models import FlyMachine

if TYPE_CHECKING:
    from typing import Literal

    from shared.fly.client import FlyClient
    from shared.fly.retry import AttemptLog

# A machine that was made or named a moment ago may answer 404 for seconds, and be in no list; looks are two seconds apart.
LOOKS_FOR_A_NEW_MACHINE = 6
# Fly's names for the checks that steer its own proxy, not results of the backend's endpoints, start with this.
_PROXY_CHECK = "servicecheck-"


def judge_health(machine: FlyMachine) -> "Literal['healthy', 'bad', 'unknown']":
    """What Fly's checks say. No result yet, an unreachable host or a check in between is unknown, never bad."""
    if machine.host_status != "ok" or machine.incomplete or machine.state == "unknown":
        return "unknown"
    if machine.state != "started":
        return "bad" if machine.state in ("stopped", "suspended", "failed") else "unknown"
    results = {check.status for check in machine.checks if not check.name.startswith(_PROXY_CHECK)}
    if not results:
        return "unknown"
    if results == {"passing"}:
        return "healthy"
    return "bad" if "critical" in results else "unknown"


def view(machine: FlyMachine) -> ObservedMachine:
    """A machine in the words of the domain."""
    return ObservedMachine(
        id=machine.id,
        name=machine.name,
        state=machine.state,
        region=machine.region,
        version=machine.version,
        spec=machine.metadata.get(SPEC_KEY),
        host_ok=machine.host_status == "ok" and not machine.incomplete,
        changed_at=machine.updated_at or machine.created_at,
        health=judge_health(machine),
        size=_read_size(machine),
    )


def _read_size(machine: FlyMachine) -> tuple[CpuKind, int, int] | None:
    """What the machine is, whatever the row asks for by now."""
    if machine.cpus <= 0 or machine.memory_mb <= 0:
        return None
    match machine.cpu_kind:
        case "shared" | "performance":
            return machine.cpu_kind, machine.cpus, machine.memory_mb
    return None


@dataclass
class AppObserver:
    """What is known of one app, and what has to be asked again. Raises what the Fly client raises."""

    fly: "FlyClient"
    budget_s: float
    on_attempt: "AttemptLog"
    app: AppPresence | None = None
    machines: tuple[ObservedMachine, ...] | None = None
    just_created: bool = False
    just_deleted: bool = False
    name_was_taken: bool = False
    looked: bool = False
    listed: bool = False
    listed_ids: list[str] = field(default_factory=list)
    absences: int = 0
    denials: int = 0
    new_machine_looks: int = 0
    gone: set[str] = field(default_factory=set)

    def see(self, row: Row) -> Observation:
        """Everything `decide()` needs, from memory where nothing can have changed."""
        if self.app is None:
            self.app = self._look_at_app(row)
        if self.app is AppPresence.OURS and not self.just_deleted and self.machines is None:
            self.machines = self._look_at_machines(row)
        return Observation(
            app=self.app,
            machines=self.machines or () if self.app is AppPresence.OURS else (),
            just_created=self.just_created,
            just_deleted=self.just_deleted,
            name_was_taken=self.name_was_taken,
            absences=self.absences,
            denied_once=self.denials == 1,
            machine_made=self.new_machine_looks > 0,
        )

    def forget(self) -> None:
        """Nothing is known any more: look at everything again."""
        self.app = self.machines = None

    def _look_at_app(self, row: Row) -> AppPresence:
        try:
            app = self.fly.get_app(row.fly_app_name, attempts=self.on_attempt, budget_s=self.budget_s)
        except NotFound:
            self.looked = True
            self.absences += 1
            return AppPresence.ABSENT
        except NotOwned:
            self.denials += 1
            return AppPresence.FOREIGN
        self.absences = self.denials = 0
        return AppPresence.OURS if app.network == row.network else AppPresence.FOREIGN

    def _look_at_machines(self, row: Row) -> tuple[ObservedMachine, ...]:
        """The known machine by its id, because a list may lag; once also the list, which shows what else there is."""
        known = self._get_machine(row, row.machine_id) if row.machine_id else None
        if not (known and self.listed):
            listed = self._list_machines(row)
            if known is None:
                return tuple(view(machine) for machine in listed)
        # A second machine may be destroyed for what is seen of it, so it is seen directly as well. One that stood there
        # before the main one was made anew still does.
        others = (
            self._get_machine(row, each) for each in self.listed_ids if each != known.id and each not in self.gone
        )
        return (known, *(machine for machine in others if machine))

    def _list_machines(self, row: Row) -> list[FlyMachine]:
        try:
            shown = self.fly.list_machines(row.fly_app_name, attempts=self.on_attempt, budget_s=self.budget_s)
        except NotFound as gone:
            # Either the app went this moment, or Fly contradicts itself; the app's own answer decides.
            self.app = self._look_at_app(row)
            if self.app is AppPresence.OURS:
                message = f"Fly shows the app {row.fly_app_name} and denies its machines"
                raise TransientError(message, code="contradiction", status=gone.status) from gone
            shown = ()
        # A direct look beats the list, which may show for seconds what has been destroyed.
        listed = [machine for machine in shown if machine.id not in self.gone]
        self.listed_ids = [machine.id for machine in listed]
        self.listed = self.looked = True
        if not listed:
            self.new_machine_looks = max(0, self.new_machine_looks - 1)
        return listed

    def _get_machine(self, row: Row, machine_id: str) -> ObservedMachine | None:
        try:
            machine = self.fly.get_machine(
                row.fly_app_name, machine_id, attempts=self.on_attempt, budget_s=self.budget_s
            )
        except NotFound:
            return None
        self.looked = True
        if machine.state in GONE_STATES:
            self.gone.add(machine_id)
            return None
        return view(machine)
