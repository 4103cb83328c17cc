"""Bugs planted in drift: what counts as a difference, what it costs, and how many apps are repaired when."""

from tests.mutants.places import Python, Sql
from tests.mutants.planted import PlantedBug, exactly

_DRIFT = "tests/simulation/test_drift.py"
_EDITS = f"{_DRIFT}::test_every_edit_is_seen_told_and_repaired_in_the_same_machine"

BUGS = (
    PlantedBug(
        "change-does-not-reach-the-machine",
        Python("shared.domain.decide", "_decide_update"),
        exactly("return Action(ActionKind.UPDATE_MACHINE, machine, purpose) if kinds else None"),
        "return None",
        "I1: a change of size or image reaches the machine",
        ("tests/unit/test_decide.py",),
    ),
    PlantedBug(
        "drift-repaired-without-admission",
        Python("shared.domain.decide", "_decide_update"),
        exactly("elif row.drift_repair:"),
        "elif True:",
        "I13: drift is repaired within the budget only",
        (_DRIFT, "tests/unit/test_decide.py"),
    ),
    PlantedBug(
        "digest-not-compared",
        Python("shared.domain.drift", "_compare_image"),
        exactly("wanted_digest == runs_digest and "),
        "",
        "I13: the image that runs is known by its digest",
        (f"{_DRIFT}::test_a_tag_pushed_again_is_drift_only_where_it_was_deployed_by_hand",),
    ),
    PlantedBug(
        "emptied-env-not-seen",
        Python("shared.domain.drift", "find_drift"),
        exactly('_compare_env(row, _as_map(wanted.get("env")), _as_map(config.get("env"))),'),
        "",
        "I1: the machine has the environment that Hangar set",
        ("tests/simulation/test_drift.py::test_every_edit_is_seen_told_and_repaired_in_the_same_machine[env emptied]",),
    ),
    PlantedBug(
        "drift-priced-by-the-plan",
        Python("shared.reconcile.executor", "patch_from_machine"),
        exactly("machine.size or (row.cpu_kind, row.cpu_count, row.memory_mb)"),
        "(row.cpu_kind, row.cpu_count, row.memory_mb)",
        "I10: a machine costs what Fly asks for its real size",
        (f"{_DRIFT}::test_a_scaled_machine_costs_its_real_price_from_the_moment_it_is_seen",),
    ),
    PlantedBug(
        "drift-repair-resolves-the-tag",
        Python("shared.reconcile.executor", "_execute_on_machine"),
        exactly("pinned=not _resolves_tag(action, row)"),
        "pinned=False",
        "I13: a repair deploys the digest that ran before",
        (f"{_DRIFT}::test_a_tag_pushed_again_is_drift_only_where_it_was_deployed_by_hand",),
    ),
    PlantedBug(
        "all-drift-repaired-at-once",
        Sql("function public.fly_start_drift_repairs"),
        exactly("greatest(1, floor(v_settings.drift_share * count(*)))"),
        "count(*)",
        "I13: a share of the fleet is repaired at once",
        (f"{_DRIFT}::test_many_apps_with_the_same_difference_are_one_alert_and_a_few_repairs",),
    ),
    PlantedBug(
        "drift-repaired-in-an-incident",
        Sql("function hangar.drift_hold"),
        exactly("l.kind in ('incident', 'fly_unreachable', 'brake', 'installation')"),
        "l.kind in ('installation')",
        "I13: only a healthy fleet is repaired",
        (f"{_DRIFT}::test_only_a_healthy_fleet_is_repaired",),
    ),
    PlantedBug(
        "bad-repair-does-not-stop-the-others",
        Sql("function hangar.drift_hold"),
        exactly("(a.status = 'error' or a.health_status = 'unhealthy')"),
        "false",
        "I13: one bad repair stops the others",
        (f"{_DRIFT}::test_a_repair_that_made_an_app_unhealthy_stops_the_others",),
    ),
    PlantedBug(
        "drift-repaired-for-ever",
        Sql("function hangar.record_deploying"),
        exactly("p_row.drift_repairs := p_row.drift_repairs + 1;"),
        "",
        "I7: a repair that is refused is not tried again and again",
        (f"{_DRIFT}::test_a_refused_repair_waits_longer_and_longer_and_then_for_a_person",),
    ),
    PlantedBug(
        "drift-not-told",
        Sql("function hangar.check_drift"),
        exactly("perform hangar.raise_alert('drift', v_drift.kind,"),
        "perform (select 1 where hangar.now() is null and ('drift', v_drift.kind) is not null); perform concat(",
        "I8: drift has an alert for each kind of difference",
        (_EDITS,),
    ),
)
