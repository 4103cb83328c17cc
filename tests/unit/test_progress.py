"""When a run that gets nowhere ends, and with which words. Each rule alone."""

from dataclasses import replace

import pytest

from shared.domain.actions import Action, ActionKind
from shared.domain.errors import Conflict, HangarError, NameTaken, NotOwned, Refused, TransientError
from shared.reconcile.progress import NAME_REFUSALS_LIMIT, SAME_ACTION_LIMIT, Progress
from tests.unit.test_decide import MACHINE

CREATE_APP, CREATE, START, STOP, UPDATE = (
    ActionKind.CREATE_APP,
    ActionKind.CREATE_MACHINE,
    ActionKind.START_MACHINE,
    ActionKind.STOP_MACHINE,
    ActionKind.UPDATE_MACHINE,
)
FAILED = Action(ActionKind.DESTROY_MACHINE, replace(MACHINE, state="failed"), "replace")


def ends_with(progress, action, full_regions=0):
    """The code with which the run ends before this action; None if it may go on."""
    try:
        progress.check("app", action, full_regions)
    except HangarError as error:
        return error.code
    return None


def having_called(*kinds, **more):
    progress = Progress(**more)
    progress.calls.update(kinds)
    return progress


CASES = [
    # what was called, the rejections, refusals of the name, the next action, full regions, how the run ends
    ([], {}, 0, Action(START, MACHINE), 0, None),
    ([START], {}, 0, Action(START, MACHINE), 0, "start_failed"),
    ([STOP], {}, 0, Action(START, MACHINE), 0, None),
    ([START], {START: Conflict("x", code="c")}, 0, Action(START, MACHINE), 0, None),
    ([UPDATE], {}, 0, Action(UPDATE, MACHINE), 0, None),
    ([UPDATE] * 2, {}, 0, Action(UPDATE, MACHINE), 0, None),
    ([UPDATE] * 3, {}, 0, Action(UPDATE, MACHINE), 0, "no_progress"),
    ([UPDATE] * 3, {}, 0, Action(STOP, MACHINE), 0, None),
    ([CREATE] * 3, {}, 0, Action(CREATE), 0, "no_progress"),
    ([CREATE] * 3, {}, 0, Action(CREATE), 1, None),  # another region is another place
    ([CREATE] * 4, {}, 0, Action(CREATE), 1, "no_progress"),
    ([CREATE_APP] * 3, {}, 0, Action(CREATE_APP), 0, "no_progress"),
    ([CREATE_APP] * 3, {}, 1, Action(CREATE_APP), 0, None),
    ([CREATE], {}, 0, FAILED, 0, "machine_failed"),
    ([], {}, 0, FAILED, 0, None),
    ([CREATE], {}, 0, replace(FAILED, purpose="stray"), 0, None),
    ([CREATE], {}, 0, replace(FAILED, machine=MACHINE), 0, None),
    ([UPDATE], {UPDATE: NotOwned("403")}, 0, Action(UPDATE, MACHINE), 0, "token"),
    ([UPDATE], {UPDATE: NotOwned("403")}, 0, Action(STOP, MACHINE), 0, None),
]


def test_when_a_run_ends_before_its_next_action():
    for calls, rejections, names, action, full, code in CASES:
        progress = having_called(*calls, rejections=rejections, name_refusals=names)
        assert ends_with(progress, action, full) == code, (calls, rejections, names, action, full)


def test_each_address_is_an_action_of_its_own():
    progress = Progress()
    first, second = (Action(ActionKind.ASSIGN_ADDRESS, address=kind) for kind in ("v6", "shared_v4"))
    assert [ends_with(progress, first) for _ in range(SAME_ACTION_LIMIT + 1)] == [None, None, None, "no_progress"]
    assert ends_with(progress, second) is None


@pytest.mark.parametrize(("is_listed", "error"), [(True, TransientError), (False, Conflict)])
def test_a_name_is_refused_so_often_before_the_run_ends(is_listed, error):
    """With Fly's contradiction if its lists show the app as ours: then the name is kept."""
    progress = Progress()
    for _ in range(NAME_REFUSALS_LIMIT - 1):
        progress.refuse_name("app", NameTaken("taken"), is_listed=is_listed)
    with pytest.raises(error) as ended:
        progress.refuse_name("app", NameTaken("taken"), is_listed=is_listed)
    assert ended.value.code == ("contradiction" if is_listed else "no_progress")


def test_a_new_name_begins_without_the_refusals_of_the_old_one():
    progress = having_called(*[CREATE_APP] * 3, UPDATE)
    progress.refuse_name("app", NameTaken("taken"), is_listed=False)
    progress.rename()
    assert (progress.name_refusals, ends_with(progress, Action(CREATE_APP))) == (0, None)
    assert progress.calls[UPDATE] == 1


def test_a_token_that_may_only_read_is_a_refusal_that_an_operator_ends():
    progress = having_called(UPDATE, rejections={UPDATE: NotOwned("403", status=403)})
    with pytest.raises(Refused) as refused:
        progress.check("app", Action(UPDATE, MACHINE), 0)
    assert refused.value.status == 403
