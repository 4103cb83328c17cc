"""Runs one case of the matrix from start to end, and checks what must be true afterwards."""

import json
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from functions.responses import answer_result
from local.fly.faults import parse_faults
from shared.domain.errors import HangarError
from shared.domain.machine_states import STUCK
from shared.fleet.sweep import Sweep
from tests.simulation.exhaustive_circumstances import CIRCUMSTANCES, PLAIN
from tests.simulation.exhaustive_faults import FAILURES, refuse_everything
from tests.simulation.exhaustive_ways import REGION, Start
from tests.support.boundaries import Killed
from tests.support.promises import find_entitled
from tests.support.rewind import ProcessPlan
from tests.support.world import World

LEASE_S = 120
SWEEP_EVERY_S = 300
# After this long without an outcome, a sweep records an orphan's deletion as unknown.
ORPHAN_UNKNOWN_S = 601
# I7: how many writes one tier change may cause without faults, and how many more each fault. A death counts as a fault.
WRITES, WRITES_A_FAULT = 12, 3


@dataclass(frozen=True)
class Case:
    """One failure in one use case (`way`). `number` counts the calls to Fly, or to the database, from 0."""

    way: str
    number: int
    call: tuple[str, str]
    failure: str
    when: str = "before"
    times: int = 1
    fate: str = "lives"
    delivery: str = "once"
    circumstance: str = PLAIN

    def __str__(self) -> str:
        often = f" x{self.times}" if self.times > 1 else ""
        around = "" if self.circumstance == PLAIN else f"; {self.circumstance}"
        what = f"{self.failure} {self.when} {' '.join(self.call)} (call {self.number}){often}"
        return f"{self.way}: {what}; the worker {self.fate}; nudged {self.delivery}{around}"


class CaseRun:
    """One run of a case. The world must be at the starting point of the use case; `run` leaves it in its end state."""

    def __init__(self, world: World, start: Start, case: Case) -> None:
        self.world, self.start, self.case = world, start, case
        self.around = CIRCUMSTANCES[case.circumstance]
        self.worker = ProcessPlan()
        self.armed = False
        self.sweeps = 0
        self.left_by_other: str | None = None

    def run(self) -> list[str]:
        """Run the case. Returns the violations; an empty list if every promise held."""
        self._arm()
        if self.case.delivery == "reordered":
            self.world.flip_twice(self.start.user)
        self._deliver()
        if self.case.fate.startswith("dies"):
            # The next worker takes over and may meet the same fault.
            self.world.rewind.faults_met += 1
            self._let_leases_end()
            self._drain()
        self._end_faults()
        broken = self._settle()
        if self.world.rewind.writes > WRITES + WRITES_A_FAULT * self.world.rewind.faults_met:
            broken.append(f"I7: {self.world.rewind.writes} writes with {self.world.rewind.faults_met} faults")
        return [*self.world.rewind.broken, *broken]

    # Faults

    def _arm(self) -> None:
        case, worker = self.case, self.worker
        if case.call[0] == "rpc":
            worker.rpc_at, worker.rpc_times, worker.rpc_failure = case.number, case.times, case.failure
            self.armed = True
        else:
            worker.at, worker.before, worker.after = case.number, self._meet_before, self._meet_after

    def _meet_before(self) -> None:
        self.armed = True
        self._begin_fault()
        if self.around.meanwhile:
            self.around.meanwhile(self.world, self.start.user)
        if self.case.delivery == "interleaved":
            self._work_as_another()
        if self.case.fate == "dies before":
            raise Killed(self.case.call)
        if self.case.fate == "sleeps before":
            self._sleep()

    def _meet_after(self) -> None:
        self.worker.after = None
        if self.case.fate == "dies after":
            raise Killed(self.case.call)
        if self.case.fate == "dies unrecorded":
            self.worker.die_at_next_rpc = True
        if self.case.fate == "sleeps after":
            self._sleep()

    def _begin_fault(self) -> None:
        failure = FAILURES[self.case.failure]
        method, path = self.case.call
        if failure.rule:
            rule = {"method": method, "path": path, "when": self.case.when, "times": self.case.times, **failure.rule}
            self.world.sim.world.faults = parse_faults([rule])
        if failure.everything:
            self.world.sim.world.faults = parse_faults(refuse_everything(failure.everything))
        for machine in self.world.sim.machines() if failure.bend else ():
            self.world.rewind.faults_met += 1
            self.world.control("PUT", f"machines/{machine.id}", failure.bend)
        if failure.region:
            self.world.rewind.faults_met += 1
            self.world.control("PUT", f"regions/{REGION}", failure.region)

    def _end_faults(self) -> None:
        failure, world = FAILURES.get(self.case.failure), self.world
        world.sim.world.faults = []
        if self.around.end and self.armed:
            self.around.end(world)
        if failure and "host_status" in failure.bend:
            for machine in world.sim.machines():
                world.control("PUT", f"machines/{machine.id}", {"host_status": "ok"})
        if failure and "state" in failure.bend:
            world.clock.advance(STUCK.total_seconds())
        if failure and failure.region:
            world.control("PUT", f"regions/{REGION}", {})

    def _sleep(self) -> None:
        """Suspend this worker until another one has taken the lease and finished the work."""
        self.world.rewind.faults_met += 1
        self._let_leases_end()
        self._work_as_another()
        self.left_by_other = json.dumps(self.world.row(self.start.user))

    # Workers and the order in which they run

    def _deliver(self) -> None:
        late = self.case.delivery in ("late", "never")
        with suppress(Killed, HangarError):
            if late or self.start.driver == "sweep":
                self._sweep(self.worker)
            else:
                self._nudge(self.worker, "provision")
        if self.left_by_other and not late and self.start.driver == "nudge":
            now = json.dumps(self.world.row(self.start.user))
            if now != self.left_by_other:
                self.world.rewind.broken.append(f"I6: the sleeper changed the row from {self.left_by_other} to {now}")
        if self.case.delivery in ("doubled", "reordered", "late"):
            with suppress(HangarError):
                self._nudge(ProcessPlan(), "deprovision" if self.case.delivery == "reordered" else "provision")

    def _nudge(self, worker: ProcessPlan, function: str) -> None:
        outcome = self.world.new_worker(worker).reconcile(self.start.user, 240)
        answer = answer_result(outcome, self.start.user, function)
        assert answer.status in (200, 202)

    def _work_as_another(self) -> None:
        with suppress(HangarError):
            if self.start.driver == "sweep" or self.case.delivery == "never":
                self._sweep(ProcessPlan())
            else:
                self._nudge(ProcessPlan(), "provision")

    def _sweep(self, worker: ProcessPlan) -> None:
        Sweep(self.world.new_worker(worker), self.world.clock() + 240).run(drain_only=False)

    def _drain(self) -> None:
        with suppress(HangarError):
            Sweep(self.world.new_worker(), self.world.clock() + 50).run(drain_only=True)

    def _let_leases_end(self) -> None:
        self.world.clock.advance(LEASE_S + 1)

    # The end state

    def _settle(self) -> list[str]:
        """Run at most two sweeps after the last deadline and return the violations. A settled world must then stay at rest."""
        self._let_leases_end()
        row = self.world.row(self.start.user)
        if row.get("status") == "error" and row["next_attempt_at"] is None:
            self.world.sql("select public.fly_retry(%s, 'operator')", self.start.user)
        deadlines = [row.get("next_attempt_at"), row.get("delete_after")]
        last = max([self.world.clock(), *(datetime.fromisoformat(each).timestamp() + 1 for each in deadlines if each)])
        if self.start.driver == "sweep":
            last = max(last, self.world.clock() + ORPHAN_UNKNOWN_S)
        self.world.clock.advance(last - self.world.clock())
        for _ in range(2):
            self.sweeps += 1
            self._sweep(ProcessPlan())
            broken = self._check()
            if not broken:
                break
            self.world.clock.advance(SWEEP_EVERY_S)
        if not broken and self.case.delivery == "doubled":
            broken = self._rest()
        return broken

    def _rest(self) -> list[str]:
        """A converged world causes no further action."""
        writes = self.world.rewind.writes
        self.world.clock.advance(SWEEP_EVERY_S)
        self._sweep(ProcessPlan())
        broken = self._check()
        return broken if self.world.rewind.writes == writes else [*broken, "something was written to Fly at rest"]

    def _check(self) -> list[str]:
        """Violations of I1, I2, I3, I5, I8, I10 and I11 in the world's own state."""
        world, start = self.world, self.start
        facts: dict[str, Any] = world.sql(_FACTS, start.user, start.user, start.user)[0][0]
        if self.case.circumstance != PLAIN:  # judged by the checker's own reading of the host's rows
            facts["entitled"] = start.user in find_entitled(world)
        row, broken = facts["row"] or {}, []
        found = world.apps()
        there = {name: [machine.id for machine in machines] for name, machines in found.items()}
        expected = {row["fly_app_name"]: [row["machine_id"]]} if facts["entitled"] else {}
        if there != expected:
            broken.append(f"I1 to I3: Fly has {there}, expected {expected}")
        states = {machine.state for machines in found.values() for machine in machines}
        if states - {"started"}:
            broken.append(f"I1: machines are {states}")
        wanted = ("active",) if facts["entitled"] else ("deleted", None)
        if row.get("status") not in wanted or row.get("lease_token") or row.get("open_intent"):
            broken.append(f"I8: the row is {row}")
        if facts["entitled"] and row["observed_generation"] != row["generation"]:
            broken.append(f"I1: generation {row['generation']}, observed {row['observed_generation']}")
        if start.keeps and self._must_keep() and start.keeps not in str(there):
            broken.append(f"I5: machine {start.keeps} is gone")
        if facts["unclosed"]:
            broken.append(f"I11: {facts['unclosed']} intents do not have one outcome")
        running = sorted(machine for machines in expected.values() for machine in machines)
        if sorted(facts["running"]) != running or facts["overlaps"]:
            broken.append(f"I10: costs run for {facts['running']}, {facts['overlaps']} overlap")
        return broken

    def _must_keep(self) -> bool:
        failure = FAILURES.get(self.case.failure)
        return not (failure and "state" in failure.bend)


_FACTS = """
select jsonb_build_object(
  'row', (select to_jsonb(a) from public.user_fly_apps a where a.user_id = %s
           order by (a.deleted_at is null) desc, a.created_at desc, a.name_seq desc limit 1),
  'entitled', (select coalesce(d.entitled, false) from hangar.entitlements(array[%s]::uuid[]) d),
  'unclosed', (select count(*) from public.user_fly_app_events i
                where i.event_type = 'action' and i.status = 'intent'
                  and (select count(*) filter (where o.metadata ? 'closed_by') > 1
                              or count(*) filter (where not o.metadata ? 'closed_by') > 1 or count(*) = 0
                         from public.user_fly_app_events o
                        where o.event_type = 'action' and o.metadata ->> 'intent_id' = i.id::text)),
  'running', (select coalesce(jsonb_agg(c.machine_id), '[]') from public.fly_cost_intervals c where c.ended_at is null),
  'overlaps', (select count(*) from public.fly_cost_intervals c join public.fly_cost_intervals d
                  on d.fly_app_id = c.fly_app_id and d.id > c.id
                 and tstzrange(c.started_at, c.ended_at) && tstzrange(d.started_at, d.ended_at)
                where c.user_id = %s))
"""
