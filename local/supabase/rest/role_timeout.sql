select coalesce((
  select split_part(given.setting, '=', 2)
    from pg_catalog.pg_db_role_setting s cross join lateral unnest(s.setconfig) given (setting)
   where s.setrole = (select r.oid from pg_catalog.pg_roles r where r.rolname = {})
     and s.setdatabase in (0, (select d.oid from pg_catalog.pg_database d where d.datname = current_database()))
     and starts_with(given.setting, 'statement_timeout=')
   order by s.setdatabase desc limit 1  -- that of this database wins
), current_setting('statement_timeout'))
