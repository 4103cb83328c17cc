-- Every callable function of the exposed schema. Run with an empty search_path, so that types are fully qualified.
select p.proname as name,
       p.prorettype = 'pg_catalog.void'::regtype as returns_void,
       (p.proretset or base.typtype = 'c' or coalesce(p.proargmodes::text[] && '{t,b,o}', false)) as returns_rows,
       p.provolatile = 'v' as volatile,
       p.provariadic <> 0 as variadic,
       coalesce((select json_agg(json_build_object(
                          'name', coalesce(argument.name, ''),
                          -- char and bit without a length would mean a length of 1
                          'type', case argument.type
                              when 'pg_catalog.bpchar'::regtype then 'character varying'
                              when 'pg_catalog.bit'::regtype then 'bit varying'
                              else pg_catalog.format_type(argument.type, null)
                          end,
                          'required', argument.position <= p.pronargs - p.pronargdefaults) order by argument.position)
                   from (select listed.name, listed.type, row_number() over (order by listed.position) as position
                           from unnest(coalesce(p.proallargtypes, p.proargtypes::oid[]), p.proargnames, p.proargmodes)
                                with ordinality as listed(type, name, mode, position)
                          where coalesce(listed.mode, 'i') in ('i', 'b', 'v')) as argument), '[]') as parameters,
       coalesce(p.proconfig, '{}')::text ~ '[{,"](statement_timeout|default_transaction_isolation)=' as hoists
  from pg_catalog.pg_proc p
  join pg_catalog.pg_namespace n on n.oid = p.pronamespace
  join pg_catalog.pg_type t on t.oid = p.prorettype
  join pg_catalog.pg_type base on base.oid = case when t.typtype = 'd' then t.typbasetype else t.oid end
 where n.nspname = 'public'
   and p.prokind = 'f'
   and p.prorettype not in ('pg_catalog.trigger'::regtype, 'pg_catalog.event_trigger'::regtype)
