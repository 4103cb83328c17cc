"""The local and the real pg_cron give the same results, if a Postgres has the extension (apt: postgresql-NN-cron)."""

import time
from pathlib import Path

import psycopg
import pytest

from local.supabase.postgres.database import prepare
from local.supabase.postgres.server import Postgres, system_binaries
from tests.support.databases import as_role, fresh_database

STATEMENTS = (
    "select cron.schedule('job', '*/5 * * * *', 'select 1')",
    "select cron.schedule('job', '0 3 * * 1', 'select 2')",
    "select cron.schedule('0 0 1,15 * *', 'select 3')",
    "select cron.schedule('job', '61 * * * *', 'select 1')",
    "select cron.schedule('job', '* * * *', 'select 1')",
    "select cron.schedule('job', 'tomorrow', 'select 1')",
    "select cron.schedule('day', '0 0 * jan-mar mon', 'select 1')",
    "select cron.schedule('often', '@hourly', 'select 1')",
    "select cron.unschedule('day')",
    "select cron.unschedule('day')",
    "select cron.unschedule(4711::bigint)",
    "select jobid, schedule, command, username, active, jobname, database = current_database() from cron.job order by 1",
)
PATIENCE_S = 100
ENDED_DRAINS = """
select d.status, d.username from cron.job_run_details d join cron.job j using (jobid)
 where j.jobname = 'hangar-drain' and d.status in ('succeeded', 'failed')
"""
QUEUED = """
select url, convert_from(body, 'utf8'), headers from net.http_request_queue
 where convert_from(body, 'utf8') like '%drain_only%'
"""


@pytest.fixture
def preloaded(server_folder):
    """A server with the real pg_cron for the database `real_cron`."""
    binaries = next((folder for folder in system_binaries() if has_pg_cron(folder)), None)
    if binaries is None:
        pytest.skip("no installed Postgres has pg_cron")
    settings = {
        "shared_preload_libraries": "pg_cron",
        "cron.database_name": "real_cron",
        "cron.use_background_workers": "on",  # there is no Unix socket to come back through
    }
    with Postgres(server_folder, fsync=False, binaries=binaries, settings=settings) as server:
        yield server


def has_pg_cron(binaries: Path) -> bool:
    """Whether the extension is in the server's folder: Debian's layout, or share beside bin."""
    debian = binaries.parents[3] / "share" / "postgresql" / binaries.parent.name
    plain = binaries.parent / "share"
    places = (debian, plain, plain / "postgresql")
    return any((place / "extension" / "pg_cron.control").exists() for place in places)


def tell(url: str) -> list[object]:
    """The result of each statement: its rows, or its error message."""
    said: list[object] = []
    with psycopg.connect(url, autocommit=True) as session:
        as_role(session, "postgres")
        for statement in STATEMENTS:
            try:
                said.append(session.execute(statement).fetchall())
            except psycopg.Error as error:
                said.append(error.diag.message_primary)
    return said


def test_both_say_the_same(preloaded):
    real = prepare(preloaded, dbname="real_cron", migrations=False, seed=False)
    stand_in = fresh_database(preloaded, migrations=False, seed=False)
    with psycopg.connect(real) as session:
        assert session.execute("select extname from pg_extension where extname = 'pg_cron'").fetchone() == ("pg_cron",)
    for statement, expected, found in zip(STATEMENTS, tell(real), tell(stand_in), strict=True):
        assert found == expected, statement


def test_our_jobs_are_taken_by_the_real_one(preloaded):
    url = prepare(preloaded, dbname="real_cron")
    with psycopg.connect(url) as session:
        jobs = session.execute("select jobname, schedule, username, active from cron.job order by jobname").fetchall()
    assert jobs == [
        ("check-fly-apps-health", "*/5 * * * *", "postgres", True),
        ("hangar-drain", "* * * * *", "postgres", True),
    ]


def test_on_the_minute_the_real_one_queues_a_signed_call_of_health(preloaded):
    """Up to a minute of waiting: what Debian ships knows no shorter schedule."""
    url = prepare(preloaded, dbname="real_cron")
    with psycopg.connect(url, autocommit=True) as session:
        session.execute("select vault.create_secret('http://127.0.0.1:9', 'hangar_functions_url')")
        session.execute("select vault.create_secret(%s, 'hangar_webhook_secret')", ("whsec_" + "q83v" * 8,))
        deadline = time.monotonic() + PATIENCE_S
        while not (runs := session.execute(ENDED_DRAINS).fetchall()):
            assert time.monotonic() < deadline, "pg_cron ran nothing"
            time.sleep(0.2)
        assert runs[0] == ("succeeded", "postgres")
        url, body, headers = session.execute(QUEUED).fetchall()[0]
    assert (url, body) == ("http://127.0.0.1:9/health", '{"drain_only": true}')
    assert {"webhook-id", "webhook-timestamp", "webhook-signature"} <= headers.keys()
