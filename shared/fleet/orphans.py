"""Fly apps that carry our proof and belong to no live row: found in the listing, removed after two independent checks.

The first check is age: several sweeps have seen the orphan over a while. The second is a direct look at its network. The
database decides in between: it returns an app at once to an entitled user who has no other, and it keeps every orphan while
Hangar is paused or the destroy budget is used up.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from uuid import UUID

from shared.adapters.procedures_sweep import Orphan
from shared.domain.errors import HangarError, NotFound, NotOwned, OutcomeUnknown, Refused, Throttled
from shared.domain.machine_config import ROW_KEY, USER_KEY
from shared.domain.models import Json
from shared.domain.naming import read_proof
from shared.fleet.inventory import Inventory
from shared.fly.models import FlyApp, FlyMachine

if TYPE_CHECKING:
    from shared.reconcile.worker import Worker

ORPHAN_CALL_BUDGET_S = 20.0
_NAMED_IN_ALERT = 10
_LISTED_IN_ALERT = 100


@dataclass
class Orphans:
    """What one sweep finds and does. `find` first, then `clear` once the fleet is covered."""

    worker: "Worker"
    is_time_up: Callable[[], bool]
    end_alert: Callable[[str, str], bool]
    removed: int = 0
    readopted: int = 0
    _settled: set[str] = field(default_factory=set)
    _found: tuple[Orphan, ...] = field(default=())
    _refused: bool = False  # Fly refuses to show one: it would refuse the others for the same cause

    def __len__(self) -> int:
        return len(self._found)

    def find(self, inventory: Inventory, installation_id: UUID, live: set[tuple[str, str]]) -> None:
        """Record what Fly lists of ours and no live row owns.

        The database compares with every row, so that a sweep which reads a part of the fleet finds the same orphans. `live`
        are (row id in hex, app) of rows that this sweep has read: they only make the request smaller.
        """
        listed = []
        for each in inventory.list_ours(installation_id):
            proof = read_proof(each.network)
            if proof and (proof.row_id.hex, each.app) not in live:
                listed.append(each)
        self._found = self.worker.database.record_orphans(listed)

    def clear(self, inventory: Inventory) -> None:
        """Look at each orphan, return it to its user or remove it, as the database decides; alert about those that stay."""
        # Orphans of unknown users first: an entitled user's app must not wait behind many that were looked at before.
        for orphan in sorted(self._found, key=lambda each: each.user_id is not None):
            if self.is_time_up() or self._refused:
                break
            listed = {machine.id for machine in inventory.machines.get(orphan.app, [])}
            self._deal_with(orphan, listed)
        # An app may be deleted, and its row closed, while a sweep reads. Two sightings rule that out.
        left = [each.app for each in self._found if each.sightings > 1 and each.app not in self._settled]
        if left:
            message = (
                f"{len(left)} Fly app(s) carry this installation's proof and belong to no live row: "
                f"{', '.join(left[:_NAMED_IN_ALERT])}. `hangar orphans` shows whose each was and what happens to it"
            )
            self.worker.notifier.open("orphans", "fleet", message, {"apps": left[:_LISTED_IN_ALERT]})
        elif self._found and len(self._found) <= self.removed + self.readopted:
            self.end_alert("orphans", "fleet")  # if none was found at all, the database waits for the next list

    def _deal_with(self, orphan: Orphan, listed: set[str]) -> None:
        app, network = orphan.app, orphan.network
        proof = read_proof(network)
        try:
            found = self._read_app(orphan)
            if found is None or proof is None or found.network != network:
                return
            machines = self.worker.fly.list_machines(app, budget_s=ORPHAN_CALL_BUDGET_S)
        except (NotFound, NotOwned, Throttled):
            return  # the next sweep asks again
        except HangarError as error:
            message = f"Fly did not answer about the orphan {app}: {error}. The next sweep asks again"
            self.worker.notifier.open("orphan_look", app, message, {"app": app})
            self._refused = isinstance(error, Refused)
            return
        self.end_alert("orphan_look", app)
        if any(machine.incomplete or machine.host_status != "ok" for machine in machines):
            return  # its metadata, which names the owner, cannot be read now
        if listed - {machine.id for machine in machines} or (found.machine_count and not machines):
            return  # two answers of Fly contradict each other, and a machine not shown may be an entitled user's
        intent = self._event("intent", {"purpose": "orphan", "app": app, "network": network, "action": "delete_app"})
        user_id = _find_user(machines, proof.row_id)
        asked_at = self.worker.clock()
        verdict = self.worker.database.judge_orphan(app, network, proof.row_id, user_id, intent)
        if verdict.verdict == "readopted":
            self.readopted += 1
            self._settled.add(app)
        elif verdict.verdict == "remove":
            self._remove(app, intent, ORPHAN_CALL_BUDGET_S - (self.worker.clock() - asked_at))

    def _read_app(self, orphan: Orphan) -> FlyApp | None:
        try:
            return self.worker.fly.get_app(orphan.app, budget_s=ORPHAN_CALL_BUDGET_S)
        except NotFound:
            # Neither a list that lacks an app nor one direct answer proves that it is gone: the database counts the answers.
            if not orphan.is_listed and self.worker.database.record_orphan_absence(orphan.app, orphan.network):
                self._settled.add(orphan.app)
            return None

    def _remove(self, app: str, intent: Json, budget_s: float) -> None:
        status, details = "succeeded", None
        if budget_s <= 0:
            status, details = (
                "failed",
                "the process was suspended after the verdict, which may be outdated: nothing was removed",
            )
        else:
            try:
                # One attempt for each verdict: before another one, the next sweep asks the kill switch and the brake again.
                self.worker.fly.single_attempts().delete_app(app, force=True, budget_s=budget_s)
                self.removed += 1
                self._settled.add(app)
            except HangarError as error:
                status, details = "unknown" if isinstance(error, OutcomeUnknown) else "failed", str(error)
        outcome = self._event(status, {**intent["metadata"], "intent_id": intent["id"]}, details)
        self.worker.database.record_orphan_outcome(app, outcome)

    def _event(self, status: str, metadata: Json, details: str | None = None) -> Json:
        return {
            "id": str(self.worker.new_id()),
            "event_type": "action",
            "status": status,
            "metadata": {
                "actor": self.worker.holder,
                "attempt": 1,
                "installation_id": str(self.worker.inputs.installation_id),
                **metadata,
            },
            "error_details": details,
        }


def _find_user(machines: Sequence[FlyMachine], row_id: UUID) -> UUID | None:
    """The user that a machine's metadata names together with this row; None when no machine names one."""
    for machine in machines:
        if machine.metadata.get(ROW_KEY) == str(row_id):
            try:
                return UUID(machine.metadata.get(USER_KEY, ""))
            except ValueError:
                return None
    return None
