-- Every table, view and foreign table of the given schemas, with what writing to it needs to know.
-- Run with an empty search_path, so that every type and default comes out fully qualified.
select n.nspname as schema,
       c.relname as name,
       coalesce((select array_agg(a.attname::text order by key.position)
                   from pg_catalog.pg_constraint k
                  cross join lateral unnest(k.conkey) with ordinality as key(attnum, position)
                   join pg_catalog.pg_attribute a on a.attrelid = c.oid and a.attnum = key.attnum
                  where k.conrelid = c.oid and k.contype = 'p'), '{}') as primary_key,
       coalesce((select json_agg(json_build_object(
                          'name', a.attname,
                          'type', pg_catalog.format_type(a.atttypid, a.atttypmod),
                          'default', case
                              when a.attgenerated <> '' then null
                              when a.attidentity = 'd' then
                                  format('nextval(%L)', pg_catalog.pg_get_serial_sequence(c.oid::regclass::text, a.attname))
                              when d.adbin is not null then pg_catalog.pg_get_expr(d.adbin, d.adrelid)
                              else t.typdefault
                          end) order by a.attnum)
                   from pg_catalog.pg_attribute a
                   join pg_catalog.pg_type t on t.oid = a.atttypid
                   left join pg_catalog.pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
                  where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped), '[]') as columns
  from pg_catalog.pg_class c
  join pg_catalog.pg_namespace n on n.oid = c.relnamespace
 where n.nspname = any ($1) and c.relkind in ('r', 'p', 'v', 'm', 'f') and not c.relispartition
