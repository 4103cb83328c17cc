"""The scheduled pass over the fleet: the guarantee behind every lost nudge, and the only thing that judges health.

Drain what is due, re-derive what everybody is entitled to, list Fly once for the whole organisation, look directly at what
needs a look, write health set by set, deal with orphans, drain what that made due. It goes on where a killed sweep stopped.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from shared.domain.errors import HangarError, TransientError
from shared.domain.models import Json, Row, Settings
from shared.domain.naming import installation_mark, read_proof
from shared.fleet import inventory as listings
from shared.fleet.health_probe import look_at_all
from shared.fleet.incidents import IncidentGuard
from shared.fleet.inventory import Listing, make_observation, needs_look, observe_listed, read_listing, runs_in_grace
from shared.fleet.orphans import Orphans
from shared.reconcile.drain import Drained, drain

if TYPE_CHECKING:
    from shared.reconcile.worker import Worker

RECORD_AT_ONCE = 500
PAGE = 1000
DRAIN_SHARE = 0.4  # of the time, before the fleet is looked at: due work never waits for the listing
FINISH_S = 10.0


@dataclass
class SweepReport:
    """What one call of `health` did, in counts. `complete` = the whole fleet was covered."""

    apps: int = 0
    healthy: int = 0
    unhealthy: int = 0
    unknown: int = 0
    repaired: int = 0
    provisioned: int = 0
    deprovisioned: int = 0
    failed: int = 0
    orphans: int = 0
    fly_calls: int = 0
    seconds: float = 0.0
    complete: bool = False
    detail: str = ""

    def add(self, drained: Drained) -> None:
        self.provisioned += drained.provisioned
        self.deprovisioned += drained.deprovisioned
        self.repaired += drained.repaired
        self.failed += drained.failed

    def as_answer(self) -> dict[str, Any]:
        """The counts as the HTTP answer has them."""
        return asdict(self) | {"seconds": round(self.seconds, 3)}


@dataclass
class Sweep:
    """One pass. Raises TransientError when the database or Fly is out of reach, after noting what that means for the fleet."""

    by: "Worker"
    ends_at: float
    report: SweepReport = field(default_factory=SweepReport)
    _unlooked: int = 0
    _unwritten: list[Json] = field(default_factory=list)
    _standing: set[tuple[str, str]] = field(default_factory=set)  # the fleet's alerts when this sweep began

    def run(self, *, drain_only: bool) -> SweepReport:
        """Drain, and unless `drain_only` or another sweep is under way, pass over the fleet."""
        started, calls_before = self.by.clock(), self.by.fly.calls
        share = 1.0 if drain_only else DRAIN_SHARE
        self.report.add(drain(self.by, started + (self.ends_at - started) * share))
        if drain_only:
            self.report.complete = True
        else:
            self._pass()
        self.report.fly_calls = self.by.fly.calls - calls_before
        self.report.seconds = self.by.clock() - started
        return self.report

    def _pass(self) -> None:
        claim = self.by.database.rpc("fly_sweep_claim", name="fleet", holder=self.by.holder)
        if claim["outcome"] != "claimed":
            self.report.detail = f"another sweep is under way ({claim['held_by']})"
            return
        token, now = claim["token"], datetime.fromisoformat(claim["now"])
        settings = Settings.model_validate(claim["settings"])
        self._standing = {(kind, key) for kind, key in claim["alerts"]}
        try:
            self._sync()
            listing = self._list(now)
            self._judge_fleet(listing, settings, token, now, (claim["cursor"] or {}).get("after"))
            if settings.installation_id == self.by.inputs.installation_id:
                self.report.add(drain(self.by, self.ends_at - FINISH_S / 2))
            else:
                message = (
                    "HANGAR_INSTALLATION_ID differs from hangar.settings.installation_id: read-only, a cloned database?"
                )
                self.by.notifier.open("installation", "fleet", message, {})
        finally:
            self.by.database.rpc(
                "fly_sweep_finish",
                name="fleet",
                token=token,
                report=self.report.as_answer(),
                complete=self.report.complete,
            )
            self.by.notifier.deliver()  # what this very pass has raised

    def _sync(self) -> None:
        """Find what the trigger could not write: changes it had to give way on, expiries, deleted users."""
        after = None
        while True:
            after = self.by.database.rpc("fly_sync_entitlements", after=after, limit=500)["next"]
            if after is None:
                break
        self.by.notifier.deliver()

    def _list(self, now: datetime) -> Listing:
        """Fly first, rows after: what the database says is then never older than what Fly said."""
        try:
            listing = read_listing(self.by.fly)
        except HangarError as error:
            message = f"Fly could not be listed, so the health of every app is unknown and nothing is repaired: {error}"
            self.by.notifier.open("fly_unreachable", "listing", message, {})
            self._call_all_unknown(now, str(error))
            raise TransientError(message, code=error.code, status=error.status) from error
        if self._end_alert("fly_unreachable", "listing"):
            self.by.database.rpc("fly_end_outage")
        return listing

    def _call_all_unknown(self, now: datetime, reason: str) -> None:
        after = None
        while True:
            page = self.by.database.rpc("fly_fleet_page", after=after, limit=PAGE)
            rows = [row for row in map(Row.model_validate, page["rows"]) if _is_judged(row)]
            self._record([make_observation(row, health="unknown", reason=reason) for row in rows], now)
            after = page["next"]
            if after is None:
                return

    def _judge_fleet(self, listing: Listing, settings: Settings, token: str, now: datetime, after: str | None) -> None:
        live: set[tuple[str, str]] = set()
        whole_pass, guard = after is None, IncidentGuard(settings)
        mark = installation_mark(settings.installation_id)
        proofs = (read_proof(network) for network in listing.networks.values())
        fleet = sum(proof is not None and proof.installation == mark for proof in proofs)
        while True:
            page = self.by.database.rpc("fly_fleet_page", after=after, limit=PAGE)
            rows = [Row.model_validate(each) for each in page["rows"]]
            live.update((row.id.hex, row.fly_app_name) for row in rows)
            self._judge_page(rows, listing, guard, now, look_at_all_of_them=fleet <= listings.LOOK_AT_ALL_UP_TO)
            after = page["next"]
            cursor = {"after": after} if after else None
            if not self.by.database.rpc("fly_sweep_progress", name="fleet", token=token, cursor=cursor)["ok"]:
                self.report.detail = "another sweep has taken over"
                self._write(now)
                return
            if after is None:
                break
            if self._is_time_up():
                self.report.detail = "the time was up; the next sweep goes on from here"
                self._write(now)
                return
        self._write(now)
        # Every row was read, so what is no row's is known; but who was not looked at may be as broken as before.
        self.report.complete = self._unlooked == 0
        if self._unlooked:
            self.report.detail = (
                f"the time was up before {self._unlooked} apps were looked at; they come first in the next sweep"
            )
        if self.report.complete or guard.broken:
            self._alert_incident(guard.broken, fleet, settings)
        if whole_pass and settings.installation_id == self.by.inputs.installation_id:
            orphans = Orphans(self.by, self._is_time_up, self._end_alert)
            orphans.sweep(listing, settings.installation_id, live)
            self.report.orphans = orphans.found
        brakes = [key for kind, key in self._standing if kind == "brake"]
        if brakes and not self.by.database.rpc("fly_brake_status")["tripped"]:
            for key in brakes:
                self._end_alert("brake", key)

    def _end_alert(self, kind: str, key: str) -> bool:
        """Resolve an alert that stood when this sweep began; one that did not costs no call. True when it was open."""
        return (kind, key) in self._standing and self.by.notifier.resolve(kind, key)

    def _is_time_up(self) -> bool:
        return self.by.clock() > self.ends_at - FINISH_S

    def _judge_page(
        self, rows: list[Row], listing: Listing, guard: IncidentGuard, now: datetime, *, look_at_all_of_them: bool
    ) -> None:
        """Look, write down what was seen, and count."""
        self.report.apps += len(rows)
        judged = [row for row in rows if _is_judged(row)]
        to_look = [row for row in judged if look_at_all_of_them or needs_look(row, listing, now)]
        # Who was not looked at for longest comes first: a sweep that only gets round to a few starves nobody.
        to_look.sort(key=lambda row: (row.observed_at is not None, row.observed_at))
        woken = [row for row in rows if runs_in_grace(row, listing, now)]
        looked = look_at_all(self.by.fly, [*to_look, *woken], listing, now, self._is_time_up)
        if self._is_time_up():
            self._unlooked += sum(str(row.id) not in looked for row in to_look)
        observations = [looked.get(str(row.id)) or observe_listed(row, listing) for row in judged]
        seen = [each for each in observations if each]
        guard.limit_repairs(seen, len(judged))
        seen += [looked[str(row.id)] for row in woken if str(row.id) in looked]
        self._unwritten += seen
        self._write(now, keep=RECORD_AT_ONCE - 1)
        recorded = {each["id"] for each in seen}
        rest = [row.health_status for row in rows if str(row.id) not in recorded]
        self.report.healthy += rest.count("healthy")
        self.report.unhealthy += rest.count("unhealthy")
        self.report.unknown += len(rest) - rest.count("healthy") - rest.count("unhealthy")

    def _write(self, now: datetime, *, keep: int = 0) -> None:
        """Write what has gathered, 500 a statement, until at most `keep` are left; a killed sweep loses no more than that."""
        while len(self._unwritten) > keep:
            self._record(self._unwritten[:RECORD_AT_ONCE], now)
            del self._unwritten[:RECORD_AT_ONCE]

    def _record(self, observations: list[Json], now: datetime) -> None:
        """Write observations, 500 a statement."""
        for chunk in _chunks(observations, RECORD_AT_ONCE):
            answer = self.by.database.rpc("fly_record_sweep", observations=chunk, started_at=now.isoformat())
            self.report.healthy += answer["healthy"]
            self.report.unhealthy += answer["unhealthy"]
            self.report.unknown += len(chunk) - answer["healthy"] - answer["unhealthy"]

    def _alert_incident(self, broken: int, fleet: int, settings: Settings) -> None:
        if not broken:
            self._end_alert("incident", "fleet")
            return
        message = (
            f"{broken} of {fleet} apps broke at once: taken for one incident, so they are not repaired all together but "
            f"{settings.incident_floor} with each further sweep. If it is none, raise incident_share in hangar.settings"
        )
        self.by.notifier.open("incident", "fleet", message, {"broken": broken, "fleet": fleet})


def _is_judged(row: Row) -> bool:
    return row.desired_state == "present" and row.status in ("active", "error")


def _chunks(items: list[Json], size: int) -> Iterable[list[Json]]:
    return (items[start : start + size] for start in range(0, len(items), size))
