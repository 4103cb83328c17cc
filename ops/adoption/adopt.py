"""Reading Fly for apps of the original system, and carrying out the decision: recorded, marked on Fly, recorded."""

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal

from ops.adoption.judge import Judgement, Look, judge
from shared.adapters.operator_database import OperatorDatabase
from shared.adapters.procedures_adoption import Decision, LegacyApp, LegacyFleet
from shared.domain.errors import Conflict, HangarError, NotFound, NotOwned
from shared.domain.machine_config import INSTALLATION_KEY, ROW_KEY, USER_KEY
from shared.domain.machine_states import GONE_STATES
from shared.domain.models import Json, Settings
from shared.fly.client import FlyClient
from shared.fly.models import FlyMachine
from shared.reconcile.executor import patch_from_machine
from shared.reconcile.observed_machine import to_observation

Outcome = Literal["shown", "adopted", "closed", "decided", "cannot", "failed"]


@dataclass(frozen=True)
class Examined:
    """One app, what Fly says about it, what may be decided, and what was done. `detail` explains a failure."""

    legacy: LegacyApp
    look: Look
    judgement: Judgement
    outcome: Outcome = "shown"
    detail: str | None = None

    @property
    def machine(self) -> FlyMachine | None:
        return self.look.machines[0] if self.look.machines else None


@dataclass
class Adopter:
    """Examines legacy apps, and adopts them if it has a reason. Each app is read directly, at the moment of its decision."""

    database: OperatorDatabase
    fly: FlyClient
    fleet: LegacyFleet
    actor: str
    reason: str | None = None
    is_known_gone: bool = False  # an app that its former organisation may have is gone, says the operator
    _listed: Collection[str] = field(default=(), init=False)

    def read_list(self) -> None:
        """Read which apps the organisation has. Raises what the Fly client raises: without it nothing counts as gone."""
        self._listed = {app.name for page in self.fly.list_apps() for app in page.apps}

    def is_on_fly(self, legacy: LegacyApp) -> bool:
        """Whether the organisation's list has the app."""
        return legacy.row.fly_app_name in self._listed

    def examine(self, legacy: LegacyApp) -> Examined:
        """Read Fly and judge; with a reason also decide. A failure is in the outcome: the other apps go on."""
        today = datetime.now(UTC).date()
        try:
            look = self._look(legacy)
        except HangarError as error:
            failed = Judgement("cannot", error.code, f"Fly could not be read: {error}")
            return Examined(legacy, Look(), failed, "failed", str(error))
        found = Examined(
            legacy, look, judge(legacy, look, self.fleet.settings, today, is_known_gone=self.is_known_gone)
        )
        if self.reason is None:
            return found
        if found.judgement.verdict == "cannot":
            return _with_outcome(found, "cannot", found.judgement.reason)
        if legacy.is_closed:
            return found  # closed and gone: there is nothing to decide
        try:
            return _with_outcome(found, self._decide(found, found.judgement.verdict, self.reason), None)
        except Conflict as refused:
            return _with_outcome(found, "cannot", str(refused))
        except HangarError as error:
            return _with_outcome(found, "failed", f"{error}; run the same command again to continue")

    def _look(self, legacy: LegacyApp) -> Look:
        name, is_listed = legacy.row.fly_app_name, self.is_on_fly(legacy)
        app = None
        # One 404 does not prove absence.
        for _ in range(2):
            try:
                app = self.fly.get_app(name)
                break
            except NotFound:
                continue
            except NotOwned:
                return Look(is_listed=is_listed, is_foreign=True)
        if app is None:
            return Look(is_listed=is_listed)
        living = [each.id for each in self.fly.list_machines(name) if each.state not in GONE_STATES]
        machines = [machine for each in living if (machine := self._read_machine(name, each)) is not None]
        return Look(app, is_listed=is_listed, machines=tuple(machines))

    def _read_machine(self, app: str, machine_id: str) -> FlyMachine | None:
        try:
            machine = self.fly.get_machine(app, machine_id)
        except NotFound:
            return None
        return None if machine.state in GONE_STATES else machine

    def _decide(self, found: Examined, decision: Decision, reason: str) -> Outcome:
        """The intent, the marks on the machine, the decision. Whatever ends this in between, the next run repeats it."""
        row, settings = found.legacy.row, self.fleet.settings
        facts = _list_facts(found, settings)
        who = {"actor": self.actor, "reason": reason}
        if self.database.begin_adoption(row.id, decision, facts, **who) == "decided":
            return "decided"
        if decision == "adopt" and found.machine is not None:
            marks = {
                ROW_KEY: str(row.id),
                USER_KEY: str(row.user_id),
                INSTALLATION_KEY: str(settings.installation_id),
            }
            self.fly.set_metadata(row.fly_app_name, found.machine.id, marks)
        match self.database.finish_adoption(row.id, decision, facts, **who):
            case "adopted":
                return "adopted"
            case "closed":
                return "closed"
            case _:
                return "decided"


def _list_facts(found: Examined, settings: Settings) -> Json:
    """What the database keeps of the look at Fly."""
    facts: Json = {"installation_id": str(settings.installation_id), "org_slug": settings.fly_org_slug}
    if found.look.app is not None:
        facts["app_id"] = found.look.app.id
    if found.legacy.event_machine_id:
        facts["event_machine_id"] = found.legacy.event_machine_id
    if found.machine is not None:
        facts |= patch_from_machine(found.legacy.row, to_observation(found.machine, None), datetime.now(UTC).date())
    return facts


def _with_outcome(found: Examined, outcome: Outcome, detail: str | None) -> Examined:
    return Examined(found.legacy, found.look, found.judgement, outcome, detail)
