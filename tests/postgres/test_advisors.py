"""Supabase's advisors (supabase/splinter) as catalog queries, so that no new object can be forgotten.

Each test is one lint. A finding is listed by name; the expected list is empty. Who may do what (lints 0028 and 0029 too)
stands in `test_rights.py`.
"""

import re

import pytest

pytestmark = pytest.mark.every_postgres

# Everything that our migrations made: the schema hangar, and what is ours in public.
OURS = """
  (n.nspname = 'hangar' or n.nspname = 'public' and
   (c.relname like 'fly\\_%%' or c.relname in ('user_fly_apps', 'user_fly_app_events')))
"""
FUNCTIONS = "(n.nspname = 'hangar' or n.nspname = 'public' and p.proname like 'fly\\_%%')"


def names(common, query):
    return sorted(next(iter(row.values())) for row in common.sql(query))


def relations(common, kinds, condition):
    return names(
        common,
        f"""select n.nspname || '.' || c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace
             where c.relkind in {kinds} and {OURS} and ({condition})""",
    )


def functions(common, condition):
    return names(
        common,
        f"""select p.oid::regprocedure::text from pg_proc p join pg_namespace n on n.oid = p.pronamespace
             where {FUNCTIONS} and ({condition})""",
    )


def test_catalog_queries_see_what_we_made(common):
    """The queries below see our objects, so they do not pass by being empty."""
    assert len(relations(common, "('r')", "true")) == 35
    assert len(relations(common, "('v')", "true")) == 4
    assert len(functions(common, "true")) > 40


def test_every_foreign_key_has_an_index(common):
    """Lint 0001: an index that starts with the key's columns in their order."""
    found = names(
        common,
        f"""select k.conrelid::regclass::text || ' ' || k.conname from pg_constraint k
              join pg_class c on c.oid = k.conrelid join pg_namespace n on n.oid = c.relnamespace
             where k.contype = 'f' and {OURS} and not exists (
               select from pg_index i where i.indrelid = k.conrelid and i.indpred is null
                and (i.indkey::int2[])[0:cardinality(k.conkey) - 1] = k.conkey)""",
    )
    assert found == []


def test_every_table_has_a_primary_key(common):
    """Lint 0004. The host's transaction only appends to hangar.marks; a key would make two hosts wait for each other."""
    without = relations(
        common, "('r')", "not exists (select from pg_index i where i.indrelid = c.oid and i.indisprimary)"
    )
    assert without == ["hangar.marks"]


def test_row_level_security_is_on_everywhere(common):
    """Lints 0007, 0013, 0023: also in the schema that is not exposed."""
    assert relations(common, "('r')", "not c.relrowsecurity") == []


def test_every_table_has_a_policy(common):
    """Lint 0008: a table without rights states that explicitly."""
    assert relations(common, "('r')", "not exists (select from pg_policy y where y.polrelid = c.oid)") == []


def test_one_policy_for_each_role_and_action(common):
    """Lint 0006: several permissive policies for one role and action cost each query."""
    found = names(
        common,
        f"""select format('%%s %%s', t, role) from (
              select y.polrelid::regclass::text as t, r.oid::regrole::text as role, a as action
                from pg_policy y join pg_class c on c.oid = y.polrelid join pg_namespace n on n.oid = c.relnamespace,
                     unnest(y.polroles) r (oid), unnest(array['r', 'a', 'w', 'd']) a
               where {OURS} and y.polpermissive and y.polcmd in ('*', a::"char")
               group by 1, 2, 3 having count(*) > 1) x""",
    )
    assert found == []


def test_policies_read_the_caller_once_per_query(common):
    """Lint 0003: a bare auth.uid() in a policy runs for every row."""
    policies = common.sql("select tablename, qual, with_check from pg_policies where qual ~ 'auth\\.|current_setting'")
    mine = [policy for policy in policies if policy["tablename"] in ("user_fly_apps", "user_fly_app_events")]
    assert len(mine) == 2
    assert all("SELECT auth.uid()" in policy["qual"] for policy in mine)


def test_no_write_is_allowed_to_all_the_world(common):
    """Lint 0024: a write policy that is always true may stand for service_role alone."""
    found = common.sql(
        f"""select y.polname, c.relname from pg_policy y join pg_class c on c.oid = y.polrelid
              join pg_namespace n on n.oid = c.relnamespace
             where {OURS} and y.polcmd <> 'r' and y.polroles <> array['service_role'::regrole::oid]"""
    )
    assert found == []


def test_no_index_exists_twice(common):
    """Lint 0009, and no index that is the beginning of a unique one."""
    found = names(
        common,
        f"""select a.indexrelid::regclass::text from pg_index a
              join pg_index b on a.indrelid = b.indrelid and a.indexrelid <> b.indexrelid
              join pg_class c on c.oid = a.indrelid join pg_namespace n on n.oid = c.relnamespace
             where {OURS} and a.indkey::text = b.indkey::text and a.indoption::text = b.indoption::text
               and pg_get_expr(a.indpred, a.indrelid) is not distinct from pg_get_expr(b.indpred, b.indrelid)
               and pg_get_expr(a.indexprs, a.indrelid) is not distinct from pg_get_expr(b.indexprs, b.indrelid)""",
    )
    assert found == []


def test_views_read_as_their_reader(common):
    """Lint 0010: a view without security_invoker would read as its owner, past row level security."""
    condition = "not coalesce(c.reloptions, '{}') @> array['security_invoker=on']"
    assert relations(common, "('v', 'm', 'f')", condition) == []


def test_every_function_pins_its_search_path(common):
    """Lint 0011: with an empty search_path no other function can replace one that ours calls."""
    assert functions(common, "not coalesce(p.proconfig, '{}') @> array['search_path=\"\"']") == []


def test_procedures_are_one_volatile_statement_each(common):
    """PostgREST runs anything not VOLATILE read-only and guesses among overloads; 1,000 rows is its cap, so one value it is."""
    assert functions(common, "n.nspname = 'public' and (p.provolatile <> 'v' or p.proretset)") == []
    assert functions(common, "n.nspname = 'public' and p.prorettype <> 'jsonb'::regtype") == []
    assert len({name.split("(")[0] for name in functions(common, "n.nspname = 'public'")}) == len(
        functions(common, "n.nspname = 'public'")
    )


def test_no_reg_types_and_no_materialized_views(common):
    """Lints 0016, 0017 and 0018: they block an upgrade or escape row level security."""
    assert relations(common, "('m', 'f')", "true") == []
    columns = "select from pg_attribute a where a.attrelid = c.oid and a.attnum > 0 and a.atttypid::regtype::text like 'reg%%'"
    assert relations(common, "('r')", f"exists ({columns})") == []


def test_every_update_and_delete_has_a_where(common):
    """Supabase loads safeupdate for PostgREST's sessions: it refuses an UPDATE or DELETE without WHERE, in functions too."""
    sources = common.sql(
        f"""select p.oid::regprocedure::text as name, regexp_replace(p.prosrc, '--[^\n]*', '', 'g') as body
              from pg_proc p join pg_namespace n on n.oid = p.pronamespace where {FUNCTIONS}"""
    )
    statement = re.compile(
        r"(?:^|;|\(|begin|then|loop|else)\s*((?:update|delete from)\s+(?:public|hangar)\..*?)(?:;|$)", re.DOTALL
    )
    found = [(source["name"], text) for source in sources for text in statement.findall(source["body"])]
    assert len(found) > 10
    assert [name for name, text in found if not re.search(r"\bwhere\b", text)] == []
