"""When a direct read that denies an app is compared with Fly's lists, and what the lists then say. Each rule alone."""

from datetime import timedelta
from uuid import UUID

import pytest

from shared.domain.errors import Refused
from shared.domain.observation import AppPresence, OrgListing
from shared.reconcile.observer import AppObserver
from shared.reconcile.org_listing import read_org_listing
from shared.reconcile.worker import MachineInputs
from tests.unit.scripted_fly import ScriptedFly, answer, error_body, make_client
from tests.unit.test_decide import NOW, READY, ROW, having

APP, OURS = READY.fly_app_name, READY.network
INPUTS = MachineInputs(installation_id=UUID(int=0), env=lambda _: {}, secrets=lambda *_: {})
OTHER = {"name": "vyx-user-other", "network": "hangar-000000000000-" + UUID(int=7).hex}
MINE = {"app_name": APP, "state": "started", "config": {"metadata": {"hangar_row": str(READY.id)}}}


def ignore(*_):
    """Failed attempts are of no interest here."""


def apps(*listed, total=None):
    return answer(200, {"apps": list(listed)} | ({"total_apps": total} if total is not None else {}))


def machines(*listed, regions=()):
    return answer(200, {"machines": list(listed), "error_regions": list(regions)})


GONE, DENIED = answer(404, error_body("not found")), answer(403, error_body("unauthorized"))
LISTED = apps({"name": APP, "network": OURS})


def observe(row, *answers, after=()):
    observer = AppObserver(make_client(ScriptedFly(*answers)), ignore, lambda: NOW, INPUTS)
    for verb in after:
        getattr(observer, verb)()
    return observer.observe(row)


ASKED = [
    # the row, the direct answer, what the worker did before, whether the lists are asked
    (READY, GONE, (), True),
    (having(READY, machine_id=None), GONE, (), True),  # it has secrets, so there was an app
    (ROW, GONE, (), False),
    (having(READY, desired_state="absent"), GONE, (), False),
    (READY, GONE, ("app_created", "invalidate"), False),
    (READY, GONE, ("app_deleted",), False),
    (ROW, DENIED, (), True),
    (READY, DENIED, (), True),
    (ROW, GONE, ("name_taken",), True),
]


def test_when_the_lists_are_asked_about_an_app_that_a_direct_read_denies():
    for row, direct, after, asked in ASKED:
        assert observe(row, direct, LISTED, after=after).listed_as_ours is asked, (row, direct.status_code, after)


SHOWN = [
    # what the lists of apps and machines show, whether they show the app as ours
    ((apps({"name": APP, "network": OURS}),), True),
    ((apps({"name": APP}),), True),  # a list may leave the network out
    ((apps({"name": APP, "network": "default"}),), False),
    ((apps(OTHER), machines(MINE)), True),
    ((apps(OTHER), machines({**MINE, "state": "destroyed"})), False),
    ((apps(OTHER), machines({**MINE, "app_name": "other"})), False),
    ((apps(OTHER), machines({**MINE, "config": {"metadata": {"hangar_row": str(UUID(int=3))}}})), False),
    ((apps(), machines()), False),
]


def test_what_the_lists_say_of_an_app():
    for answers, ours in SHOWN:
        found = observe(READY, DENIED, *answers)
        assert (found.app, found.listed_as_ours) == (AppPresence.FOREIGN, ours), answers


LISTINGS = [
    # the lists, what they say beside the app
    ((apps(OTHER), machines()), OrgListing(ours=1)),
    ((apps(OTHER, OTHER), machines()), OrgListing(ours=1)),
    ((apps({"name": "x", "network": "default"}), machines()), OrgListing()),
    ((apps(OTHER, total=3), machines()), OrgListing(ours=1, unread_apps=2)),
    ((apps(OTHER, total=1), machines(regions=["nrt", "ams"])), OrgListing(ours=1, error_regions=("ams", "nrt"))),
    ((apps({"name": APP, "network": OURS}), machines()), OrgListing(shows_name=True, shows_ours=True)),
    ((apps({"name": APP, "network": "default"}), machines()), OrgListing(shows_name=True)),
    ((apps(OTHER), machines(MINE)), OrgListing(shows_name=True, shows_ours=True, ours=1)),
    ((apps(OTHER), machines({**MINE, "config": {}})), OrgListing(shows_name=True, ours=1)),
    ((apps(OTHER), machines({**MINE, "state": "destroyed"})), OrgListing(ours=1)),
]


def read(*answers):
    client = make_client(ScriptedFly(*answers))
    is_ours = lambda app: app.network == OURS  # noqa: E731
    return read_org_listing(READY, client, INPUTS.installation_id, is_ours, ignore, 40.0)


def test_what_the_lists_of_the_organisation_say_beside_one_app():
    for answers, expected in LISTINGS:
        assert read(*answers) == expected, expected


def test_a_token_that_may_not_list_is_a_part_of_the_answer_and_an_unpaid_invoice_is_not():
    assert read(DENIED).refused
    assert read(apps(OTHER), DENIED).refused
    with pytest.raises(Refused):
        read(answer(402, error_body("payment required")))


@pytest.mark.parametrize("minutes", [1, 61])
def test_the_whole_listing_is_read_only_for_a_recent_decision_of_an_operator(minutes):
    request = {"asked_at": NOW - timedelta(minutes=minutes), "actor": "operator", "reason": "lost"}
    row = type(READY).model_validate(READY.model_dump() | {"new_name_request": request})
    found = observe(row, DENIED, apps(OTHER), machines())
    assert (found.listing is not None) is (minutes == 1)
