"""The scheduled pass over the fleet: it guarantees what a lost nudge would have done, and only it judges health.

From top to bottom: drain what is due, sync what every user is entitled to, list Fly once for the whole organisation, probe
the apps that need it and write their health page by page, deal with orphans, drain what became due. A sweep that ends early
is continued by the next one.
"""

from dataclasses import asdict, dataclass, field, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from shared.adapters.procedures_sweep import AppReport, SweepClaim, SweepHeld
from shared.domain.errors import HangarError, TransientError
from shared.domain.paging import Paging
from shared.fleet import inventory as listings
from shared.fleet.clock_skew import alert_clock_skew
from shared.fleet.fleet_pass import FleetCounts, FleetPass, is_probed, write_reports
from shared.fleet.health_probe import Prober
from shared.fleet.host_reading import HostReading
from shared.fleet.inventory import Inventory, read_machines, read_networks
from shared.fleet.orphans import Orphans
from shared.fleet.release_step import ReleaseStep
from shared.fleet.signing_keys import record_signing_keys
from shared.reconcile.drain import WORKERS, Drained, drain, look_at

if TYPE_CHECKING:
    from collections.abc import Sequence
    from concurrent.futures import Future
    from datetime import datetime
    from uuid import UUID

    from shared.reconcile.worker import Worker

PAGE = 1000
SYNC_AT_ONCE = 500
DRAIN_SHARE = 0.4  # of the time, before the fleet is listed: due work never waits for the listing
ORPHAN_SHARE = 0.15  # of the time for listing and probes, while there are orphans
FINISH_S = 10.0
ALERTS_S = 8.0  # for sending alerts, at most; a destination that does not answer takes 5 s, once within its backoff
LEASE_TRUSTED_S = 60.0  # half of the default `sweep_lease_s`


@dataclass
class SweepReport(FleetCounts):
    """What one call of `health` did, in counts. `complete`: the pass that ended in it has covered the whole fleet."""

    repaired: int = 0
    provisioned: int = 0
    deprovisioned: int = 0
    failed: int = 0
    orphans: int = 0
    drifted: int = 0
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
    """One call of `health`. Raises TransientError when the database or Fly is out of reach, after recording what that means."""

    worker: "Worker"
    ends_at: float
    report: SweepReport = field(default_factory=SweepReport)
    _claimed_at: float = 0.0
    _probes_end_at: float = 0.0
    _orphan_error: HangarError | None = None
    _host: HostReading = field(init=False)
    _releases: ReleaseStep = field(init=False)
    _open_alerts: frozenset[tuple[str, str]] = frozenset()  # the fleet's alerts when this sweep began

    def __post_init__(self) -> None:
        # Two calls of `health` share a process and its connections, but each counts its own requests to Fly.
        self.worker = replace(self.worker, fly=self.worker.fly.count_from_zero())
        self._host = HostReading(self.worker.notifier)
        self._releases = ReleaseStep(self.worker)
        self._probes_end_at = self.ends_at - FINISH_S

    def run(self, *, drain_only: bool, users: "Sequence[UUID]" = ()) -> SweepReport:
        """Drain, and unless `drain_only` or another sweep is under way, pass over the fleet. `users`: only these are drained."""
        started = self.worker.clock()
        share = 1.0 if drain_only else DRAIN_SHARE
        drain_ends_at = started + (self.ends_at - started) * share
        with self._host.catch_timeout():
            self._follow_host(drain_ends_at)
        if not users:
            self._releases.advance(drain_ends_at)  # what it moves is due, so the drain takes it at once
        with self._host.catch_timeout():
            self.report.add(look_at(self.worker, users, drain_ends_at) if users else drain(self.worker, drain_ends_at))
        self._send_alerts()  # what other workers could not deliver
        if drain_only:
            self.report.complete = True
        else:
            self._sweep_fleet()
        self.report.fly_calls = self.worker.fly.calls
        self.report.seconds = self.worker.clock() - started
        self._host.raise_error()
        self._releases.raise_error()
        return self.report

    def _sweep_fleet(self) -> None:
        claim = self.worker.database.claim_sweep(self.worker.holder)
        if isinstance(claim, SweepHeld):
            self.report.detail = f"another sweep is under way ({claim.holder})"
            return
        self._claimed_at, self._open_alerts = self.worker.clock(), claim.open_alerts
        is_ours = claim.settings.installation_id == self.worker.inputs.installation_id
        try:
            record_signing_keys(self.worker)
            with self._host.catch_timeout():
                self._sync_entitlements()
            self._host.end_alert(self._end_alert)
            self._releases.end_alert(self._end_alert)
            self._pass_over(claim, is_ours=is_ours)
            if is_ours:
                self.report.drifted = self.worker.database.start_drift_repairs().drifted
                with self._host.catch_timeout():
                    self.report.add(drain(self.worker, self.ends_at - FINISH_S / 2))
                if self._orphan_error is not None:
                    raise self._orphan_error
            else:
                message = (
                    "HANGAR_INSTALLATION_ID differs from hangar.settings.installation_id, so Hangar changes nothing. "
                    "Is this database a copy of another one?"
                )
                self.worker.notifier.open("installation", "fleet", message, {})
        finally:
            self.worker.database.finish_sweep(claim.token, self.report.as_answer(), complete=self.report.complete)
            self._send_alerts()  # what this sweep has raised

    def _follow_host(self, ends_at: float) -> None:
        """Bring the users up to date whose subscriptions the host has changed since the last call."""
        everybody = False
        while True:
            applied = self.worker.database.apply_marks(SYNC_AT_ONCE)
            everybody = everybody or applied.everybody
            # A mark that is put back, because its row was locked, is left for the next drain.
            if applied.left == 0 or applied.users < SYNC_AT_ONCE or self.worker.clock() > ends_at:
                break
        if everybody:
            self._sync_entitlements()

    def _sync_entitlements(self) -> None:
        """Look at every user: expiries, deleted users, and changes of the host that have no mark."""
        paging = Paging("sync entitlements")
        after = self.worker.database.sync_entitlements(None, SYNC_AT_ONCE)
        while after is not None:
            paging.advance(after)
            after = self.worker.database.sync_entitlements(after, SYNC_AT_ONCE)

    def _pass_over(self, claim: SweepClaim, *, is_ours: bool) -> None:
        began_at = self.worker.clock()
        orphans = Orphans(self.worker, self._is_time_up, self._end_alert)
        with Prober(self.worker, self._is_probing_over, lambda: self._time(claim)) as prober:
            fleet = self._start_pass(claim, prober)
            machines = prober.submit(lambda: read_machines(self.worker.fly))
            networks = prober.submit(lambda: read_networks(self.worker.fly))
            fleet.read_ahead()  # and probe, while Fly is listed
            inventory = self._await_inventory(machines, networks, prober, claim.now)
            alert_clock_skew(self.worker, self._time(claim), self._end_alert)
            # A process that was suspended for longer than the lease must not judge orphans by its old listing.
            if is_ours and (self.worker.clock() - began_at < LEASE_TRUSTED_S or fleet.keeps_lease()):
                self._find_orphans(orphans, inventory, claim, fleet, began_at)
            if not fleet.lost:
                fleet.cover(inventory)
        self.worker.fly.close_idle(WORKERS)
        self.report.complete, self.report.detail = fleet.complete, fleet.detail
        if fleet.lost:
            return  # the sweep that has taken over judges incidents and orphans
        if fleet.hidden:
            self._alert_hidden(fleet.hidden, claim)
        else:
            self._alert_incident(fleet.broken, claim, is_certain=not inventory.error_regions)
        if is_ours and self._orphan_error is None:
            orphans.clear(inventory)

    def _start_pass(self, claim: SweepClaim, prober: Prober) -> FleetPass:
        """A new pass, or the one that an earlier sweep did not finish."""
        return FleetPass(
            self.worker.database,
            prober,
            claim,
            page_size=PAGE,
            probe_all=claim.fleet <= listings.LOOK_AT_ALL_UP_TO,
            is_time_up=self._is_probing_over,
            counts=self.report,
        )

    def _await_inventory(
        self, machines: "Future[Inventory]", networks: "Future[dict[str, str]]", prober: Prober, now: "datetime"
    ) -> Inventory:
        try:
            inventory = machines.result()
            inventory.networks = networks.result()
            inventory.lists_ours = bool(inventory.list_ours(self.worker.inputs.installation_id))
        except HangarError as error:
            prober.stop()
            message = (
                f"Fly could not be listed, so the health of every app is unknown and nothing is repaired: {error}. "
                "Hangar tries again with every sweep. Look at Fly's status page"
            )
            # A refusal of the whole organisation has one alert, whichever call was refused.
            if self.worker.database.record_refusal(error.code, str(error)):
                self._end_alert("fly_unreachable", "listing")
                self.worker.notifier.deliver()
            else:
                self.worker.notifier.open("fly_unreachable", "listing", message, {})
            self._record_all_unknown(now, str(error))
            raise TransientError(message, code=error.code, status=error.status) from error
        if any(kind == "fly_refused" for kind, _ in self._open_alerts):
            self.worker.database.record_acceptance()
        if self._end_alert("fly_unreachable", "listing"):
            self.worker.database.end_outage()
        return inventory

    def _record_all_unknown(self, now: "datetime", reason: str) -> None:
        after, paging = None, Paging("read the fleet")
        while True:
            paging.advance(after)
            page = self.worker.database.read_fleet_page(after, PAGE)
            reports = [AppReport(row.id, health="unknown", reason=reason) for row in page.rows if is_probed(row)]
            self.report.add_written(write_reports(self.worker.database, reports, now))
            after = page.next
            if after is None:
                return

    def _find_orphans(
        self, orphans: Orphans, inventory: Inventory, claim: SweepClaim, fleet: FleetPass, began_at: float
    ) -> None:
        """Every sweep does, also one that reads only a part of the fleet, and while there are orphans they get their time."""
        try:
            orphans.find(inventory, claim.settings.installation_id, fleet.rows_ahead())
        except HangarError as error:  # the fleet's health is judged all the same; the sweep ends in this error
            self._orphan_error = error
            return
        self.report.orphans = len(orphans)
        if orphans:
            self._probes_end_at -= ORPHAN_SHARE * (self._probes_end_at - began_at)

    def _alert_incident(self, broken: int, claim: SweepClaim, *, is_certain: bool) -> None:
        if not broken:
            # An app that was not probed, or in a region that Fly could not read, may be as broken as before.
            if self.report.complete and is_certain:
                self._end_alert("incident", "fleet")
            return
        floor = claim.settings.incident_floor
        message = (
            f"{broken} of {claim.fleet} apps broke at once. Hangar takes that for one incident and repairs {floor} apps with "
            "each further sweep instead of all together. If it is no incident, raise incident_share in hangar.settings"
        )
        self.worker.notifier.open("incident", "fleet", message, {"broken": broken, "fleet": claim.fleet})

    def _alert_hidden(self, hidden: int, claim: SweepClaim) -> None:
        message = (
            f"Fly's lists show no app of this installation, and Fly answers 404 for {hidden} of {claim.fleet} apps. Hangar "
            "takes that for an incident at Fly: it creates and repairs none of them until a list shows an app of this "
            "installation again. Look at Fly's status page. If the apps are really gone, run `hangar retry USER` for one "
            "user: when Fly lists that user's new app, Hangar repairs the others"
        )
        self.worker.notifier.open("incident", "fleet", message, {"broken": hidden, "fleet": claim.fleet})

    def _end_alert(self, kind: str, key: str) -> bool:
        """Resolve an alert that was open when this sweep began; one that was not costs no call. True when it was open."""
        return (kind, key) in self._open_alerts and self.worker.notifier.resolve(kind, key)

    def _time(self, claim: SweepClaim) -> "datetime":
        """The database's time: read with the claim, continued by this process's clock."""
        return claim.now + timedelta(seconds=self.worker.clock() - self._claimed_at)

    def _send_alerts(self) -> None:
        self.worker.notifier.deliver(min(ALERTS_S, self.ends_at - self.worker.clock()))

    def _is_time_up(self) -> bool:
        return self.worker.clock() > self.ends_at - FINISH_S

    def _is_probing_over(self) -> bool:
        return self.worker.clock() > self._probes_end_at
