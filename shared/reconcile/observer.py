"""What one worker knows of one app on Fly: it reads Fly directly, and only what its own actions have made stale."""

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from shared.domain.decide import was_ours
from shared.domain.errors import NotFound, NotOwned, TransientError
from shared.domain.lost_name import wants_new_name
from shared.domain.machine_config import ROW_KEY
from shared.domain.machine_states import GONE_STATES
from shared.domain.models import Row
from shared.domain.observation import AppAddress, AppPresence, Observation, ObservedMachine, OrgListing
from shared.fly.clock import find_common_lead
from shared.fly.models import FlyApp, FlyMachine
from shared.reconcile.observed_machine import to_observation
from shared.reconcile.org_listing import read_org_listing

if TYPE_CHECKING:
    from collections.abc import Callable

    from shared.fly.client import FlyClient
    from shared.fly.retry import AttemptLog
    from shared.reconcile.worker import MachineInputs

# A machine that was created or named a moment ago may answer 404 for seconds and be in no list; reads are two seconds apart.
READS_FOR_A_NEW_MACHINE = 6


def proves_ownership(row: Row, app: FlyApp) -> bool:
    """Whether this app is the row's: by its network, or, if it was adopted, by the id that Fly gave it when it was created."""
    return app.network == row.network or (row.adopted_app_id is not None and app.id == row.adopted_app_id)


def _is_listed_as_ours(row: Row, app: FlyApp) -> bool:
    """As `proves_ownership`, for an entry of a list, which may leave the network out."""
    return (not app.network and row.adopted_app_id is None) or proves_ownership(row, app)


def _has_to_do_with_addresses(row: Row) -> bool:
    """Whether the app needs public addresses, or may have some of a former plan. Those of a deleted app go with it."""
    return row.desired_state == "present" and (row.public_service or row.addresses is not None)


@dataclass
class AppObserver:
    """Reads one app, and remembers what it has read. Its verbs say what a call has changed, because Fly's reads lag its writes.

    `observe()` raises what the Fly client raises. `inputs` says what a machine should be. `budget_s` limits each read;
    `on_attempt` receives its failed attempts.
    """

    fly: "FlyClient"
    on_attempt: "AttemptLog"
    time: "Callable[[], datetime]"  # the database's
    inputs: "MachineInputs"
    budget_s: float = 40.0
    _app: AppPresence | None = None
    _machines: tuple[FlyMachine, ...] | None = None
    _addresses: tuple[AppAddress, ...] | None = None
    _just_created: bool = False
    _just_deleted: bool = False
    _name_was_taken: bool = False
    _listed_as_ours: bool = False
    _listing: OrgListing | None = None
    _asks_lists: bool = False
    _read_directly: bool = False
    _listed_ids: list[str] | None = None
    _absences: int = 0
    _denials: int = 0
    _new_machine_reads: int = 0
    _config_sent: int | None = None
    _destroyed: set[str] = field(default_factory=set)
    # How far Fly's clock was ahead at each answer that `_machines` is made of.
    _leads: list[timedelta | None] = field(default_factory=list)
    # When this worker made a machine, by the database's clock: Fly's stamps may be wrong.
    _made_at: dict[str, datetime] = field(default_factory=dict)

    def observe(self, row: Row) -> Observation:
        """Everything `decide()` needs, from memory where nothing can have changed."""
        if self._app is None:
            self._app = self._read_app(row)
        if self._asks_lists and self._app is not AppPresence.OURS:
            self._listed_as_ours, self._asks_lists = self._read_lists(row), False
        if self._app is AppPresence.OURS and not self._just_deleted and self._machines is None:
            self._machines = self._read_machines(row)
        if self._machines and self._addresses is None and _has_to_do_with_addresses(row):
            self._addresses = self._read_addresses(row)
        return Observation(
            app=self._app,
            machines=self._compare(row) if self._app is AppPresence.OURS else (),
            just_created=self._just_created,
            just_deleted=self._just_deleted,
            name_was_taken=self._name_was_taken,
            absences=self._absences,
            denied_once=self._denials == 1,
            machine_made=self._new_machine_reads > 0,
            listed_as_ours=self._listed_as_ours,
            addresses=self._addresses if self._app is AppPresence.OURS and _has_to_do_with_addresses(row) else None,
            config_sent=self._config_sent,
            listing=self._listing,
        )

    def _compare(self, row: Row) -> tuple[ObservedMachine, ...]:
        """The machines as they differ from the row of this moment, which may desire something else than when they were read."""
        lead = find_common_lead([*self._leads, self.fly.lead_over(self.time())])
        found = (to_observation(each, lead, self.inputs.find_drift(row, each)) for each in self._machines or ())
        return tuple(map(self._correct_age, found))

    def _correct_age(self, machine: ObservedMachine) -> ObservedMachine:
        """A machine that this worker has made is not older than that, also if Fly's clock was corrected meanwhile."""
        made_at = self._made_at.get(machine.id)
        if made_at is None or machine.changed_at is None or machine.changed_at >= made_at:
            return machine
        return replace(machine, changed_at=made_at)

    def take_read_directly(self) -> bool:
        """Whether Fly was read directly since this was last asked, so that the row can remember what was found."""
        read, self._read_directly = self._read_directly, False
        return read

    @property
    def has_new_app(self) -> bool:
        """Whether this worker created the app, so that Fly may still answer 401 for it."""
        return self._just_created

    @property
    def listed_as_ours(self) -> bool:
        """Whether the lists showed the app as this row's when they were last asked, which a direct read denied."""
        return self._listed_as_ours

    # What a call has changed

    def invalidate(self) -> None:
        """Nothing is known any more: read everything again."""
        self._app = self._machines = self._addresses = None

    def addresses_changed(self) -> None:
        """An address was assigned or released: read them again."""
        self._addresses = None

    def machine_changed(self) -> None:
        """A machine was updated, started, stopped or restarted: read the machines again."""
        self._machines = None

    def app_created(self) -> None:
        self._app, self._machines, self._addresses = AppPresence.OURS, (), None
        self._just_created, self._just_deleted = True, False

    def app_deleted(self) -> None:
        """Fly has accepted the deletion; whether the app is gone is still to be read."""
        self._app = None
        self._just_created, self._just_deleted = False, True

    def config_sent(self, generation: int) -> None:
        """Fly has accepted the whole config of this generation's machine."""
        self._config_sent = generation

    def machine_created(self, machine: FlyMachine) -> None:
        self._machines, self._new_machine_reads = (machine,), READS_FOR_A_NEW_MACHINE
        self._made_at[machine.id] = self.time()
        self._leads = []

    def machine_named(self) -> None:
        """Fly has named an existing machine that its lists may not show yet."""
        self._new_machine_reads = READS_FOR_A_NEW_MACHINE

    def machine_destroyed(self) -> None:
        self._machines, self._listed_ids, self._new_machine_reads = None, None, 0

    def name_taken(self) -> None:
        self._name_was_taken = self._asks_lists = True

    def waited(self) -> None:
        """Time has passed: read again what may have changed meanwhile."""
        self._machines, self._name_was_taken = None, False
        if self._app is not AppPresence.OURS or self._just_deleted:
            self._app = None

    # Reading

    def _read_app(self, row: Row) -> AppPresence:
        try:
            app = self.fly.get_app(row.fly_app_name, attempts=self.on_attempt, budget_s=self.budget_s)
        except NotFound:
            self._read_directly = True
            self._absences += 1
            if row.desired_state == "present" and was_ours(row) and not self._just_created and not self._just_deleted:
                self._asks_lists = True  # before the app is made again
            return AppPresence.ABSENT
        except NotOwned:
            self._denials += 1
            self._asks_lists = True
            return AppPresence.FOREIGN
        self._absences = self._denials = 0
        if proves_ownership(row, app):
            self._listed_as_ours = False
            return AppPresence.OURS
        self._asks_lists = True
        return AppPresence.FOREIGN

    def _read_lists(self, row: Row) -> bool:
        """Whether the organisation's lists show the app as this row's.

        Asked before a name is given up or an app is made again: a wrong answer to a direct read must not abandon one that runs.
        """
        if self._app is AppPresence.FOREIGN and wants_new_name(row, self.time()):
            self._listing = self._read_listing(row)
            return self._listing.shows_ours
        for apps in self.fly.list_apps(attempts=self.on_attempt, budget_s=self.budget_s):
            for app in apps.apps:
                if app.name == row.fly_app_name:
                    return _is_listed_as_ours(row, app)
        for page in self.fly.list_org_machines(attempts=self.on_attempt, budget_s=self.budget_s):
            for machine in page.machines:
                if machine.app_name == row.fly_app_name and machine.metadata.get(ROW_KEY) == str(row.id):
                    return machine.state not in GONE_STATES
        return False

    def _read_listing(self, row: Row) -> OrgListing:
        return read_org_listing(
            row,
            self.fly,
            self.inputs.installation_id,
            lambda app: _is_listed_as_ours(row, app),
            self.on_attempt,
            self.budget_s,
        )

    def _read_machines(self, row: Row) -> tuple[FlyMachine, ...]:
        """The known machine by its id, because a list may lag; and once the list, which shows whether there are others."""
        self._leads = []
        known = self._read_machine(row, row.machine_id) if row.machine_id else None
        if known is None or self._listed_ids is None:
            listed = self._list_machines(row)
            self._listed_ids = [machine.id for machine in listed]
            if known is None:
                return tuple(listed)
        # A second machine may be destroyed for what is read of it, so it is read directly as well. One that existed before
        # the main machine was replaced still exists.
        others = [each for each in self._listed_ids if each != known.id and each not in self._destroyed]
        spare = row.spare_machine_id
        if spare is not None and spare not in (known.id, *others, *self._destroyed):
            others.append(spare)  # the list is older than the machine
        found = [machine for each in others if (machine := self._read_machine(row, each)) is not None]
        if spare is not None and self._new_machine_reads:
            shown = any(machine.id == spare for machine in found)
            self._new_machine_reads = 0 if shown else self._new_machine_reads - 1
        return (known, *found)

    def _list_machines(self, row: Row) -> list[FlyMachine]:
        try:
            shown = self.fly.list_machines(row.fly_app_name, attempts=self.on_attempt, budget_s=self.budget_s)
        except NotFound as gone:
            # Either the app was deleted this moment, or Fly contradicts itself; the app's own answer decides.
            self._app = self._read_app(row)
            if self._app is AppPresence.OURS:
                message = f"Fly shows the app {row.fly_app_name} but answers 404 for its machines"
                raise TransientError(message, code="contradiction", status=gone.status) from gone
            shown = ()
        self._leads.append(self.fly.lead_over(self.time()))
        # A direct read beats the list, which may show a destroyed machine for seconds.
        listed = [machine for machine in shown if machine.id not in self._destroyed]
        self._read_directly = True
        if not listed:
            self._new_machine_reads = max(0, self._new_machine_reads - 1)
        return listed

    def _read_addresses(self, row: Row) -> tuple[AppAddress, ...]:
        found = self.fly.list_addresses(row.fly_app_name, attempts=self.on_attempt, budget_s=self.budget_s)
        self._read_directly = True
        return found

    def _read_machine(self, row: Row, machine_id: str) -> FlyMachine | None:
        try:
            machine = self.fly.get_machine(
                row.fly_app_name, machine_id, attempts=self.on_attempt, budget_s=self.budget_s
            )
        except NotFound:
            return None
        self._read_directly = True
        self._leads.append(self.fly.lead_over(self.time()))
        if machine.state in GONE_STATES:
            self._destroyed.add(machine_id)
            return None
        return machine
