"""The host's tables and views, as the catalog of Postgres describes them: names, kinds of columns, foreign keys, rights."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import psycopg

_CATALOG = """
select n.nspname::text as schema, c.relname::text as name, format('%%I.%%I', n.nspname, c.relname) as sql_name,
       c.relkind in ('v', 'm', 'f') as polled,
       concat(case when not has_schema_privilege(n.oid, 'usage')
                   then format('grant usage on schema %%I to %%I; ', n.nspname, current_user) end,
              case when not has_table_privilege(c.oid, 'select')
                   then format('grant select on %%I.%%I to %%I;', n.nspname, c.relname, current_user) end) as lacks,
       row_security_active(c.oid) as filtered,
       (select json_object_agg(a.attname, case
                 when t.oid in ('json'::regtype, 'jsonb'::regtype) then 'json'
                 when t.oid = any ('{uuid,timestamptz,timestamp,date}'::regtype[]) then t.typname
                 when t.typcategory = 'S' then 'text' when t.typcategory = 'E' then 'enum'
                 when t.typcategory = 'B' then 'bool' when t.typcategory = 'N' then 'number' else 'other' end order by a.attnum)
          from pg_attribute a
          join pg_type d on d.oid = a.atttypid
          join pg_type t on t.oid = case d.typtype when 'd' then d.typbasetype else d.oid end
         where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped) as columns,
       (select json_object_agg(a.attname, json_build_array(k.confrelid::bigint, f.attname))
          from pg_constraint k
          join pg_attribute a on a.attrelid = k.conrelid and a.attnum = k.conkey[1]
          join pg_attribute f on f.attrelid = k.confrelid and f.attnum = k.confkey[1]
         where k.conrelid = c.oid and k.contype = 'f' and cardinality(k.conkey) = 1) as keys,
       c.oid::bigint as oid
  from pg_class c join pg_namespace n on n.oid = c.relnamespace
 where c.relkind in ('r', 'p', 'v', 'm', 'f') and not c.relispartition
   and (n.nspname = 'auth' and c.relname = 'users'
        or n.nspname !~ '^(pg_|supabase_|graphql|pgsodium|_)' and n.nspname <> all (%s)
           and not (n.nspname = 'public' and c.relname ~ '^(user_)?fly_'))
 order by 1, 2
"""
_NOT_THE_HOSTS = ["information_schema", "hangar", "auth", "storage", "realtime", "vault", "extensions", "net", "cron"]


@dataclass(frozen=True)
class Table:
    """A table or view of the host. `columns`: kinds by name. `keys`: what a column refers to, as (sql_name, column).

    `lacks`: the grants without which this role cannot read it. `filtered`: row level security applies to this role.
    """

    schema: str
    name: str
    sql_name: str
    columns: Mapping[str, str]
    keys: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    polled: bool = False
    lacks: str = ""
    filtered: bool = False


def read_catalog(session: "psycopg.Connection") -> list[Table]:
    """The host's tables and views, in one query. Reads no row of them. Raises psycopg.Error."""
    rows = session.execute(_CATALOG, (_NOT_THE_HOSTS,)).fetchall()
    names = {row[8]: row[2] for row in rows}
    tables = []
    for schema, name, sql_name, polled, lacks, filtered, columns, keys, _ in rows:
        found = {column: (names[to], of) for column, (to, of) in (keys or {}).items() if to in names}
        tables.append(Table(schema, name, sql_name, columns or {}, found, polled, lacks.strip(), filtered))
    return tables
