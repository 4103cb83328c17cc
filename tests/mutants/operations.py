"""Bugs planted in the command line: which installation it reaches, and how a migration ends."""

from tests.mutants.places import Python
from tests.mutants.planted import PlantedBug, exactly

_MIGRATION = "tests/unit/test_ops_migration.py"
_MIGRATE = "tests/http/test_ops_migrate.py"

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
)
