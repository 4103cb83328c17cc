"""Gives existing users their apps: admits them in batches, calls `provision` for each, and records the outcomes."""

import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Literal

from ops.client import Installation
from ops.connection import TargetError
from ops.migration.pace import PER_MINUTE, Pace
from ops.migration.provision import InstallationRefusal, Outcome, UserResult, provision_user
from shared.adapters.procedures_migration import Candidate
from shared.domain.errors import HangarError

WORKERS = 16
PATIENCE_S = 300.0
# After this many users in a row with the same failure, the cause is not in the users.
SAME_FAILURES = 10
_ADMIT_ATTEMPTS = 4
# Outcomes of fly_admit for users who get no app, and why not.
_NOT_ADMITTED = {
    "none": "not entitled any more",
    "unknown": "not entitled any more",
    "legacy": "has an app of the original system; see `hangar adopt`",
}

Ending = Literal["done", "interrupted", "refused", "stopped"]


@dataclass
class Migration:
    """One run. Setting `stopping` ends it: users in progress are finished, no others are started."""

    installation: Installation
    actor: str
    on_result: Callable[[UserResult], None]
    batch: int = 25
    workers: int = WORKERS
    per_minute: float = PER_MINUTE
    patience_s: float = PATIENCE_S
    stopping: threading.Event = field(default_factory=threading.Event)
    clock: Callable[[], float] = time.monotonic
    ending: Ending = "done"
    reason: str = ""
    results: list[UserResult] = field(default_factory=list)
    admitted_only: list[Candidate] = field(default_factory=list)
    not_begun: list[Candidate] = field(default_factory=list)
    _last_failure: tuple[str | None, int] = (None, 0)  # its code, and how many users in a row had it

    def run(self, candidates: list[Candidate]) -> None:
        """Work through `candidates`. The outcome is in the fields. Raises TargetError if a function cannot be called."""
        waiting, admitted = deque(candidates), deque[Candidate]()
        in_progress: set[Future[UserResult]] = set()
        pace = Pace(self.per_minute, self.clock)
        with ThreadPoolExecutor(self.workers, thread_name_prefix="migrate") as pool:
            while True:
                if not self.stopping.is_set() and not admitted and waiting:
                    batch = [waiting.popleft() for _ in range(min(self.batch, len(waiting)))]
                    admitted.extend(self._admit(batch, waiting))
                while not self.stopping.is_set() and admitted and len(in_progress) < self.workers and pace.take():
                    in_progress.add(pool.submit(self._provision, admitted.popleft()))
                if not in_progress and (self.stopping.is_set() or not (admitted or waiting)):
                    break
                if in_progress:
                    done, in_progress = wait(in_progress, timeout=0.1, return_when=FIRST_COMPLETED)
                    self._collect(done)
                else:
                    self.stopping.wait(0.05)
        self.admitted_only, self.not_begun = list(admitted), list(waiting)
        if self.stopping.is_set() and self.ending == "done" and (admitted or waiting or self._has("unfinished")):
            self.ending = "interrupted"

    def end(self, ending: Ending, reason: str) -> None:
        """Start no more users. The first call decides ending and reason."""
        if self.ending == "done":
            self.ending, self.reason = ending, reason
        self.stopping.set()

    def _has(self, outcome: Outcome) -> bool:
        return any(result.outcome == outcome for result in self.results)

    def _admit(self, batch: list[Candidate], waiting: deque[Candidate]) -> list[Candidate]:
        """Create the rows of a batch and return who has one. After an error the batch goes back to `waiting`."""
        error: HangarError | None = None
        for attempt in range(_ADMIT_ATTEMPTS):
            try:
                if self.installation.database.read_overview().is_paused:
                    self.end("refused", "Hangar is paused: no change is made on Fly. Run `hangar resume` first")
                    break
                users = [candidate.user_id for candidate in batch]
                outcomes = self.installation.database.admit(users, actor=self.actor)
            except HangarError as failure:
                error = failure
                if self.stopping.wait(2.0**attempt):
                    break
                continue
            admitted = [each for each in batch if outcomes[each.user_id] not in _NOT_ADMITTED]
            for candidate in batch:
                if candidate not in admitted:
                    self._record(UserResult(candidate, "skipped", _NOT_ADMITTED[outcomes[candidate.user_id]]))
            return admitted
        if error is not None and not self.stopping.is_set():
            self.end("stopped", f"the database did not admit users: {error}")
        waiting.extendleft(reversed(batch))
        return []

    def _provision(self, candidate: Candidate) -> UserResult:
        return provision_user(
            self.installation,
            candidate,
            actor=self.actor,
            patience_s=self.patience_s,
            stopping=self.stopping,
            clock=self.clock,
        )

    def _collect(self, done: set[Future[UserResult]]) -> None:
        for future in done:
            try:
                result = future.result()
            except InstallationRefusal as refusal:
                self.end("refused", str(refusal))
                continue
            except TargetError:
                self.stopping.set()  # the pool waits for the others
                raise
            self._record(result)
            code, times = self._last_failure
            if result.outcome == "failed":
                self._last_failure = (result.error_code, times + 1 if result.error_code == code else 1)
            elif result.outcome == "active":
                self._last_failure = (None, 0)
            if self._last_failure[1] >= SAME_FAILURES:
                self.end(
                    "stopped",
                    f"{SAME_FAILURES} users in a row failed with {result.error_code!r}; the cause is not in the users",
                )

    def _record(self, result: UserResult) -> None:
        self.results.append(result)
        self.on_result(result)
