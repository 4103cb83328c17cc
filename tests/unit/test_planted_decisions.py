"""Which machine is the app's, and what destroying another one leaves on the row: each guard alone."""

from dataclasses import replace
from types import SimpleNamespace
from uuid import UUID

import pytest

from shared.domain.actions import Action, ActionKind, Done
from shared.domain.decide import STRAY_AGE, decide, find_main
from shared.domain.drift import SECRETS, Difference
from shared.reconcile.executor import execute
from shared.reconcile.worker import MachineInputs
from tests.unit.test_decide import MACHINE, NOW, READY, having, ours


def test_the_id_names_the_main_machine_and_the_name_only_without_it():
    """I5: a second machine with the deterministic name does not replace the machine that the row knows by its id."""
    known, namesake = replace(MACHINE, id="m1", name="renamed-by-hand"), replace(MACHINE, id="m2")
    observation = ours(namesake, known)
    assert find_main(READY, observation) == known
    assert find_main(having(READY, machine_id=None), observation) == namesake


def test_only_a_second_machine_is_a_stray():
    """I5: a main machine that has not changed for long is left alone, and of two the other one goes."""
    main = replace(MACHINE, changed_at=NOW - 2 * STRAY_AGE)
    stray = replace(main, id="m2", name="by-hand")
    assert decide(READY, ours(main), NOW) == Done("active", main)
    assert decide(READY, ours(main, stray), NOW) == Action(ActionKind.DESTROY_MACHINE, stray, "stray")


@pytest.mark.parametrize(("more", "purpose"), [((), "secrets"), ((Difference("image", "old", "new"),), "update")])
def test_new_secrets_alone_are_no_update_that_asks_where_a_tag_points(more, purpose):
    """A renewal deploys the image that runs; only an update for another reason resolves a tag."""
    machine = replace(MACHINE, drift=(Difference(SECRETS, "1", "2"), *more))
    row = having(READY, generation=2, observed_generation=1)
    assert decide(row, ours(machine), NOW) == Action(ActionKind.UPDATE_MACHINE, machine, purpose)


@pytest.mark.parametrize(
    ("destroyed", "patch"), [("m1", {"machine_id": None, "machine_state": "absent"}), ("stray", {})]
)
def test_destroying_a_stray_leaves_the_rows_machine_as_it_is(destroyed, patch):
    """I10: the main machine continues to run and to cost; only its own destruction clears it."""
    calls = []
    fly = SimpleNamespace(destroy_machine=lambda *args, **_: calls.append(args))
    inputs = MachineInputs(UUID(int=9), lambda _: {}, lambda *_: {})
    action = Action(ActionKind.DESTROY_MACHINE, replace(MACHINE, id=destroyed), "stray")
    effects = execute(action, READY, fly=fly, inputs=inputs, time=lambda: NOW, budget_s=10)
    assert (calls, effects.patch) == ([(READY.fly_app_name, destroyed)], patch)
