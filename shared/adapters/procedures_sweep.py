"""The procedures of the sweep and the orphan finder, by name and type. `Database` inherits them."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from shared.adapters.database import Caller
from shared.adapters.signing_keys import SigningKeys
from shared.domain.models import Json, Row, Settings


@dataclass(frozen=True)
class SweepCursor:
    """Where a pass over the fleet stands that one call of `health` did not finish.

    `after` is the last row that the pass has covered, `started_at` when the pass began, `unprobed` how many apps it had no
    time to look at so far, and `broken` how many it took for one incident.
    """

    after: UUID
    started_at: datetime
    unprobed: int = 0
    broken: int = 0


@dataclass(frozen=True)
class SweepClaim:
    """The lease of the fleet's sweep. `fleet` is the number of live rows, `open_alerts` (kind, key) of the fleet's alerts."""

    token: UUID = field(repr=False)
    cursor: SweepCursor | None
    settings: Settings
    now: datetime
    fleet: int
    open_alerts: frozenset[tuple[str, str]]


@dataclass(frozen=True)
class SweepHeld:
    """Another worker, `holder`, has the lease."""

    holder: str


@dataclass(frozen=True)
class FleetPage:
    """Live rows by id; `next` is where the following page begins, None on the last one."""

    rows: tuple[Row, ...]
    next: UUID | None


@dataclass(frozen=True)
class AppReport:
    """What one sweep says of one app, as `fly_record_sweep` takes it; None leaves what the row says.

    `direct`: Fly was asked for this machine itself. `due`: its reconciler has something to do. `symptom` is a `SymptomCode`.
    `drift`: what differs from the row, as text by kind; {} says that nothing does. Price and region are those of the machine
    that runs.
    """

    id: UUID
    machine_state: str | None = None
    health: str | None = None
    direct: bool = False
    due: bool = False
    reason: str | None = None
    symptom: str | None = None
    detail: str | None = None
    drift: dict[str, str] | None = None
    observed_spec: Json | None = None
    machine_region: str | None = None
    price_usd_per_s: str | None = None

    def as_json(self) -> Json:
        return asdict(self) | {"id": str(self.id)}


@dataclass(frozen=True)
class RecordedSweep:
    """How many of the written rows are healthy and unhealthy now; rows that were skipped are in neither."""

    healthy: int
    unhealthy: int


@dataclass(frozen=True)
class DriftRepairs:
    """How many apps drift, and how many repairs were started; `held` says why none may start, as a code."""

    drifted: int
    started: int
    held: str | None


@dataclass(frozen=True)
class ListedApp:
    """A Fly app whose network carries the proof of this installation."""

    app: str
    network: str


@dataclass(frozen=True)
class Orphan:
    """A row of `fly_orphans`. `user_id` is the user it belonged to, as far as that is known.

    `is_listed`: the last listing shows it. One that is not listed is kept until Fly says directly that it is gone.
    """

    app: str
    network: str
    sightings: int
    user_id: UUID | None
    is_listed: bool = True


@dataclass(frozen=True)
class OrphanVerdict:
    """`verdict` is "keep", "readopted" or "remove"; with "remove" the intent is stored."""

    verdict: str
    reason: str


@dataclass(frozen=True)
class AppliedMarks:
    """How many users with changed subscriptions were brought up to date, and how many marks are `left`.

    `everybody`: something changed that names no user, so every user has to be looked at.
    """

    users: int
    left: int
    everybody: bool


class SweepProcedures(Caller):
    """What the sweep and the orphan finder ask of the database."""

    def claim_sweep(self, holder: str) -> SweepClaim | SweepHeld:
        """Take the lease of the fleet's sweep, unless another worker has it."""
        answer = self._call("fly_sweep_claim", name="fleet", holder=holder)
        if answer["outcome"] != "claimed":
            return SweepHeld(answer["held_by"])
        now = datetime.fromisoformat(answer["now"])
        return SweepClaim(
            token=UUID(answer["token"]),
            cursor=_read_cursor(answer["cursor"], now),
            settings=Settings.model_validate(answer["settings"]),
            now=now,
            fleet=int(answer["fleet"]),
            open_alerts=frozenset((kind, key) for kind, key in answer["alerts"]),
        )

    def save_sweep_progress(self, token: UUID, cursor: SweepCursor | None) -> bool:
        """Renew the sweep's lease and keep its cursor; False when another worker has taken the sweep over."""
        shown = None
        if cursor is not None:
            shown = asdict(cursor) | {"after": str(cursor.after), "started_at": cursor.started_at.isoformat()}
        return bool(self._call("fly_sweep_progress", name="fleet", token=str(token), cursor=shown)["ok"])

    def finish_sweep(self, token: UUID, report: Json, *, complete: bool) -> bool:
        """End the sweep; one that is not complete keeps its cursor. False when another worker has taken it over."""
        answer = self._call("fly_sweep_finish", name="fleet", token=str(token), report=report, complete=complete)
        return bool(answer["ok"])

    def apply_marks(self, limit: int) -> AppliedMarks:
        """Bring up to `limit` users up to date whose subscriptions the host has changed."""
        answer = self._call("fly_apply_marks", limit=limit)
        return AppliedMarks(int(answer["users"]), int(answer["left"]), bool(answer["everybody"]))

    def sync_entitlements(self, after: UUID | None, limit: int) -> UUID | None:
        """Correct up to `limit` users whose row differs from what they are entitled to; where to continue, if anywhere."""
        following = self._call("fly_sync_entitlements", after=_text(after), limit=limit)["next"]
        return UUID(following) if following else None

    def read_fleet_page(self, after: UUID | None, limit: int) -> FleetPage:
        """Up to `limit` live rows with an id above `after`."""
        page = self._call("fly_fleet_page", after=_text(after), limit=limit)
        following = page["next"]
        return FleetPage(
            rows=tuple(Row.model_validate(each) for each in page["rows"]), next=UUID(following) if following else None
        )

    def record_sweep(self, reports: Sequence[AppReport], started_at: datetime) -> RecordedSweep:
        """Write up to 500 reports in one statement; rows leased now or changed since `started_at` are skipped."""
        shown = [report.as_json() for report in reports]
        answer = self._call("fly_record_sweep", observations=shown, started_at=started_at.isoformat())
        return RecordedSweep(healthy=int(answer["healthy"]), unhealthy=int(answer["unhealthy"]))

    def start_drift_repairs(self) -> DriftRepairs:
        """Make the rows due whose drift may be repaired now, within the budget and only while the fleet is healthy."""
        answer = self._call("fly_start_drift_repairs")
        return DriftRepairs(drifted=int(answer["drifted"]), started=int(answer["started"]), held=answer["held"])

    def record_signing_keys(self, keys: SigningKeys, installation: UUID) -> None:
        """The key that signs tokens, and the keys that the project accepts. Those of another installation are not recorded."""
        published = list(keys.published)
        self._call("fly_record_signing_keys", signing=keys.signing, published=published, installation=str(installation))

    def end_outage(self) -> None:
        """Fly answers again: make rows due that wait after failures."""
        self._call("fly_end_outage")

    def record_refusal(self, code: str, message: str) -> bool:
        """Fly refuses to be listed. True if the cause concerns the whole organisation, whose alert then says so."""
        return bool(self._call("fly_record_refusal", code=code, message=message)["org_wide"])

    def record_acceptance(self) -> None:
        """Fly was listed: what an earlier refusal of the listing said is over."""
        self._call("fly_record_refusal", code=None, message=None)

    def record_orphans(self, listed: Sequence[ListedApp]) -> tuple[Orphan, ...]:
        """Every orphan, given all apps that Fly lists with our proof: those that belong to no live row."""
        answer = self._call("fly_record_orphans", seen=[asdict(each) for each in listed])
        return tuple(
            Orphan(
                app=each["app"],
                network=each["network"],
                sightings=int(each["sightings"]),
                user_id=UUID(each["user_id"]) if each["user_id"] else None,
                is_listed=bool(each["listed"]),
            )
            for each in answer["orphans"]
        )

    def record_orphan_absence(self, app: str, network: str) -> bool:
        """Fly answered 404 to a direct question about an orphan that is not listed. True when it counts as gone."""
        return bool(self._call("fly_record_orphan_absence", app=app, network=network)["forgotten"])

    def judge_orphan(self, app: str, network: str, row_id: UUID, user_id: UUID | None, intent: Json) -> OrphanVerdict:
        """What becomes of an orphan that was just looked at; `intent` is stored when it may be removed."""
        answer: dict[str, Any] = self._call(
            "fly_judge_orphan",
            app=app,
            network=network,
            row_id=str(row_id),
            user=_text(user_id),
            intent=intent,
        )
        return OrphanVerdict(verdict=answer["verdict"], reason=answer["reason"])

    def record_orphan_outcome(self, app: str, outcome: Json) -> None:
        """Close the intent of an orphan's removal."""
        self._call("fly_record_orphan_outcome", app=app, outcome=outcome)


def _read_cursor(stored: Json | None, now: datetime) -> SweepCursor | None:
    """A cursor of an older version knows only `after`; its pass counts from now."""
    if not stored or not stored.get("after"):
        return None
    started_at = stored.get("started_at")
    return SweepCursor(
        after=UUID(stored["after"]),
        started_at=datetime.fromisoformat(started_at) if started_at else now,
        unprobed=int(stored.get("unprobed") or 0),
        broken=int(stored.get("broken") or 0),
    )


def _text(value: UUID | None) -> str | None:
    return None if value is None else str(value)
