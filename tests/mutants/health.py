"""Bugs planted in what Hangar does about an app that fails: samples, alerts, and the steps against it."""

from tests.mutants.places import Python, Sql
from tests.mutants.planted import PlantedBug, exactly

_SILENT = "tests/simulation/test_silent_apps.py"
_STEPS = "tests/simulation/test_health_steps.py"

BUGS = (
    PlantedBug(
        "sweep-ends-without-health-alerts",
        Sql("function public.fly_sweep_finish"),
        exactly("perform hangar.check_health();"),
        "",
        "I8: an app that fails raises an alert",
        (f"{_SILENT}::test_each_symptom_of_one_app_alerts_within_three_samples",),
    ),
    PlantedBug(
        "one-sample-alerts",
        Sql("function hangar.find_unhealthy"),
        exactly("h.samples >= g.unhealthy_after"),
        "h.samples >= 1",
        "one bad sample is no alert",
        (f"{_SILENT}::test_each_symptom_of_one_app_alerts_within_three_samples",),
    ),
    PlantedBug(
        "missing-check-is-healthy",
        Python("shared.reconcile.symptom_finder", "_find_in_checks"),
        exactly("if missing := missing_checks(machine):"),
        "if missing := []:",
        "a configured check without a result is not well",
        (f"{_SILENT}::test_each_symptom_of_one_app_alerts_within_three_samples[no result]",),
    ),
    PlantedBug(
        "404-against-the-list-is-a-missing-machine",
        Python("shared.fleet.app_symptoms", "explain_failure"),
        exactly("if _find_listed(row, inventory) is not None:"),
        "if _find_listed(row, inventory) is None:",
        "I2: what Fly's list shows is not created a second time because of a 404",
        (f"{_SILENT}::test_a_404_against_flys_own_list_makes_no_second_machine",),
    ),
    PlantedBug(
        "wrong-organisation-told-app-by-app",
        Python("shared.fleet.app_symptoms", "explain_failure"),
        exactly("SymptomCode.DENIED if inventory.lists_ours else SymptomCode.WRONG_ORGANISATION"),
        "SymptomCode.DENIED",
        "a token of another organisation is one alert",
        (f"{_SILENT}::test_a_token_of_another_organisation_is_one_alert_for_the_fleet",),
    ),
    PlantedBug(
        "sleeper-is-a-failure",
        Python("shared.fleet.app_symptoms", "explain_machine"),
        exactly("None if is_asleep(row, machine) else machine.symptom"),
        "machine.symptom",
        "an on-demand machine that sleeps is well",
        (f"{_SILENT}::test_a_sleeper_is_no_failure",),
    ),
    PlantedBug(
        "restarted-without-end",
        Sql("function hangar.record_machine_change"),
        exactly("case when v_is_step and v_action = 'restart_machine' then hangar.now() else h.restarted_at end"),
        "h.restarted_at",
        "I7: an unhealthy app is restarted once",
        (f"{_STEPS}::test_an_unhealthy_app_is_restarted_once_replaced_once_and_left_to_a_person",),
    ),
    PlantedBug(
        "lost-replacement-counts",
        Sql("function hangar.next_health_step"),
        exactly("and p_health.replaced_machine_id is distinct from p_machine_id"),
        "",
        "a replacement that a crash prevented is made later",
        (f"{_STEPS}::test_a_crash_before_the_replacement_does_not_count_as_one",),
    ),
    PlantedBug(
        "replaced-without-a-second-look",
        Python("shared.domain.health_step", "decide_health_step"),
        exactly("row.health_step is None or not confirms_step(row.health_step, machine.symptom)"),
        "row.health_step is None",
        "I5: two independent checks are required before a machine is destroyed",
        (f"{_STEPS}::test_an_app_that_is_well_at_the_last_moment_is_not_touched",),
    ),
    PlantedBug(
        "incident-repaired-one-by-one",
        Sql("function hangar.check_health()"),
        exactly("v_single := '{}';"),
        "null;",
        "many unhealthy apps are one incident, without repairs",
        (f"{_STEPS}::test_many_unhealthy_apps_are_one_incident_without_repairs",),
    ),
    PlantedBug(
        "plan-limit-ignored",
        Sql("function hangar.next_health_step"),
        exactly("p_policy = 'replace' and v_remedy = 'replace'"),
        "v_remedy = 'replace'",
        "fly_plans.on_unhealthy limits what is done",
        (f"{_STEPS}::test_the_plan_limits_what_is_done",),
    ),
    PlantedBug(
        "steps-forgotten-at-once",
        Sql("function hangar.record_symptoms"),
        exactly(
            "case when h.restarted_at is null and h.replaced_at is null then v_needed * v_gap else interval '1 hour' end"
        ),
        "v_needed * v_gap",
        "what was tried is forgotten only after an hour of health",
        (f"{_STEPS}::test_what_was_tried_is_remembered_for_an_hour_of_health",),
    ),
    PlantedBug(
        "now-and-then-well-is-well",
        Sql("function hangar.find_unhealthy"),
        exactly("(h.well_since is null or h.unsteady)"),
        "h.well_since is null",
        "an app that is well only now and then keeps its one alert",
        (f"{_STEPS}::test_an_app_that_is_well_only_now_and_then_alerts_once",),
    ),
)
