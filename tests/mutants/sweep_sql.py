"""Bugs planted in the SQL of the sweep: what it may write, orphans, and alerts that no single error shows."""

from tests.mutants.places import Sql
from tests.mutants.planted import PlantedBug, exactly

_SWEEP = "tests/postgres/test_sweep_rpcs.py"
_GUARDS = "tests/postgres/test_planted_guards.py"
_ORPHANS = "tests/postgres/test_planted_orphans.py"

BUGS = (
    PlantedBug(
        "old-observation-stored",
        Sql("function public.fly_record_sweep"),
        exactly("a.desired_state <> 'legacy' and a.updated_at <= p_started_at"),
        "a.desired_state <> 'legacy'",
        "I6: what was observed before a row changed says nothing about the row",
        (f"{_SWEEP}::test_leased_and_changed_rows_are_skipped",),
    ),
    PlantedBug(
        "leased-row-judged",
        Sql("function public.fly_record_sweep"),
        exactly("and (a.lease_expires_at is null or a.lease_expires_at <= v_now)"),
        "",
        "I6: a row that a worker holds is judged by the worker",
        (f"{_SWEEP}::test_leased_and_changed_rows_are_skipped",),
    ),
    PlantedBug(
        "one-bad-sample-is-unhealthy",
        Sql("function public.fly_record_sweep"),
        exactly("case when counted.bad_samples >= g.unhealthy_after then"),
        "case when true then",
        "I5: an app is unhealthy after several samples",
        (f"{_SWEEP}::test_unhealthy_takes_several_samples_apart",),
    ),
    PlantedBug(
        "outage-end-touches-leased-rows",
        Sql("function public.fly_end_outage"),
        exactly("and (a.lease_expires_at is null or a.lease_expires_at <= v_now)"),
        "",
        "I6: the end of an outage leaves alone a row that a worker holds",
        (f"{_ORPHANS}::test_the_end_of_an_outage_leaves_leased_rows_alone",),
    ),
    PlantedBug(
        "young-orphan-removed",
        Sql("function hangar.is_removable"),
        r"p_orphan\.first_seen_at <= hangar\.now\(\) - [\w.]*make_interval\(secs => g\.orphan_after_s::double precision\)",
        "true",
        "I5: an orphan is removed only after orphan_after_s",
        ("tests/postgres/test_boundaries.py::test_an_orphan_is_ripe_after_a_quarter_of_an_hour",),
    ),
    PlantedBug(
        "orphan-of-one-sighting-removed",
        Sql("function hangar.is_removable"),
        exactly("p_orphan.sightings >= 2"),
        "p_orphan.sightings >= 1",
        "I5: two sweeps see an orphan before it is removed",
        (f"{_GUARDS}::test_one_sighting_never_removes_an_orphan",),
    ),
    PlantedBug(
        "orphan-of-an-unknown-tier-removed",
        Sql("function public.fly_judge_orphan"),
        exactly("if v_orphan.user_id is not null and v_want.entitled is null then"),
        "if false then",
        "I5: nothing of a user whose tier is unknown is destroyed",
        (f"{_GUARDS}::test_a_left_over_app_of_a_user_of_an_unknown_tier_is_kept", _GUARDS),
    ),
    PlantedBug(
        "app-of-a-live-row-is-an-orphan",
        Sql("function public.fly_judge_orphan"),
        exactly(
            "if exists (select 1 from public.user_fly_apps a where a.fly_app_name = p_app and a.deleted_at is null) then"
        ),
        "if false then",
        "I5: the database at the moment of the destroy decides, not the sweep's earlier reading",
        (f"{_GUARDS}::test_an_app_that_has_a_live_row_by_now_is_kept",),
    ),
    PlantedBug(
        "orphan-removed-while-paused",
        Sql("function hangar.check_orphan_delete"),
        exactly("elsif v_settings.paused then"),
        "elsif false then",
        "I5: paused means no Fly write at all, for orphans too",
        ("tests/simulation/test_guards.py::test_nothing_is_removed_while_it_is_forbidden",),
    ),
    PlantedBug(
        "lost-rows-need-no-approval",
        Sql("function hangar.needs_approval"),
        exactly("p_orphan.lost and p_orphan.approved_by is null"),
        "false",
        "I5: an app of which the database never had the row is removed only with an operator's approval",
        ("tests/simulation/test_guards.py::test_an_empty_database_destroys_nothing_without_approval",),
    ),
    PlantedBug(
        "orphan-of-another-network-is-the-same",
        Sql("function public.fly_record_orphans"),
        exactly("sightings = case when o.network = excluded.network then o.sightings + 1 else 1 end"),
        "sightings = o.sightings + 1",
        "I5: the same name with another network is another app, which has to age again",
        (f"{_ORPHANS}::test_the_same_name_on_another_network_is_another_orphan",),
    ),
    PlantedBug(
        "approval-survives-another-network",
        Sql("function public.fly_record_orphans"),
        exactly("approved_by = case when o.network = excluded.network then o.approved_by end"),
        "approved_by = o.approved_by",
        "I5: an approval is for one app, not for the next one of its name",
        (f"{_ORPHANS}::test_the_same_name_on_another_network_is_another_orphan",),
    ),
    PlantedBug(
        "orphans-recorded-without-limit",
        Sql("function public.fly_record_orphans"),
        exactly("order by o.app is not null, o.listed, o.last_seen_at, s.app limit v_at_once"),
        "order by s.app",
        "one statement does not grow with the number of orphans",
        ("tests/postgres/test_bounded_sweeps.py::test_many_orphans_are_recorded_over_several_sweeps",),
    ),
    PlantedBug(
        "marks-applied-with-the-plan-of-an-empty-table",
        Sql("function public.fly_apply_marks"),
        exactly(" set plan_cache_mode = 'force_custom_plan'"),
        "",
        "thousands of new users at once do not exceed the time limit of a statement",
        ("tests/postgres/test_bounded_sweeps.py::test_thousands_of_new_users_in_one_session",),
    ),
    PlantedBug(
        "orphan-intent-closed-in-flight",
        Sql("function hangar.close_orphan_removals"),
        exactly("and hangar.now() - interval '10 minutes'"),
        "and hangar.now()",
        "I11: the intent of a removal that is still under way stays open",
        (f"{_ORPHANS}::test_a_removal_is_closed_as_unknown_after_ten_minutes_and_not_before",),
    ),
    PlantedBug(
        "removal-remembered-too-briefly",
        Sql("function hangar.is_being_removed"),
        exactly("i.created_at > hangar.now() - interval '10 minutes'"),
        "i.created_at > hangar.now() - interval '1 minute'",
        "I5: an app whose removal is under way is not returned to its user",
        (f"{_ORPHANS}::test_an_app_whose_removal_began_minutes_ago_is_not_returned",),
    ),
    PlantedBug(
        "removal-forgotten-within-the-day",
        Sql("function hangar.orphan_removals"),
        exactly("e.created_at > hangar.now() - interval '1 day'"),
        "e.created_at > hangar.now() - interval '1 hour'",
        "I11: an orphan that is gone hours after its removal was intended counts as removed",
        (f"{_ORPHANS}::test_a_removal_that_was_closed_as_unknown_counts_for_a_day",),
    ),
    PlantedBug(
        "returned-beside-an-open-create",
        Sql("function hangar.return_orphan_to_user"),
        exactly("or v_live.open_intent is not null or v_live.create_unknown_at is not null then"),
        "then",
        "I2: an orphan is not returned while the user's own app may still be created",
        (f"{_ORPHANS}::test_an_orphan_is_not_returned_beside_an_open_create",),
    ),
)
