"""Gives existing users their apps: admits them batch by batch, calls `provision` for each, and tells what became of whom.

How fast. Fly's documented limits are for each app and action (1 call a second, 3 at once; Fly docs, "Working with the
Machines API"): one worker for one user stays below them, and users do not add up. For whole apps Fly documents one limit
only, 100 deletions a minute; for creations it says nothing. So no more than 100 users a minute are begun: what goes wrong
can be taken back as fast as it was made. A 429 is waited for by the functions themselves.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from typing import Any, Literal
from uuid import UUID, uuid4

import httpx

from ops.client import Installation
from ops.connection import TargetError
from shared.domain.cost import list_price_monthly_usd
from shared.domain.errors import HangarError
from shared.domain.remediation import advise

PER_MINUTE = 100
WORKERS = 16
PATIENCE_S = 300.0
# So many users in a row with one and the same failure: it is not the users.
SAME_FAILURES = 10
_PAGE = 500
_TRIES_TO_ADMIT = 4
# What a function says when Hangar itself holds back (shared/reconcile/run.py): nobody else would fare better.
_REFUSALS = ("Hangar is paused", "hangar.settings.max_", "belongs to another installation")

Word = Literal["active", "failed", "unfinished", "skipped"]
Ending = Literal["done", "interrupted", "refused", "stopped"]


@dataclass(frozen=True)
class Candidate:
    """An entitled user whose app is not there: without a row (`status` None), or with one that is not active yet."""

    user_id: UUID
    email: str | None
    tier: str
    why: str
    cpu_kind: Literal["shared", "performance"]
    cpu_count: int
    memory_mb: int
    region: str
    monthly_cost_estimate_usd: Decimal
    status: str | None
    error_code: str | None

    @classmethod
    def read(cls, told: Mapping[str, Any]) -> "Candidate":
        known = {name: told[name] for name in cls.__dataclass_fields__}
        cost = Decimal(told["monthly_cost_estimate_usd"])
        return cls(**{**known, "user_id": UUID(told["user_id"]), "monthly_cost_estimate_usd": cost})

    @property
    def name(self) -> str:
        return self.email or str(self.user_id)

    def list_price_usd(self, on: date) -> Decimal:
        """Fly's list price for a month, not rounded: cents are cut where it is shown."""
        return list_price_monthly_usd(self.cpu_kind, self.cpu_count, self.memory_mb, self.region, on)


def read_candidates(installation: Installation) -> list[Candidate]:
    """Everybody who is entitled and has no active app, by user id."""
    found: list[Candidate] = []
    after = None
    while True:
        page = installation.database.rpc("fly_migration_candidates", after=after, limit=_PAGE)
        found += map(Candidate.read, page["users"])
        after = page["next"]
        if after is None:
            return found


def probe(installation: Installation) -> None:
    """Ask `provision` about nobody, so that a wrong address or secret is found before anybody is admitted. Raises TargetError."""
    status, answer = installation.call_function("provision", {"user_id": str(uuid4())})
    if status >= httpx.codes.BAD_REQUEST:
        raise TargetError(f"the provision function answered {status}, so nobody was admitted: {answer.get('detail')}")


@dataclass(frozen=True)
class Result:
    """What became of one user; for a failed one `error_code` and what to do."""

    candidate: Candidate
    outcome: Word
    detail: str
    seconds: float = 0.0
    app_name: str | None = None
    machine_id: str | None = None
    error_code: str | None = None
    advice: str | None = None


class Refused(Exception):  # noqa: N818  Hangar's own word for it
    """Hangar holds back for everybody; the message says why."""


class Pace:
    """At most `per_minute` starts a minute, the first tenth of them at once."""

    def __init__(self, per_minute: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_s = per_minute / 60
        self._most = max(1.0, per_minute / 10)
        self._left, self._clock = self._most, clock
        self._at = clock()

    def take(self) -> bool:
        """Whether one may start now; it then counts."""
        now = self._clock()
        self._left = min(self._most, self._left + (now - self._at) * self._per_s)
        self._at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True


@dataclass
class Migration:
    """One run. `stopping` ends it from outside: what is under way is finished, nothing new is begun."""

    installation: Installation
    actor: str
    on_result: Callable[[Result], None]
    batch: int = 25
    workers: int = WORKERS
    per_minute: float = PER_MINUTE
    patience_s: float = PATIENCE_S
    stopping: threading.Event = field(default_factory=threading.Event)
    clock: Callable[[], float] = time.monotonic
    ending: Ending = "done"
    reason: str = ""
    results: list[Result] = field(default_factory=list)
    admitted_only: list[Candidate] = field(default_factory=list)
    untouched: list[Candidate] = field(default_factory=list)
    _same: tuple[str | None, int] = (None, 0)

    def run(self, candidates: list[Candidate]) -> None:
        """Work through `candidates`; the outcome is in the fields. Raises TargetError when a function cannot be called."""
        rest, admitted = deque(candidates), deque[Candidate]()
        under_way: set[Future[Result]] = set()
        pace = Pace(self.per_minute, self.clock)
        with ThreadPoolExecutor(self.workers, thread_name_prefix="migrate") as pool:
            while True:
                if not self.stopping.is_set() and not admitted and rest:
                    admitted.extend(self._admit([rest.popleft() for _ in range(min(self.batch, len(rest)))], rest))
                while not self.stopping.is_set() and admitted and len(under_way) < self.workers and pace.take():
                    under_way.add(pool.submit(self._work, admitted.popleft()))
                if not under_way and (self.stopping.is_set() or not (admitted or rest)):
                    break
                if under_way:
                    done, under_way = wait(under_way, timeout=0.1, return_when=FIRST_COMPLETED)
                    self._collect(done)
                else:
                    self.stopping.wait(0.05)
        self.admitted_only, self.untouched = list(admitted), list(rest)
        if self.stopping.is_set() and self.ending == "done" and (admitted or rest or self._has("unfinished")):
            self.ending = "interrupted"

    def end(self, ending: Ending, reason: str) -> None:
        """Begin nothing more; the first reason counts."""
        if self.ending == "done":
            self.ending, self.reason = ending, reason
        self.stopping.set()

    def _has(self, outcome: Word) -> bool:
        return any(result.outcome == outcome for result in self.results)

    def _admit(self, batch: list[Candidate], rest: deque[Candidate]) -> list[Candidate]:
        """Give a batch their rows; those who got none are told at once. A batch that could not be asked about goes back."""
        error: HangarError | None = None
        for attempt in range(_TRIES_TO_ADMIT):
            try:
                if self.installation.database.rpc("fly_overview")["settings"]["paused"]:
                    self.end("refused", "Hangar is paused: no change is made on Fly until `hangar resume`")
                    break
                users = [str(candidate.user_id) for candidate in batch]
                answer = self.installation.database.rpc("fly_admit", users=users, actor=self.actor)["users"]
            except HangarError as failure:
                error = failure
                if self.stopping.wait(2.0**attempt):
                    break
                continue
            for candidate in batch:
                if answer[str(candidate.user_id)] in ("none", "unknown"):
                    self._tell(Result(candidate, "skipped", "not entitled any more"))
            return [each for each in batch if answer[str(each.user_id)] not in ("none", "unknown")]
        if error is not None and not self.stopping.is_set():
            self.end("stopped", f"the database could not be asked to admit users: {error}")
        rest.extendleft(reversed(batch))
        return []

    def _collect(self, done: set[Future[Result]]) -> None:
        for future in done:
            try:
                result = future.result()
            except Refused as refused:
                self.end("refused", str(refused))
                continue
            except TargetError:
                self.stopping.set()  # the others are let finish by the pool
                raise
            self._tell(result)
            code, times = self._same
            if result.outcome == "failed":
                self._same = (result.error_code, times + 1 if result.error_code == code else 1)
            elif result.outcome == "active":
                self._same = (None, 0)
            if self._same[1] >= SAME_FAILURES:
                self.end(
                    "stopped", f"{SAME_FAILURES} users in a row failed with {result.error_code!r}: it is not the users"
                )

    def _tell(self, result: Result) -> None:
        self.results.append(result)
        self.on_result(result)

    def _work(self, candidate: Candidate) -> Result:
        """Call until the user's app is active, has failed, or patience ends."""
        begun = self.clock()
        detail, app_name = "no answer yet", None
        if candidate.status == "error" and (refused := self._retry(candidate)):
            return Result(candidate, "failed", refused)
        while self.clock() < begun + self.patience_s:
            try:
                status, answer = self.installation.call_function("provision", {"user_id": str(candidate.user_id)})
            except httpx.HTTPError as error:
                status, answer = 503, {"detail": f"the provision function gave no answer ({type(error).__name__})"}
            detail, app_name = str(answer.get("detail", answer)), answer.get("app_name") or app_name
            seconds = self.clock() - begun
            if status == httpx.codes.OK:
                word: Word = "active" if answer.get("status") == "active" else "skipped"
                return Result(candidate, word, detail, seconds, app_name, answer.get("machine_id"))
            if any(word in detail for word in _REFUSALS):
                raise Refused(detail)
            row = self._read_row(candidate)
            if row and row["status"] == "error" and row["lease_token"] is None:  # leased: another attempt is under way
                return self._explain(candidate, row, seconds)
            if status < 500 and status != httpx.codes.ACCEPTED:
                return Result(
                    candidate, "failed", f"the provision function answered {status}: {detail}", seconds, app_name
                )
            if self.stopping.wait(1.0 if status == httpx.codes.ACCEPTED else 3.0):
                break
        return Result(candidate, "unfinished", detail, self.clock() - begun, app_name)

    def _retry(self, candidate: Candidate) -> str | None:
        """End the wait after an earlier failure, and take over what was mended since; what went wrong with that, if it did."""
        try:
            self.installation.database.rpc("fly_retry", user=str(candidate.user_id), actor=self.actor)
        except HangarError as error:
            return str(error)
        return None

    def _read_row(self, candidate: Candidate) -> dict[str, Any] | None:
        """What the row says of the failure: an answer of 503 does not tell whether the user's own attempt is over."""
        try:
            rows = self.installation.read_rows("user_fly_apps", user_id=f"eq.{candidate.user_id}", deleted_at="is.null")
        except (HangarError, httpx.HTTPError):
            return None
        return rows[0] if rows else None

    def _explain(self, candidate: Candidate, row: Mapping[str, Any], seconds: float) -> Result:
        code = row["error_code"]
        advice = advise(code, candidate.name, goes_on=row["next_attempt_at"] is not None)
        name, message = row["fly_app_name"], row["error_message"] or "no message"
        return Result(candidate, "failed", message, seconds, name, row["machine_id"], code, advice)
