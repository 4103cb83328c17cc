"""Supabase's own command line against our `supabase/` folder and a Postgres: what an operator types in docs/deploy.md.

Where there is no `supabase` command these tests skip; nothing is downloaded for them (`npm install supabase`, 142 MB, brings it).
"""

import json
import os
import shutil
import subprocess
from pathlib import Path

import psycopg
import pytest

from shared.settings.config import Config
from tests.http.running_function import SETTINGS
from tests.support.databases import drop_database, fresh_database

ROOT = Path(__file__).resolve().parents[2]
MIGRATIONS = sorted(path.name.split("_")[0] for path in (ROOT / "supabase" / "migrations").glob("*.sql"))


@pytest.fixture(scope="module")
def supabase(tmp_path_factory):
    """`supabase(*words)`: run the command beside a copy of our folder; its output."""
    found = shutil.which("supabase") or shutil.which("supabase", path=str(ROOT / "node_modules" / ".bin"))
    if found is None:
        pytest.skip("there is no `supabase` command on PATH nor in node_modules")
    folder = tmp_path_factory.mktemp("project")
    shutil.copytree(ROOT / "supabase", folder / "supabase")
    environ = {"PATH": os.environ["PATH"], "HOME": str(folder), "SUPABASE_TELEMETRY_DISABLED": "1", "DO_NOT_TRACK": "1"}

    def run(*words):
        ended = subprocess.run(
            [found, *words],
            cwd=folder,
            env=environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        assert ended.returncode == 0, ended.stdout + ended.stderr
        return ended

    return run


@pytest.fixture
def pushed(supabase, postgres):
    """The superuser's URL of a database whose migrations and seed `supabase db push` applied, as the role postgres."""
    url = fresh_database(postgres, migrations=False, seed=False)
    supabase("db", "push", "--yes", "--include-seed", f"--remote={as_postgres(url)}")
    yield url
    drop_database(url)


def as_postgres(url):
    return url.replace("supabase_admin@", "postgres@")


@pytest.mark.every_postgres
def test_db_push_installs_everything_and_a_second_push_finds_nothing_to_do(supabase, pushed):
    again = supabase("db", "push", "--yes", "--include-seed", f"--remote={as_postgres(pushed)}")
    assert "up to date" in again.stdout + again.stderr
    with psycopg.connect(pushed) as session:
        recorded = session.execute("select version from supabase_migrations.schema_migrations order by 1").fetchall()
        assert [version for (version,) in recorded] == MIGRATIONS
        assert session.execute("select count(*) from public.fly_plans").fetchone() == (3,)
        assert session.execute("select live from hangar.settings").fetchone() == (False,)


@pytest.mark.every_postgres
def test_supabases_advisors_find_nothing_of_ours_at_warn_or_above(supabase, pushed):
    name = pushed.rpartition("/")[2]
    with psycopg.connect(pushed, autocommit=True) as session:
        session.execute(f"alter database {name} set pgrst.db_schemas = 'public, graphql_public'")
    said = supabase("db", "advisors", "--level", "info", "--output-format", "json", f"--remote={pushed}").stdout
    findings = find_findings(json.loads(said))
    assert findings  # new indexes are unused, so the advisors did run
    ours = [finding for finding in findings if finding["name"] != "unused_index"]
    assert [(finding["name"], finding["detail"]) for finding in ours] == []


@pytest.mark.every_postgres
def test_supabases_lint_finds_no_error_and_no_warning(supabase, pushed):
    """All our functions; the command needs the extension plpgsql_check in the server."""
    with psycopg.connect(pushed, autocommit=True) as session:
        if not session.execute("select 1 from pg_available_extensions where name = 'plpgsql_check'").fetchone():
            pytest.skip("this server has no plpgsql_check")
        session.execute("create extension plpgsql_check")
    linted = supabase("db", "lint", "--level", "warning", "--schema", "hangar,public", f"--remote={pushed}")
    assert "Linting schema: hangar" in linted.stderr
    assert "No schema errors found" in linted.stdout + linted.stderr, linted.stdout


def find_findings(said):
    """The list of findings, which newer versions wrap in an object."""
    return said if isinstance(said, list) else next(value for value in said.values() if isinstance(value, list))


def test_hangar_user_token_key_accepts_a_signing_key_made_by_the_command(supabase):
    """It goes into the setting as it is printed: a JWK with the kid under which the project will know it."""
    key = supabase("gen", "signing-key", "--algorithm", "ES256").stdout
    config = Config.from_env(SETTINGS | {"HANGAR_USER_TOKEN_KEY": key})
    assert json.loads(config.user_token_key.get_secret_value())["kid"]
