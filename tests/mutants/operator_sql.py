"""Bugs planted in what an operator sets, and in what limits Hangar between two of its own calls."""

from tests.mutants.places import Sql
from tests.mutants.planted import PlantedBug, exactly

_SETTINGS = "tests/postgres/test_settings_all.py"
_TOGETHER = "tests/postgres/test_settings_together.py"

BUGS = (
    PlantedBug(
        "settings-read-before-the-lock",
        Sql("function public.fly_set_settings"),
        exactly("where g.only_row for no key update;"),
        "where g.only_row;",
        "D1: what the caller saw is compared with what is stored, not with an older state",
        (f"{_TOGETHER}::test_compare_and_set_lets_exactly_one_of_two_win",),
    ),
    PlantedBug(
        "settings-never-compared",
        Sql("function public.fly_set_settings"),
        exactly("v_problem := hangar.explain_changed_settings(v_before, v_expected);"),
        "v_problem := null;",
        "D1: a setting that somebody else has changed meanwhile is not written over",
        (f"{_SETTINGS}::test_what_the_caller_saw_is_compared",),
    ),
    PlantedBug(
        "lease-shorter-than-a-call",
        Sql("table hangar.settings"),
        exactly("check (lease_s between 90 and 7200)"),
        "check (lease_s > 0 and lease_s <= 7200)",
        "D11: a lease outlasts the longest call to Fly",
        (f"{_SETTINGS}::test_the_range_that_is_shown_is_the_range_of_the_table",),
    ),
    PlantedBug(
        "resume-waits-for-a-row",
        Sql("function hangar.resume_work"),
        exactly("for no key update skip locked"),
        "for no key update",
        "D7: the switch commits although another transaction holds a row",
        (f"{_TOGETHER}::test_the_switch_never_waits_for_a_row",),
    ),
    PlantedBug(
        "resume-makes-all-rows-due",
        Sql("function hangar.resume_work"),
        exactly("limit 500"),
        "",
        "D7: a resume changes at most 500 rows in its transaction",
        (f"{_TOGETHER}::test_a_resume_makes_five_hundred_apps_due",),
    ),
)
