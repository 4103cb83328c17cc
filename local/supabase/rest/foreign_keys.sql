-- Every foreign key between two tables of the given schemas, partitions aside.
select k.conname as name,
       n.nspname as schema, c.relname as table_name,
       (select array_agg(a.attname::text order by key.position)
          from unnest(k.conkey) with ordinality as key(attnum, position)
          join pg_catalog.pg_attribute a on a.attrelid = k.conrelid and a.attnum = key.attnum) as columns,
       tn.nspname as target_schema, t.relname as target_name,
       (select array_agg(a.attname::text order by key.position)
          from unnest(k.confkey) with ordinality as key(attnum, position)
          join pg_catalog.pg_attribute a on a.attrelid = k.confrelid and a.attnum = key.attnum) as target_columns,
       exists (select from pg_catalog.pg_constraint u
                where u.conrelid = k.conrelid and u.contype in ('p', 'u')
                  and u.conkey <@ k.conkey and u.conkey @> k.conkey) as one_to_one
  from pg_catalog.pg_constraint k
  join pg_catalog.pg_class c on c.oid = k.conrelid
  join pg_catalog.pg_namespace n on n.oid = c.relnamespace
  join pg_catalog.pg_class t on t.oid = k.confrelid
  join pg_catalog.pg_namespace tn on tn.oid = t.relnamespace
 where k.contype = 'f' and k.conparentid = 0 and n.nspname = any ($1) and tn.nspname = any ($1)
 order by n.nspname, c.relname, k.conname
