-- Settings of roles by ALTER ROLE ... SET. Those of this database come last, so that they win.
select r.rolname as role,
       split_part(given.setting, '=', 1) as name,
       substr(given.setting, strpos(given.setting, '=') + 1) as value
  from pg_catalog.pg_db_role_setting s
  join pg_catalog.pg_roles r on r.oid = s.setrole
 cross join lateral unnest(s.setconfig) as given(setting)
  join pg_catalog.pg_settings known on known.name = split_part(given.setting, '=', 1) and known.context = 'user'
 where s.setdatabase in (0, (select oid from pg_catalog.pg_database where datname = current_database()))
 order by s.setdatabase
