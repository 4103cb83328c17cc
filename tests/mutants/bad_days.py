"""Bugs planted in what Hangar does on Fly's bad days: refusals of the whole organisation and of one call."""

from tests.mutants.places import Python, Sql
from tests.mutants.planted import PlantedBug, exactly

_REFUSALS = "tests/simulation/test_refusals.py"
_SKEW = "tests/simulation/test_clock_skew.py"
_CONTRADICTIONS = "tests/simulation/test_contradictions.py"

BUGS = (
    PlantedBug(
        "refused-starts-replace-the-machine",
        Python("shared.reconcile.conclude", "_count_failures"),
        exactly("(row.retry_count if row.error_code == START_FAILED else 0)"),
        "row.retry_count",
        "C1: starts that Fly refused do not count as starts that failed",
        (f"{_REFUSALS}::test_refused_starts_do_not_count_as_failed_starts",),
    ),
    PlantedBug(
        "rejection-forgotten",
        Python("shared.reconcile.run", "Run._act"),
        exactly("self.rejections[action.kind] = rejection"),
        "pass",
        "C2: what was done without effect says what Fly answered",
        (_REFUSALS,),
    ),
    PlantedBug(
        "one-alert-for-each-refused-user",
        Sql("function hangar.is_org_wide"),
        exactly("'billing', 'quota', 'policy', 'token', 'org'"),
        "'billing', 'quota', 'policy', 'org'",
        "C12: a revoked token is one alert for the fleet",
        (f"{_REFUSALS}::test_one_cause_of_the_organisation_is_one_alert_for_the_fleet",),
    ),
    PlantedBug(
        "refusal-alert-outlives-its-rows",
        Sql("function hangar.sync_alerts"),
        exactly("perform hangar.check_refusal(p_was);"),
        "null;",
        "C1: the alert ends when Fly accepts again",
        (_REFUSALS,),
    ),
    PlantedBug(
        "accepted-user-frees-nobody",
        Sql("function hangar.sync_alerts"),
        exactly("perform hangar.retry_refused(p_was);"),
        "null;",
        "C12: when Fly accepts one user, the others follow at once",
        (f"{_REFUSALS}::test_one_cause_of_the_organisation_is_one_alert_for_the_fleet",),
    ),
    PlantedBug(
        "listing-refusal-forgotten-by-a-save",
        Sql("function hangar.check_refusal"),
        exactly("p_listing, (select"),
        "p_listing, '', (select",
        "D9: the alert about a refused listing ends with a listing, not with one user's success",
        (f"{_REFUSALS}::test_a_refused_listing_is_the_same_alert",),
    ),
    PlantedBug(
        "listing-goes-in-circles",
        Python("shared.domain.paging", "Paging.advance"),
        exactly("if cursor in self._seen:"),
        "if False:",
        "C9: a listing whose cursor comes again ends in an error",
        ("tests/unit/test_fly_client.py::test_a_listing_that_repeats_itself_ends_in_an_error",),
    ),
    PlantedBug(
        "listing-without-an-end",
        Python("shared.domain.paging", "Paging.advance"),
        exactly("if len(self._seen) > self.most_pages:"),
        "if False:",
        "C9: a listing that is longer than any real one ends in an error",
        ("tests/unit/test_fly_client.py::test_a_listing_without_an_end_ends_in_an_error",),
    ),
    PlantedBug(
        "listed-app-given-up",
        Python("shared.domain.decide", "_decide_missing_app"),
        exactly(" and not observation.listed_as_ours"),
        "",
        "C6: a running app that the lists show is never given up for another name",
        (f"{_CONTRADICTIONS}::test_an_app_that_the_lists_show_is_not_given_up_for_a_404",),
    ),
    PlantedBug(
        "listed-app-is-somebody-elses",
        Python("shared.domain.decide", "_decide_foreign"),
        exactly("if observation.listed_as_ours:"),
        "if False:",
        "C6: a direct read alone does not make an app somebody else's",
        (f"{_CONTRADICTIONS}::test_an_app_that_the_lists_show_as_ours_is_not_someone_elses",),
    ),
    PlantedBug(
        "one-list-is-enough-to-give-up",
        Python("shared.reconcile.observer", "AppObserver._read_lists"),
        exactly("return machine.state not in GONE_STATES"),
        "return False",
        "C6: both of Fly's lists are asked before a name is given up",
        (f"{_CONTRADICTIONS}::test_an_app_that_the_lists_show_is_not_given_up_for_a_404",),
    ),
    PlantedBug(
        "flys-time-taken-for-ours",
        Python("shared.reconcile.observer", "to_observation"),
        exactly("changed_at - lead"),
        "changed_at",
        "C10: the age of a machine is measured by Fly's clock",
        (f"{_SKEW}::test_a_machine_that_boots_is_not_old_by_another_clock",),
    ),
    PlantedBug(
        "one-wrong-date-is-believed",
        Python("shared.fly.clock", "FlyClock.lead_over"),
        exactly("if abs(offsets[0] - offsets[-1]) > AGREEMENT.total_seconds():"),
        "if False:",
        "C10: while two answers deny each other, no machine is old",
        ("tests/unit/test_fly_clock.py", _SKEW),
    ),
    PlantedBug(
        "skew-without-an-alert",
        Python("shared.fleet.clock_skew", "alert_clock_skew"),
        exactly("if abs(lead) <= ALERT_ABOVE:"),
        "if abs(lead) <= 30 * ALERT_ABOVE:",
        "C10: above 30 seconds an alert names both clocks",
        (f"{_SKEW}::test_an_alert_names_both_clocks_above_thirty_seconds",),
    ),
)
