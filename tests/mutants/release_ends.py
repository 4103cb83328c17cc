"""Bugs planted in how releases end: late failures, ways back that do not end, and users who come, go and change meanwhile."""

from tests.mutants.places import Python, Sql
from tests.mutants.planted import PlantedBug, exactly

_GUARDS = "tests/postgres/test_release_guards.py"
_ENV = "tests/postgres/test_machine_env.py"
_ENDS = "tests/simulation/test_release_ends.py"
_LATE = "tests/simulation/test_release_latecomers.py"
_MOMENTS = "tests/simulation/test_release_moments.py"
_BACK, _PINS = "tests/simulation/test_release_way_back.py", "tests/simulation/test_release_pins.py"
_STATUS = "tests/simulation/test_release_status.py"
_WAITS = "tests/simulation/test_release_waits_back.py"
_LOOK, _FOLLOW = "function hangar.record_look", "function hangar.follow_targets"

BUGS = (
    PlantedBug(
        "well-app-called-failed-for-good",
        Sql("function hangar.see_target"),
        exactly("p_target.state := 'reverted';"),
        "",
        "an app that has become well on its former machine is not called failed",
        (f"{_STATUS}::test_an_app_that_becomes_well_after_its_release_has_ended_counts_as_back",),
    ),
    PlantedBug(
        "waiting-app-without-a-reason",
        Sql("function hangar.find_wait"),
        exactly("else p_row.error_message end;"),
        "end;",
        "an app that waits for Fly says what Fly answers",
        (f"{_STATUS}::test_an_app_that_waits_for_room_says_so",),
    ),
    PlantedBug(
        "app-that-waits-keeps-others-on-the-release",
        Sql("function hangar.count_release_room"),
        exactly("and not hangar.waits_for_others(t)"),
        "",
        "an app that cannot go back now keeps no other app on the release",
        (f"{_WAITS}::test_one_app_that_cannot_go_back_now_keeps_no_other_on_the_release",),
    ),
    PlantedBug(
        "abort-waits-for-a-limit-of-fly",
        Sql(_FOLLOW),
        exactly("v_judge_back boolean := p_hold is null or p_hold = 'fly_refused';"),
        "v_judge_back boolean := p_hold is null;",
        "a limit of Fly that nobody raises does not keep a release open",
        (f"{_WAITS}::test_a_way_back_that_fly_refuses_ends_after_an_hour",),
    ),
    PlantedBug(
        "failing-checks-wait-for-deletions",
        Sql("function hangar.judges_checks"),
        exactly("p_hold in ('deletes_paused', 'brake', 'fly_refused')"),
        "p_hold in ('brake', 'fly_refused')",
        "I13: a bad canary goes back although deletions are paused",
        ("tests/postgres/test_release_guards.py::test_failing_checks_count_while_only_deletions_are_held",),
    ),
    PlantedBug(
        "image-with-a-digest-needs-a-person",
        Python("shared.domain.backoff", "needs_a_person"),
        exactly(' and not (error.code == "image" and "@" in row.docker_image and has_run)'),
        "",
        "a registry that is down leaves no app on a bad image for good",
        (f"{_WAITS}::test_a_registry_that_is_down_for_hours_leaves_no_app_on_a_bad_image",),
    ),
    PlantedBug(
        "way-back-without-an-end",
        Sql(_FOLLOW),
        exactly("elsif v_target.deadline_at + hangar.way_back_extra(p_release, v_target, v_row) <= v_now"),
        "elsif false and v_target.deadline_at + hangar.way_back_extra(p_release, v_target, v_row) <= v_now",
        "I13: an app that cannot go back keeps no later release away",
        (f"{_ENDS}::test_an_app_whose_former_image_is_gone_is_named_and_keeps_no_release_away",),
    ),
    PlantedBug(
        "first-apps-not-watched",
        Sql("function hangar.is_watched"),
        exactly("p_release.state = 'rolling' and p_target.wave < p_release.wave and p_target.place <= 50"),
        "false",
        "I13: an image that fails after the soak stops the release while it is rolling",
        (f"{_ENDS}::test_an_image_that_fails_after_twenty_minutes_leaves_nobody_on_it",),
    ),
    PlantedBug(
        "failed-release-not-watched",
        Sql("function public.fly_advance_releases"),
        exactly("or r.state = 'paused' and r.failed_at > hangar.now() - interval '1 hour'"),
        "or false",
        "I13: after a failure, whatever else fails goes back too",
        (f"{_ENDS}::test_an_image_that_fails_after_twenty_minutes_leaves_nobody_on_it",),
    ),
    PlantedBug(
        "flap-after-the-soak-fails-the-release",
        Sql(_LOOK),
        exactly("elsif hangar.is_watched(p_release, p_target) and v_verdict <> 'dead' then"),
        "elsif false then",
        "I13: one failed check long after the soak is no failure of the release",
        (f"{_ENDS}::test_a_check_that_fails_for_a_moment_is_no_failure_after_the_soak",),
    ),
    PlantedBug(
        "unhealthy-apps-tried-without-end",
        Sql("function hangar.find_failed_wave"),
        exactly("pg_catalog.count(*) filter (where t.failed_at is not null) >= 3 then"),
        "false then",
        "I13: a bad image reaches few apps, also in a fleet that was unhealthy before",
        (f"{_ENDS}::test_a_fleet_that_was_unhealthy_before_gives_three_apps_to_a_bad_image",),
    ),
    PlantedBug(
        "rollback-overwrites-variables",
        Sql("function hangar.unadopt_plan"),
        exactly("plan.env := (p_plan.env - array(select"),
        "plan.env := ('{}'::jsonb - array(select",
        "D1: a rollback takes back only what the release brought",
        (f"{_ENDS}::test_other_variables_of_a_plan_survive_a_rollback",),
    ),
    PlantedBug(
        "release-lost-with-the-plan",
        Sql("function hangar.add_late_targets"),
        exactly(
            "or t.state = 'done' and a.generation <> t.generation and a.tier is distinct from t.previous ->> 'tier')"
        ),
        ")",
        "I13: who changes the plan in the middle ends with the release",
        (f"{_LATE}::test_who_changes_the_plan_meanwhile_has_the_release_at_the_end",),
    ),
    PlantedBug(
        "returned-user-forgotten",
        Sql("function hangar.add_late_targets"),
        exactly("t.reason_code in ('left', 'changed', 'held_back', 'pinned', 'other_release', 'on_demand')"),
        "t.reason_code in ('changed', 'held_back', 'pinned', 'other_release', 'on_demand')",
        "I13: who leaves and returns in the middle ends with the release",
        (f"{_LATE}::test_who_leaves_and_returns_meanwhile_joins_at_the_end",),
    ),
    PlantedBug(
        "absent-user-keeps-an-old-machine",
        Sql("function hangar.adopt_release"),
        exactly("perform hangar.end_what_plans_say(p_release);"),
        "null;",
        "I13: who returns after a release for everybody has what it brought",
        (f"{_LATE}::test_who_was_chosen_before_and_left_returns_to_what_everybody_has",),
    ),
    PlantedBug(
        "image-of-another-plan-given",
        Sql("function hangar.former_machine"),
        exactly("then v_old.docker_image else v_plan.docker_image end;"),
        "then v_old.docker_image else v_old.docker_image end;",
        "I13: an abort gives nobody the image of another plan",
        (f"{_BACK}::test_an_abort_gives_nobody_the_image_of_another_plan",),
    ),
    PlantedBug(
        "rollback-forgets-who-joined",
        Sql("function hangar.begin_rollback"),
        exactly("perform hangar.recall_followers(p_release, v_were);"),
        "",
        "I13: after a rollback nobody runs the image because of the release",
        (f"{_BACK}::test_everybody_who_has_the_image_from_the_plan_goes_back_with_it",),
    ),
    PlantedBug(
        "given-outlives-the-app",
        Sql("function hangar.end_given"),
        exactly("delete from hangar.user_specs y where y.user_id = new.user_id;"),
        "null;",
        "I13: what a release gave a user ends with the app",
        (f"{_BACK}::test_what_a_release_gave_a_chosen_user_ends_with_the_app",),
    ),
    PlantedBug(
        "put-back-for-ever",
        Sql("function hangar.settle_given"),
        exactly("perform hangar.store_given(hangar.former_given(new, v_row));\n    end if;"),
        "null;\n    end if;",
        "I13: who was put back follows the plan again",
        (f"{_BACK}::test_who_was_put_back_follows_the_plan_again",),
    ),
    PlantedBug(
        "selection-not-checked-again",
        Sql("function hangar.find_lost_target"),
        exactly("if p_row.tier <> all (p_release.tiers) then"),
        "if false then",
        "I13: a release for one plan reaches no other one",
        (f"{_LATE}::test_who_changes_to_a_plan_outside_the_selection_is_skipped",),
    ),
    PlantedBug(
        "ended-pin-revived",
        Sql("function public.fly_set_user_pin"),
        exactly("if v_was.ends_at <= hangar.now() then"),
        "if false then",
        "I13: the parts of a pin end together, and none comes back",
        (f"{_PINS}::test_a_later_pin_lets_the_machine_follow_the_plan_again",),
    ),
    PlantedBug(
        "hold-back-moves-the-machine",
        Sql("function public.fly_set_user_pin"),
        exactly("hangar.pinned_parts(v_was) is distinct from hangar.pinned_parts(v_pin)"),
        "true",
        "I13: a hold-back leaves the machine as it is",
        (f"{_PINS}::test_a_hold_back_changes_no_machine",),
    ),
    PlantedBug(
        "ended-pin-survives-a-release",
        Sql("function hangar.release_spec"),
        exactly("v_spec := hangar.without_pin(p_row, hangar.spec_of(p_row), true);"),
        "v_spec := hangar.spec_of(p_row);",
        "I13: the next release takes away what an ended pin has left",
        (f"{_PINS}::test_the_next_release_takes_away_what_an_ended_pin_left",),
    ),
    PlantedBug(
        "another-instance-keeps-the-soak",
        Sql(_LOOK),
        exactly("case when v_verdict = 'good' and nullif(p_look ->> 'instance', '') <> t.instance_seen then v_now"),
        "case when false then v_now",
        "I13: the machine that was good for the soak is the one that runs",
        (f"{_GUARDS}::test_another_instance_begins_the_soak_again",),
    ),
    PlantedBug(
        "digest-of-another-image-put-back",
        Sql("function hangar.remember_previous"),
        exactly(
            "hangar.without_digest(p_row.observed_spec ->> 'image') = hangar.without_digest(p_row.docker_image), true)"
        ),
        "true, true)",
        "I13: an app goes back to an image that exists",
        (f"{_GUARDS}::test_the_digest_of_another_image_is_not_put_back",),
    ),
    PlantedBug(
        "crash-taken-for-sleep",
        Python("shared.domain.release_look", "_judge_state"),
        exactly(
            'if machine.state == "stopped" and expected.on_demand and machine.exit_failed and _has_ended(expected, machine):'
        ),
        "if False:",
        "I13: a program that has crashed is not asleep",
        ("tests/unit/test_release_look.py::test_a_program_that_has_ended_is_not_asleep",),
    ),
    PlantedBug(
        "early-end-taken-for-sleep",
        Sql(_LOOK),
        exactly("if v_verdict = 'asleep' and v_code = 'exited' and p_target.wave = 0"),
        "if false and p_target.wave = 0",
        "I13: a canary that ends before it was good once proves nothing",
        ("tests/simulation/test_release_moments.py::test_an_image_that_does_not_stay_up_is_no_sleep[exit-0]",),
    ),
    PlantedBug(
        "way-back-waits-for-itself",
        Sql("function hangar.count_release_room"),
        exactly("and not t.must_go_back"),
        "",
        "I13: an abort turns back the only app that moves, also when its host is out of reach",
        (f"{_MOMENTS}::test_an_abort_waits_for_no_host",),
    ),
    PlantedBug(
        "endless-variable",
        Sql("function hangar.explain_refused_env"),
        exactly(
            "or pg_catalog.octet_length(e.value #>> '{}') > 32768 or pg_catalog.octet_length(e.key) > 255\n               order"
        ),
        "\n               order",
        "I5: an environment with which no program starts is refused at every door",
        (
            (
                f"{_ENV}::test_what_no_machine_could_have_is_refused_and_changes_nothing"
                "[env6-env values may have at most 32768 bytes"
                ", and names at most 255; too long: LEVEL, MORE-set_plan]"
            ),
        ),
    ),
    PlantedBug(
        "unproved-image-waits-for-a-return",
        Sql("function hangar.settle_given"),
        exactly("and v_row.desired_state <> 'present' then\n    -- The user left"),
        "and v_row.desired_state = 'legacy' then\n    -- The user left",
        "I13: who leaves before the proof returns to the image that worked",
        (f"{_BACK}::test_who_leaves_before_the_proof_returns_to_what_worked",),
    ),
    PlantedBug(
        "way-back-lost-with-a-pin",
        Sql("function hangar.follow_targets"),
        exactly("continue when v_target.must_go_back;"),
        "",
        "I13: an aborted release leaves nothing for the end of a pin",
        (f"{_BACK}::test_a_pin_that_is_set_with_the_abort_keeps_nothing_of_the_release",),
    ),
)
