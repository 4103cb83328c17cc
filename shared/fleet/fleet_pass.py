"""One pass over every live row, page by page: probe, judge, write, and move the cursor.

Several pages are under way at once: while Fly is listed and while earlier pages are probed, later pages are read and the
apps whose turn it is are probed. The cursor moves past a page only after everything seen of that page is written.
"""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from shared.adapters.procedures_sweep import AppReport, SweepClaim, SweepCursor
from shared.domain.models import Row
from shared.domain.paging import Paging
from shared.fleet.health_probe import Probe, Prober, report_probe
from shared.fleet.incidents import IncidentGuard
from shared.fleet.inventory import Inventory, is_its_turn, is_suspect, observe_listed, runs_in_grace

if TYPE_CHECKING:
    from concurrent.futures import Future
    from datetime import datetime
    from uuid import UUID

    from shared.adapters.procedures import Database

RECORD_AT_ONCE = 500
# So many rows (a page has 1,000) are in memory at once, about 4 kB each.
PAGES_AHEAD = 10


@dataclass
class FleetCounts:
    """What a pass has counted in this sweep: apps by the health that their rows show now."""

    apps: int = 0
    healthy: int = 0
    unhealthy: int = 0
    unknown: int = 0

    def add_written(self, results: Iterable[tuple[int, int, int]]) -> None:
        """Count rows as they are after they were written."""
        for healthy, unhealthy, written in results:
            self.healthy += healthy
            self.unhealthy += unhealthy
            self.unknown += written - healthy - unhealthy

    def add_rows(self, rows: Iterable[Row]) -> None:
        """Count rows as they were read."""
        health = [row.health_status for row in rows]
        healthy, unhealthy = health.count("healthy"), health.count("unhealthy")
        self.healthy += healthy
        self.unhealthy += unhealthy
        self.unknown += len(health) - healthy - unhealthy


@dataclass
class Page:
    """Live rows by id, and the probes that are under way for them."""

    rows: tuple[Row, ...]
    next: "UUID | None"
    probes: "dict[UUID, Future[Probe | None]]" = field(default_factory=dict)

    def has_every_probe(self) -> bool:
        """Whether every probe of this page was made. Waits for those in progress."""
        return all(_was_made(probe) for probe in self.probes.values())


@dataclass
class FleetPass:
    """A new pass, or the rest of the one that the claim's cursor continues. `detail` says why it ended early, if it did.

    `lost`: another sweep has taken over, so this one must judge nothing more.
    """

    database: "Database"
    prober: Prober
    claim: SweepClaim
    page_size: int
    probe_all: bool
    is_time_up: Callable[[], bool]
    counts: FleetCounts
    complete: bool = False
    lost: bool = False
    detail: str = ""
    _ahead: deque[Page] = field(default_factory=deque)
    _inventory: Inventory | None = None
    _read_all: bool = False
    _paging: Paging = field(default_factory=lambda: Paging("read the fleet"))

    def __post_init__(self) -> None:
        self.cursor = self.claim.cursor
        self.started_at = self.cursor.started_at if self.cursor else self.claim.now
        self.unprobed = self.cursor.unprobed if self.cursor else 0
        self.earlier_broken = self.cursor.broken if self.cursor else 0
        self._guard = IncidentGuard(self.claim.settings)
        self._read_after = self.cursor.after if self.cursor else None

    @property
    def broken(self) -> int:
        """How many apps the whole pass, so far, has taken for one incident."""
        return self.earlier_broken + self._guard.broken

    @property
    def hidden(self) -> int:
        """How many apps this sweep has found missing while Fly's lists show none of ours."""
        return self._guard.hidden

    def rows_ahead(self) -> set[tuple[str, str]]:
        """(id in hex, app) of the rows that are in memory."""
        return {(row.id.hex, row.fly_app_name) for page in self._ahead for row in page.rows}

    def read_ahead(self) -> None:
        """Read pages and start their probes, as far as memory allows."""
        while len(self._ahead) < PAGES_AHEAD and not self._read_all and not (self._ahead and self.is_time_up()):
            self._paging.advance(self._read_after)
            found = self.database.read_fleet_page(self._read_after, self.page_size)
            self._read_after, self._read_all = found.next, found.next is None
            page = Page(found.rows, found.next)
            self._probe(page, [row for row in page.rows if is_probed(row) and self._is_its_turn(row)])
            if self._inventory is not None:
                self._probe_suspects(page, self._inventory)
            self._ahead.append(page)

    def cover(self, inventory: Inventory) -> None:
        """Record page by page until the fleet is covered, the time is up, or another sweep has taken over.

        A sweep records at least one page. Later pages that it had no time to probe whole are left to the next sweep, so that
        the pass can become complete.
        """
        self._inventory = inventory
        for page in self._ahead:
            self._probe_suspects(page, inventory)
        while True:
            self.read_ahead()
            page = self._ahead.popleft()
            self._record_page(page, inventory)
            if page.next is None:
                self.complete = self.unprobed == 0
                # A complete pass keeps its cursor until the sweep is finished: the cursor knows when the pass began.
                if self._save_cursor(self.cursor if self.complete else None) and self.unprobed:
                    self.detail = (
                        f"the time was up before {self.unprobed} apps were looked at; they come first in the next sweep"
                    )
                return
            if not self._save_cursor(SweepCursor(page.next, self.started_at, self.unprobed, self.broken)):
                break
            if self.is_time_up() and not (self._ahead and self._ahead[0].has_every_probe()):
                self.detail = "the time was up; the next sweep continues from here"
                break
        self._record_rest(inventory)

    def _is_its_turn(self, row: Row) -> bool:
        return self.probe_all or is_its_turn(row, self.claim.now)

    def _probe_suspects(self, page: Page, inventory: Inventory) -> None:
        """What only the listing can tell: doubtful apps, and machines that run in their grace. And machines that come up."""
        doubtful = [row for row in page.rows if is_probed(row) and is_suspect(row, inventory)]
        woken = [row for row in page.rows if runs_in_grace(row, inventory, self.claim.now)]
        booting = [row for row in page.rows if is_booting(row)]
        self._probe(page, [row for row in [*doubtful, *woken, *booting] if row.id not in page.probes])

    def _probe(self, page: Page, rows: list[Row]) -> None:
        # The app whose last probe is the oldest comes first: a sweep that has time for a few starves none.
        rows.sort(key=lambda row: (row.observed_at is not None, row.observed_at))
        page.probes.update((row.id, self.prober.probe(row)) for row in rows)

    def _record_page(self, page: Page, inventory: Inventory) -> None:
        reports, unprobed = self._report(page, inventory)
        if self.is_time_up():
            self.unprobed += unprobed
        self.counts.apps += len(page.rows)
        self.counts.add_written(write_reports(self.database, reports, self.claim.now))
        recorded = {report.id for report in reports}
        self.counts.add_rows(row for row in page.rows if row.id not in recorded)

    def _report(self, page: Page, inventory: Inventory, judged: int | None = None) -> tuple[list[AppReport], int]:
        """The reports of a page, after the incident guard, and how many apps should have been probed and were not.

        `judged` is the number of judged rows of the whole page, if `page` holds only some of them.
        """
        probed = [row for row in page.rows if is_probed(row)]
        found = {
            row.id: report_probe(row, page.probes[row.id], inventory, self.claim.now)
            for row in page.rows
            if row.id in page.probes
        }
        unprobed = sum(found.get(row.id, _NOT_NEEDED) is None for row in probed)
        reports = [found.get(row.id) or observe_listed(row, inventory) for row in probed]
        wanted = [report for report in reports if report]
        if not inventory.lists_ours:
            wanted = self._guard.hold_hidden(wanted)
        limited = self._guard.limit_repairs(wanted, judged or len(probed))
        others = [found.get(row.id) for row in page.rows if not is_probed(row)]  # in grace, or being provisioned
        return limited + [report for report in others if report], unprobed

    def _record_rest(self, inventory: Inventory) -> None:
        """Write what was probed of pages that the cursor has not reached. They are counted by the sweep that reaches them."""
        for page in self._ahead:
            made = {row_id: probe for row_id, probe in page.probes.items() if probe.done() and _was_made(probe)}
            rows = tuple(row for row in page.rows if row.id in made)
            judged = sum(map(is_probed, page.rows))
            broken, hidden = self._guard.broken, self._guard.hidden
            reports, _ = self._report(Page(rows, None, made), inventory, judged)
            self._guard.broken, self._guard.hidden = broken, hidden  # counted by the sweep that reaches the page
            write_reports(self.database, reports, self.claim.now)

    def keeps_lease(self) -> bool:
        """Whether this sweep still holds its lease, which it renews. Asked before anything that only one sweep may do."""
        return self._save_cursor(self.cursor)

    def _save_cursor(self, cursor: SweepCursor | None) -> bool:
        if self.database.save_sweep_progress(self.claim.token, cursor):
            self.cursor = cursor
            return True
        self.complete, self.lost, self.detail = False, True, "another sweep has taken over"
        return False


_NOT_NEEDED = object()


def write_reports(database: "Database", reports: Sequence[AppReport], now: "datetime") -> list[tuple[int, int, int]]:
    """Write reports, 500 a statement; (healthy, unhealthy, written) of each."""
    results = []
    for start in range(0, len(reports), RECORD_AT_ONCE):
        chunk = reports[start : start + RECORD_AT_ONCE]
        result = database.record_sweep(chunk, now)
        results.append((result.healthy, result.unhealthy, len(chunk)))
    return results


def is_probed(row: Row) -> bool:
    """Whether a sweep judges this row: wanted, and past its provisioning."""
    return row.desired_state == "present" and row.status in ("active", "error")


def is_booting(row: Row) -> bool:
    """Whether the row waits for a machine that exists. Without a look at it, one that never becomes ready is silent."""
    return row.desired_state == "present" and row.status == "provisioning" and row.machine_id is not None


def _was_made(probe: "Future[Probe | None]") -> bool:
    try:
        return probe.result() is not None
    except Exception:  # noqa: BLE001  report_probe says what went wrong
        return True
