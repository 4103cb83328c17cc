"""The migration files: by subject, short, readable from top to bottom, and closed to the API's roles at every step."""

import re
import shutil
from pathlib import Path

import pytest

from local.supabase.postgres.database import migrate

SUPABASE = Path(__file__).resolve().parents[2] / "supabase"
FILES = sorted((SUPABASE / "migrations").glob("*.sql"))
MOST_LINES = 300
CREATED = re.compile(r"^create (?:table|view|type|function) ((?:hangar|public)\.\w+)", re.MULTILINE)
# References to names of ours: tables, views, types and functions. `hangar.actor` and the like are settings in quotes.
USED = re.compile(r"(?<!')\b((?:hangar\.|public\.(?:fly_|user_fly_))\w+)")
# The functions that hangar.write_host_functions generates for the host's tables, and the sequence of an identity column.
CREATED_OTHERWISE = {
    "hangar.existing_users",
    "hangar.find_by_email",
    "hangar.has_no_subscriptions",
    "hangar.has_no_users",
    "hangar.list_subscriptions",
    "hangar.list_users",
    "hangar.mark_everybody",
    "hangar.read_emails",
    "hangar.read_subscriptions",
    "public.fly_cost_intervals_seq_seq",
    "public.user_fly_app_events_seq_seq",
}
# Statements that an operator is told to run, in the texts of errors.
NAMED_IN_TEXTS = re.compile(r"hangar\.(?:bind_subscriptions\(…\)|unbind\(\))")


def read_code(path):
    """The SQL of a file without comments, `comment on` statements and texts that are only read by people."""
    text = re.sub(r"--[^\n]*", "", path.read_text(encoding="utf-8"))
    text = NAMED_IN_TEXTS.sub("", text)
    return re.sub(r"^comment on .*?;$", "", text, flags=re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_file_has_one_subject_and_says_which(path):
    """At most 300 lines; the comment at its top says what it is about and, after the first, what it builds on."""
    lines = path.read_text(encoding="utf-8").splitlines()
    header = "\n".join(lines[: next(number for number, line in enumerate(lines) if not line.startswith("--"))])
    assert len(lines) <= MOST_LINES
    assert "uilds on" in header


def test_nothing_is_used_before_it_is_created():
    """Functions as well, of which Postgres itself would notice only at the first call."""
    known = set(CREATED_OTHERWISE)
    early = []
    for path in FILES:
        code = read_code(path)
        places = [(match.start(), match.group(1), True) for match in CREATED.finditer(code)]
        places += [(match.start(), match.group(1), False) for match in USED.finditer(code)]
        for _, name, is_creation in sorted(places, key=lambda place: (place[0], not place[2])):
            if is_creation:
                known.add(name)
            elif name not in known:
                early.append((path.stem, name))
    assert early == []


def test_the_machine_spec_has_the_types_of_the_tables(hangar):
    """One composite type; the same columns of the row and of the plan have the same types."""
    columns = """select attname, atttypid::regtype::text as type from pg_attribute
                  where attrelid = %s::regclass and attnum > 0 and not attisdropped"""
    spec, row, plan = (
        {column["attname"]: column["type"] for column in hangar.sql(columns, name)}
        for name in ("hangar.machine_spec", "public.user_fly_apps", "public.fly_plans")
    )
    assert len(spec) == 8
    assert spec.items() <= row.items()
    # A plan has the environment itself, and a row only its fingerprint.
    assert spec.items() - {("env_version", "text")} <= plan.items()


@pytest.mark.every_postgres
@pytest.mark.slow
def test_no_function_is_ever_open_not_even_between_two_files(bare_database, connect, tmp_path):
    """A push may stop after any file, in a project that grants everything new in `public` to the API's roles."""
    admin = connect(bare_database)
    for kind in ("tables", "functions", "sequences"):
        admin.execute(
            f"alter default privileges for role postgres in schema public grant all on {kind} to anon, authenticated"
        )
    opened = """select p.oid::regprocedure::text, r from pg_proc p, unnest(array['anon', 'authenticated']) r
                 where p.pronamespace in (to_regnamespace('hangar'), 'public'::regnamespace)
                   and (p.pronamespace <> 'public'::regnamespace or p.proname like 'fly\\_%')
                   and p.oid is distinct from to_regprocedure('hangar.token_is_valid()')  -- for the policies of the host
                   and has_function_privilege(r, p.oid, 'execute')"""
    (tmp_path / "migrations").mkdir()
    for path in FILES:
        shutil.copy(path, tmp_path / "migrations")
        migrate(bare_database, folder=tmp_path)
        assert admin.execute(opened).fetchall() == [], path.stem


@pytest.mark.slow
def test_a_function_of_the_host_keeps_its_rights(bare_database, connect):
    """The host may have a function named fly_*; ours are recognised by their comments."""
    admin = connect(bare_database)
    admin.execute("create function public.fly_my_kite() returns integer language sql as 'select 1'")
    migrate(bare_database)
    rights = "select has_function_privilege('anon', 'public.fly_my_kite()', 'execute')"
    assert admin.execute(rights).fetchone() == (True,)


def test_the_last_file_records_the_schema_as_it_is_then():
    """Doctor's check `shape` compares with it, and would call every later change one that somebody made by hand."""
    *_, statement = [line for line in FILES[-1].read_text(encoding="utf-8").splitlines() if line.strip()]
    assert statement == "select hangar.record_shape();", FILES[-1].name
