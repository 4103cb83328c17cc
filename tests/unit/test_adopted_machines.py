"""An adopted app's machine has another name than Hangar gives. It is found before one more is created."""

from dataclasses import replace
from datetime import timedelta

import pytest

from shared.domain.actions import Action, ActionKind, Adopt, GiveUp
from shared.domain.decide import decide, find_main
from tests.unit.test_decide import ABSENT, MACHINE, NOW, READY, having, ours

ADOPTED = having(READY, machine_id=None, adopted_app_id="fly-1")
OLD = replace(MACHINE, id="m8", name="crimson-leaf-1")
OTHER = replace(MACHINE, id="m9", name="silent-river-2", state="stopped")


def is_create(decision):
    return isinstance(decision, Action) and decision.kind is ActionKind.CREATE_MACHINE


@pytest.mark.parametrize("known", [None, "m-gone"])
@pytest.mark.parametrize("state", ["started", "stopped", "suspended", "failed", "starting", "destroying", "unknown"])
def test_the_only_machine_is_taken_whatever_its_name(known, state):
    """The list was empty at adoption, or somebody replaced the machine by hand."""
    machine = replace(OLD, state=state)
    assert decide(having(ADOPTED, machine_id=known), ours(machine), NOW) == Adopt(machine)


def test_it_is_taken_although_its_host_is_out_of_reach():
    machine = replace(OLD, host_ok=False)
    assert decide(ADOPTED, ours(machine), NOW) == Adopt(machine)


@pytest.mark.parametrize("state", ["destroyed", "replaced", "migrated"])
def test_a_machine_that_is_gone_is_not_taken(state):
    gone = replace(OTHER, state=state)
    assert is_create(decide(ADOPTED, ours(gone), NOW))
    assert find_main(ADOPTED, ours(gone, OLD)) == OLD


def test_one_that_ends_does_not_hide_the_one_that_runs():
    assert find_main(ADOPTED, ours(replace(OTHER, state="destroying"), OLD)) == OLD


def test_the_known_one_and_one_with_our_name_come_first():
    mine = replace(MACHINE, id="m2")
    assert find_main(ADOPTED, ours(OLD, mine)) == mine
    assert find_main(having(ADOPTED, machine_id="m9"), ours(OLD, OTHER)) == OTHER


def test_of_several_none_is_taken_and_none_is_created():
    decision = decide(ADOPTED, ours(OLD, OTHER), NOW)
    assert isinstance(decision, GiveUp)
    assert decision.code == "two_machines"
    assert "m8 (started, iad), m9 (stopped, iad)" in decision.message
    assert "fly machine destroy" in decision.advice


def test_the_spare_is_not_taken():
    row = having(ADOPTED, spare_machine_id="m9")
    assert find_main(row, ours(OTHER)) is None
    assert find_main(row, ours(OLD, OTHER)) == OLD


def test_an_app_that_hangar_created_never_takes_a_machine_with_another_name():
    assert is_create(decide(having(ADOPTED, adopted_app_id=None), ours(OLD), NOW))


def test_a_user_who_stopped_paying_in_the_meantime_does_not_keep_it_running():
    row = having(ABSENT, machine_id=None, adopted_app_id="fly-1", delete_after=NOW + timedelta(hours=1))
    assert decide(row, ours(OLD), NOW) == Adopt(OLD)
    # The deletion of the app ends all of them.
    later = having(row, delete_after=None)
    assert decide(later, ours(OLD, OTHER), NOW).kind is ActionKind.DELETE_APP
