"""`hangar install` and `hangar uninstall` as an operator runs them, and what a database holds before and after."""

import contextlib
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import psycopg

from ops.install.schema_files import load_schema_files

ROOT = Path(__file__).resolve().parents[2]
FILES = load_schema_files()
NAMES = [file.file_name for file in FILES]
LEDGER = "select version || '_' || name || '.sql' from hangar.schema_migrations order by version"


REFUSE_PLANS = """
create function public.refuse_plans() returns event_trigger language plpgsql as $$
begin
  if exists (select from pg_event_trigger_ddl_commands() c where c.object_identity = 'public.fly_plans') then
    raise exception 'no plans here';
  end if;
end $$;
create event trigger refuse_plans on ddl_command_end when tag in ('CREATE TABLE') execute function public.refuse_plans();
"""
ALLOW_PLANS = "drop event trigger refuse_plans; drop function public.refuse_plans()"


def as_owner(url):
    """The URL of the role that an operator uses: on Supabase `postgres` owns the database and is no superuser."""
    return url.replace("supabase_admin@", "postgres@")


def start(*arguments, program=(sys.executable, "-c", "from ops.cli import main; main()"), **environ):
    """The command in a process of its own, with no database in its environment but the one that is given."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("SUPABASE_", "DATABASE_", "PG"))}
    return subprocess.Popen(
        [*program, *arguments],
        cwd=ROOT,
        env={**kept, "PYTHONPATH": str(ROOT), **environ},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(*arguments, exits=0, typed="", **options):
    """What the command writes to standard output and standard error."""
    process = start(*arguments, **options)
    output, errors = process.communicate(typed, timeout=120)
    assert process.returncode == exits, f"{process.returncode}\n{output}\n{errors}"
    assert "Traceback" not in errors
    return output + errors


def run_json(*arguments, exits=0):
    """The document that `--json` writes, which must be alone on standard output."""
    process = start(*arguments, "--json")
    output, errors = process.communicate(timeout=120)
    assert process.returncode == exits, errors
    return json.loads(output)


def install(url, *arguments, **options):
    return run("install", "--database-url", as_owner(url), *arguments, **options)


def uninstall(url, *arguments, **options):
    return run("uninstall", "--database-url", as_owner(url), *arguments, **options)


def read_ledger(url):
    """The names of the recorded files; none if there is no ledger."""
    with psycopg.connect(url, autocommit=True) as session:
        return list_ledger(session)


def list_ledger(session):
    """The same in a session that is open: for looks that come often."""
    if session.execute("select to_regclass('hangar.schema_migrations') is null").fetchone() == (True,):
        return []
    return [name for (name,) in session.execute(LEDGER).fetchall()]


def dump(postgres, url, *options):
    """The whole database as pg_dump writes it, schema and data, without what differs between two dumps of the same."""
    made = subprocess.run(
        [str(postgres.binaries / "pg_dump"), "--dbname", url, *options], capture_output=True, text=True, check=True
    )
    # \\restrict carries a random word. The counter of cron.job is pg_cron's own, and not ours to turn back.
    changing = re.compile(r"^(\\(un)?restrict .*|SELECT pg_catalog\.setval\('cron\.\w+'.*)$")
    return [line for line in made.stdout.splitlines() if not changing.match(line)]


def wait_for(look):
    """Poll often: the moments that these tests kill in are short."""
    while not look():
        time.sleep(0.01)


def kill(process):
    process.kill()
    with contextlib.suppress(OSError):
        process.communicate()


@contextlib.contextmanager
def slow_statements(session):
    """Each statement that creates something takes four milliseconds, so that there is a middle of a file."""
    session.execute(
        "create function public.slow() returns event_trigger language plpgsql as"
        " $$ begin perform pg_catalog.pg_sleep(0.004); end $$"
    )
    session.execute("create event trigger slow on ddl_command_end execute function public.slow()")
    yield
    session.execute("drop event trigger slow")
    session.execute("drop function public.slow()")
