"""What in a database belongs to Hangar, outside and inside of its schema, and what of the host hangs on it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import psycopg

from ops.install.schema_files import SchemaFile, list_procedures, list_relations

VAULT_SECRETS = ("hangar_functions_url", "hangar_webhook_secret")
OWN_RUNS = "starts_with(command, 'select hangar.call_health(')"

# Everything of Hangar as (class, object), for a query that looks for other objects that depend on it. `%(names)s`: our tables and
# views in `public`; `%(functions)s`: our procedures there.
_OURS = """
  with spaces as (select oid from pg_namespace where nspname = 'hangar'),
  relations as (
    select c.oid from pg_class c where c.relnamespace in (select oid from spaces)
       or c.relnamespace = 'public'::regnamespace and c.relname = any (%(names)s)
    union select i.indexrelid from pg_index i join pg_class c on c.oid = i.indrelid
     where c.relnamespace = 'public'::regnamespace and c.relname = any (%(names)s)
    union select d.objid from pg_depend d join pg_class c on c.oid = d.refobjid
     where d.classid = 'pg_class'::regclass and d.refclassid = 'pg_class'::regclass and d.deptype in ('a', 'i')
       and c.relnamespace = 'public'::regnamespace and c.relname = any (%(names)s)),
  functions as (
    select p.oid from pg_proc p where p.pronamespace in (select oid from spaces)
       or p.oid = any (%(functions)s::oid[])),
  types as (
    select t.oid from pg_type t where t.typnamespace in (select oid from spaces)
       or t.typrelid in (select oid from relations)
       or t.typelem in (select e.oid from pg_type e where e.typrelid in (select oid from relations))),
  ours as (
    select 'pg_class'::regclass::oid as class, oid from relations
    union all select 'pg_proc'::regclass, oid from functions
    union all select 'pg_type'::regclass, oid from types
    union all select 'pg_namespace'::regclass, oid from spaces
    union all select 'pg_constraint'::regclass, k.oid from pg_constraint k where k.conrelid in (select oid from relations)
    union all select 'pg_attrdef'::regclass, a.oid from pg_attrdef a where a.adrelid in (select oid from relations)
    union all select 'pg_rewrite'::regclass, r.oid from pg_rewrite r where r.ev_class in (select oid from relations)
    union all select 'pg_policy'::regclass, p.oid from pg_policy p where p.polrelid in (select oid from relations)
    union all select 'pg_trigger'::regclass, t.oid from pg_trigger t
     where t.tgfoid in (select oid from functions) or t.tgisinternal and t.tgrelid in (select oid from relations)
    union all select 'pg_default_acl'::regclass, a.oid from pg_default_acl a where a.defaclnamespace in (select oid from spaces))
"""
_DEPENDENTS = f"""{_OURS}
  select distinct pg_describe_object(d.classid, d.objid, 0)
    from pg_depend d join ours o on o.class = d.refclassid and o.oid = d.refobjid
   where d.deptype in ('n', 'a') and (d.classid, d.objid) not in (select class, oid from ours)
     and not (d.classid = 'pg_class'::regclass and exists (
       select 1 from pg_class c where c.oid = d.objid and c.relnamespace = 'pg_toast'::regnamespace))
     and not (d.classid = 'pg_trigger'::regclass and exists (select 1 from pg_trigger t where t.oid = d.objid and t.tgisinternal))
     and (d.classid, d.objid) not in (
       select 'pg_attrdef'::regclass, a.oid from pg_attrdef a join pg_class c on c.oid = a.adrelid
        where c.relnamespace = 'public'::regnamespace and c.relname = any (%(kept)s)
       union all select 'pg_policy'::regclass, p.oid from pg_policy p join pg_class c on c.oid = p.polrelid
        where c.relnamespace = 'public'::regnamespace and c.relname = any (%(kept)s)
       union all select 'pg_constraint'::regclass, k.oid from pg_constraint k join pg_class c on c.oid = k.conrelid
        where c.relnamespace = 'public'::regnamespace and c.relname = any (%(kept)s))
   order by 1
"""  # noqa: S608  constants of this module
# A procedure is ours by its comment, or by name and text: a copy of the database may have lost the comments. `%(ours)s` are the
# names of the procedures of all files, `%(texts)s` their texts.
IS_OURS = """
  (coalesce(obj_description(p.oid, 'pg_proc'), '') like '%%docs/database.md%%'
     or (p.proname, p.prosrc) in (select * from unnest(%(ours)s::text[], %(texts)s::text[])))
"""
_FUNCTIONS = f"""
  select p.oid, p.oid::regprocedure::text from pg_proc p
   where p.pronamespace = 'public'::regnamespace and p.proname like 'fly\\_%%' and {IS_OURS} order by 2
"""  # noqa: S608  a constant of this module
_TRIGGERS = """
  select format('%%I on %%s', t.tgname, t.tgrelid::regclass) from pg_trigger t join pg_proc p on p.oid = t.tgfoid
    join pg_class c on c.oid = t.tgrelid join pg_namespace n on n.oid = c.relnamespace
   where p.pronamespace = to_regnamespace('hangar') and not t.tgisinternal and t.tgparentid = 0
     and n.nspname <> 'hangar' and not (n.nspname = 'public' and c.relname = any (%s)) order by 1
"""
_RELATIONS = """
  select c.relkind in ('v', 'm'), c.relname::text from pg_class c
   where c.relnamespace = 'public'::regnamespace and c.relname = any (%s) and c.relkind in ('r', 'p', 'v', 'm')
     and c.relowner = (select n.nspowner from pg_namespace n where n.nspname = 'hangar') order by 2
"""
_HISTORY_MARK = "-- Hangar's schema, file %"


@dataclass
class Belongings:
    """Everything that `hangar uninstall` removes, by name, and what keeps it from doing so."""

    inside: list[str] = field(default_factory=list)
    tables: list[str] = field(default_factory=list)
    views: list[str] = field(default_factory=list)
    procedures: list[str] = field(default_factory=list)
    triggers: list[str] = field(default_factory=list)
    jobs: list[str] = field(default_factory=list)
    vault_entries: list[str] = field(default_factory=list)
    history: list[str] = field(default_factory=list)
    extensions: list[str] = field(default_factory=list)
    dependents: list[str] = field(default_factory=list)
    rows: dict[str, int] = field(default_factory=dict)
    live_apps: int = 0
    orphans: int = 0
    # Tables of the original system, which were there before Hangar. They stay with their rows, as they were.
    kept: list[str] = field(default_factory=list)
    legacy_apps: int = 0


def find_belongings(connection: psycopg.Connection, files: Sequence[SchemaFile]) -> Belongings:
    """Read what is there. `files` are those that were applied: a table of the host may have the name of one that was not."""
    created = list_relations(files)
    found = Belongings()
    for is_view, name in connection.execute(_RELATIONS, (created,)).fetchall():
        (found.views if is_view else found.tables).append(f"public.{name}")
    found.kept = find_kept(connection)
    found.tables = [name for name in found.tables if name not in found.kept]
    names = [name.removeprefix("public.") for name in (*found.tables, *found.views)]
    ours, texts = list_procedures(files)
    functions = connection.execute(_FUNCTIONS.encode(), {"ours": ours, "texts": texts}).fetchall()
    found.procedures = [name for _, name in functions]
    kept_names = [name.removeprefix("public.") for name in found.kept]
    found.triggers = _names(connection, _TRIGGERS, ([*names, *kept_names],))
    found.inside = _names(
        connection,
        "select relname from pg_class where relnamespace = 'hangar'::regnamespace and relkind = 'r' order by 1",
    )
    found.jobs = _find_jobs(connection)
    if _exists(connection, "to_regclass('vault.secrets')"):
        found.vault_entries = _names(
            connection, "select name from vault.secrets where name = any (%s) order by 1", (list(VAULT_SECRETS),)
        )
    found.history = find_history(connection, files)
    found.extensions = _find_extensions(connection)
    values = {"names": names, "kept": kept_names, "functions": [oid for oid, _ in functions]}
    found.dependents = _names(connection, _DEPENDENTS, values)
    _count_rows(connection, found)
    return found


def find_kept(connection: psycopg.Connection) -> list[str]:
    """The tables that the original system had before Hangar was installed."""
    if not _exists(connection, "to_regclass('hangar.original_objects')"):
        return []
    return _names(
        connection,
        "select distinct 'public.' || table_name from hangar.original_objects where kind = 'column' order by 1",
    )


def _has_legacy(connection: psycopg.Connection) -> bool:
    query = (
        "select 1 from pg_attribute where attrelid = 'public.user_fly_apps'::regclass and attname = 'adopted_app_id'"
    )
    return connection.execute(query).fetchone() is not None


def find_history(connection: psycopg.Connection, files: Sequence[SchemaFile]) -> list[str]:
    """Versions in the Supabase CLI's history under which Hangar's files are recorded."""
    if not _exists(connection, "to_regclass('supabase_migrations.schema_migrations')"):
        return []
    return _names(
        connection,
        "select version from supabase_migrations.schema_migrations where (version, name) in"
        " (select * from unnest(%s::text[], %s::text[])) or statements[1] like %s order by 1",
        ([file.version for file in files], [file.name for file in files], _HISTORY_MARK),
    )


def _find_jobs(connection: psycopg.Connection) -> list[str]:
    if not _exists(connection, "to_regclass('cron.job')"):
        return []
    return _names(
        connection,
        f"select jobname from cron.job where {OWN_RUNS} and jobname is not null order by 1",  # noqa: S608  a constant of this module
    )


def _find_extensions(connection: psycopg.Connection) -> list[str]:
    """Extensions that Hangar enabled and nothing else seems to use: no other job, no other function that sends a request."""
    column = "select 1 from pg_attribute where attrelid = to_regclass('hangar.host_state') and attname = 'enabled_extensions'"
    if connection.execute(column).fetchone() is None:
        return []
    enabled = _names(
        connection,
        "select e from hangar.host_state, unnest(enabled_extensions) e where e in (select extname from pg_extension) order by 1",
    )
    unused = []
    for name in enabled:
        other = (
            # Without the right to see the jobs of other roles, they may be there.
            f"select 1 from cron.job where not {OWN_RUNS} union all select 1 where row_security_active('cron.job')"  # noqa: S608  as above
            if name == "pg_cron"
            else "select 1 from pg_proc p join pg_namespace n on n.oid = p.pronamespace where n.nspname not in ('hangar', 'net')"
            " and n.nspname !~ '^pg_' and p.prosrc ~ '\\mnet\\.http_'"
        )
        if connection.execute(other.encode()).fetchone() is None:
            unused.append(name)
    return unused


def _count_rows(connection: psycopg.Connection, found: Belongings) -> None:
    for name in found.tables:
        row = connection.execute(f"select count(*) from {name}".encode()).fetchone()  # noqa: S608  a name of Hangar's own
        found.rows[name] = int(row[0]) if row else 0
    for name in found.kept:
        row = connection.execute(f"select count(*) from {name}".encode()).fetchone()  # noqa: S608  as above
        found.rows[name] = int(row[0]) if row else 0
    if "public.user_fly_apps" in (*found.tables, *found.kept):
        legacy = "desired_state = 'legacy'" if _has_legacy(connection) else "false"
        row = connection.execute(
            f"select count(*) filter (where not {legacy}), count(*) filter (where {legacy})"  # noqa: S608  as above
            " from public.user_fly_apps where deleted_at is null".encode()
        ).fetchone()
        found.live_apps, found.legacy_apps = (int(row[0]), int(row[1])) if row else (0, 0)
    found.orphans = found.rows.get("public.fly_orphans", 0)


def _exists(connection: psycopg.Connection, expression: str) -> bool:
    return connection.execute(f"select {expression} is not null".encode()).fetchone() == (True,)


def _names(
    connection: psycopg.Connection, query: str, values: Sequence[object] | Mapping[str, object] | None = None
) -> list[str]:
    return [str(name) for (name,) in connection.execute(query.encode(), values).fetchall()]
