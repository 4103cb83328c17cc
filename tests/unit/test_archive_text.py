"""What `hangar status` says about the archive."""

from datetime import UTC, datetime

from shared.domain.archive_text import describe_archive

NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)
NEVER = {"retention_days": 90, "deleted_rows": "0", "last_deleted_at": None, "open": None, "overdue": None}
OFF = NEVER | {"retention_days": None}


def describe(**changes):
    return describe_archive({"events": NEVER | changes, "samples": OFF, "closed_rows": OFF}, NOW)


def test_without_a_retention_there_is_nothing_to_say():
    assert describe(retention_days=None) == []


def test_a_retention_without_any_archive_has_no_effect():
    [line] = describe(overdue="2026-01-02T00:00:00+00:00")
    assert "this has no effect: nothing was ever archived" in line
    assert "the oldest is from 2026-01-02" in line.lower()


def test_a_new_installation_has_nothing_old():
    assert describe() == ["events are kept for 90 days; none is older yet"]


def test_a_run_that_ended_early_is_named():
    problem = "the bucket s3://x does not exist"
    [line] = describe(open={"problem": problem, "problem_at": "2026-11-27T11:00:00+00:00"})
    assert problem in line
    assert "The rows stay in the database" in line


def test_overdue_rows_are_named_beside_what_was_archived():
    given = {
        "last_deleted_at": "2026-11-01T00:00:00+00:00",
        "deleted_rows": "50",
        "overdue": "2026-07-01T00:00:00+00:00",
    }
    [line] = describe(**given)
    assert "50 are archived" in line
    assert "the oldest from 2026-07-01" in line
    assert "Older ones" not in describe(**given | {"overdue": None})[0]
