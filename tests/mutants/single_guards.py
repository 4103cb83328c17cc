"""Bugs planted in single conditions of drift, moves, health, alerts, saves and the brake, which whole sweeps hide."""

from tests.mutants.places import Python, Sql
from tests.mutants.planted import PlantedBug, exactly

_DRIFT = "tests/unit/test_drift.py"
_DECIDE = "tests/unit/test_decide.py"
_MOVE = "tests/unit/test_region_move.py"
_DRIFT_RULES = "tests/postgres/test_drift_rules.py"
_OUTBOX = "tests/postgres/test_outbox_rules.py"
_CAUSES = "tests/postgres/test_failure_causes.py"
_HEALTH = "tests/postgres/test_health_rules.py"
_BRAKE = "tests/postgres/test_brake_rules.py"
_CAPS = "tests/postgres/test_cap_rules.py"
_LEASES = "tests/postgres/test_lease_rules.py"
_SAVES = "tests/postgres/test_save_rules.py"
_OBSERVED = "tests/postgres/test_sweep_record_rules.py"
_HOST_ALERTS = "tests/postgres/test_host_alert_rules.py"
_REMOVAL = "tests/postgres/test_removal_rules.py"
_MARKS = "tests/postgres/test_mark_rules.py"
_SWEEP = "tests/unit/test_sweep_judgement.py"
_BACKOFF = "tests/unit/test_backoff.py"

BUGS = (
    PlantedBug(
        "omitted-false-is-drift",
        Python("shared.domain.drift", "_compare"),
        exactly("False if value is False else _MISSING"),
        "_MISSING",
        "I7: a machine as Hangar deployed it never drifts, although Fly omits false values",
        (f"{_DRIFT}::test_fly_may_write_the_same_value_in_another_way",),
    ),
    PlantedBug(
        "stop-rule-not-compared",
        Python("shared.domain.drift", "find_drift"),
        exactly('_compare(STOP, {"stop_config": wanted["stop_config"]}, config),'),
        "",
        "I1: the machine has the stop rule that Hangar set",
        (f"{_DRIFT}::test_each_part_that_hangar_sets_is_compared",),
    ),
    PlantedBug(
        "missing-port-not-seen",
        Python("shared.domain.drift", "_contains"),
        exactly("len(runs) == len(wanted) and "),
        "",
        "I1: every port of a public service is there",
        (f"{_DRIFT}::test_each_part_that_hangar_sets_is_compared",),
    ),
    PlantedBug(
        "changed-variables-excused-by-the-old-ones",
        Python("shared.domain.drift", "_compare_env"),
        exactly("if row.env_version != row.env_version_deployed:"),
        "if False:",
        "I1: a change of a plan's variables reaches the machine",
        (f"{_DRIFT}::test_variables_of_a_plan_that_have_changed_are_wanted_in_the_machine",),
    ),
    PlantedBug(
        "same-config-sent-again",
        Python("shared.domain.decide", "_decide_update"),
        exactly("kinds &= ESSENTIAL if config_sent else kinds"),
        "pass",
        "I7: a value that Fly writes in another way is not sent again and again",
        (f"{_DECIDE}::test_an_update_says_why_and_is_sent_once",),
    ),
    PlantedBug(
        "time-of-a-repair-not-written",
        Sql("function hangar.record_deploying"),
        exactly("p_row.drift_repair_at := hangar.now();"),
        "",
        "I13: a bad repair stops the others, and the next one of the same app waits",
        (f"{_DRIFT_RULES}::test_a_repair_is_used_up_before_its_call",),
    ),
    PlantedBug(
        "drift-repaired-before-a-change-has-arrived",
        Sql("function public.fly_start_drift_repairs"),
        exactly("and a.observed_generation = a.generation"),
        "",
        "I13: what differs while a change is under way is no drift to repair",
        (f"{_DRIFT_RULES}::test_which_drift_is_repaired",),
    ),
    PlantedBug(
        "two-sweeps-admit-the-last-repair",
        Sql("function public.fly_start_drift_repairs"),
        exactly("perform pg_advisory_xact_lock(hashtextextended('hangar.drift', 0));"),
        "",
        "I13: a share of the fleet is repaired at once, however many sweeps run",
        (f"{_DRIFT_RULES}::test_two_sweeps_do_not_both_see_the_last_place",),
    ),
    PlantedBug(
        "second-machine-out-of-reach-destroyed",
        Python("shared.domain.region_move", "may_drop"),
        exactly("and spare.host_ok"),
        "",
        "I5: nothing is destroyed on a host that Fly cannot reach",
        (f"{_MOVE}::test_a_second_machine_out_of_reach_is_not_destroyed",),
    ),
    PlantedBug(
        "started-beside-a-machine-out-of-reach",
        Python("shared.domain.region_move", "decide_spare"),
        exactly("return None if is_served else Wait(60, _UNREACHABLE)"),
        "return None",
        "I2: a second machine whose host Fly cannot reach may run",
        (f"{_MOVE}::test_a_second_machine_out_of_reach_matters_only_while_nothing_else_runs",),
    ),
    PlantedBug(
        "hold-starts-beside-a-machine-out-of-reach",
        Python("shared.domain.region_move", "is_interrupted"),
        exactly("spare.host_ok and "),
        "",
        "I2: in the removal hold a machine is started only if surely neither runs",
        (f"{_MOVE}::test_in_a_hold_the_machine_is_started_only_if_surely_neither_runs",),
    ),
    PlantedBug(
        "gone-machine-taken-for-the-second-one",
        Python("shared.domain.region_move", "find_spare"),
        exactly("machine.state not in GONE_STATES and "),
        "",
        "I8: a move goes on although its second machine was destroyed",
        (f"{_MOVE}::test_a_second_machine_that_is_gone_is_made_again",),
    ),
    PlantedBug(
        "second-machine-made-twice",
        Python("shared.domain.region_move", "_make_spare"),
        exactly("if observation.machine_made:"),
        "if False:",
        "I2: a machine that no read shows yet is not made again",
        (f"{_MOVE}::test_the_second_machine_is_made_once_and_with_what_it_needs",),
    ),
    PlantedBug(
        "end-told-although-the-opening-was-given-up",
        Sql("function hangar.queue_deliveries"),
        exactly("and o.dead_at is null"),
        "",
        "nobody hears the end of an alert of which they never heard",
        (f"{_OUTBOX}::test_the_end_of_an_alert_is_told_where_its_opening_was_or_will_be",),
    ),
    PlantedBug(
        "named-destination-forgotten",
        Sql("function hangar.forget_destinations"),
        exactly("and d.destination <> all (p_named)"),
        "",
        "a destination that a function names keeps what waits for it",
        (f"{_OUTBOX}::test_a_silent_destination_is_forgotten_with_what_waits_for_it",),
    ),
    PlantedBug(
        "given-up-message-sent",
        Sql("function hangar.due_deliveries"),
        exactly("and n.delivered_at is null and n.dead_at is null"),
        "and n.delivered_at is null",
        "a message that was given up is not sent",
        (f"{_OUTBOX}::test_which_message_may_be_sent_now",),
    ),
    PlantedBug(
        "messages-in-reverse",
        Sql("function hangar.due_deliveries"),
        exactly("order by n.seq"),
        "order by n.seq desc",
        "messages are sent in the order in which they were stored",
        (f"{_OUTBOX}::test_messages_are_sent_in_their_order",),
    ),
    PlantedBug(
        "refused-app-keeps-its-own-alert",
        Sql("function hangar.list_failure_keys"),
        exactly("and not hangar.is_org_wide(a.error_code)"),
        "",
        "an app that Fly refuses for a cause of the organisation has that alert alone",
        (f"{_CAUSES}::test_a_refusal_of_the_organisation_is_one_alert_and_replaces_that_of_the_app",),
    ),
    PlantedBug(
        "health-step-of-an-app-in-progress",
        Sql("function hangar.set_health_steps"),
        exactly("and a.status = 'active' where"),
        "where",
        "I5: an app that is being brought up is not restarted or replaced meanwhile",
        (f"{_HEALTH}::test_which_step_becomes_due",),
    ),
    PlantedBug(
        "repeated-deletion-waits-for-itself",
        Sql("function hangar.check_intent"),
        exactly("and not v_repeated and not hangar.reserve_delete_slot(p_row)"),
        "and not hangar.reserve_delete_slot(p_row)",
        "I8: another attempt of a deletion is not held up by the first one's intent",
        (f"{_BRAKE}::test_a_repeated_deletion_needs_no_second_slot",),
    ),
    PlantedBug(
        "app-without-admission-passes-the-cap",
        Sql("function hangar.check_caps"),
        exactly("p_action = 'create_app' or p_row.admitted_cost_usd is null;"),
        "p_action = 'create_app';",
        "I10: an app that the caps have never admitted counts as a new one",
        (f"{_CAPS}::test_an_app_that_was_never_admitted_is_a_new_one_for_the_caps",),
    ),
    PlantedBug(
        "samples-of-one-moment-count-each",
        Sql("function public.fly_record_sweep"),
        exactly("or a.bad_sample_at <= v_now - make_interval(secs => g.bad_sample_gap_s::double precision)"),
        "or true",
        "I5: an app is unhealthy after several samples that lie apart, not after several sweeps in a minute",
        (f"{_OBSERVED}::test_how_an_observation_changes_the_health_of_a_row",),
    ),
    PlantedBug(
        "hidden-apps-due-and-the-others-not",
        Python("shared.fleet.incidents", "IncidentGuard.hold_hidden"),
        exactly("if report in missing"),
        "if report not in missing",
        "I2: apps that Fly hides are not made again in bulk",
        (f"{_SWEEP}::test_apps_that_fly_hides_are_not_made_again_in_bulk",),
    ),
    PlantedBug(
        "rate-limit-without-end-is-no-failure",
        Python("shared.domain.backoff", "asked_to_wait_s"),
        exactly("and error.attempts_made < ATTEMPTS_A_ROUND"),
        "",
        "I8: an app that Fly's limit refuses again and again is told",
        (f"{_BACKOFF}::test_a_wait_for_a_rate_limit_is_no_failure",),
    ),
    PlantedBug(
        "apps-in-their-hold-wait-for-the-brake",
        Sql("function hangar.resolve_brake_alerts"),
        exactly("and (a.hold_until is null or a.hold_until <= hangar.now())"),
        "",
        "the brake's alert ends when nothing waits for the brake",
        (f"{_BRAKE}::test_the_alert_of_the_brake_stays_open_while_an_app_waits_for_the_last_place",),
    ),
    PlantedBug(
        "unreadable-host-ends-alerts-about-its-values",
        Sql("function hangar.check_unknown_values"),
        exactly("and p_judged is not null;"),
        ";",
        "an alert never ends because nobody could look",
        (f"{_HOST_ALERTS}::test_an_alert_about_a_value_ends_when_no_subscription_has_it_any_more",),
    ),
    PlantedBug(
        "problem-of-the-host-swallowed",
        Sql("function hangar.read_whole_host"),
        exactly("problem := sqlerrm;"),
        "",
        "a host that cannot be read is never silent",
        (f"{_HOST_ALERTS}::test_a_host_that_cannot_be_read_is_not_taken_for_an_empty_one",),
    ),
    PlantedBug(
        "claim-does-not-wait-for-the-grace",
        Sql("function public.fly_claim"),
        exactly("greatest(v_row.hold_until, v_row.delete_after)"),
        "least(v_row.hold_until, v_row.delete_after)",
        "I7: a wake-up call does not work on an app that waits for the end of its grace",
        (f"{_LEASES}::test_which_row_a_worker_may_claim",),
    ),
    PlantedBug(
        "refusal-of-the-organisation-forgotten-by-a-removal",
        Sql("function public.fly_save"),
        exactly("and not hangar.is_org_wide(v_row.error_code) then"),
        "then",
        "I8: what Fly refuses the organisation is told until it accepts",
        (f"{_SAVES}::test_a_removal_that_waits_for_the_host_no_longer_waits_for_its_failure",),
    ),
    PlantedBug(
        "move-kept-for-the-sake-of-another-app",
        Sql("function hangar.make_present"),
        exactly("t.row_id = a.id and t.release_id = a.move_release_id"),
        "t.release_id = a.move_release_id",
        "I2: no release moves an app with which it is done",
        (f"{_REMOVAL}::test_a_user_who_returns_in_the_middle_of_a_move_keeps_it_while_the_release_works_on_the_app",),
    ),
    PlantedBug(
        "sync-takes-marks-that-it-has-not-looked-at",
        Sql("function hangar.take_seen_marks"),
        exactly("where m.seen and (p_after"),
        "where (p_after",
        "I1: a change that was marked during a sync is not taken for one that the sync has seen",
        (f"{_MARKS}::test_a_sync_continues_with_the_users_that_it_has_found_itself",),
    ),
)
