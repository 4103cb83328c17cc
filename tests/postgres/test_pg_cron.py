"""The local pg_cron against the behaviour of pg_cron 1.6 (citusdata/pg_cron, README and `pg_cron*.sql`)."""

import time
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from local.supabase.extensions.cron_schedule import Schedule
from local.supabase.extensions.pg_cron import CronScheduler

AT = datetime(2026, 2, 1, 12, 0, 59, tzinfo=UTC)


class Clock:
    def __init__(self):
        self.now = AT

    def __call__(self) -> datetime:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def scheduler(bare_database, clock):
    scheduler = CronScheduler(bare_database, clock=clock)
    yield scheduler
    assert scheduler.join_runs(10)


def tick(scheduler: CronScheduler, clock: Clock, seconds: float = 0) -> None:
    clock.advance(seconds)
    scheduler.tick()
    scheduler.join_runs(10)


def runs(session: psycopg.Connection) -> list[tuple]:
    return session.execute("select command, status, return_message from cron.job_run_details order by runid").fetchall()


@pytest.mark.every_postgres
def test_the_same_name_and_user_overwrites(bare_database, connect):
    """A second `schedule` changes the job and keeps its id; a job without a name is always new."""
    session = connect(bare_database, "postgres")
    first = session.execute("select cron.schedule('job', '*/5 * * * *', 'select 1')").fetchone()
    again = session.execute("select cron.schedule('job', '10 seconds', 'select 2')").fetchone()
    assert first == again
    found = "select jobname, schedule, command, username, active, database = current_database() from cron.job"
    assert session.execute(found).fetchall() == [("job", "10 seconds", "select 2", "postgres", True, True)]
    assert session.execute("select cron.schedule('* * * * *', 'select 3')").fetchone() != first  # without a name


@pytest.mark.every_postgres
def test_unschedule_raises_for_a_missing_job(bare_database, connect):
    """By name and by id."""
    session = connect(bare_database, "postgres")
    (number,) = session.execute("select cron.schedule('job', '*/5 * * * *', 'select 1')").fetchone()
    assert session.execute("select cron.unschedule('job')").fetchone() == (True,)
    with pytest.raises(psycopg.errors.RaiseException, match="could not find valid entry for job 'job'"):
        session.execute("select cron.unschedule('job')")
    with pytest.raises(psycopg.errors.RaiseException, match=f"could not find valid entry for job {number}"):
        session.execute("select cron.unschedule(%s::bigint)", (number,))


def test_the_database_and_the_scheduler_agree_on_what_a_schedule_is(bare_database, connect):
    """A job that the database accepts and the scheduler cannot parse would never run, without an error."""
    texts = """* * * * *|*/5 * * * *|0-10/5,30 0,12 * * *|0 0 $ * *|0 0 1,$ * *|0 0 * jan-mar mon|5/10 * * * 7|@hourly|
        59 seconds|1 second||* * * *|60 * * * *|* * 0 * *|* * * * 8|5-1 * * * *|*/0 * * * *|0 seconds|60 seconds|
        x * * * *|$ * * * *|1- * * * *""".replace("\n", "")
    session = connect(bare_database, "postgres")
    accepted = 0
    for text in (text.strip() for text in texts.split("|")):
        try:
            session.execute("select cron.schedule(%s, 'select 1')", (text,))
            Schedule.parse(text)
            accepted += 1
        except psycopg.errors.InvalidParameterValue:
            with pytest.raises(ValueError, match="invalid schedule"):
                Schedule.parse(text)
    assert accepted == 10


def test_only_postgres_schedules_jobs_and_only_its_own(bare_database, connect):
    """The API roles cannot schedule, and `unschedule` does not reach another user's job of the same name."""
    root, session = connect(bare_database), connect(bare_database, "postgres")
    session.execute("select cron.schedule('job', '* * * * *', 'select 1')")
    (foreign,) = root.execute("select cron.schedule('job', '* * * * *', 'select 1')").fetchone()
    session.execute("select cron.unschedule('job')")
    assert root.execute("select jobid from cron.job").fetchall() == [(foreign,)]
    for role in ("anon", "authenticated", "service_role"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connect(bare_database, role).execute("select cron.schedule('x', '* * * * *', 'select 1')")


@pytest.mark.slow
def test_a_minute_job_runs_once_at_the_start_of_each_matching_minute(bare_database, scheduler, clock, connect):
    """In two minutes of ticks a job for odd minutes runs once per odd minute."""
    session = connect(bare_database, "postgres")
    session.execute("select cron.schedule('odd', '1-59/2 * * * *', 'select session_user')")
    tick(scheduler, clock)
    assert runs(session) == []
    tick(scheduler, clock, 1)
    for _ in range(125):
        tick(scheduler, clock, 1)
    assert runs(session) == [("select session_user", "succeeded", "1 row")] * 2


def test_a_seconds_job_runs_that_long_after_its_last_start(bare_database, scheduler, clock, connect):
    """`10 seconds` gives three runs in 35 s."""
    session = connect(bare_database, "postgres")
    session.execute("select cron.schedule('often', '10 seconds', 'select 1')")
    for _ in range(35):
        tick(scheduler, clock, 1)
    assert len(runs(session)) == 3


def test_a_job_runs_as_its_user_and_its_failure_is_recorded(bare_database, scheduler, clock, connect):
    """`cron.job_run_details` has the status and the message of the last statement."""
    session = connect(bare_database, "postgres")
    session.execute("create table public.said (who text)")
    session.execute(
        "select cron.schedule('good', '* * * * *', 'insert into said select session_user; select 1; select 2')"
    )
    session.execute("select cron.schedule('bad', '* * * * *', 'select 1/0')")
    tick(scheduler, clock)
    tick(scheduler, clock, 2)
    assert session.execute("select who from said").fetchall() == [("postgres",)]
    assert {(status, message) for _, status, message in runs(session)} == {
        ("succeeded", "1 row"),
        ("failed", "ERROR:  division by zero"),
    }


def test_one_run_of_a_job_at_a_time_and_a_due_run_waits(bare_database, scheduler, clock, connect):
    """Three due minutes of a slow job give three runs, one after the other."""
    root, session = connect(bare_database), connect(bare_database, "postgres")
    session.execute("select cron.schedule('slow', '* * * * *', 'select pg_advisory_xact_lock(1)')")
    root.execute("select pg_advisory_lock(1)")
    scheduler.tick()
    for _ in range(3):
        clock.advance(60)
        scheduler.tick()
    running = "select count(*) from cron.job_run_details where status = 'running'"
    deadline = time.monotonic() + 10
    while session.execute(running).fetchone() == (0,):
        assert time.monotonic() < deadline
    assert session.execute("select count(*) from cron.job_run_details").fetchone() == (1,)
    root.execute("select pg_advisory_unlock(1)")
    for _ in range(4):
        tick(scheduler, clock)
    assert [status for _, status, _ in runs(session)] == ["succeeded"] * 3


def test_a_job_that_is_not_active_does_not_run(bare_database, scheduler, clock, connect):
    """`active` is false in cron.job: the job is never due."""
    connect(bare_database, "postgres").execute("select cron.schedule('job', '* * * * *', 'select 1')")
    session = connect(bare_database)
    session.execute("update cron.job set active = false")
    tick(scheduler, clock)
    tick(scheduler, clock, 60)
    assert runs(session) == []


@pytest.mark.slow
def test_stop_cancels_a_run_that_does_not_end(bare_database, connect):
    """Ctrl-C does not wait for an endless job. The scheduler has the real clock, and a schedule in seconds."""
    session = connect(bare_database, "postgres")
    session.execute("select cron.schedule('endless', '1 second', 'select pg_sleep(600)')")
    with CronScheduler(bare_database):
        deadline = time.monotonic() + 20
        while session.execute("select count(*) from cron.job_run_details where status = 'running'").fetchone() == (0,):
            assert time.monotonic() < deadline
            time.sleep(0.05)
    assert session.execute("select status, return_message from cron.job_run_details").fetchall() == [
        ("failed", "ERROR:  canceling statement due to user request")
    ]
