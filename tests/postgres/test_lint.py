"""What `supabase db lint --level warning` would report about our functions, triggers included, asked of plpgsql_check itself.

The extension is not part of Postgres (Debian: postgresql-15-plpgsql-check); where a server lacks it the test skips.
The same with the real command is in `test_real_neighbours_cli.py`.
"""

import pytest

# Findings that stay, each with its reason. `supabase db lint` does not ask for the level `security`.
ACCEPTED = {
    # Dynamic SQL: every value in it is quoted (quote_literal, %L), and names of columns come from a list in the function.
    (
        "fly_admin_fleet(jsonb,text,boolean,jsonb,integer,jsonb,boolean)",
        "security: text type variable is not sanitized",
    ),
    # Dynamic SQL: names of tables come from the catalog as regclass, names of functions and events from the code.
    ("hangar.create_mark_triggers(oid,text)", "security: text type variable is not sanitized"),
    # Dynamic SQL that the database owner's binding generates: columns by %I, constants by %L, the function's body by %L.
    ("hangar.write_function(text,text,text,text,text)", "security: text type variable is not sanitized"),
    # Dynamic SQL: names of tables as regclass, which quotes them.
    ("hangar.watch_tables(text[])", "security: text type variable is not sanitized"),
    # Dynamic SQL: pattern and limit are put into the generated statement by %L.
    ("hangar.find_by_email(text,integer)", "security: text type variable is not sanitized"),
    # Dynamic SQL: names of tables as regclass, names of columns from the catalog by %I, values as parameters.
    ("hangar.erase_in_table(regclass,text,uuid,uuid,text)", "security: text type variable is not sanitized"),
    # Dynamic SQL: the pattern is escaped for LIKE and quoted by %L.
    ("hangar.search_users(text,integer)", "security: text type variable is not sanitized"),
}

LINT = """
select p.oid::regprocedure::text as name, c.level || ': ' || c.message as finding
  from pg_proc p
  join pg_namespace n on n.oid = p.pronamespace
  join pg_language l on l.oid = p.prolang
  left join lateral (select min(t.tgrelid) as relation from pg_trigger t where t.tgfoid = p.oid) used on true
 cross join lateral extensions.plpgsql_check_function_tb(
         p.oid, coalesce(used.relation, 0), performance_warnings => false, security_warnings => true) c
 where l.lanname = 'plpgsql' and (n.nspname = 'hangar' or n.nspname = 'public' and p.proname like 'fly\\_%%')
   and c.level in ('error', 'warning', 'warning extra', 'security')
"""


@pytest.mark.every_postgres
def test_plpgsql_check_finds_nothing(installed):
    if not installed.sql("select 1 from pg_available_extensions where name = 'plpgsql_check'"):
        pytest.skip("this server has no plpgsql_check")
    installed.sql("create extension plpgsql_check with schema extensions")
    found = {(row["name"], row["finding"]) for row in installed.sql(LINT)}
    assert found == ACCEPTED
