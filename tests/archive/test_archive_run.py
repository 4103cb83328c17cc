"""Old events go to the bucket and then leave the database; the bucket alone gives every one of them back."""

import json

import psycopg
import pytest

from ops.archive.restore import restore_rows
from ops.connection import TargetError
from shared.domain.errors import Refused
from tests.support.archiver import make_archiver

YOUNG = 12  # the ten of the fixture, and two changes of the settings


@pytest.mark.slow
def test_the_bucket_alone_restores_the_log(past, archive, store, restored):
    """Row by row, with text that an encoding could spoil, and through a table of the same columns."""
    past.add_events(
        3, metadata='{"cost": 0.10, "n": 12345678901234567890, "t": "a\\u2028b\\u00e9"}', error_details="x\ny\\ \"'"
    )
    before = past.log()
    assert archive() == 53
    assert len(past.log()) == YOUNG
    assert sorted([*restored(), *past.log()], key=lambda line: json.loads(line)["seq"]) == before
    past.sql("create temporary table back (like user_fly_app_events)")
    for line in restored():
        past.sql("insert into back select * from jsonb_populate_record(null::user_fly_app_events, %s::jsonb)", line)
    back = [row["e"] for row in past.sql("select to_jsonb(b)::text as e from back b order by seq")]
    assert back == restored()


@pytest.mark.slow
def test_a_restore_touches_no_other_file_and_says_where_it_cannot_write(archive, store, tmp_path):
    archive()
    for name in ("log.rows", "log.partial"):
        (tmp_path / name).write_text("somebody's")
    assert restore_rows(store.bucket(), "events", tmp_path / "log") == 50
    assert {path.name for path in tmp_path.iterdir()} == {"log", "log.rows", "log.partial"}
    assert (tmp_path / "log.rows").read_text() == "somebody's"
    with pytest.raises(TargetError, match="no-such-folder is not a writable folder"):
        restore_rows(store.bucket(), "events", tmp_path / "no-such-folder" / "log")


@pytest.mark.slow
def test_a_second_run_has_nothing_to_do(past, archive, store):
    archive()
    objects, log = store.objects(), past.log()
    assert archive() == 0
    assert (store.objects(), past.log()) == (objects, log)


def test_without_a_retention_nothing_leaves(past, store, archive):
    past.keep(None)
    assert archive() == 0
    assert store.objects() == {}
    assert len(past.seqs()) == 50 + YOUNG + 1  # and the change of the setting


@pytest.mark.slow
def test_a_batch_has_at_most_10000_rows(past, archive, store):
    past.add_events(20_100)
    assert archive() == 20_150
    assert [batch["rows"] for batch in past.batches()] == [10_000, 10_000, 150]
    assert len(store.objects()) == 6


@pytest.mark.slow
def test_a_batch_has_at_most_8_mb_and_one_larger_row_is_a_batch_of_its_own(past, archive):
    past.add_events(20, days_ago=35, error_details="x" * 1024 * 1024)
    past.add_events(1, days_ago=34, error_details="y" * 9 * 1024 * 1024)
    past.add_events(1, days_ago=33)
    archive()
    sizes = [(batch["rows"], batch["content_bytes"]) for batch in past.batches()]
    assert [rows for rows, _ in sizes] == [57, 7, 6, 1, 1]
    assert max(size for _, size in sizes[:3]) <= 8 * 1024 * 1024 < sizes[3][1]


@pytest.mark.slow
def test_an_open_intent_is_never_cut(past, archive, restored):
    """Once it has an outcome, both leave; the ranges of batches may lie within each other."""
    intent = past.add_intent()
    past.add_events(5)
    assert archive() == 55
    assert past.one("select count(*) from user_fly_app_events where id = %s", intent) == 1
    past.add_outcome(intent)
    assert archive() == 2
    assert past.one("select count(*) from user_fly_app_events where id = %s", intent) == 0
    assert len(restored()) == 57


def test_an_outcome_stays_as_long_as_its_intent(past, archive):
    """The clock was set back in between. Without its outcome the intent would look open for ever."""
    intent = past.add_intent(days_ago=5)
    past.add_outcome(intent, days_ago=40)
    archive()
    assert past.one("select count(*) from user_fly_app_events where metadata ->> 'intent_id' = %s", intent) == 1


@pytest.mark.slow
def test_an_outcome_without_a_proper_intent_is_cut(past, archive):
    past.add_outcome("nonsense")
    assert archive() == 51


@pytest.mark.slow
def test_an_event_that_commits_late_is_archived_by_a_later_run(past, archive, store, restored):
    """Its number is within a range that has left. Nothing is lost and nothing is overwritten."""
    with psycopg.connect(past.url) as late:
        late.execute(
            """insert into user_fly_app_events (event_type, status, created_at)
               values ('orphan_found', 'info', hangar.now() - interval '39 days')"""
        )
        past.add_events(5)
        assert archive() == 55
        first = store.objects()
    [seq] = [row["seq"] for row in past.sql("select seq from user_fly_app_events where event_type = 'orphan_found'")]
    assert past.batches()[0]["first_seq"] < seq < past.batches()[0]["last_seq"]
    assert archive() == 1
    assert first.items() <= store.objects().items()
    assert len(restored()) == 56


@pytest.mark.slow
def test_a_clock_that_jumped_ahead_cuts_nothing_young(past, archive, store):
    """The archiver's clock says so; and were it wrong too, the newest event does."""
    kept = past.seqs()
    past.shift_clock(400 * 86400)
    with pytest.raises(Refused, match=r"differ by more than 5 minutes; nothing was archived"):
        archive()
    assert past.seqs() == kept
    clock = lambda: past.one("select hangar.now()")  # noqa: E731
    assert archive(clock=clock) == 50
    assert len(past.seqs()) == len(kept) - 50


@pytest.mark.slow
def test_a_retention_that_was_raised_keeps_the_rows_of_an_open_batch(past, store, archive):
    """Up to the last step. The object stays in the bucket, and the next run after the setting fits again finishes."""
    bucket = store.bucket()
    read = bucket.read

    def raise_retention(key):
        past.keep(60)
        return read(key)

    bucket.read = raise_retention
    report = make_archiver(past.worker(), bucket).run(("events",))["events"]
    assert (report.rows, report.ended) == (0, "retention")
    assert len(past.seqs()) > 60
    assert past.batches()[0]["state"] == "verified"
    past.keep(30)
    assert archive() == 50


@pytest.mark.slow
def test_a_column_that_is_added_meanwhile_does_not_hold_the_batch(past, store, archive, restored):
    """By the host or by an upgrade. The batch ends with the columns of its plan, and the next one has the new column."""
    archiver = make_archiver(past.worker(), store.bucket())
    archiver.database.delete_archived_rows = lambda *_: "retention"
    archiver.run(("events",))
    past.sql("alter table user_fly_app_events add column tenant text default 'x'")
    past.add_events(1, days_ago=35)
    assert archive() == 51
    assert [batch["rows"] for batch in past.batches()] == [50, 1]
    assert ["tenant" in json.loads(line) for line in restored()] == [False] * 50 + [True]


@pytest.mark.slow
@pytest.mark.parametrize("source", ["samples", "closed_rows"])
def test_samples_and_closed_rows_are_archived_in_the_same_way(past, store, restored, source):
    """Ended cost intervals and resolved alerts. Open ones stay, whatever their age."""
    user = past.user("pro")
    past.sql("update hangar.settings set live = true, samples_retention_days = 100, closed_rows_retention_days = 30")
    past.sql("select hangar.sync_desired_state(%s, 'test', true)", user)
    row = past.live_row(user)
    past.sql(
        """insert into fly_cost_intervals
             (fly_app_id, user_id, cpu_kind, cpu_count, memory_mb, price_usd_per_s, started_at, ended_at)
           select %s, %s, 'shared', 1, 256, 0.000001, now() - interval '300 days', now() - make_interval(days => d)
             from unnest(array[200, 150, 50]) d""",
        row["id"],
        user,
    )
    past.sql(
        """insert into hangar.alerts (kind, key, message, opened_at, resolved_at)
           values ('brake', 'a', 'old', now() - interval '90 days', now() - interval '80 days'),
                  ('brake', 'b', 'old', now() - interval '90 days', now() - interval '79 days'),
                  ('brake', 'c', 'old and open', now() - interval '90 days', null),
                  ('brake', 'd', 'young', now() - interval '2 days', now() - interval '1 day')"""
    )
    table = {"samples": "public.fly_cost_intervals", "closed_rows": "hangar.alerts"}[source]
    past.sql("set timezone = 'UTC'")
    before = [line["l"] for line in past.sql(f"select to_jsonb(t)::text as l from {table} t order by seq")]
    assert make_archiver(past.worker(), store.bucket()).run((source,))[source].rows == 2
    after = [line["l"] for line in past.sql(f"select to_jsonb(t)::text as l from {table} t order by seq")]
    assert len(after) == len(before) - 2
    assert sorted([*restored(source), *after]) == sorted(before)
