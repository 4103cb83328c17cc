"""When an operator's decision may give up an app's name: only if Fly's whole list of our organisation lacks the app."""

from datetime import timedelta

from shared.domain.actions import Done, GiveUp
from shared.domain.lost_name import DECISION_VALID, decide_lost_name, wants_new_name
from shared.domain.models import NewNameRequest
from shared.domain.observation import AppPresence, Observation, OrgListing
from tests.unit.test_decide import NOW, READY, having

SECOND = timedelta(seconds=1)


def asking(ago=SECOND, others=4):
    request = NewNameRequest(asked_at=NOW - ago, actor="operator", reason="lost", others=others)
    return having(READY, new_name_request=request)


def test_a_decision_counts_for_an_hour():
    assert wants_new_name(asking(), NOW)
    assert wants_new_name(asking(DECISION_VALID - SECOND), NOW)
    assert not wants_new_name(asking(DECISION_VALID), NOW)
    assert not wants_new_name(READY, NOW)


LISTINGS = [
    # what the lists show, how many other apps ran when it was decided, whether the name is given up, words of the refusal
    (OrgListing(ours=4), 4, True, ""),
    (OrgListing(ours=2), 4, True, ""),  # apps leave meanwhile
    (OrgListing(ours=1), 4, False, "show only 1 of the 4 other apps"),
    (OrgListing(ours=1), 0, True, ""),
    (OrgListing(ours=0), 0, False, "no other app of this installation"),
    (OrgListing(ours=4, shows_name=True), 4, False, "in our own organisation"),
    (OrgListing(ours=4, error_regions=("nrt",)), 4, False, "machines of nrt"),
    (OrgListing(ours=4, unread_apps=1), 4, False, "incomplete: 1 of the apps"),
    (OrgListing(ours=4, refused="no right"), 4, False, "(no right)"),
    (None, 4, False, "were not read"),
]


def test_what_the_lists_must_show_before_a_name_is_given_up():
    for listing, others, gives_up, words in LISTINGS:
        found = decide_lost_name(asking(others=others), Observation(AppPresence.FOREIGN, listing=listing))
        if gives_up:
            assert isinstance(found, Done), listing
            assert found.status == "deleted"
        else:
            assert isinstance(found, GiveUp), listing
            assert (found.code, words in found.message) == ("not_owned", True), listing
