"""Bugs planted in moves to another region: who is moved, which machine is stopped or destroyed, and what keeps the way back."""

from tests.mutants.places import Python, Sql
from tests.mutants.planted import PlantedBug, exactly

_RULES = "tests/postgres/test_region_moves.py"
_MOVES = "tests/simulation/test_region_moves.py"
_STEPS = "tests/unit/test_region_move.py"
_CHECK, _DOMAIN = "function hangar.check_move", "shared.domain.region_move"

BUGS = (
    PlantedBug(
        "move-without-a-release",
        Sql(_CHECK),
        exactly("case when not v_misplaced or p_row.spare_machine_id is not null then 'stale' end"),
        "case when p_row.spare_machine_id is not null then 'stale' end",
        "I2: a second machine is made only for a move that a release allows",
        (f"{_RULES}::test_a_second_machine_is_made_only_for_a_move",),
    ),
    PlantedBug(
        "move-stops-any-machine",
        Sql(_CHECK),
        exactly("'stop_machine' then case when not coalesce(v_is_spare, false)"),
        "'stop_machine' then case when false and not coalesce(v_is_spare, false)",
        "I5: a move stops the app's machine only when another one is ready",
        (f"{_RULES}::test_only_the_machine_that_should_not_run_is_stopped",),
    ),
    PlantedBug(
        "move-destroys-the-apps-machine",
        Sql(_CHECK),
        exactly("case when not coalesce(v_is_spare and p_row.machine_id is not null, false) then 'stale'"),
        "case when false then 'stale'",
        "I5: a move never destroys the app's own machine",
        (f"{_RULES}::test_only_a_machine_of_no_more_use_is_destroyed",),
    ),
    PlantedBug(
        "former-machine-destroyed-before-the-proof",
        Sql(_CHECK),
        exactly("or hangar.keeps_spare(p_row) then 'stale' end"),
        "then 'stale' end",
        "I13: the former machine stays until the release is done with the app",
        (f"{_RULES}::test_the_former_machine_is_kept_until_the_release_is_done_with_the_app",),
    ),
    PlantedBug(
        "former-machine-dropped-by-the-worker",
        Python(_DOMAIN, "may_drop"),
        exactly('row.machine_state not in (None, "absent") and not row.keeps_spare and spare.host_ok'),
        'row.machine_state not in (None, "absent") and spare.host_ok',
        "I13: a worker does not even ask to destroy the former machine before the release is done with the app",
        (f"{_STEPS}::test_the_former_machine_is_kept_as_long_as_the_row_says_so",),
    ),
    PlantedBug(
        "left-over-machine-forgotten",
        Sql("function public.fly_advance_releases"),
        exactly("perform hangar.wake_spares();"),
        "",
        "I2: the second machine of a move goes when the release is done with the app",
        (f"{_RULES}::test_a_left_over_machine_makes_its_row_due",),
    ),
    PlantedBug(
        "moves-trip-the-brake",
        Sql("function hangar.brake_status"),
        exactly("and (e.metadata ->> 'purpose') is distinct from 'move'"),
        "",
        "a release that moves apps does not use up the destroy budget",
        (f"{_MOVES}::test_the_brake_counts_no_move",),
    ),
    PlantedBug(
        "image-release-moves-regions",
        Sql("function hangar.permit_move"),
        exactly("and (p_release.region is not null or p_release.kind = 'plan')"),
        "",
        "only a release for regions or drift moves an app",
        (f"{_MOVES}::test_a_release_of_an_image_moves_nobody",),
    ),
    PlantedBug(
        "on-demand-app-is-moved",
        Sql("function hangar.find_targets"),
        exactly("when p_release.region is not null and a.power = 'on_demand' then 'on_demand'"),
        "",
        "an app whose machines Fly itself starts is not moved",
        (f"{_MOVES}::test_an_on_demand_app_is_skipped_and_named",),
    ),
    PlantedBug(
        "old-machine-waits-for-the-deadline",
        Sql("function hangar.follow_targets"),
        exactly("elsif v_row.status = 'error' and v_row.spare_machine_id is not null and"),
        "elsif false and",
        "a new machine that does not start for want of room leaves nobody down",
        (f"{_MOVES}::test_no_room_at_the_start_runs_the_old_machine_again_within_minutes",),
    ),
    PlantedBug(
        "drift-of-the-region-not-counted",
        Sql("function hangar.differs_from_plan"),
        exactly("or hangar.needs_move(p_row, v_wanted.region)"),
        "",
        "a machine outside its regions differs from its plan",
        (f"{_MOVES}::test_drift_moves_a_machine_that_runs_outside_its_list",),
    ),
    PlantedBug(
        "region-lost-with-another-tier",
        Sql("function hangar.is_kept_with_tier"),
        exactly("(p_given.image is not null or p_given.region is not null)"),
        "(p_given.image is not null)",
        "a user who was moved keeps the regions with another plan",
        (f"{_MOVES}::test_a_user_with_another_tier_keeps_the_region_of_the_release",),
    ),
    PlantedBug(
        "second-machine-starts-at-once",
        Python("shared.reconcile.executor", "execute"),
        exactly("skip_launch=is_spare,"),
        "skip_launch=False,",
        "I2: the second machine is made without being started",
        (f"{_MOVES}::test_a_release_moves_everybody_and_new_users_follow",),
    ),
    PlantedBug(
        "move-brings-another-image",
        Python("shared.reconcile.executor", "_resolves_tag"),
        exactly('if action.purpose == "move":'),
        'if action.purpose == "never":',
        "a release of a region alone changes no image, wherever its tag points",
        (f"{_MOVES}::test_a_moved_tag_brings_no_other_image_with_a_move",),
    ),
    PlantedBug(
        "second-machine-may-run",
        Python(_DOMAIN, "decide_spare"),
        exactly("if is_running(spare):"),
        "if spare is None:",
        "I2: a second machine that somebody starts is stopped",
        (f"{_STEPS}::test_a_second_machine_that_runs_is_stopped_before_anything_else",),
    ),
    PlantedBug(
        "unreachable-machine-taken-for-stopped",
        Python(_DOMAIN, "decide_move"),
        exactly("if not main.host_ok:"),
        "if main is None:",
        "I2: a machine whose host Fly cannot reach may run",
        (f"{_STEPS}::test_nothing_moves_while_a_host_is_out_of_reach",),
    ),
    PlantedBug(
        "hold-without-a-running-machine",
        Python("shared.domain.decide", "_decide_held"),
        exactly('row.power == "always_on" and is_interrupted(machine, spare)'),
        'row.power == "on_demand" and is_interrupted(machine, spare)',
        "the removal hold keeps a machine running, also when a move was interrupted",
        (f"{_STEPS}::test_a_hold_in_the_middle_of_a_move_starts_the_machine_again",),
    ),
)
