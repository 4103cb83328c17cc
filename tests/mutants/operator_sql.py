"""Bugs planted in what an operator sets, and in what limits Hangar between two of its own calls."""

from tests.mutants.places import Python, Sql
from tests.mutants.planted import PlantedBug, exactly

_SETTINGS = "tests/postgres/test_settings_all.py"
_TOGETHER = "tests/postgres/test_settings_together.py"
_ASKED = "tests/simulation/test_asked_again.py"
_CAPS = "tests/simulation/test_caps.py"
_LOCKS = "tests/postgres/test_lock_order.py"
_LOST = "tests/simulation/test_lost_apps.py"

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
        "short-list-forgets-lost-apps",
        Sql("function hangar.may_forget_orphan"),
        exactly("select not p_orphan.lost and p_orphan.approved_by is null"),
        "select p_orphan.approved_by is null",
        "D2: a list that lacks a lost app does not release the brake",
        (f"{_LOST}::test_a_short_list_does_not_release_the_brake",),
    ),
    PlantedBug(
        "short-list-forgets-approvals",
        Sql("function hangar.may_forget_orphan"),
        exactly("select not p_orphan.lost and p_orphan.approved_by is null"),
        "select not p_orphan.lost",
        "D11: an approval survives a list that lacks the app",
        (f"{_LOST}::test_an_approval_survives_a_short_list",),
    ),
    PlantedBug(
        "one-404-forgets-a-lost-app",
        Sql("function public.fly_record_orphan_absence"),
        exactly("if not coalesce(v_orphan.absent_at < v_sweep_started_at, false) then"),
        "if false then",
        "D2: one direct 404 beside a short list does not release the brake",
        (f"{_LOST}::test_one_direct_404_beside_a_short_list_does_not_release_the_brake",),
    ),
    PlantedBug(
        "old-404-counts-after-a-listing",
        Sql("function public.fly_record_orphans"),
        exactly("listed = true, absent_at = null"),
        "listed = true",
        "D2: the two direct looks follow each other, without a listing that shows the app in between",
        (f"{_LOST}::test_one_direct_404_beside_a_short_list_does_not_release_the_brake",),
    ),
    PlantedBug(
        "outcomes-looked-up-in-the-whole-log",
        Sql("index user_fly_app_events_outcomes"),
        exactly("((metadata ->> 'intent_id'))"),
        "((metadata ->> 'another'))",
        "D6: the cost of recording orphans does not grow with the log",
        ("tests/postgres/test_large_log.py",),
    ),
    PlantedBug(
        "plan-change-not-asked",
        Sql("function hangar.check_intent"),
        exactly("in ('create_app', 'create_machine', 'update_machine')"),
        "in ('create_app', 'create_machine')",
        "D3: a plan change that would exceed the cap on cost waits",
        (f"{_CAPS}::test_a_plan_change_beyond_the_cap_waits_with_an_alert",),
    ),
    PlantedBug(
        "held-upgrade-counts",
        Sql("function hangar.count_apps"),
        exactly("else coalesce(a.admitted_cost_usd, a.monthly_cost_estimate_usd) end) filter"),
        "else a.monthly_cost_estimate_usd end) filter",
        "D3: an upgrade that the cap holds back takes no room from others",
        (f"{_CAPS}::test_an_upgrade_that_waits_takes_no_room_from_a_new_user",),
    ),
    PlantedBug(
        "downgrade-frees-no-room",
        Sql("function hangar.admit_cost"),
        exactly("new.admitted_cost_usd := new.monthly_cost_estimate_usd;"),
        "",
        "D3: once an app runs at a smaller size, the smaller cost counts",
        (f"{_CAPS}::test_a_downgrade_is_never_refused_and_makes_room",),
    ),
    PlantedBug(
        "held-upgrade-is-stalled",
        Sql("function hangar.find_stalled"),
        exactly("or a.deployed_at is not null and a.monthly_cost_estimate_usd <= a.admitted_cost_usd end"),
        "or a.deployed_at is not null end",
        "I12: a row that a cap holds back raises no second alert",
        (f"{_CAPS}::test_a_plan_change_beyond_the_cap_waits_with_an_alert",),
    ),
    PlantedBug(
        "held-upgrade-stays-down",
        Python("shared.reconcile.run", "Run._conclude_refusal"),
        exactly("if refused in CAPS else None"),
        "if False else None",
        "D3: an app whose upgrade waits keeps running with the size it has",
        (f"{_CAPS}::test_a_held_upgrade_still_starts_a_machine_that_stopped",),
    ),
    PlantedBug(
        "attempts-without-asking",
        Python("shared.reconcile.call", "call_fly"),
        exactly("if retries.last_error is not None:"),
        "if False:",
        "D5: the kill switch is asked before each attempt of a call",
        (f"{_ASKED}::test_a_pause_during_a_wait_stops_the_next_attempt",),
    ),
    PlantedBug(
        "attempt-without-an-answer",
        Python("shared.reconcile.call", "_ask_again"),
        exactly("raise last_error from failed"),
        "refused = None",
        "D5: a call is not repeated when the database cannot say whether it may be",
        (f"{_ASKED}::test_without_an_answer_of_the_database_there_is_no_further_attempt",),
    ),
    PlantedBug(
        "repeat-counts-against-the-rate",
        Sql("function hangar.check_intent"),
        exactly("= 'delete_app' and not v_repeated and not"),
        "= 'delete_app' and not",
        "I8: the next attempt of a deletion does not wait for the slot that the call itself has taken",
        (f"{_ASKED}::test_a_call_that_is_allowed_is_repeated_as_before",),
    ),
    PlantedBug(
        "orphan-removed-by-repeated-attempts",
        Python("shared.fleet.orphans", "Orphans._remove"),
        exactly("fly.single_attempts().delete_app"),
        "fly.delete_app",
        "D5: a verdict allows one attempt to remove an orphan",
        (f"{_ASKED}::test_an_orphans_removal_is_attempted_once_for_each_verdict",),
    ),
    PlantedBug(
        "override-takes-its-row-last",
        Sql("function public.fly_set_override"),
        exactly(
            "perform 1 from public.user_fly_apps a where a.user_id = p_user and a.deleted_at is null for no key update;"
        ),
        "",
        "D4: an override and a save of the same app never wait for each other",
        (f"{_LOCKS}::test_an_override_beside_a_save_of_the_same_app", f"{_LOCKS}::test_no_two_procedures_deadlock"),
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
