"""Bugs in what leaves the database: the order of the steps, what is compared, and which rows stay."""

from tests.mutants.places import Python, Sql
from tests.mutants.planted import PlantedBug, exactly

_RUN = "tests/archive/test_archive_run.py"
_FAULTS = "tests/archive/test_archive_faults.py"
_CUT = "tests/postgres/test_log_cut.py"

BUGS = (
    PlantedBug(
        "archive-cuts-open-intents",
        Sql("function hangar.archivable"),
        exactly("when 'intent' then exists (select 1"),
        "when 'intent' then true or exists (select 1",
        "an intent without an outcome is never cut",
        (f"{_RUN}::test_an_open_intent_is_never_cut", f"{_CUT}::test_a_cut_log_decides_as_the_whole_one"),
    ),
    PlantedBug(
        "archive-cuts-outcomes-before-intents",
        Sql("function hangar.archivable"),
        exactly("and i.created_at >= p_cutoff"),
        "and false",
        "an outcome stays as long as its intent",
        (f"{_RUN}::test_an_outcome_stays_as_long_as_its_intent",),
    ),
    PlantedBug(
        "archive-believes-one-clock",
        Sql("function hangar.retention_cutoff"),
        exactly("least(hangar.now(), (select max(e.created_at) from public.user_fly_app_events e))"),
        "hangar.now()",
        "a clock that jumped ahead makes nothing old",
        (f"{_RUN}::test_a_clock_that_jumped_ahead_cuts_nothing_young",),
    ),
    PlantedBug(
        "archive-deletes-unverified-rows",
        Sql("function public.fly_archive_delete"),
        exactly("v_batch.state is distinct from 'verified' or"),
        "v_batch.state = 'planned' or",
        "rows are deleted only after the bucket was read back",
        (f"{_CUT}::test_only_a_verified_batch_leaves_the_log",),
    ),
    PlantedBug(
        "archive-deletes-changed-rows",
        Sql("function public.fly_archive_delete"),
        exactly("or v_content.sha256 <> v_batch.content_sha256"),
        "",
        "what is deleted is what the bucket holds",
        (f"{_CUT}::test_rows_that_were_changed_by_hand_are_not_deleted",),
    ),
    PlantedBug(
        "archive-ignores-a-raised-retention",
        Sql("function public.fly_archive_delete"),
        exactly("v_cutoff is null or v_cutoff < v_batch.cutoff - interval '1 hour'"),
        "false",
        "a retention that was raised keeps the rows of an open batch",
        (f"{_RUN}::test_a_retention_that_was_raised_keeps_the_rows_of_an_open_batch",),
    ),
    PlantedBug(
        "log-lets-any-batch-go",
        Sql("function hangar.refuse_event_change"),
        exactly("and b.deleting_in = pg_current_xact_id()"),
        "",
        "only the procedure deletes from the log",
        (f"{_CUT}::test_only_a_verified_batch_leaves_the_log",),
    ),
    PlantedBug(
        "archive-overwrites-objects",
        Python("ops.archive.bucket", "Bucket._put"),
        exactly('IfNoneMatch="*",'),
        "",
        "no object of the bucket is ever overwritten",
        (f"{_FAULTS}::test_an_object_of_somebody_else_is_neither_overwritten_nor_believed",),
    ),
    PlantedBug(
        "archive-does-not-read-back",
        Python("ops.archive.run", "Archiver._take_steps"),
        exactly("check_object(batch, data)"),
        "pass",
        "an object that changed before the rows are deleted keeps them",
        (f"{_FAULTS}::test_an_object_that_changes_before_the_rows_are_deleted_keeps_them",),
    ),
    PlantedBug(
        "deletion-is-remembered-by-the-log-alone",
        Sql("trigger record_intended_deletion"),
        exactly("'delete_app'"),
        "'no_such_action'",
        "a cut log decides as the whole one",
        (f"{_CUT}::test_a_cut_log_decides_as_the_whole_one",),
    ),
)
