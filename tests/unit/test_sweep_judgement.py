"""What a sweep concludes from Fly's list and from a look at each app: whom it probes, what is wrong, what is due."""

from concurrent.futures import Future
from dataclasses import replace
from datetime import timedelta
from uuid import UUID

import pytest

from shared.adapters.procedures_sweep import AppReport
from shared.domain.errors import HangarError, NotFound, NotOwned, TransientError
from shared.domain.models import Settings
from shared.domain.symptom import Symptom, SymptomCode
from shared.fleet.app_symptoms import explain_crashes, explain_failure, explain_machine
from shared.fleet.health_probe import CONTRADICTION_WAIT, Probe, report_probe
from shared.fleet.incidents import IncidentGuard
from shared.fleet.inventory import (
    SHARES,
    SWEEP_EVERY,
    Inventory,
    has_second_machine,
    is_its_turn,
    is_suspect,
    observe_listed,
    runs_in_grace,
)
from shared.fly.models import OrgMachine
from tests.unit.test_decide import MACHINE, NOW, READY, having, in_state

APP = READY.fly_app_name
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
ACTIVE = having(
    READY,
    status="active",
    observed_generation=1,
    health_status="healthy",
    machine_region="iad",
    observed_at=NOW - MINUTE,
)
LISTED = OrgMachine(
    id="m1",
    name=MACHINE.name,
    app_name=APP,
    state="started",
    region="iad",
    version="v1",
    image=ACTIVE.docker_image,
    cpus=2,
    memory_mb=512,
    cpu_kind="shared",
    metadata={},
    created_at=None,
    updated_at=None,
)
SPARE = replace(LISTED, id="m2", state="stopped")
MOVING = having(ACTIVE, spare_machine_id="m2")


def listing(*machines, **more):
    return Inventory(machines={APP: list(machines)} if machines else {}, **more)


# What may break at once


def settings(**more):
    return Settings(installation_id=UUID(int=9), fly_org_slug="hangar", **more)


def reports(due, well=0, symptom=None):
    return [AppReport(UUID(int=n), due=n < due, symptom=symptom if n < due else None) for n in range(due + well)]


def due_in(found):
    return sum(report.due for report in found)


LIMITS = [
    # apps that are due, apps that were probed, whether an incident is open, how many are repaired, how many are broken
    (10, 10, False, 10, 0),
    (11, 10, False, 0, 11),
    (11, 10, True, 10, 11),
    (20, 100, False, 20, 0),
    (21, 100, False, 0, 21),
    (21, 100, True, 10, 21),
]


def test_many_apps_that_break_at_once_are_not_repaired_together():
    for due, probed, is_open, repaired, broken in LIMITS:
        guard = IncidentGuard(settings(incident_open=is_open))
        found = guard.limit_repairs(reports(due, 3), probed)
        assert (due_in(found), guard.broken, len(found)) == (repaired, broken, due + 3), (due, probed, is_open)


def test_an_open_incident_has_so_many_repairs_in_each_sweep_not_in_each_page():
    guard = IncidentGuard(settings(incident_open=True))
    assert [due_in(guard.limit_repairs(reports(11), 11)) for _ in range(3)] == [10, 0, 0]
    assert guard.broken == 33


def test_apps_that_fly_hides_are_not_made_again_in_bulk():
    """One alone may be gone, and what is due for another reason stays due."""
    guard, missing = IncidentGuard(settings()), SymptomCode.MISSING.value
    assert due_in(guard.hold_hidden(reports(1, symptom=missing))) == 1
    held = guard.hold_hidden([*reports(2, symptom=missing), AppReport(UUID(int=7), due=True, symptom="crashes")])
    assert [report.due for report in held] == [False, False, True]
    assert guard.hidden == 2
    assert due_in(guard.hold_hidden(reports(1, symptom=missing))) == 0  # the third, on a later page
    assert guard.hidden == 3


# Whom a sweep looks at


SECOND = [
    (ACTIVE, [LISTED], False),
    (ACTIVE, [], False),
    (ACTIVE, [LISTED, SPARE], True),
    (MOVING, [LISTED, SPARE], False),
    (MOVING, [LISTED, replace(SPARE, state="started")], True),
    (having(MOVING, keeps_spare=False), [LISTED, SPARE], True),
    (MOVING, [LISTED, SPARE, replace(SPARE, id="m3")], True),
]


def test_which_second_machine_should_not_be():
    for row, machines, is_there in SECOND:
        assert has_second_machine(row, listing(*machines)) is is_there, (row.spare_machine_id, machines)


SUSPECT = [
    (ACTIVE, [LISTED], False),
    (ACTIVE, [], True),
    (ACTIVE, [replace(LISTED, id="m9")], True),
    (ACTIVE, [LISTED, SPARE], True),
    (having(ACTIVE, health_status="unknown"), [LISTED], True),
    (having(ACTIVE, health_status=None), [LISTED], True),
    (having(ACTIVE, status="error"), [LISTED], True),
    (ACTIVE, [replace(LISTED, state="stopped")], True),
    (having(ACTIVE, power="on_demand"), [replace(LISTED, state="stopped")], False),
    (ACTIVE, [replace(LISTED, memory_mb=1024)], True),
    (having(ACTIVE, drift={"guest": "x"}), [replace(LISTED, memory_mb=1024)], False),
    (having(ACTIVE, drift={"guest": "x"}), [LISTED], True),
    (having(ACTIVE, drift={"env": "x"}), [LISTED], False),  # no list shows that
]


def test_which_app_is_doubtful():
    for row, machines, doubtful in SUSPECT:
        assert is_suspect(row, listing(*machines)) is doubtful, (row, machines)


GRACE = having(ACTIVE, desired_state="absent", status="deprovisioning", delete_after=NOW + HOUR)
HELD = having(GRACE, hold_until=NOW + MINUTE)
IN_GRACE = [
    (GRACE, [LISTED], True),
    (GRACE, [replace(LISTED, state="stopped")], False),
    (GRACE, [], False),
    (having(GRACE, spare_machine_id="m2"), [replace(SPARE, state="started")], True),
    (having(GRACE, delete_after=NOW), [LISTED], False),
    (having(GRACE, delete_after=None), [LISTED], False),
    (HELD, [LISTED], False),  # its machine is meant to run
    (having(HELD, spare_machine_id="m2"), [LISTED, replace(SPARE, state="started")], True),
    (having(GRACE, hold_until=NOW), [LISTED], True),
    (ACTIVE, [LISTED], False),
]


def test_what_must_not_run_in_its_grace():
    for row, machines, runs in IN_GRACE:
        assert runs_in_grace(row, listing(*machines), NOW) is runs, (row.hold_until, row.delete_after, machines)


def test_every_app_has_its_turn_once_in_a_while_and_not_twice():
    """And at once when it was missed."""
    rows = [having(ACTIVE, id=UUID(int=n), observed_at=NOW - 2 * SWEEP_EVERY) for n in range(SHARES)]
    turns = [{row.id for row in rows if is_its_turn(row, NOW + k * SWEEP_EVERY)} for k in range(3)]
    assert ([len(each) for each in turns], len(set().union(*turns))) == ([1, 1, 1], 3)
    [now] = [row for row in rows if is_its_turn(row, NOW)]
    assert not is_its_turn(having(now, observed_at=NOW - SWEEP_EVERY), NOW)
    [late, *_] = [row for row in rows if row is not now]
    for age, is_due in ((SHARES * SWEEP_EVERY, False), (SHARES * SWEEP_EVERY + MINUTE, True)):
        assert is_its_turn(having(late, observed_at=NOW - age), NOW) is is_due, age
    assert is_its_turn(having(late, observed_at=None), NOW)


def test_a_region_that_fly_cannot_read_makes_health_unknown_and_no_other():
    assert observe_listed(ACTIVE, listing(error_regions={"nrt"})) is None
    found = observe_listed(ACTIVE, listing(error_regions={"iad"}))
    assert (found.health, found.due, found.direct) == ("unknown", False, False)


# What is wrong


FAILURES = [
    (NotFound("gone", status=404), listing(), "missing"),
    (NotFound("gone", status=404), listing(LISTED), "contradiction"),
    (NotFound("gone", status=404), listing(SPARE), "missing"),
    (NotOwned("no", status=403), listing(), "denied"),
    (NotOwned("no", status=403), listing(lists_ours=False), "wrong_organisation"),
    (TransientError("no answer", status=500), listing(lists_ours=False), "unreadable"),
]


def test_what_a_failed_look_says_of_an_app():
    for failure, inventory, code in FAILURES:
        assert explain_failure(ACTIVE, failure, inventory).code == SymptomCode(code), (failure, code)


BAD = Symptom(SymptomCode.CHECK_CRITICAL, "it fails")
RESTS = Symptom(SymptomCode.NOT_RUNNING, "it rests")
LOOKS = [
    (ACTIVE, MACHINE, listing(LISTED), None),
    (ACTIVE, replace(MACHINE, symptom=BAD), listing(LISTED), "check_critical"),
    (ACTIVE, in_state("destroyed"), listing(LISTED), "missing"),
    (having(ACTIVE, power="on_demand"), in_state("stopped", symptom=RESTS), listing(LISTED), None),
    (ACTIVE, in_state("stopped", symptom=RESTS), listing(LISTED), "not_running"),
    (having(ACTIVE, power="on_demand"), replace(MACHINE, symptom=BAD), listing(LISTED), "check_critical"),
    (ACTIVE, MACHINE, listing(), "unlisted"),
    (ACTIVE, MACHINE, listing(SPARE), "unlisted"),
    (ACTIVE, MACHINE, listing(error_regions={"iad"}), None),
    (ACTIVE, MACHINE, listing(error_regions={"nrt"}), "unlisted"),
    (ACTIVE, MACHINE, listing(replace(LISTED, state="stopped")), "contradiction"),
    (ACTIVE, MACHINE, listing(replace(LISTED, state="failed")), "contradiction"),
    (ACTIVE, MACHINE, listing(replace(LISTED, state="starting")), None),
    (having(ACTIVE, power="on_demand"), MACHINE, listing(replace(LISTED, state="stopped")), None),
]


def test_what_a_look_at_the_machine_says_beside_the_list():
    for row, machine, inventory, code in LOOKS:
        found = explain_machine(row, machine, inventory)
        assert (found and found.code.value) == code, (row.power, machine, inventory)


def crashes(*hours):
    return tuple(NOW - timedelta(hours=each) for each in hours)


CRASHES = [
    (crashes(1, 2, 3, 4, 5), "started", True),
    (crashes(1, 2, 3, 4), "started", False),
    (crashes(1, 2, 3, 4, 23.9), "started", True),
    (crashes(1, 2, 3, 4, 24), "started", False),
    (crashes(5.9, 7, 8, 9, 10), "started", True),
    (crashes(6.1, 7, 8, 9, 10), "started", False),
    (crashes(1, 1.2, 1.4, 1.6, 1.8), "started", False),  # faster than a quarter of an hour: they count as fewer
    (crashes(1, 1.25, 1.5, 1.75, 2), "started", True),
    (crashes(1, 2, 3, 4, 5), "stopped", False),
]


def test_when_an_app_that_is_well_at_each_look_crashes_too_often():
    for times, state, is_told in CRASHES:
        found = explain_crashes(in_state(state, crashes=times), NOW)
        assert (found is not None) is is_told, (times, state)


# What is written


def probed(machine=None, failure=None):
    done: Future[Probe | None] = Future()
    done.set_result(Probe(machine=machine, failure=failure))
    return done


def report(row, inventory=None, **found):
    return report_probe(row, probed(**found), inventory or listing(LISTED), NOW)


PROBES = [
    # the row, what was found, health, whether it is due, the symptom
    (ACTIVE, {"machine": MACHINE}, "healthy", False, None),
    (ACTIVE, {"machine": in_state("started", crashes=crashes(1, 2, 3, 4, 5))}, "healthy", False, "crashes"),
    (ACTIVE, {"machine": in_state("stopped", health="bad", symptom=RESTS)}, "bad", True, "not_running"),
    (having(ACTIVE, status="error"), {"machine": in_state("stopped", health="bad")}, "bad", False, None),
    (having(ACTIVE, status="error"), {"machine": MACHINE}, "healthy", True, None),
    (having(ACTIVE, power="on_demand"), {"machine": in_state("stopped", health="bad")}, None, False, None),
    (ACTIVE, {"machine": in_state("destroyed")}, "unknown", True, "missing"),
    (having(ACTIVE, status="error"), {"machine": in_state("destroyed")}, "unknown", False, "missing"),
    (ACTIVE, {"failure": NotFound("gone", status=404)}, "unknown", False, "contradiction"),
    (ACTIVE, {"failure": TransientError("x", status=500)}, "unknown", False, "unreadable"),
    (having(READY, status="provisioning"), {"machine": MACHINE}, None, False, None),
    (having(READY, status="provisioning"), {"machine": replace(MACHINE, symptom=BAD)}, None, False, "check_critical"),
    (having(ACTIVE, machine_id=None), {}, None, True, None),
    (having(ACTIVE, machine_id=None, status="error"), {}, None, False, None),
]


def test_what_is_written_of_an_app_after_a_look():
    for row, found, health, due, symptom in PROBES:
        written = report(row, **found)
        assert (written.health, written.due, written.symptom) == (health, due, symptom), (row, found)


def test_an_app_that_is_gone_for_both_is_due_and_one_that_the_list_shows_only_after_an_hour():
    gone = NotFound("gone", status=404)
    assert report(ACTIVE, listing(), failure=gone).due
    assert not report(having(ACTIVE, status="error"), listing(), failure=gone).due
    for age, is_due in ((CONTRADICTION_WAIT, False), (CONTRADICTION_WAIT + MINUTE, True), (None, False)):
        row = having(ACTIVE, observed_at=None if age is None else NOW - age)
        assert report(row, listing(LISTED), failure=gone).due is is_due, age
        assert not report(having(row, status="error"), listing(LISTED), failure=gone).due


def test_a_machine_out_of_reach_is_not_due_and_a_second_one_is():
    told = report(having(ACTIVE, status="error"), machine=replace(MACHINE, host_ok=False))
    assert (told.due, told.reason) == (False, "Fly cannot reach the machine's host")
    told = report(ACTIVE, listing(LISTED, SPARE), machine=MACHINE)
    assert (told.due, told.reason) == (True, "the app has a second machine")


def test_what_runs_in_its_grace_is_due():
    for row, machine, inventory, is_due in (
        (GRACE, MACHINE, listing(LISTED), True),
        (GRACE, in_state("stopped"), listing(replace(LISTED, state="stopped")), False),
        (having(HELD, spare_machine_id="m2"), MACHINE, listing(LISTED, replace(SPARE, state="started")), True),
        (HELD, MACHINE, listing(LISTED), False),
    ):
        assert report(row, inventory, machine=machine).due is is_due, (row.hold_until, machine)
    assert report(GRACE, failure=TransientError("x", status=500)) is None


def test_a_probe_that_was_not_made_says_nothing_and_one_that_breaks_is_unknown():
    waits: Future[Probe | None] = Future()
    waits.set_result(None)
    assert report_probe(ACTIVE, waits, listing(LISTED), NOW) is None
    broken: Future[Probe | None] = Future()
    broken.set_exception(RuntimeError("odd"))
    found = report_probe(ACTIVE, broken, listing(LISTED), NOW)
    assert (found.health, found.due) == ("unknown", False)


@pytest.mark.parametrize("status", [500, None])
def test_a_failure_without_a_known_status_is_unreadable(status):
    assert explain_failure(ACTIVE, HangarError("x", status=status), listing()).code is SymptomCode.UNREADABLE
