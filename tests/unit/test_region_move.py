"""The steps of a move to another region, one by one: which machine is made, stopped, started and destroyed, and when."""

from dataclasses import replace
from datetime import timedelta

import pytest

from shared.domain.actions import Action, ActionKind, Assign, Done, GiveUp, Wait
from shared.domain.decide import decide
from shared.domain.machine_states import STUCK
from tests.unit.test_decide import MACHINE, NOW, READY, having, ours

APP = READY.fly_app_name
MOVING = having(READY, generation=4, observed_generation=3, region="nrt", move_release_id=1, machine_id="m1")
OLD = replace(MACHINE, id="m1", name=f"{APP}-main", region="sin", changed_at=NOW)
NEW = replace(MACHINE, id="m2", name=f"{APP}-main-2", region="nrt", state="stopped", changed_at=NOW)
KNOWN = having(MOVING, spare_machine_id="m2")


def step(row, *machines):
    decision = decide(row, ours(*machines), NOW)
    if isinstance(decision, Action):
        return decision.kind, decision.machine and decision.machine.id, decision.purpose
    return decision


def test_the_steps_of_a_move():
    """Made while the first one runs, recorded, then stop, change of places, start, and the former one goes at last."""
    made = decide(MOVING, ours(OLD), NOW)
    assert made == Action(ActionKind.CREATE_MACHINE, purpose="move", name=f"{APP}-main-2")
    assert step(MOVING, OLD, NEW) == Assign(OLD, NEW)
    assert isinstance(step(KNOWN, OLD, replace(NEW, state="created")), Wait)
    assert step(KNOWN, OLD, NEW) == (ActionKind.STOP_MACHINE, "m1", "move")
    assert isinstance(step(KNOWN, replace(OLD, state="stopping"), NEW), Wait)
    stopped = replace(OLD, state="stopped")
    assert step(KNOWN, stopped, NEW) == Assign(NEW, stopped)
    moved = having(KNOWN, machine_id="m2", spare_machine_id="m1")
    assert step(moved, NEW, stopped) == (ActionKind.START_MACHINE, "m2", "provision")
    runs = replace(NEW, state="started")
    assert isinstance(step(moved, runs, stopped), Done)
    done = having(moved, status="active", observed_generation=4, machine_state="started", keeps_spare=False)
    assert step(done, runs, stopped) == (ActionKind.DESTROY_MACHINE, "m1", "move")


def test_a_machine_that_is_being_destroyed_is_not_destroyed_again():
    """A read may show it for seconds after the call."""
    moved = having(
        KNOWN, status="active", machine_id="m2", observed_generation=4, machine_state="started", keeps_spare=False
    )
    going = replace(OLD, state="destroying")
    for spare in (None, "m1"):
        assert isinstance(step(having(moved, spare_machine_id=spare), replace(NEW, state="started"), going), Done)


def test_without_a_release_nothing_moves():
    assert isinstance(step(having(MOVING, move_release_id=None), OLD), Done)
    assert isinstance(step(having(MOVING, power="on_demand"), OLD), Done)


def test_the_former_machine_is_kept_as_long_as_the_row_says_so():
    seen = {"status": "active", "observed_generation": 4, "machine_state": "started"}
    moved = having(KNOWN, machine_id="m2", spare_machine_id="m1", **seen)
    runs, stopped = replace(NEW, state="started"), replace(OLD, state="stopped")
    assert isinstance(step(having(moved, keeps_spare=True), runs, stopped), Done)
    for early in ({"status": "error"}, {"observed_generation": 3}, {"machine_state": "absent"}):
        assert isinstance(step(having(moved, **{"keeps_spare": False, **early}), runs, stopped), Done)


def test_on_the_way_back_the_former_machine_runs_again_although_the_list_allows_both_regions():
    back = having(KNOWN, machine_id="m2", spare_machine_id="m1", region="sin,nrt", generation=5, home_region="sin")
    stopped, new_runs = replace(OLD, state="stopped"), replace(NEW, state="started")
    assert step(back, NEW, stopped) == Assign(stopped, NEW)
    assert step(back, new_runs, stopped) == (ActionKind.STOP_MACHINE, "m2", "move")
    returned = having(back, machine_id="m1", spare_machine_id="m2")
    assert step(returned, stopped, NEW) == (ActionKind.START_MACHINE, "m1", "provision")
    assert isinstance(step(having(returned, observed_generation=5), OLD, NEW), Done)


def test_without_the_former_machine_a_list_that_allows_the_new_region_keeps_the_app_there():
    back = having(KNOWN, machine_id="m2", spare_machine_id="m1", region="sin,nrt", generation=5, home_region="sin")
    runs = replace(NEW, state="started")
    assert step(back, runs, replace(OLD, state="failed")) == (ActionKind.DESTROY_MACHINE, "m1", "move")
    assert isinstance(step(having(back, spare_machine_id=None), runs), Done)


def test_a_restored_database_finds_the_second_machine_of_an_adopted_app():
    """The app's machine has a name that is not Hangar's, and the row no longer knows that the app has moved."""
    adopted = replace(OLD, name="crimson-leaf-1", state="stopped")
    moved = replace(NEW, name=f"{APP}-main", state="started")
    row = having(READY, region="sin", machine_id="m1", adopted_app_id="x")
    assert step(row, adopted, moved) == Assign(adopted, moved)
    known = having(row, spare_machine_id="m2")
    assert step(known, adopted, moved) == (ActionKind.STOP_MACHINE, "m2", "move")


@pytest.mark.parametrize("state", ["started", "stopped"])
def test_a_second_machine_that_runs_is_stopped_before_anything_else(state):
    """Whether the app's own machine runs or not."""
    row = having(READY, machine_id="m1", spare_machine_id="m2", region="sin")
    running = replace(NEW, state="started")
    assert step(row, replace(OLD, state=state), running) == (ActionKind.STOP_MACHINE, "m2", "move")


def test_nothing_moves_while_a_host_is_out_of_reach():
    """Such a machine may run, so neither the other one starts nor is anything destroyed."""
    for one, two in ((replace(OLD, host_ok=False), NEW), (OLD, replace(NEW, host_ok=False))):
        assert isinstance(step(KNOWN, one, two), Wait)
    stopped = replace(OLD, state="stopped", host_ok=False)
    assert isinstance(step(KNOWN, stopped, NEW), Wait)


@pytest.mark.parametrize("misfit", [{"region": "fra"}, {"state": "failed"}])
def test_a_second_machine_that_does_not_fit_is_made_again(misfit):
    assert step(KNOWN, OLD, replace(NEW, **misfit)) == (ActionKind.DESTROY_MACHINE, "m2", "move")


def test_a_machine_that_never_stops_is_replaced():
    stuck = replace(OLD, state="stopping", changed_at=NOW - STUCK - timedelta(minutes=1))
    assert step(KNOWN, stuck, NEW) == (ActionKind.DESTROY_MACHINE, "m1", "replace")


def test_a_machine_that_seems_to_be_missing_keeps_its_name():
    """If it exists after all, Fly refuses the second create."""
    made = decide(KNOWN, ours(NEW), NOW)
    assert (made.kind, made.name) == (ActionKind.CREATE_MACHINE, f"{APP}-main")


def test_a_hold_in_the_middle_of_a_move_starts_the_machine_again():
    """The user keeps a running machine for the removal hold."""
    held = having(KNOWN, desired_state="absent", status="deprovisioning", hold_until=NOW + timedelta(minutes=5))
    stopped = replace(OLD, state="stopped")
    assert step(held, stopped, NEW) == (ActionKind.START_MACHINE, "m1", "move")
    assert isinstance(step(held, stopped, replace(NEW, state="started")), Done)
    assert isinstance(step(held, OLD, NEW), Done)


def test_a_hold_while_the_machine_stops_for_a_move_waits_to_start_it_again():
    held = having(KNOWN, desired_state="absent", status="deprovisioning", hold_until=NOW + timedelta(minutes=5))
    assert isinstance(step(held, replace(OLD, state="stopping"), NEW), Wait)
    assert isinstance(step(held, replace(OLD, state="stopping", changed_at=NOW - 2 * STUCK), NEW), Done)


def test_in_a_hold_a_second_machine_that_somebody_starts_is_stopped():
    held = having(KNOWN, desired_state="absent", status="deprovisioning", hold_until=NOW + timedelta(minutes=5))
    assert step(held, OLD, replace(NEW, state="started")) == (ActionKind.STOP_MACHINE, "m2", "move")


def test_the_end_of_a_subscription_stops_both_machines():
    ended = having(KNOWN, desired_state="absent", status="deprovisioning", delete_after=NOW + timedelta(hours=1))
    running = replace(NEW, state="started")
    assert step(ended, OLD, running) == (ActionKind.STOP_MACHINE, "m2", "deprovision")
    assert step(ended, OLD, NEW) == (ActionKind.STOP_MACHINE, "m1", "deprovision")
    assert isinstance(step(ended, replace(OLD, state="stopped"), NEW), Done)


def test_a_machine_whose_region_fly_does_not_show_is_not_moved():
    assert not isinstance(step(MOVING, replace(OLD, region="")), tuple)


def test_a_second_machine_that_is_gone_is_made_again():
    """Fly shows a destroyed machine for a while."""
    assert step(KNOWN, OLD, replace(NEW, state="destroyed"))[0] is ActionKind.CREATE_MACHINE


@pytest.mark.parametrize("state", ["created", "stopping", "starting"])
def test_a_second_machine_that_never_settles_is_made_again(state):
    stuck = replace(NEW, state=state, changed_at=NOW - STUCK - timedelta(minutes=1))
    assert isinstance(step(KNOWN, OLD, replace(stuck, changed_at=NOW)), Wait)
    assert step(KNOWN, OLD, stuck) == (ActionKind.DESTROY_MACHINE, "m2", "move")


def test_a_second_machine_that_is_suspended_fits_as_well():
    assert step(KNOWN, OLD, replace(NEW, state="suspended")) == (ActionKind.STOP_MACHINE, "m1", "move")


@pytest.mark.parametrize(
    ("state", "until"), [("stopping", "stopped"), ("suspending", "stopped"), ("starting", "started")]
)
def test_a_move_waits_for_what_the_first_machine_is_about_to_be(state, until):
    assert step(KNOWN, replace(OLD, state=state), NEW).until == until


SETTLED = having(READY, machine_id="m1", spare_machine_id="m2", region="sin", status="active", observed_generation=1)


def test_a_second_machine_out_of_reach_matters_only_while_nothing_else_runs():
    """It may run, so the app's own machine is not started beside it. One that runs already stays as it is."""
    hidden = replace(NEW, host_ok=False, state="started")
    assert isinstance(step(SETTLED, OLD, hidden), Done)
    assert isinstance(step(SETTLED, replace(OLD, state="stopped"), hidden), Wait)


def test_a_second_machine_out_of_reach_is_not_destroyed():
    done = having(SETTLED, machine_state="started", keeps_spare=False)
    assert step(done, OLD, NEW) == (ActionKind.DESTROY_MACHINE, "m2", "move")
    assert isinstance(step(done, OLD, replace(NEW, host_ok=False)), Done)


@pytest.mark.parametrize("state", ["stopping", "starting", "created"])
def test_the_first_machine_is_not_started_beside_one_that_may_run_in_a_moment(state):
    stopped, passing = replace(OLD, state="stopped"), replace(NEW, state=state)
    assert isinstance(step(SETTLED, stopped, passing), Wait)
    stuck = replace(passing, changed_at=NOW - STUCK - timedelta(minutes=1))
    assert step(SETTLED, stopped, stuck) == (ActionKind.START_MACHINE, "m1", "repair")


def test_the_second_machine_is_made_once_and_with_what_it_needs():
    """While Fly does not show it yet; only in a size that Fly takes; and with the app's secrets, which are set first."""
    assert isinstance(decide(MOVING, ours(OLD, machine_made=True), NOW), Wait)
    assert isinstance(step(having(MOVING, memory_mb=256), OLD), GiveUp)
    old_token = {"token_issued_at": NOW - timedelta(days=10), "token_expires_at": NOW - timedelta(seconds=1)}
    for lacking in ({"secrets_version": None}, {"token_wanted_at": NOW}, old_token):
        assert step(having(MOVING, **lacking), OLD) == (ActionKind.SET_SECRETS, None, "secrets"), lacking


@pytest.mark.parametrize(
    ("main", "spare", "starts"),
    [
        ({"state": "stopped"}, {}, True),
        ({"state": "suspended"}, {}, True),
        ({"state": "stopped", "host_ok": False}, {}, False),
        ({"state": "stopped"}, {"host_ok": False}, False),
        ({"state": "stopped"}, {"state": "starting"}, False),
    ],
)
def test_in_a_hold_the_machine_is_started_only_if_surely_neither_runs(main, spare, starts):
    held = having(KNOWN, desired_state="absent", status="deprovisioning", hold_until=NOW + timedelta(minutes=5))
    decision = step(held, replace(OLD, **main), replace(NEW, **spare))
    assert (decision == (ActionKind.START_MACHINE, "m1", "move")) is starts


def test_in_a_hold_nothing_out_of_reach_or_alone_is_stopped():
    held = having(KNOWN, desired_state="absent", status="deprovisioning", hold_until=NOW + timedelta(minutes=5))
    running = replace(NEW, state="started")
    assert isinstance(step(held, OLD, replace(running, host_ok=False)), Done)
    assert isinstance(step(held, replace(OLD, state="failed"), running), Done)


def test_in_a_hold_an_on_demand_machine_may_sleep():
    held = having(
        KNOWN, desired_state="absent", status="deprovisioning", power="on_demand", hold_until=NOW + timedelta(minutes=5)
    )
    assert isinstance(step(held, replace(OLD, state="stopped"), NEW), Done)
