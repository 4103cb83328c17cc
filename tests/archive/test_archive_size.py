"""A large log: every step of a batch finds its rows by an index, and reads no more than its own."""

import logging
import re
import time

import pytest

from tests.support.archiver import make_archiver
from tests.support.sizes import size

pytestmark = pytest.mark.sized
TABLE = "user_fly_app_events"


@pytest.fixture
def large(past):
    """Most of the log is older than the retention; every tenth event is an intent, and the next one its outcome."""
    count = size("OLD_EVENTS")
    past.sql(
        """insert into user_fly_app_events (id, user_id, event_type, status, metadata, created_at)
           select md5('e' || n)::uuid, md5('u' || n %% 1000)::uuid,
                  case when n %% 10 < 2 then 'action' else 'health_check_passed' end,
                  case n %% 10 when 0 then 'intent' else 'succeeded' end,
                  case n %% 10 when 0 then jsonb_build_object('action', 'delete_app')
                              when 1 then jsonb_build_object('action', 'delete_app', 'intent_id', md5('e' || n - 1)::uuid)
                              else jsonb_build_object('from', 'unhealthy', 'to', 'healthy') end,
                  hangar.now() - interval '90 days' + n * interval '1 s' from generate_series(1, %s) n""",
        count,
    )
    past.sql("analyze user_fly_app_events")
    return past


def explain(past):
    """A session that reports the plan of every statement inside the procedures, and the list that the plans go to."""
    session, plans = past.connect(past.url), []
    session.execute("load 'auto_explain'")
    for name, value in (("log_min_duration", "0"), ("log_nested_statements", "on"), ("log_level", "notice")):
        session.execute(f"set auto_explain.{name} = '{value}'")
    session.add_notice_handler(lambda notice: plans.append(notice.message_primary))
    return session, plans


@pytest.mark.slow
def test_every_step_uses_an_index(large, store):
    session, plans = explain(large)
    archiver = make_archiver(session, store.bucket())
    started = time.monotonic()
    report = archiver.run(("events",), 3)["events"]
    took_s = time.monotonic() - started
    assert report.rows == 30_000
    touched = [plan for plan in plans if TABLE in plan]
    assert len(touched) > 30
    assert [plan for plan in touched if re.search(rf"Seq Scan on {TABLE}\b", plan)] == []
    assert any("user_fly_app_events_seq" in plan for plan in touched)
    # `pytest -o log_cli=true -o log_cli_level=INFO` shows it; docs/archive.md quotes it.
    bytes_each = report.object_bytes / report.rows
    logging.getLogger(__name__).info("%.0f rows a second, %.0f bytes a row", report.rows / took_s, bytes_each)


@pytest.mark.slow
def test_a_million_events_of_one_moment_are_no_sort(large, store):
    """As an import writes them: the index gives the next rows although all have the same time."""
    large.sql("alter table user_fly_app_events disable trigger append_only")
    large.sql("update user_fly_app_events set created_at = '2026-01-01' where created_at < now() - interval '60 days'")
    large.sql("alter table user_fly_app_events enable trigger append_only")
    session, plans = explain(large)
    assert make_archiver(session, store.bucket()).run(("events",), 1)["events"].rows == 10_000
    touched = [plan for plan in plans if TABLE in plan and "created_at" in plan]
    assert touched
    assert [plan for plan in touched if re.search(r"Sort Key: \w*\.?created_at", plan)] == []


def test_a_report_about_the_archive_does_not_read_the_log(large):
    """`hangar status` and every page ask for it."""
    session, plans = explain(large)
    [[found]] = session.execute("select hangar.archive_json()").fetchall()
    assert found["events"]["overdue"] is not None
    assert [plan for plan in plans if re.search(rf"Seq Scan on {TABLE}\b", plan)] == []
