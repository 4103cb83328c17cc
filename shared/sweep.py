"""The scheduled pass over the fleet: the guarantee behind every lost nudge, and the only thing that judges health.

Drain what is due, re-derive what everybody is entitled to, list Fly once for the whole organisation, look directly at what
needs a look, write health set by set, note orphans, drain what that made due. It goes on where a killed sweep stopped.
"""

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

from shared.drain import Drained, drain
from shared.errors import Gone, HangarError, Retry
from shared.fly_models import OrgMachine
from shared.lifecycle import GONE_STATES, decide
from shared.models import AppSeen, Done, Json, Row, Seen, Settings, Wait
from shared.naming import installation_mark, read_proof
from shared.observe import view

if TYPE_CHECKING:
    from shared.reconciler import Reconciler

# Up to this many apps every one is looked at directly each sweep; above, suspects and a rotating share.
LOOK_AT_ALL_UP_TO = 1000
LOOK_EVERY = timedelta(minutes=30)
LOOKERS = 16
LOOK_BUDGET_S = 10.0
RECORD_AT_ONCE = 500
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
class Listing:
    """One listing of the organisation: machines by app, every app's network, and the regions that could not be read."""

    machines: dict[str, list[OrgMachine]] = field(default_factory=dict)
    networks: dict[str, str] = field(default_factory=dict)
    error_regions: set[str] = field(default_factory=set)


@dataclass
class Sweep:
    """One pass. Raises Retry when the database or Fly is out of reach, after noting what that means for the fleet."""

    by: "Reconciler"
    ends_at: float
    report: SweepReport = field(default_factory=SweepReport)

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
        try:
            self._sync()
            listing = self._list()
            self._judge_fleet(listing, settings, token, now, (claim["cursor"] or {}).get("after"))
            if settings.installation_id == self.by.provisions.installation_id:
                self.report.add(drain(self.by, self.ends_at - FINISH_S / 2))
        finally:
            self.by.database.rpc(
                "fly_sweep_finish",
                name="fleet",
                token=token,
                report=self.report.as_answer(),
                complete=self.report.complete,
            )

    def _sync(self) -> None:
        """Find what the trigger could not write: changes it had to give way on, expiries, deleted users."""
        after = None
        while True:
            after = self.by.database.rpc("fly_sync_entitlements", after=after, limit=500)["next"]
            if after is None:
                break
        self.by.alerts.deliver()

    def _list(self) -> Listing:
        """Fly first, rows after: what the database says is then never older than what Fly said."""
        listing = Listing()
        try:
            for page in self.by.fly.list_org_machines(budget_s=LOOK_BUDGET_S * 4):
                listing.error_regions.update(page.error_regions)
                for machine in page.machines:
                    listing.machines.setdefault(machine.app_name, []).append(machine)
            for apps in self.by.fly.list_apps(budget_s=LOOK_BUDGET_S * 4):
                listing.networks.update({app.name: app.network for app in apps.apps})
        except Retry as error:
            self.by.alerts.open(
                "fly_unreachable", "listing", f"Fly could not be listed, health is unknown: {error}", {}
            )
            raise
        self.by.alerts.resolve("fly_unreachable", "listing")
        return listing

    def _judge_fleet(self, listing: Listing, settings: Settings, token: str, now: datetime, after: str | None) -> None:
        live: set[tuple[str, str]] = set()
        whole_pass = after is None
        look_at_all = len(listing.networks) <= LOOK_AT_ALL_UP_TO
        while True:
            page = self.by.database.rpc("fly_fleet_page", after=after, limit=1000)
            rows = [Row.model_validate(each) for each in page["rows"]]
            live.update((row.id.hex, row.fly_app_name) for row in rows)
            self._judge_page(rows, listing, now, look_at_all=look_at_all)
            after = page["next"]
            if after is None:
                break
            self.by.database.rpc("fly_sweep_progress", name="fleet", token=token, cursor={"after": after})
            if self.by.clock() > self.ends_at - FINISH_S:
                self.report.detail = "the time was up; the next sweep goes on from here"
                return
        self.report.complete = True
        if whole_pass:
            self._note_orphans(listing, settings, live)

    def _judge_page(self, rows: list[Row], listing: Listing, now: datetime, *, look_at_all: bool) -> None:
        self.report.apps += len(rows)
        judged = [row for row in rows if row.desired_state == "present" and row.status in ("active", "error")]
        to_look = [row for row in judged if look_at_all or is_suspect(row, listing, now)]
        found = dict(zip((row.id for row in to_look), self._look_at(to_look, now), strict=True))
        observations = [found.get(row.id) or _from_listing(row, listing) for row in judged]
        health = {row.id: row.health_status for row in rows}
        for chunk in _chunks([each for each in observations if each], RECORD_AT_ONCE):
            answer = self.by.database.rpc("fly_record_sweep", observations=chunk, started_at=now.isoformat())
            self.report.healthy += answer["healthy"]
            self.report.unhealthy += answer["unhealthy"]
            self.report.unknown += answer["unknown"]
            for each in chunk:
                health.pop(UUID(each["id"]), None)
        rest = list(health.values())
        self.report.healthy += rest.count("healthy")
        self.report.unhealthy += rest.count("unhealthy")
        self.report.unknown += len(rest) - rest.count("healthy") - rest.count("unhealthy")

    def _look_at(self, rows: list[Row], now: datetime) -> Iterator[Json]:
        with ThreadPoolExecutor(LOOKERS, thread_name_prefix="look") as pool:
            futures = [pool.submit(copy_context().run, self._look, row, now) for row in rows]
            yield from (future.result() for future in futures)

    def _look(self, row: Row, now: datetime) -> Json:
        """One direct look. Fly out of reach is unknown; a 404 makes the row due, and only its reconciler draws conclusions."""
        observation: Json = {
            "id": str(row.id),
            "machine_state": None,
            "health": "unknown",
            "direct": True,
            "due": False,
            "reason": None,
        }
        if row.machine_id is None or self.by.clock() > self.ends_at - FINISH_S:
            return observation | {
                "direct": False,
                "health": None,
                "due": row.machine_id is None and row.status == "active",
            }
        try:
            machine = view(self.by.fly.get_machine(row.fly_app_name, row.machine_id, budget_s=LOOK_BUDGET_S))
        except Gone:
            return observation | {"due": True, "reason": "Fly has no such machine"}
        except HangarError as error:
            return observation | {"direct": False, "reason": str(error)}
        if machine.state in GONE_STATES:
            return observation | {
                "machine_state": machine.state,
                "due": True,
                "reason": f"the machine is {machine.state}",
            }
        decision = decide(row, Seen(AppSeen.OURS, (machine,)), now)
        due = not isinstance(decision, Done) and not (isinstance(decision, Wait) and not machine.host_ok)
        reason = (
            f"the machine is {machine.state}"
            if machine.state != "started"
            else "a check fails"
            if machine.health == "bad"
            else None
        )
        return observation | {"machine_state": machine.state, "health": machine.health, "due": due, "reason": reason}

    def _note_orphans(self, listing: Listing, settings: Settings, live: set[tuple[str, str]]) -> None:
        mark = installation_mark(settings.installation_id)
        orphans = []
        for app, network in listing.networks.items():
            proof = read_proof(network)
            if proof and proof.installation == mark and (proof.row_id.hex, app) not in live:
                orphans.append({"app": app, "network": network})
        self.report.orphans = len(orphans)
        answer = self.by.database.rpc("fly_record_orphans", seen=orphans)
        aged = [each["app"] for each in answer["orphans"] if int(each["sightings"]) > 1]
        if aged:
            message = f"{len(aged)} Fly app(s) carry our proof and belong to no live row: {', '.join(aged[:10])}"
            self.by.alerts.open("orphans", "fleet", message, {"apps": aged})


def is_suspect(row: Row, listing: Listing, now: datetime) -> bool:
    """Whether the list gives reason for a direct look, or half an hour has passed since the last one."""
    machine = next((each for each in listing.machines.get(row.fly_app_name, ()) if each.id == row.machine_id), None)
    if machine is None or row.health_status != "healthy":
        return True
    if machine.state != "started" and row.power == "always_on":
        return True
    return row.observed_at is None or now - row.observed_at > LOOK_EVERY


def _from_listing(row: Row, listing: Listing) -> Json | None:
    """A list's `started` never says healthy, and its silence says nothing; a region that cannot be read is unknown."""
    if row.machine_region in listing.error_regions:
        return {
            "id": str(row.id),
            "machine_state": None,
            "health": "unknown",
            "direct": False,
            "due": False,
            "reason": "region unreadable",
        }
    return None


def _chunks(items: list[Json], size: int) -> Iterable[list[Json]]:
    return (items[start : start + size] for start in range(0, len(items), size))
