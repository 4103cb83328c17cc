-- Every table, view and foreign table of the exposed schema, with its primary key and its columns.
-- Run with an empty search_path, so that types are fully qualified.
select c.relname as name,
       coalesce((select array_agg(a.attname::text order by key.position)
                   from pg_catalog.pg_constraint k
                  cross join lateral unnest(k.conkey) with ordinality as key(attnum, position)
                   join pg_catalog.pg_attribute a on a.attrelid = c.oid and a.attnum = key.attnum
                  where k.conrelid = c.oid and k.contype = 'p'), '{}') as primary_key,
       coalesce((select json_object_agg(a.attname, pg_catalog.format_type(a.atttypid, a.atttypmod))
                   from pg_catalog.pg_attribute a
                  where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped), '{}') as columns
  from pg_catalog.pg_class c
  join pg_catalog.pg_namespace n on n.oid = c.relnamespace
 where n.nspname = 'public' and c.relkind in ('r', 'p', 'v', 'm', 'f') and not c.relispartition
