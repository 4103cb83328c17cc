"""Bugs planted in what moves releases: errors of one release, images of plans, variables, sizes, and looks of several workers."""

from tests.mutants.places import Python, Sql
from tests.mutants.planted import PlantedBug, exactly

_ERRORS = "tests/simulation/test_release_errors.py"
_PLANS = "tests/simulation/test_drift_releases.py"
_CONFIG = "tests/simulation/test_release_config.py"
_LOOKS = "tests/simulation/test_release_looks.py"

BUGS = (
    PlantedBug(
        "error-of-a-release-is-forgotten",
        Sql("function hangar.stop_for_error"),
        exactly("if p_release.state = 'rolling' then"),
        "if p_release.state = 'draft' then",
        "a release that cannot be moved on pauses",
        (f"{_ERRORS}::test_a_plan_that_refuses_the_release_at_its_end_pauses_only_the_release",),
    ),
    PlantedBug(
        "deadlock-pauses-a-release",
        Sql("function hangar.is_passing_error"),
        exactly("p_sqlstate in ('55P03', '57014') or pg_catalog.left(p_sqlstate, 2) in ('08', '40', '53', '58')"),
        "false",
        "an error that may pass by itself pauses no release at once",
        (f"{_ERRORS}::test_an_error_that_passes_pauses_nothing",),
    ),
    PlantedBug(
        "image-of-a-plan-without-a-canary",
        Sql("function hangar.admit_image"),
        exactly("is_canary := p_release.kind = 'plan' and"),
        "is_canary := p_release.kind = 'never' and",
        "I13: each image that a release of plans brings has a canary of its own",
        (f"{_PLANS}::test_each_image_has_a_canary_of_its_own",),
    ),
    PlantedBug(
        "edited-plan-changes-its-release",
        Sql("function hangar.plan_spec"),
        exactly("if p_release.plan_specs is null then"),
        "if true then",
        "I13: a release of plans gives what they described when it was started",
        (f"{_PLANS}::test_an_edit_meanwhile_does_not_change_the_release",),
    ),
    PlantedBug(
        "other-variables-are-good",
        Python("shared.domain.release_look", "_judge_config"),
        exactly("if expected.env_digest and machine.env_digest != expected.env_digest:"),
        "if expected.env_digest and not machine.env_digest:",
        "I13: an app without the variables of its release is not done",
        (f"{_CONFIG}::test_a_variable_that_fly_takes_back_is_named",),
    ),
    PlantedBug(
        "sweep-ends-drift-that-it-cannot-judge",
        Python("shared.domain.drift", "_compare_env"),
        exactly("(is_told and digest_env(runs) == digest_env(wanted))"),
        "digest_env(runs) == digest_env(wanted)",
        "I13: a reader that does not know the wanted variables ends no difference",
        (f"{_CONFIG}::test_a_sweep_does_not_end_a_difference_that_is_there",),
    ),
    PlantedBug(
        "size-brings-another-image",
        Python("shared.reconcile.executor", "_resolves_tag"),
        exactly('return action.purpose in ("update", "move") and row.image_digest in (None, UNRESOLVED)'),
        'return action.purpose == "update" or (action.purpose == "move" and row.image_digest in (None, UNRESOLVED))',
        "I13: a release of variables or a size brings no other image",
        (f"{_CONFIG}::test_a_tag_that_has_moved_comes_with_no_release_of_something_else",),
    ),
    PlantedBug(
        "late-look-counts",
        Sql("function public.fly_record_release_looks"),
        exactly("continue when v_read_at < v_target.read_at and"),
        "continue when v_read_at is null and",
        "I13: a look that was read before the newest one does not count",
        (f"{_LOOKS}::test_a_look_that_was_read_before_the_newest_one_does_not_count",),
    ),
    PlantedBug(
        "two-workers-look-at-one-machine",
        Sql("function hangar.find_looks"),
        exactly("and (t.reserved_until is null or t.reserved_until <= hangar.now())"),
        "",
        "one worker at a time looks at a machine of a release",
        (f"{_LOOKS}::test_one_worker_restarts_the_canary",),
    ),
    PlantedBug(
        "newcomers-get-a-rolled-back-image",
        Sql("function hangar.unadopt_release"),
        exactly("perform hangar.forget_followed(p_release);"),
        "",
        "I13: no later way back brings what was rolled back, to nobody",
        ("tests/simulation/test_release_chains.py::test_newcomer_between",),
    ),
    PlantedBug(
        "no-room-for-the-canary-fails-the-release",
        Sql("function hangar.follow_targets"),
        exactly("'unreadable', 'not_restarted')"),
        "'unreadable')",
        "I13: no room, a limit or an outage is no failure of the image",
        ("tests/simulation/test_release_moments.py::test_a_sleeping_canary_that_cannot_be_started_is_no_failure",),
    ),
    PlantedBug(
        "hold-gives-time-from-before",
        Sql("function hangar.extend_release"),
        exactly(
            "least(t.deadline_at + p_by, hangar.now() + make_interval(secs => p_release.deadline_s::double precision)"
        ),
        "(t.deadline_at + p_by",
        "a way back ends in time",
        (
            "tests/simulation/test_release_waits_back.py::test_a_way_back_that_begins_in_a_hold_gets_no_time_from_before[10]",
        ),
    ),
)
