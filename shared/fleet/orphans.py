"""Fly apps that carry our proof and belong to no live row: found by the listing, removed when two witnesses agree.

The first witness is age: seen by several sweeps over a while. The second is a direct look at its network. Between them the
database has the last word: it gives an app back to an entitled user who has no other, at once, and holds back while paused or
braked.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID

from shared.domain.errors import HangarError, NotFound, NotOwned, OutcomeUnknown, Throttled
from shared.domain.machine_config import ROW_KEY, USER_KEY
from shared.domain.models import Json
from shared.domain.naming import installation_mark, read_proof
from shared.fleet.inventory import Listing
from shared.fly.models import FlyMachine

if TYPE_CHECKING:
    from shared.reconcile.worker import Worker

CALL_BUDGET_S = 20.0


@dataclass
class Orphans:
    """What one sweep found and did."""

    by: "Worker"
    is_time_up: Callable[[], bool]
    end_alert: Callable[[str, str], bool]
    found: int = 0
    removed: int = 0
    readopted: int = 0

    def sweep(self, listing: Listing, installation_id: UUID, live: set[tuple[str, str]]) -> None:
        """Note what `listing` shows and no (row id, name) of `live` owns; deal with those that are old enough."""
        mark = installation_mark(installation_id)
        seen = []
        for app, network in listing.networks.items():
            proof = read_proof(network)
            if proof and proof.installation == mark and (proof.row_id.hex, app) not in live:
                seen.append({"app": app, "network": network})
        self.found = len(seen)
        answer = self.by.database.rpc("fly_record_orphans", seen=seen)
        # First those whose user nobody knows yet: an entitled user's app should not wait behind many looked at before.
        for orphan in sorted(answer["orphans"], key=lambda each: each["user_id"] is not None):
            if self.is_time_up():
                break
            listed = {machine.id for machine in listing.machines.get(orphan["app"], [])}
            self._deal_with(orphan["app"], orphan["network"], listed)
        # An app may go between the listing and the rows; what is seen twice was no such moment.
        left = [orphan["app"] for orphan in answer["orphans"] if orphan["sightings"] > 1]
        if len(left) > self.removed + self.readopted:
            message = (
                f"{len(left)} Fly app(s) carry our proof and belong to no live row: {', '.join(left[:10])}. "
                "`hangar orphans` tells whose each was and what becomes of it"
            )
            self.by.notifier.open("orphans", "fleet", message, {"apps": left[:100]})
        else:
            self.end_alert("orphans", "fleet")

    def _deal_with(self, app: str, network: str, listed: set[str]) -> None:
        proof = read_proof(network)
        try:
            found = self.by.fly.get_app(app, budget_s=CALL_BUDGET_S)
            if proof is None or found.network != network:
                return
            machines = self.by.fly.list_machines(app, budget_s=CALL_BUDGET_S)
        except (NotFound, NotOwned, Throttled):
            return  # the next listing will no longer show it, or the next sweep asks
        except HangarError as error:
            self.by.notifier.open("orphan_look", app, f"the orphan {app} could not be looked at: {error}", {"app": app})
            return
        if any(machine.incomplete or machine.host_status != "ok" for machine in machines):
            return  # whose it is stands in metadata that cannot be read now
        if listed - {machine.id for machine in machines} or (found.machine_count and not machines):
            return  # one answer denies what another shows, and a machine not seen may be an entitled user's
        intent = self._event("intent", {"purpose": "orphan", "app": app, "network": network, "action": "delete_app"})
        user_id = _find_user(machines, proof.row_id)
        asked_at = self.by.clock()
        verdict = self.by.database.rpc(
            "fly_judge_orphan", app=app, network=network, row_id=str(proof.row_id), user=user_id, intent=intent
        )
        if verdict["verdict"] == "readopted":
            self.readopted += 1
        elif verdict["verdict"] == "remove":
            self._remove(app, intent, CALL_BUDGET_S - (self.by.clock() - asked_at))

    def _remove(self, app: str, intent: Json, budget_s: float) -> None:
        status, details = "succeeded", None
        if budget_s <= 0:
            status, details = "failed", "frozen since the verdict, which may no longer hold: nothing was removed"
        else:
            try:
                self.by.fly.delete_app(app, force=True, budget_s=budget_s)
                self.removed += 1
            except HangarError as error:
                status, details = "unknown" if isinstance(error, OutcomeUnknown) else "failed", str(error)
        outcome = self._event(status, {**intent["metadata"], "intent_id": intent["id"]}, details)
        self.by.database.rpc("fly_record_orphan_outcome", app=app, outcome=outcome)

    def _event(self, status: str, metadata: Json, details: str | None = None) -> Json:
        return {
            "id": str(self.by.new_id()),
            "event_type": "action",
            "status": status,
            "metadata": {
                "actor": self.by.holder,
                "attempt": 1,
                "installation_id": str(self.by.inputs.installation_id),
                **metadata,
            },
            "error_details": details,
        }


def _find_user(machines: Sequence[FlyMachine], row_id: UUID) -> str | None:
    """Whose it was, by the metadata of its machine; None when no machine says so of this row."""
    for machine in machines:
        if machine.metadata.get(ROW_KEY) == str(row_id):
            try:
                return str(UUID(machine.metadata.get(USER_KEY, "")))
            except ValueError:
                return None
    return None
