"""Works on the rows that are due, several at a time, until none is left or the time is up."""

from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextvars import copy_context
from dataclasses import dataclass
from typing import TYPE_CHECKING

from shared.domain.models import Row
from shared.reconcile.reconciler import attempt_reconcile, work_on
from shared.reconcile.result import Result

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from shared.reconcile.worker import Worker

# A worker waits for Fly most of the time, and Fly limits calls per app, not per organisation.
WORKERS = 16
# With less time left, a row would be claimed only to be released again.
LEAST_TIME_S = 3.0
# A row that needs longer is released and continues later, so that a few slow rows do not occupy every worker.
TURN_S = 60.0
FIRST_LOOK_AGAIN_S, LAST_LOOK_AGAIN_S = 1.0, 5.0


@dataclass
class Drained:
    """What a drain did. `left`: rows that were still due when it ended."""

    provisioned: int = 0
    deprovisioned: int = 0
    repaired: int = 0
    failed: int = 0
    left: int = 0

    def count(self, before: Row, outcome: Result) -> None:
        """Add one row's outcome."""
        if outcome.failure is not None:
            self.failed += 1
        elif outcome.state != "converged":
            return
        elif outcome.status == "deleted":
            self.deprovisioned += 1
        elif outcome.status == "active":
            if before.status == "active":
                self.repaired += 1
            else:
                self.provisioned += 1


def look_at(worker: "Worker", users: "Sequence[UUID]", ends_at: float) -> Drained:
    """Bring these users' apps to their desired state, all at the same time. Raises what claiming raises."""
    drained = Drained()
    with ThreadPoolExecutor(max(1, len(users)), thread_name_prefix="look") as pool:
        contexts = [copy_context() for _ in users]
        futures = [
            pool.submit(context.run, attempt_reconcile, worker, user, ends_at)
            for context, user in zip(contexts, users, strict=True)
        ]
    for result in [future.result() for future in futures]:
        if result.failure is not None:
            drained.failed += 1
        elif result.state == "converged" and result.actions:
            drained.deprovisioned += result.status == "deleted"
            drained.provisioned += result.status == "active"
    return drained


def drain(worker: "Worker", ends_at: float, workers: int = WORKERS) -> Drained:
    """Claim due rows and work on them until `ends_at` on the worker's clock. Raises what claiming raises.

    Oldest due rows first; half of the workers for present rows and half for absent ones.
    """
    drained, patience_s = Drained(), FIRST_LOOK_AGAIN_S
    in_progress: dict[Future[Result], Row] = {}

    def settle(futures: set[Future[Result]]) -> None:
        for future in futures:
            drained.count(in_progress.pop(future), future.result())

    with ThreadPoolExecutor(workers, thread_name_prefix="drain") as pool:
        while worker.clock() < ends_at - LEAST_TIME_S:
            unwanted = sum(row.desired_state == "absent" for row in in_progress.values())
            rows, settings, now, drained.left = worker.database.claim_due(
                workers - len(in_progress),
                worker.holder,
                "present" if 2 * unwanted >= len(in_progress) else "absent",
            )
            turn_ends_at = min(ends_at, worker.clock() + TURN_S)
            for row in rows:
                # The request's log labels and trace travel with its workers.
                context = copy_context()
                future = pool.submit(context.run, work_on, worker, row, settings, now, turn_ends_at)
                in_progress[future] = row
            if not in_progress:
                break
            # With every worker busy, wait for the next to finish; with room and nothing due, look again soon, then less often.
            has_room = len(in_progress) < workers and drained.left == 0
            patience_s = FIRST_LOOK_AGAIN_S if rows else min(2 * patience_s, LAST_LOOK_AGAIN_S)
            settle(wait(in_progress, timeout=patience_s if has_room else None, return_when=FIRST_COMPLETED).done)
        settle(wait(in_progress).done)
    return drained
