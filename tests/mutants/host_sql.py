"""Bugs planted in the SQL of entitlement: who is entitled, the host's own write, nudges, and the rights of roles."""

from tests.mutants.places import Sql
from tests.mutants.planted import PlantedBug, exactly

_ENTITLEMENT = "tests/postgres/test_trigger_entitlement.py"
_GUARD = "tests/postgres/test_trigger_guard.py"
_HOST = "tests/postgres/test_planted_host.py"
_BOUNDARIES = "tests/postgres/test_boundaries.py"
_WATCH = "tests/postgres/test_binding_watch.py"
_READY = "tests/postgres/test_ready_bindings.py"
_RIGHTS = "tests/postgres/test_rights.py"
_SYNC = "function hangar.sync_desired_state"

BUGS = (
    PlantedBug(
        "expiry-a-moment-late",
        Sql("function hangar.entitlements"),
        exactly("case when s.expires_at <= v_now then 'expired'"),
        "case when s.expires_at < v_now then 'expired'",
        "I1: a subscription ends at the moment that it names",
        (f"{_BOUNDARIES}::test_a_subscription_ends_at_the_moment_it_names",),
    ),
    PlantedBug(
        "unknown-tier-loses-the-app",
        Sql("function hangar.entitlements"),
        exactly("when p.tier is null then 'unknown_tier'"),
        "when p.tier is null then 'plan_not_dedicated'",
        "I5: a table of plans that was emptied by mistake takes no app away",
        (f"{_ENTITLEMENT}::test_unknown_tier_leaves_everything_as_it_is",),
    ),
    PlantedBug(
        "several-rows-status-ignored",
        Sql("function hangar.entitlements"),
        exactly("(h.status::text = 'active') desc, "),
        "",
        "I5: among several rows of a user, an active one comes before the others",
        (f"{_HOST}::test_of_several_rows_an_active_one_counts",),
    ),
    PlantedBug(
        "several-rows-without-end-last",
        Sql("function hangar.entitlements"),
        exactly("h.expires_at desc nulls first"),
        "h.expires_at desc nulls last",
        "I5: among several active rows of a user, one without an end comes first",
        (f"{_HOST}::test_of_several_active_rows_the_one_without_end_counts",),
    ),
    PlantedBug(
        "grace-not-granted",
        Sql(_SYNC),
        exactly("where p.tier = a.tier and p.grace_s > 0 and v_want.user_exists)"),
        "where false)",
        "I5: the app is kept for the plan's grace",
        (f"{_ENTITLEMENT}::test_grace_is_that_of_the_lost_plan",),
    ),
    PlantedBug(
        "derives-before-locking",
        Sql(_SYNC),
        exactly("where a.user_id = p_user and a.deleted_at is null for no key update;"),
        "where a.user_id = p_user and a.deleted_at is null;",
        "I1: a renewal that was committed while Hangar waited for the row is seen",
        ("tests/postgres/test_races.py", _ENTITLEMENT),
    ),
    PlantedBug(
        "not-live-forgets-old-users",
        Sql(_SYNC),
        exactly("or exists (select 1 from public.user_fly_apps a where a.user_id = p_user))"),
        ")",
        "I1: a user who had an app gets one again, although Hangar is not live for everybody",
        (f"{_HOST}::test_a_former_user_gets_an_app_again_while_hangar_is_not_live",),
    ),
    PlantedBug(
        "host-waits-for-every-row",
        Sql("function hangar.on_user_tier_change"),
        exactly("perform set_config('hangar.skip_rest', 'on', true);"),
        "null;",
        "I12: after one lock time-out the rest of the host's transaction does not wait for Hangar",
        (f"{_HOST}::test_after_one_time_out_the_rest_of_the_transaction_gives_way",),
    ),
    PlantedBug(
        "host-waits-without-end",
        Sql("function hangar.on_user_tier_change"),
        exactly("set lock_timeout = '200ms'"),
        "",
        "I12: a row that Hangar holds never blocks the host's write",
        (f"{_HOST}::test_a_row_that_hangar_holds_does_not_block_a_host_without_time_outs",),
    ),
    PlantedBug(
        "our-failure-fails-the-host",
        Sql("function hangar.on_user_tier_change"),
        exactly("when assert_failure or others then"),
        "when assert_failure then",
        "I12: no failure of Hangar's makes the host's write fail",
        (f"{_GUARD}::test_broken_hangar_never_fails_the_host",),
    ),
    PlantedBug(
        "cancelled-nudge-costs-the-change",
        Sql("function hangar.nudge"),
        exactly("when query_canceled or assert_failure or others then"),
        "when assert_failure or others then",
        "I12: a nudge that is cancelled costs latency and nothing else",
        (f"{_HOST}::test_a_nudge_that_is_cancelled_leaves_the_change",),
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
        exactly("deleted_at := 'nullif(' || deleted_at || ', false)';"),
        "null;",
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
