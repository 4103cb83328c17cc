"""Direct questions to Fly about many apps at once, and what an answer says of an app."""

import logging
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Self, TypeVar

import httpx

from shared.adapters.procedures_sweep import AppReport
from shared.domain.actions import Action, Done, Wait
from shared.domain.decide import decide, is_asleep
from shared.domain.errors import HangarError, Throttled, TransientError
from shared.domain.machine_states import GONE_STATES
from shared.domain.models import Row
from shared.domain.observation import AppPresence, Observation, ObservedMachine
from shared.domain.symptom import Symptom, SymptomCode
from shared.fleet.app_symptoms import explain_crashes, explain_failure, explain_machine
from shared.fleet.drift_report import add_spec
from shared.fleet.inventory import Inventory, has_running_spare, has_second_machine
from shared.reconcile.observed_machine import to_observation

if TYPE_CHECKING:
    from shared.reconcile.worker import Worker

T = TypeVar("T")
_log = logging.getLogger("hangar.probe")
# Measured against the simulator at Fly's latency (docs/benchmarks.md): more only adds connections.
LOOKERS = 64
LOOK_BUDGET_S = 10.0
# Longer than LOOK_EVERY, so that a large fleet's app is not taken for an old contradiction at its first look.
CONTRADICTION_WAIT = timedelta(hours=1)


@dataclass(frozen=True)
class Probe:
    """Fly's answer about one row's machine: the machine, or the failure. Neither: the row names no machine."""

    machine: ObservedMachine | None = None
    failure: HangarError | None = None


class Prober:
    """Asks Fly about many machines at once, on one pool of threads. Leaving the block ends it."""

    def __init__(self, worker: "Worker", is_time_up: Callable[[], bool], time: Callable[[], datetime]) -> None:
        self._worker = worker
        self._time = time  # the database's
        self._is_time_up = is_time_up
        self._stopped = False
        self._held_until = float("-inf")
        self._pool = ThreadPoolExecutor(LOOKERS, thread_name_prefix="probe")

    def __enter__(self) -> Self:
        self._pool.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()
        self._pool.__exit__(None, None, None)

    def stop(self) -> None:
        """Begin no further probe."""
        self._stopped = True

    def submit(self, call: Callable[[], T]) -> "Future[T]":
        """Run any call on the pool, with the log labels of this request."""
        return self._pool.submit(copy_context().run, call)

    def probe(self, row: Row) -> "Future[Probe | None]":
        """Ask for this row's machine; None when the time was up, or Fly's rate limit left no turn."""
        return self.submit(lambda: self._probe(row))

    def _probe(self, row: Row) -> Probe | None:
        self._await_hold()
        if self._stopped or self._is_time_up():
            return None
        if row.machine_id is None:
            return Probe()
        try:
            machine = self._worker.fly.get_machine(
                row.fly_app_name, row.machine_id, attempts=self._hold_if_refused, budget_s=LOOK_BUDGET_S
            )
            lead = self._worker.fly.lead_over(self._time())
            return Probe(machine=to_observation(machine, lead, self._worker.inputs.find_drift(row, machine)))
        except Throttled:
            return None  # the request was not sent
        except HangarError as error:
            return Probe(failure=error)

    def _hold_if_refused(self, _attempt: int, error: HangarError, wait_s: float) -> None:
        """A 429 to one probe holds back every probe that has not begun."""
        if isinstance(error, TransientError) and error.status == httpx.codes.TOO_MANY_REQUESTS:
            self._held_until = max(self._held_until, self._worker.clock() + wait_s)

    def _await_hold(self) -> None:
        while not (self._stopped or self._is_time_up()):
            wait_s = self._held_until - self._worker.clock()
            if wait_s <= 0:
                return
            self._worker.sleep(wait_s)


def report_probe(row: Row, probed: "Future[Probe | None]", inventory: Inventory, now: datetime) -> AppReport | None:
    """What to write about the row after its probe; None when nothing is known that was not known before.

    Fly out of reach is unknown health. Whatever is wrong makes the row due; only its reconciler draws conclusions.
    """
    try:
        probe = probed.result()
        if probe is None:
            return None
        report = (_report_wanted if row.desired_state == "present" else _report_in_grace)(row, probe, inventory, now)
        # A row that is being provisioned is due anyway, and has no health yet; only what is wrong with it is counted.
        is_booting = report is not None and row.status == "provisioning"
        return replace(report, health=None, due=False) if report and is_booting else report
    except Exception:  # noqa: BLE001  one odd app must not blind the sweep to the others
        _log.exception("the probe of %s failed", row.fly_app_name)
        return AppReport(row.id, health="unknown", reason="the probe failed; the log has the details")


def _report_wanted(row: Row, probe: Probe, inventory: Inventory, now: datetime) -> AppReport:
    active, machine = row.status == "active", probe.machine
    if probe.failure is not None:
        return _report_unread(row, explain_failure(row, probe.failure, inventory), probe.failure, now)
    if machine is None:
        return AppReport(row.id, due=active, reason="the row names no machine")
    symptom = explain_machine(row, machine, inventory) or explain_crashes(machine, now)
    told = AppReport(row.id, machine_state=machine.state, direct=True, **_describe(symptom))
    if machine.state in GONE_STATES:
        return replace(told, health="unknown", due=active, reason=f"the machine is {machine.state}")
    due, wrong = _is_due(row, machine, now)
    if not due and has_second_machine(row, inventory):
        due, wrong = True, "the app has a second machine"
    # An on-demand machine that sleeps is neither healthy nor unhealthy.
    health = None if is_asleep(row, machine) else machine.health
    return add_spec(replace(told, health=health, due=due, reason=wrong), row, machine, now)


def _report_unread(row: Row, symptom: Symptom, failure: HangarError, now: datetime) -> AppReport:
    if symptom.code is SymptomCode.MISSING:
        due = row.status == "active"
        told = AppReport(row.id, machine_state="absent", health="unknown", direct=True, due=due, reason=symptom.detail)
    else:
        # While Fly's list still shows the machine, a 404 is no reason to make another one. After an hour the app is read itself.
        contradicts = symptom.code is SymptomCode.CONTRADICTION
        is_old = row.observed_at is not None and now - row.observed_at > CONTRADICTION_WAIT
        reason = symptom.detail if contradicts else str(failure)
        told = AppReport(row.id, health="unknown", due=contradicts and is_old and row.status == "active", reason=reason)
    return replace(told, **_describe(symptom))


def _describe(symptom: Symptom | None) -> dict[str, Any]:
    return {"symptom": symptom.code.value, "detail": symptom.detail} if symptom else {}


def _report_in_grace(row: Row, probe: Probe, inventory: Inventory, now: datetime) -> AppReport | None:
    """The listing shows a machine running that was stopped for the grace. If it runs, it costs money and the row is due."""
    if probe.machine is None:
        _log.warning(
            "%s may run in its grace, the next sweep asks again: %s", row.fly_app_name, probe.failure or "no machine"
        )
        return None
    acts = isinstance(decide(row, Observation(AppPresence.OURS, (probe.machine,)), now), Action)
    due = acts or has_running_spare(row, inventory)
    report = AppReport(row.id, machine_state=probe.machine.state, direct=True, due=due)
    return add_spec(report, row, probe.machine, now)


def _is_due(row: Row, machine: ObservedMachine, now: datetime) -> tuple[bool, str | None]:
    """Whether the reconciler would have something to do, by its own decision; and what is wrong, in words."""
    decision = decide(row, Observation(AppPresence.OURS, (machine,)), now)
    # An active row is due when there is something to do, a row in error when there is nothing left to do.
    due = (row.status == "active") != isinstance(decision, Done)
    if isinstance(decision, Wait) and not machine.host_ok:
        return False, "Fly cannot reach the machine's host"
    if machine.state != "started":
        return due, f"the machine is {machine.state}"
    return due, machine.symptom.detail if machine.symptom else None
