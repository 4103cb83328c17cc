"""Bugs planted in the SQL of entitlement: who is entitled, mass losses, marks, the host's changes, and rights."""

from tests.mutants.places import Sql
from tests.mutants.planted import PlantedBug, exactly

_ENTITLEMENT = "tests/postgres/test_trigger_entitlement.py"
_GUARD = "tests/postgres/test_trigger_guard.py"
_HOST = "tests/postgres/test_planted_host.py"
_BOUNDARIES = "tests/postgres/test_boundaries.py"
_WATCH = "tests/postgres/test_binding_watch.py"
_READY = "tests/postgres/test_ready_bindings.py"
_RIGHTS = "tests/postgres/test_rights.py"
_JUDGING = "tests/postgres/test_entitlement_judging.py"
_ENDS = "tests/postgres/test_entitlement_ends.py"
_LOSS = "tests/postgres/test_host_loss.py"
_LOSS_HOLD = "tests/postgres/test_host_loss_hold.py"
_MARKS = "tests/postgres/test_marks.py"
_READS = "tests/postgres/test_reads_of_the_host.py"
_CHANGES = "tests/postgres/test_host_changes.py"
_FAILURES = "tests/simulation/test_failure_alerts.py"
_HOLD = "tests/simulation/test_removal_hold.py"
_MACHINE = "tests/simulation/test_state_machine.py::test_fly_holds_what_the_model_says"
_SYNC = "function hangar.sync_desired_state"
_JUDGE = "function hangar.judge_subscriptions"
_KEEP_HOLD = "function hangar.keep_hold"
_MARK = "function hangar.write_mark_functions"

BUGS = (
    PlantedBug(
        "expiry-a-moment-late",
        Sql(_JUDGE),
        exactly("when s.ends_at <= v_now then array['no', 'expired']"),
        "when s.ends_at < v_now then array['no', 'expired']",
        "I1: a subscription ends at the moment that it names",
        (f"{_BOUNDARIES}::test_a_subscription_ends_at_the_moment_it_names",),
    ),
    PlantedBug(
        "unknown-tier-loses-the-app",
        Sql(_JUDGE),
        exactly("when p.tier is null then array['unknown', 'unknown_tier']"),
        "when p.tier is null then array['no', 'plan_not_dedicated']",
        "I5: a table of plans that was emptied by mistake takes no app away",
        (f"{_ENTITLEMENT}::test_unknown_tier_leaves_everything_as_it_is",),
    ),
    PlantedBug(
        "unknown-status-loses-the-app",
        Sql(_JUDGE),
        exactly("when r.rule is null then array['unknown', 'unknown_status']"),
        "when r.rule is null then array['no', 'unknown_status']",
        "I5: a status that has no rule changes nothing",
        (
            "tests/postgres/test_entitlement_judging.py::test_status_words[default-dunning-ends_at10-None-unknown_status]",
        ),
    ),
    PlantedBug(
        "status-compared-as-written",
        Sql(_JUDGE),
        exactly("lower(hangar.trim_word(s.status)) as word"),
        "s.status as word",
        "I5: the words of the host are compared trimmed and in lower case",
        (f"{_JUDGING}::test_status_words",),
    ),
    PlantedBug(
        "denied-row-counts-first",
        Sql(_JUDGE),
        exactly("order by case j.verdict when 'yes' then 0 when 'no' then 2 else 1 end, "),
        "order by ",
        "I5: among several subscriptions, one that entitles comes first",
        (f"{_JUDGING}::test_the_best_subscription_counts",),
    ),
    PlantedBug(
        "equal-rows-without-order",
        Sql(_JUDGE),
        exactly("j.ends_at desc nulls first, j.tier, j.status, j.why)"),
        "j.ends_at desc nulls first)",
        "I5: the place of a row in the host's table decides nothing",
        (f"{_JUDGING}::test_rows_that_differ_by_tier_alone_have_an_order",),
    ),
    PlantedBug(
        "first-row-counts",
        Sql(_JUDGE),
        r"row_number\(\) over \(partition by j\.user_id order by (?s:.+?)j\.why\)",
        "row_number() over (partition by j.user_id)",
        "I5: the oldest of several subscriptions is not the one that counts",
        (f"{_JUDGING}::test_the_best_subscription_counts", _MACHINE),
    ),
    PlantedBug(
        "plan-rank-ignored",
        Sql(_JUDGE),
        exactly("j.rank desc nulls last, "),
        "",
        "I5: among several entitling subscriptions, the rank of the plan decides first",
        (f"{_JUDGING}::test_two_entitling_rows_have_a_total_order",),
    ),
    PlantedBug(
        "no-waits-for-the-plan",
        Sql(_JUDGE),
        exactly("when r.rule = 'no' then"),
        "when r.rule = 'no' and p.tier is not null then",
        "I2: a definite no comes before an unknown tier",
        (f"{_JUDGING}::test_a_definite_no_comes_before_an_unknown_tier",),
    ),
    PlantedBug(
        "naive-time-in-the-zone-of-the-session",
        Sql("function hangar.to_time(p_value timestamp)"),
        exactly("return hangar.to_time(p_value at time zone 'UTC');"),
        "return p_value::timestamptz;",
        "I5: an end without a time zone is UTC",
        (f"{_ENDS}::test_a_time_without_zone_is_utc",),
    ),
    PlantedBug(
        "unreadable-end-harms-everybody",
        Sql("function hangar.to_time(p_value text)"),
        exactly("exception when data_exception then"),
        "exception when division_by_zero then",
        "I5: an end that cannot be read harms its user only",
        ("tests/postgres/test_entitlement_ends.py::test_ends_of_every_type[default-27]",),
    ),
    PlantedBug(
        "emptied-table-obeyed",
        Sql("function hangar.judge_counts"),
        exactly("when p_losing >= 2 and"),
        "when false and",
        "I5: an emptied table of subscriptions takes no app away",
        (f"{_LOSS}::test_an_emptied_table_is_held",),
    ),
    PlantedBug(
        "mass-loss-obeyed",
        Sql("function hangar.judge_counts"),
        exactly("when p_losing > g.host_loss_floor and"),
        "when false and",
        "I5: more than half of the apps do not go without an operator",
        (f"{_LOSS}::test_more_than_half_and_more_than_ten",),
    ),
    PlantedBug(
        "hold-outlives-the-recovery",
        Sql(_KEEP_HOLD),
        exactly("set held_since = null, reason = null, losing = 0 where only_row"),
        "set losing = 0 where only_row",
        "I2: a hold ends when the host's subscriptions are back",
        (f"{_LOSS}::test_a_recovery_resolves_the_alert",),
    ),
    PlantedBug(
        "hold-ends-below-the-limit",
        Sql(_KEEP_HOLD),
        r"if v_losing = 0 then\s+update hangar",
        "if hangar.weigh_losses(coalesce(v_wants, p_wants)) is null then update hangar",
        "I5: neither new customers nor a restored part of the users end a hold",
        (f"{_LOSS_HOLD}::test_growth_ends_no_hold", f"{_LOSS_HOLD}::test_a_restore_in_batches_loses_nobody"),
    ),
    PlantedBug(
        "hold-ends-by-an-old-look",
        Sql(_KEEP_HOLD),
        exactly("v_losing := hangar.record_losses(v_wants);"),
        "v_losing := 0;",
        "I5: a hold ends only after a look at everybody that no other transaction overtakes",
        (f"{_LOSS_HOLD}::test_two_looks_at_the_same_time",),
    ),
    PlantedBug(
        "unknown-counts-as-recovered",
        Sql("function hangar.record_losses"),
        exactly("where w.entitled is not null and f is null"),
        "where f is null",
        "I5: a held user of whom nothing is known is not back",
        (f"{_LOSS_HOLD}::test_an_unknown_value_is_no_recovery",),
    ),
    PlantedBug(
        "deleted-in-grace-during-a-hold",
        Sql("function hangar.apply_entitlement"),
        exactly("elsif v_kept and not hangar.is_loss_held(p_want.user_id, p_hold_losses) then"),
        "elsif v_kept then",
        "I5: a table of users that was emptied ends no grace",
        (f"{_LOSS_HOLD}::test_deleted_users_during_the_grace",),
    ),
    PlantedBug(
        "later-pages-not-weighed",
        Sql("function hangar.sync_users"),
        exactly("if not v_held and exists"),
        "if false and exists",
        "I5: the host may lose everything between two pages of a sync",
        (f"{_LOSS_HOLD}::test_pages_of_a_sync_are_weighed_again",),
    ),
    PlantedBug(
        "hold-ends-when-the-host-is-unreadable",
        Sql(_KEEP_HOLD),
        exactly("if exists (select 1 from unnest(v_wants) e where e.why in ('unreadable_host', 'not_bound')) then"),
        "if false then",
        "I5: a host that cannot be read does not end a hold of losses",
        (f"{_LOSS_HOLD}::test_an_old_look_and_a_host_that_cannot_be_read",),
    ),
    PlantedBug(
        "losses-of-one-call-counted",
        Sql("function public.fly_apply_marks"),
        exactly("hangar.loss_candidates(case when not v_everybody then v_pending || v_taken.users end)"),
        "hangar.loss_candidates(v_taken.users)",
        "I5: a mass loss is seen although one call takes only a part of its marks",
        (f"{_LOSS}::test_more_marks_than_one_call_takes",),
    ),
    PlantedBug(
        "renamed-plan-loses-the-grace",
        Sql("function hangar.make_absent"),
        exactly("where p.tier = v_row.tier), v_row.grace_s, 0)"),
        "where p.tier = v_row.tier), 0)",
        "I5: the app is kept for the grace that its user bought",
        (f"{_JUDGING}::test_a_renamed_plan_keeps_the_grace_that_was_bought",),
    ),
    PlantedBug(
        "removal-continues-on-an-unknown-tier",
        Sql("function hangar.check_intent"),
        exactly("elsif v_synced = 'unknown' then"),
        "elsif false then",
        "I5: nothing is destroyed while it is not known what the user is entitled to",
        (f"{_JUDGING}::test_an_unknown_tier_stops_a_removal",),
    ),
    PlantedBug(
        "renewal-forgets-a-dead-worker",
        Sql("function hangar.make_absent"),
        exactly("and a.error_code is null and a.next_attempt_at is null,"),
        "and a.error_code is null,",
        "I8, I11: a renewal in the removal hold ends no lease and no intent of a worker that died before the loss",
        (
            f"{_HOLD}::test_a_renewal_finds_the_work_of_a_worker_that_died",
            f"{_HOLD}::test_a_renewal_keeps_the_repair_that_was_due",
        ),
    ),
    PlantedBug(
        "renewal-forgets-the-work-of-the-hold",
        Sql("function hangar.apply_entitlement"),
        exactly("and v_row.next_attempt_at >= v_row.hold_until"),
        "",
        "I8: a renewal in the removal hold ends no lease of a worker that died in the hold",
        (f"{_HOLD}::test_a_renewal_finds_the_work_of_a_worker_that_died",),
    ),
    PlantedBug(
        "failure-outlives-the-removal",
        Sql("function public.fly_save"),
        exactly("if v_refused = 'entitlement_unknown' and v_row.status = 'error' and"),
        "if false and",
        "I8: the alert about a removal that failed ends when the removal waits for the host",
        (f"{_FAILURES}::test_a_failed_removal_that_waits_for_the_host_no_longer_fails",),
    ),
    PlantedBug(
        "corrected-plan-never-arrives",
        Sql("function hangar.apply_entitlement"),
        exactly("if v_row.observed_generation is not distinct from v_row.generation or"),
        "if true or",
        "I3: a row that never converged takes the plan as it is today",
        (f"{_JUDGING}::test_a_corrected_plan_reaches_rows_that_never_converged",),
    ),
    PlantedBug(
        "change-of-nobody-known-not-marked",
        Sql(_MARK),
        exactly("v_users := null; insert into hangar.marks (user_id) values (null);"),
        "v_users := null;",
        "I1: a change that names no user makes Hangar look at every user",
        (f"{_MARKS}::test_truncate_marks_everybody",),
    ),
    PlantedBug(
        "our-failure-fails-the-host",
        Sql(_MARK),
        exactly("when others then raise log 'hangar: not marked"),
        "when division_by_zero then raise log 'hangar: not marked",
        "I12: no failure of Hangar's makes the host's write fail",
        (f"{_GUARD}::test_broken_hangar_never_fails_the_host[clock raises]",),
    ),
    PlantedBug(
        "mark-of-a-locked-row-lost",
        Sql("function hangar.lock_rows"),
        exactly("insert into hangar.marks (user_id) select distinct x from unnest(p_users) x where x <> all (users);"),
        "",
        "I1: the user of a row that somebody holds is looked at again",
        (f"{_MARKS}::test_a_row_that_somebody_holds",),
    ),
    PlantedBug(
        "batch-reads-the-host-for-each-row",
        Sql("function hangar.apply_entitlements"),
        exactly("when v_row.id = any (p_locked) then"),
        "when false then",
        "I8: a batch reads the host once, not once for each user",
        (f"{_READS}::test_a_batch_reads_the_host_once",),
    ),
    PlantedBug(
        "users-beyond-the-limit-forgotten",
        Sql("function public.fly_sync_entitlements"),
        exactly("select u, true from unnest(v_examined.outdated[p_limit + 1:]) u"),
        "select u, true from unnest(v_examined.outdated[p_limit + 2:]) u",
        "I1: a sync follows every user whom it found outdated, however many",
        (f"{_READS}::test_a_batch_reads_the_host_once",),
    ),
    PlantedBug(
        "claim-takes-the-marks-of-others",
        Sql("function public.fly_claim"),
        exactly("hangar.take_marks(500, p_user)"),
        "hangar.take_marks(500)",
        "I1: a claim takes the marks of its own user only",
        (f"{_MARKS}::test_a_claim_takes_the_marks_of_its_user",),
    ),
    PlantedBug(
        "renamed-end-is-no-end",
        Sql("function hangar.bind_subscriptions"),
        exactly("if not p_columns ? 'ends_at' then"),
        "if false then",
        "I5: a host that renames its column of ends loses no app",
        ("tests/postgres/test_host_changes.py::test_a_host_that_cannot_be_read[default-end oddly renamed]",),
    ),
    PlantedBug(
        "triggers-lost-with-the-table",
        Sql("function hangar.check_host"),
        exactly("hangar.find_source(b) is distinct from b.source_oid"),
        "false",
        "I1: a table that was dropped and made again is marked again",
        (f"{_CHANGES}::test_a_table_that_was_made_again_between_two_syncs",),
    ),
    PlantedBug(
        "derives-before-locking",
        Sql(_SYNC),
        exactly("where a.user_id = p_user and a.deleted_at is null for no key update;"),
        "where a.user_id = p_user and a.deleted_at is null;",
        "I1: a renewal that was committed while Hangar waited for the row is seen",
        ("tests/postgres/test_races.py::test_renewal_while_a_claim_waits_for_the_row",),
    ),
    PlantedBug(
        "not-live-forgets-old-users",
        Sql("function hangar.create_missing_row"),
        exactly(
            "or exists (select 1 from public.user_fly_apps a where a.user_id = p_want.user_id and a.generation > 0))"
        ),
        ")",
        "I1: a user who had an app gets one again, although Hangar is not live for everybody",
        (f"{_HOST}::test_a_former_user_gets_an_app_again_while_hangar_is_not_live",),
    ),
    PlantedBug(
        "binding-left-on-the-users-table",
        Sql("function hangar.drop_mark_triggers"),
        exactly("execute format('drop function if exists hangar.%I() cascade', v_trigger.proname);"),
        "null;",
        "I12: after unbind nothing of Hangar is left on tables of the host, also not on those of another owner",
        (f"{_WATCH}::test_another_binding_or_none_leaves_nothing_on_the_watched_table",),
    ),
    PlantedBug(
        "watched-table-made-again-not-watched",
        Sql("function hangar.is_watching"),
        exactly("t.tgrelid = to_regclass(w)"),
        "to_regclass(w) is null or t.tgrelid = to_regclass(w)",
        "I1: while a watched table lacks its trigger, every drain looks at everybody",
        (f"{_WATCH}::test_a_watched_table_that_is_dropped_and_created_again",),
    ),
    PlantedBug(
        "deleted-flag-read-as-a-time",
        Sql("function hangar.users_table"),
        exactly("deleted_at := format('(%1$s is not null and hangar.is_deleted(%1$s))', deleted_at);"),
        "deleted_at := deleted_at || ' is not null';",
        "I5: a user whose flag says not deleted is not deleted",
        (f"{_READY}::test_users_with_a_flag_and_a_domain_of_their_own",),
    ),
    PlantedBug(
        "rows-of-others-shown",
        Sql("policy own_row on public.user_fly_apps"),
        exactly("using (user_id = (select auth.uid()))"),
        "using (true)",
        "I9: users see their own row only",
        ("tests/postgres/test_planted_guards.py::test_a_user_sees_their_own_rows_only",),
    ),
    PlantedBug(
        "service-role-writes-rows",
        Sql("grant select, insert, update, delete on public.fly_plans"),
        exactly("public.fly_plans to"),
        "public.fly_plans, public.user_fly_apps to",
        "I6, I11: rows change through procedures only",
        (f"{_RIGHTS}::test_every_table_view_and_sequence_is_open_to_the_right_roles",),
    ),
    PlantedBug(
        "users-call-procedures",
        Sql("function hangar.restrict_functions"),
        exactly("from public, anon, authenticated, service_role', v_function.name"),
        "from service_role', v_function.name",
        "I6: no user calls a procedure",
        (f"{_RIGHTS}::test_every_function_is_open_to_the_right_roles",),
    ),
)
