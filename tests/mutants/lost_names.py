"""Bugs planted in what guards an operator's decision that a lost app's name is given up."""

from tests.mutants.places import Python, Sql
from tests.mutants.planted import PlantedBug, exactly

_JUDGE = "shared.domain.lost_name"
_TESTS = "tests/simulation/test_lost_names.py"
_REFUSED = f"{_TESTS}::test_without_proof_nothing_changes_and_the_refusal_says_what_was_seen"

BUGS = (
    PlantedBug(
        "lost-name-without-a-decision",
        Python(_JUDGE, "wants_new_name"),
        exactly("request is not None and now - request.asked_at < DECISION_VALID"),
        "True",
        "I5: without an operator's decision an app that was ours keeps its name",
        (f"{_TESTS}::test_without_a_decision_the_name_is_kept_and_the_alert_names_the_command",),
    ),
    PlantedBug(
        "lost-name-with-a-narrow-token",
        Python(_JUDGE, "_refuse"),
        exactly("if listing.refused:"),
        "if False:",
        "I5: a token that may not list proves nothing, and the refusal says so",
        (_REFUSED,),
    ),
    PlantedBug(
        "lost-name-beside-empty-lists",
        Python(_JUDGE, "_refuse"),
        exactly("if listing.ours == 0:"),
        "if False:",
        "I5: lists without any app of ours prove nothing",
        (f"{_REFUSED}[lists of another organisation]",),
    ),
    PlantedBug(
        "lost-name-beside-few-apps",
        Python(_JUDGE, "_refuse"),
        exactly("if 2 * listing.ours < expected:"),
        "if False:",
        "I5: lists that lack most of our apps prove nothing",
        (f"{_REFUSED}[a token for one app]",),
    ),
    PlantedBug(
        "lost-name-beside-a-part-of-the-list",
        Python(_JUDGE, "_refuse"),
        exactly("if listing.unread_apps > 0:"),
        "if False:",
        "I5: an incomplete list proves nothing",
        (_REFUSED,),
    ),
    PlantedBug(
        "lost-name-beside-an-unread-region",
        Python(_JUDGE, "_refuse"),
        exactly("if listing.error_regions:"),
        "if False:",
        "I5: machines of a region that Fly could not read are unknown",
        (f"{_TESTS}::test_a_region_that_cannot_be_listed_proves_nothing",),
    ),
    PlantedBug(
        "lost-name-in-our-own-organisation",
        Python(_JUDGE, "_refuse"),
        exactly("if listing.shows_name:"),
        "if False:",
        "I4: an app of the same name in our organisation is named, not left behind",
        (f"{_TESTS}::test_an_app_of_the_same_name_in_our_organisation_is_named",),
    ),
    PlantedBug(
        "lost-name-decided-long-ago",
        Python(_JUDGE, "wants_new_name"),
        exactly(" and now - request.asked_at < DECISION_VALID"),
        "",
        "I5: a decision is followed for an hour, not whenever Fly can be listed again",
        (f"{_TESTS}::test_an_old_decision_is_not_followed",),
    ),
    PlantedBug(
        "lost-name-decision-ended-by-another-run",
        Sql("function public.fly_save"),
        exactly("p_patch -> 'new_name_judged' = 'true'"),
        "p_patch ? 'error_code'",
        "I8: a run that began before the decision does not end it",
        ("tests/postgres/test_new_name.py::test_a_worker_that_did_not_know_of_the_decision_does_not_end_it",),
    ),
)
