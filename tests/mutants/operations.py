"""Bugs planted in the command line: which installation it reaches, and how a migration ends."""

from tests.mutants.places import Python, Sql
from tests.mutants.planted import PlantedBug, exactly

_MIGRATION = "tests/unit/test_ops_migration.py"
_MIGRATE = "tests/http/test_ops_migrate.py"
_RELEASES = "tests/http/test_ops_releases.py"
_PINS = "tests/http/test_ops_user_pins.py"

BUGS = (
    PlantedBug(
        "migration-without-pace",
        Python("ops.migration.pace", "Pace.take"),
        exactly("if self._available < 1:"),
        "if False:",
        "I7: a migration starts at most as many users a minute as their apps could be deleted",
        (_MIGRATION,),
    ),
    PlantedBug(
        "cap-is-the-users-fault",
        Python("ops.migration.provision", "REFUSAL_CODES"),
        exactly('"paused", "max_apps", "max_cost", "installation"'),
        '"paused", "installation"',
        "I10: a cap ends a migration, and no further user is admitted",
        (_MIGRATION,),
    ),
    PlantedBug(
        "same-failure-for-ever",
        Python("ops.migration.run", "SAME_FAILURES"),
        "10",
        "10000",
        "I7: ten users in a row with the same failure end a migration",
        (f"{_MIGRATE}::test_ten_users_in_a_row_with_the_same_failure_end_it",),
    ),
    PlantedBug(
        "dry-run-applies",
        Python("ops.commands.migrate_users", "migrate_users"),
        exactly("if not apply:"),
        "if False:",
        "I5: without --apply a migration changes nothing",
        (f"{_MIGRATE}::test_a_dry_run_shows_users_and_cost_and_changes_nothing",),
    ),
    PlantedBug(
        "key-in-repr",
        Python("ops.connection", "Target.secret_key"),
        exactly("field(repr=False)"),
        "field()",
        "I9: no repr shows a key",
        ("tests/unit/test_reprs.py", "tests/unit/test_ops_connection.py"),
    ),
    PlantedBug(
        "release-dry-run-plans",
        Python("ops.commands.release", "create"),
        exactly("dry_run=dry_run,"),
        "dry_run=False,",
        "I13: a dry run of a release changes nothing",
        (f"{_RELEASES}::test_a_dry_run_shows_waves_cost_and_who_is_left_out_and_changes_nothing",),
    ),
    PlantedBug(
        "lost-answer-makes-a-second-release",
        Python("ops.commands.release", "create"),
        exactly("request=None if dry_run else request"),
        "request=None",
        "I13: one request makes one release, whatever answers are lost",
        (f"{_RELEASES}::test_a_lost_answer_does_not_make_a_second_release",),
    ),
    PlantedBug(
        "release-read-by-halves",
        Python("shared.adapters.procedures_release_operator", "ReleaseOperatorProcedures.read_release"),
        exactly("while len(page) == _TARGETS_PER_CALL:"),
        "while False:",
        "I13: the status of a release names every app",
        ("tests/unit/test_procedures.py::test_a_release_is_read_with_all_its_targets",),
    ),
    PlantedBug(
        "variables-never-sent",
        Python("shared.domain.drift", "_compare_env"),
        exactly("if row.env_version != row.env_version_deployed:"),
        "if False:",
        "I13: a release or pin of variables reaches the machine",
        (f"{_PINS}::test_variables_of_one_user_reach_the_machine_and_no_output",),
    ),
    PlantedBug(
        "status-shows-variables",
        Sql("function hangar.row_json"),
        exactly("|| case when p_with_token and p_row.env_version is not null"),
        "|| case when p_row.env_version is not null",
        "I9: the value of a variable is in no output",
        (f"{_PINS}::test_variables_of_one_user_reach_the_machine_and_no_output",),
    ),
    PlantedBug(
        "held-back-too-late",
        Sql("function hangar.move_target"),
        exactly("elsif v_pin.held_back_until > v_now or hangar.is_pinned(v_pin, p_release) then"),
        "elsif false then",
        "I13: a user who is held back after the start of a release is left alone",
        (f"{_PINS}::test_a_hold_back_keeps_releases_away_until_its_date",),
    ),
    PlantedBug(
        "pin-outlives-its-end",
        Sql("function hangar.without_pin"),
        exactly("v_spec.docker_image := coalesce(v_unpinned.docker_image, p_spec.docker_image);"),
        "v_spec.docker_image := p_spec.docker_image;",
        "I13: a pin that ends leaves nothing behind, whatever release came meanwhile",
        ("tests/postgres/test_release_guards.py::test_a_machine_without_its_pin_has_the_image_of_the_plan",),
    ),
)
