"""The scheduler of pg_cron, outside the database.

As in citusdata/pg_cron 1.6: a job with five fields runs at the start of each matching minute of GMT, a job with `N seconds`
runs N seconds after its last start. A job has one run at a time, and a due run waits. Each run has its own session as the
job's user and a row in `cron.job_run_details`. Minutes without a running scheduler are skipped.
"""

import contextlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Self

import psycopg
from psycopg import sql

from local.service import Service
from local.supabase.extensions.cron_schedule import Schedule
from local.supabase.extensions.recovery import Recovery

_CANCEL = "select pg_cancel_backend(pid) from unnest(%s::int[]) as pid"


@dataclass
class _Job:
    jobid: int
    schedule: str
    command: str
    username: str
    pending: int = 0
    last_start: datetime | None = None
    busy: threading.Lock = field(default_factory=threading.Lock)


class CronScheduler(Service):
    """Runs the active jobs of the database of `url` (a superuser's) in background threads.

    `clock` gives the time in UTC; `tick` starts what is due at that time without waiting.
    """

    def __init__(self, url: str, *, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._url, self._clock = url, clock
        self._jobs: dict[int, _Job] = {}
        self._minute: datetime | None = None
        self._threads: list[threading.Thread] = []
        self._pids: set[int] = set()
        self._stopping = threading.Event()
        self._loop = threading.Thread(target=self._run, name="pg_cron", daemon=True)

    def start(self) -> Self:
        self._loop.start()
        return self

    def stop(self) -> None:
        """Stop scheduling, give the current runs a second, then cancel them."""
        self._stopping.set()
        self._loop.join()
        if not self.join_runs(1):
            with contextlib.suppress(psycopg.OperationalError), psycopg.connect(self._url, autocommit=True) as session:
                session.execute(_CANCEL, (list(self._pids),))
            self.join_runs(5)

    def join_runs(self, limit_s: float) -> bool:
        """Wait until no run is active; False after `limit_s`."""
        deadline = time.monotonic() + limit_s
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        self._threads = [thread for thread in self._threads if thread.is_alive()]
        return not self._threads

    def tick(self) -> None:
        """Start what is due now; call it about once a second."""
        now = self._clock()
        with psycopg.connect(self._url, autocommit=True, application_name="pg_cron scheduler") as session:
            self._tick(session, now)

    def _run(self) -> None:
        recovery = Recovery("pg_cron", self._stopping)
        while not self._stopping.is_set():
            with recovery, psycopg.connect(self._url, autocommit=True, application_name="pg_cron scheduler") as session:
                session.execute(
                    "update cron.job_run_details set status = 'failed', return_message = 'server restarted'"
                    " where status in ('starting', 'running')"
                )
                while not self._stopping.is_set():
                    self._tick(session, self._clock())
                    self._stopping.wait(1 - time.time() % 1)  # the next full second

    def _tick(self, session: psycopg.Connection, now: datetime) -> None:
        self._read_jobs(session, now)
        minute = now.replace(second=0, microsecond=0)
        new_minute = self._minute is not None and minute > self._minute
        self._minute = minute
        for job in self._jobs.values():
            try:
                schedule = Schedule.parse(job.schedule)
            except ValueError:
                continue  # inserted without cron.schedule; pg_cron ignores it too
            if schedule.every_s is None:
                job.pending += new_minute and schedule.matches(minute)
            elif (
                job.last_start and not job.busy.locked() and (now - job.last_start).total_seconds() >= schedule.every_s
            ):
                job.pending = 1
            if job.pending and job.busy.acquire(blocking=False):
                job.pending -= 1
                job.last_start = now
                self.join_runs(0)
                thread = threading.Thread(
                    target=self._run_job, args=(job,), name=f"pg_cron job {job.jobid}", daemon=True
                )
                self._threads.append(thread)
                thread.start()

    def _read_jobs(self, session: psycopg.Connection, now: datetime) -> None:
        rows = session.execute("select jobid, schedule, command, username from cron.job where active").fetchall()
        for jobid, schedule, command, username in rows:
            job = self._jobs.setdefault(jobid, _Job(jobid, schedule, command, username, last_start=now))
            job.schedule, job.command, job.username = schedule, command, username
        kept = {row[0] for row in rows}
        for jobid in [jobid for jobid in self._jobs if jobid not in kept]:
            del self._jobs[jobid]

    def _run_job(self, job: _Job) -> None:
        try:
            with contextlib.suppress(psycopg.Error):  # the server or the schema is gone; the loop reports it
                _run_command(self._url, job, self._pids)
        finally:
            job.busy.release()


def _run_command(url: str, job: _Job, pids: set[int]) -> None:
    with (
        psycopg.connect(url, autocommit=True, application_name="pg_cron") as log,
        psycopg.connect(url, autocommit=True, application_name="pg_cron") as session,
    ):
        begun = log.execute(
            "insert into cron.job_run_details (jobid, job_pid, database, username, command, status, start_time)"
            " values (%s, %s, current_database(), %s, %s, 'running', clock_timestamp()) returning runid",
            (job.jobid, session.info.backend_pid, job.username, job.command),
        ).fetchone()
        pids.add(session.info.backend_pid)
        try:
            session.execute(sql.SQL("set session authorization {}").format(sql.Identifier(job.username)))
            done = session.execute(job.command.encode())
            status, message = "succeeded", _feedback(done)
        except psycopg.Error as error:
            status, message = "failed", f"ERROR:  {error.diag.message_primary or error}"
        finally:
            pids.discard(session.info.backend_pid)
        log.execute(
            "update cron.job_run_details set status = %s, return_message = %s, end_time = clock_timestamp()"
            " where runid = %s",
            (status, message, begun[0] if begun else None),
        )


def _feedback(done: psycopg.Cursor[tuple[object, ...]]) -> str:
    while done.nextset():
        pass  # the message of the last statement counts, as in libpq
    if done.description is None:
        return done.statusmessage or ""
    return f"{done.rowcount} row" + ("" if done.rowcount == 1 else "s")
