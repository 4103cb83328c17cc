"""What outsiders may use of an installed database, as text with one fact per line.

Public is what `docs/database.md` documents and what `ops/`, `functions/`, `shared/`, `local/`, `bench/` or a host calls by name:
every table, view, index and constraint in `public` whose name begins with `fly_` or `user_fly_`, the tables of schema `hangar`,
the procedures `public.fly_*`, `hangar.now()`, `hangar.call_health()` and those of the host binding, triggers, policies,
rights, cron jobs and seeds.
Every other function, view and type of schema `hangar` is internal: of those only the rights are listed, which must be none.
Comments and the text of functions are not listed, nor is which function a trigger runs.

    python -m tests.postgres.public_interface POSTGRES_URL > tests/postgres/public_interface.txt
"""

import sys

import psycopg

PUBLIC_RELATION = """
  (n.nspname = 'public' and (c.relname like 'fly\\_%' or c.relname like 'user\\_fly\\_%')
   or n.nspname = 'hangar' and c.relkind = 'r')
"""
PUBLIC_FUNCTION = """
  (n.nspname = 'public' and p.proname like 'fly\\_%' or n.nspname = 'hangar' and p.proname in (
     'now', 'call_health', 'bind_subscriptions', 'bind_function', 'unbind', 'use_status_rules'))
"""
GRANTEES = "array['anon', 'authenticated', 'service_role']"
# PUBLIC is the role with the number 0.
GRANTEE = "case acl.grantee when 0 then 'PUBLIC' else acl.grantee::regrole::text end"
RIGHTS = "string_agg(lower(acl.privilege_type), ' ' order by acl.privilege_type)"
FUNCTION_RIGHTS = "aclexplode(coalesce(p.proacl, acldefault('f', p.proowner)))"

# Title of a section, and a query of one text column. Defaults are `hangar.now()` and the like: no secret and no random value.
SECTIONS = {
    "schemas": f"""
        select format('%s usage: %s, create: %s', n.nspname,
                 (select string_agg(r, ' ') from unnest({GRANTEES}) r where has_schema_privilege(r, n.oid, 'usage')),
                 (select string_agg(r, ' ') from unnest({GRANTEES}) r where has_schema_privilege(r, n.oid, 'create')))
          from pg_namespace n where n.nspname in ('hangar', 'public')""",
    "columns": f"""
        select format('%s.%s %s. %s %s%s%s%s', n.nspname, c.relname, lpad(a.attnum::text, 2, '0'), a.attname,
                 format_type(a.atttypid, a.atttypmod), case when a.attnotnull then ' not null' else '' end,
                 coalesce(' default ' || pg_get_expr(d.adbin, d.adrelid), ''),
                 case a.attidentity when 'a' then ' generated always as identity' else '' end)
          from pg_attribute a join pg_class c on c.oid = a.attrelid join pg_namespace n on n.oid = c.relnamespace
          left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
         where {PUBLIC_RELATION} and c.relkind in ('r', 'v') and a.attnum > 0 and not a.attisdropped""",
    "relations": f"""
        select format('%s.%s kind %s, owner %s, row level security %s, options %s', n.nspname, c.relname, c.relkind,
                 c.relowner::regrole, c.relrowsecurity, coalesce(c.reloptions::text, 'none'))
          from pg_class c join pg_namespace n on n.oid = c.relnamespace
         where {PUBLIC_RELATION} and c.relkind in ('r', 'v', 'S')""",
    "constraints": f"""
        select format('%s %s %s', k.conrelid::regclass, k.conname, pg_get_constraintdef(k.oid))
          from pg_constraint k join pg_class c on c.oid = k.conrelid join pg_namespace n on n.oid = c.relnamespace
         where {PUBLIC_RELATION} and k.contype <> 'n'""",
    "indexes": f"""
        select pg_get_indexdef(i.indexrelid)
          from pg_index i join pg_class c on c.oid = i.indrelid join pg_namespace n on n.oid = c.relnamespace
         where {PUBLIC_RELATION} and i.indexrelid::regclass::text !~ 'user_fly_apps_search$'""",  # only where pg_trgm can be had
    # Without the function's name, which is internal.
    "triggers": """
        select regexp_replace(pg_get_triggerdef(t.oid), ' EXECUTE FUNCTION .*$', '')
          from pg_trigger t join pg_class c on c.oid = t.tgrelid join pg_namespace n on n.oid = c.relnamespace
         where not t.tgisinternal and n.nspname in ('public', 'hangar', 'auth')""",
    "functions": f"""
        select format('%s.%s(%s) returns %s, %s, %s, settings %s, owner %s',
                 n.nspname, p.proname, pg_get_function_arguments(p.oid), pg_get_function_result(p.oid),
                 case p.provolatile when 'v' then 'volatile' when 's' then 'stable' else 'immutable' end,
                 case when p.prosecdef then 'security definer' else 'security invoker' end,
                 coalesce(p.proconfig::text, 'none'), p.proowner::regrole)
          from pg_proc p join pg_namespace n on n.oid = p.pronamespace where {PUBLIC_FUNCTION}""",
    "rights on relations": f"""
        select format('%s.%s %s: %s', n.nspname, c.relname, {GRANTEE}, {RIGHTS})
          from pg_class c join pg_namespace n on n.oid = c.relnamespace, aclexplode(c.relacl) acl
         where {PUBLIC_RELATION} and c.relkind in ('r', 'v', 'S') and acl.grantee <> c.relowner
         group by n.nspname, c.relname, acl.grantee""",
    "rights on functions": f"""
        select format('%s.%s: %s', n.nspname, p.proname, string_agg({GRANTEE}, ' ' order by 1))
          from pg_proc p join pg_namespace n on n.oid = p.pronamespace, {FUNCTION_RIGHTS} acl
         where {PUBLIC_FUNCTION} and acl.grantee <> p.proowner
         group by n.nspname, p.proname""",
    "rights on anything internal": f"""
        select format('%s: %s', p.oid::regprocedure, {GRANTEE})
          from pg_proc p join pg_namespace n on n.oid = p.pronamespace, {FUNCTION_RIGHTS} acl
         where n.nspname = 'hangar' and not {PUBLIC_FUNCTION} and acl.grantee <> p.proowner
        union all
        select format('%s: %s', c.oid::regclass, {GRANTEE})
          from pg_class c join pg_namespace n on n.oid = c.relnamespace, aclexplode(c.relacl) acl
         where n.nspname = 'hangar' and not {PUBLIC_RELATION} and acl.grantee <> c.relowner""",
    # The host's own: what it makes later must be as open or closed as before we came.
    "default privileges": f"""
        select format('%s in %s on %s, %s: %s', d.defaclrole::regrole,
                 coalesce(d.defaclnamespace::regnamespace::text, 'every schema'), d.defaclobjtype, {GRANTEE}, {RIGHTS})
          from pg_default_acl d, aclexplode(d.defaclacl) acl
         where d.defaclnamespace is distinct from to_regnamespace('hangar')
         group by d.defaclrole, d.defaclnamespace, d.defaclobjtype, acl.grantee""",
    "policies": """
        select format('%s.%s %s %s for %s to %s using %s with check %s', schemaname, tablename, policyname,
                 lower(permissive), lower(cmd), array_to_string(roles, ' '), coalesce(qual, '-'), coalesce(with_check, '-'))
          from pg_policies where schemaname in ('public', 'hangar')""",
    "jobs": "select format('%s %s %s as %s', jobname, schedule, command, username) from cron.job",
    "plans": "select (to_jsonb(p) - 'created_at' - 'updated_at')::text from public.fly_plans p",
    "settings": "select (to_jsonb(s) - 'installation_id' - 'updated_at')::text from hangar.settings s",
}


def dump(connection: psycopg.Connection) -> str:
    """The public interface of this database; equal text means that outsiders see no difference."""
    lines = []
    for title, query in SECTIONS.items():
        found = sorted(text for (text,) in connection.execute(query.encode()).fetchall())
        lines += [f"## {title}", *(" ".join(text.split()) for text in found), ""]
    return "\n".join(lines)


if __name__ == "__main__":
    with psycopg.connect(sys.argv[1]) as session:
        sys.stdout.write(dump(session))
