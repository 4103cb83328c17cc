"""Runs groups of checks: one after the other, or at the same time for at most so many seconds."""

import contextvars
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from shared.doctor.checks import Check, add_missing, collect, guard


@dataclass(frozen=True)
class Group:
    """Checks that are made together, in this order. `names` are all that `run` makes."""

    names: tuple[str, ...]
    run: Callable[[], Iterable[Check]]


@dataclass
class _Running:
    """A group at work. `found` grows meanwhile; `why` says afterwards why checks are missing."""

    group: Group
    found: list[Check] = field(default_factory=list)
    why: str = ""

    def start(self) -> threading.Thread:
        # Not a pool: its threads would keep the process from ending while a connection hangs.
        context = contextvars.copy_context()  # the id of the request, for log lines
        thread = threading.Thread(target=lambda: context.run(self._run), daemon=True)
        thread.start()
        return thread

    def _run(self) -> None:
        self.why = collect(self.group.run, self.found)


def run_groups(groups: Sequence[Group], patience_s: float | None = None) -> list[Check]:
    """The checks of all groups.

    With `patience_s` the groups run at the same time, and what has not answered by then is `not_checked`.
    """
    if patience_s is None:
        return [check for group in groups for check in guard(group.names, group.run)]
    running = [_Running(group) for group in groups]
    ends_at = time.monotonic() + patience_s
    for thread in [each.start() for each in running]:
        thread.join(max(0.0, ends_at - time.monotonic()))
    late = f"no answer within {patience_s:g} s"
    # A copy first: a late thread may still add to the list.
    return [check for each in running for check in add_missing(each.group.names, list(each.found), each.why or late)]
