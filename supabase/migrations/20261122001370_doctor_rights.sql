-- What `hangar doctor` checks about rights and the schema: who may do what, row level security, triggers, time-outs, and what Supabase's
-- advisors would report about our objects. The schema itself is compared with the migration files by the command.
-- Builds on: doctor_calls.

-- Every table and view of ours.
create function hangar.doctor_relations() returns table (relation oid, name text, is_table boolean)
language sql stable set search_path = ''
as $$
  select c.oid, pg_catalog.format('%I.%I', n.nspname, c.relname), c.relkind = 'r'
    from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
   where c.relkind in ('r', 'v')
     and (n.nspname = 'hangar' or n.nspname = 'public' and c.relname in (
       'fly_plans', 'user_fly_apps', 'user_fly_app_events', 'fly_overrides', 'fly_orphans', 'fly_cost_intervals', 'fly_failures',
       'fly_fleet_summary', 'fly_health_summary', 'fly_recent_events'))
$$;

-- Every function of ours; `called`: service_role calls it.
create function hangar.doctor_functions() returns table (function oid, name text, called boolean)
language sql stable set search_path = ''
as $$
  select p.oid, p.oid::regprocedure::text, n.nspname = 'public' or p.oid::regprocedure::text in ('hangar.now()', 'hangar.user_email(uuid)')
    from pg_catalog.pg_proc p join pg_catalog.pg_namespace n on n.oid = p.pronamespace
   where n.nspname = 'hangar'
      or n.nspname = 'public' and p.proname like 'fly\_%' and hangar.is_procedure(p.oid)
$$;

create function hangar.doctor_procedure_rights() returns jsonb
language plpgsql stable set search_path = ''
as $$
declare
  v_open text;
  v_closed text;
begin
  select string_agg(format('%s may run %s', r, f.name), '; ' order by f.name, r) into v_open
    from hangar.doctor_functions() f cross join unnest(array['anon', 'authenticated']) r
   where has_function_privilege(r, f.function, 'execute')
     and f.name <> 'hangar.token_is_valid()';  -- the host's policies ask it for every role
  select string_agg(format('%s may not run %s', r, f.name), '; ' order by f.name, r) into v_closed
    from hangar.doctor_functions() f cross join unnest(array['anon', 'authenticated', 'service_role']) r
   where not has_function_privilege(r, f.function, 'execute') and (f.called and r = 'service_role' or f.name = 'hangar.token_is_valid()');
  if v_open is not null then
    return hangar.doctor_says('wrong', left(v_open, 400), 'select hangar.restrict_functions();');
  elsif v_closed is not null then
    return hangar.doctor_says('wrong', left(v_closed, 400), 'select hangar.restrict_functions();');
  end if;
  return hangar.doctor_says('ok', 'only service_role may run the procedures');
end
$$;

create function hangar.doctor_table_rights() returns jsonb
language plpgsql stable set search_path = ''
as $$
declare
  v_found text;
  v_remedy text;
begin
  with expected as (
    select t.relation, t.name, r.role,
           case r.role when 'service_role' then case when t.name = 'public.fly_plans' then array['select', 'insert', 'update', 'delete'] else array['select'] end
                       when 'authenticated' then case when t.name in ('public.user_fly_apps', 'public.user_fly_app_events') then array['select'] else '{}'::text[] end
                       else '{}'::text[] end as wanted
      from hangar.doctor_relations() t cross join (values ('anon'), ('authenticated'), ('service_role')) r (role)
  ), found as (
    select e.*, array(select p from unnest(array['select', 'insert', 'update', 'delete', 'truncate']) p
                       where has_table_privilege(e.role, e.relation, p)
                          or p in ('select', 'insert', 'update') and has_any_column_privilege(e.role, e.relation, p)) as has
      from expected e
  ), wrong as (
    select f.*, array(select unnest(f.has) except select unnest(f.wanted)) as more, array(select unnest(f.wanted) except select unnest(f.has)) as less
      from found f where not (f.has <@ f.wanted and f.wanted <@ f.has)
  )
  select string_agg(concat_ws('; ', case when w.more <> '{}' then format('%s may %s %s', w.role, array_to_string(w.more, ', '), w.name) end,
                              case when w.less <> '{}' then format('%s may not %s %s', w.role, array_to_string(w.less, ', '), w.name) end), '; ' order by w.name, w.role),
         string_agg(case when w.more <> '{}' then format('revoke all on %s from public, %s; ', w.name, w.role) else '' end
                    || case when w.wanted <> '{}' then format('grant %s on %s to %s; ', array_to_string(w.wanted, ', '), w.name, w.role) else '' end, '' order by w.name, w.role)
    into v_found, v_remedy from wrong w;
  if not has_schema_privilege('service_role', 'hangar', 'usage') then
    v_found := concat_ws('; ', 'service_role may not use schema hangar', v_found);
    v_remedy := 'grant usage on schema hangar to service_role; ' || coalesce(v_remedy, '');
  end if;
  if has_schema_privilege('anon', 'hangar', 'usage') or has_schema_privilege('authenticated', 'hangar', 'usage') then
    v_found := concat_ws('; ', 'anon or authenticated may use schema hangar', v_found);
    v_remedy := 'revoke all on schema hangar from public, anon, authenticated; ' || coalesce(v_remedy, '');
  end if;
  if v_found is not null then
    return hangar.doctor_says('wrong', left(v_found, 400), btrim(v_remedy));
  end if;
  return hangar.doctor_says('ok', 'service_role reads every table; users read their own rows of two');
end
$$;

create function hangar.doctor_row_security() returns jsonb
language plpgsql stable set search_path = ''
as $$
declare
  v_found text;
  v_remedy text;
begin
  select string_agg(x.finding, '; ' order by x.finding), string_agg(x.remedy, ' ' order by x.finding) into v_found, v_remedy
    from (
      select format('row level security is off on %s', t.name) as finding, format('alter table %s enable row level security;', t.name) as remedy
        from hangar.doctor_relations() t join pg_catalog.pg_class c on c.oid = t.relation where t.is_table and not c.relrowsecurity
      union all
      select format('%s has no policy', t.name), format('create policy service_role_all on %s for all to service_role using (true) with check (true);', t.name)
        from hangar.doctor_relations() t where t.is_table and not exists (select 1 from pg_catalog.pg_policy y where y.polrelid = t.relation)
    ) x;
  if v_found is not null then
    return hangar.doctor_says('wrong', left(v_found, 400), v_remedy);
  end if;
  return hangar.doctor_says('ok', 'row level security is on for every table of Hangar');
end
$$;

create function hangar.doctor_own_triggers() returns jsonb
language plpgsql stable set search_path = ''
as $$
declare
  v_found text;
  v_remedy text;
begin
  select string_agg(format('%s on %s', t.tgname, r.name), ', ' order by r.name, t.tgname),
         string_agg(format('alter table %s enable trigger %I;', r.name, t.tgname), ' ' order by r.name, t.tgname)
    into v_found, v_remedy
    from pg_catalog.pg_trigger t join hangar.doctor_relations() r on r.relation = t.tgrelid
   where not t.tgisinternal and t.tgenabled not in ('O', 'A');
  if v_found is not null then
    return hangar.doctor_says('wrong', 'triggers that guard the tables of Hangar are disabled: ' || v_found, v_remedy);
  end if;
  return hangar.doctor_says('ok', 'every trigger on the tables of Hangar is enabled');
end
$$;

-- The lints of Supabase's advisors that concern our objects and that no other check covers.
create function hangar.doctor_advisors() returns jsonb
language plpgsql stable set search_path = ''
as $$
declare
  v_found text;
  v_remedy text;
begin
  select string_agg(x.finding, '; ' order by x.finding), string_agg(x.remedy, ' ' order by x.finding) into v_found, v_remedy
    from (
      select format('%s has no fixed search_path', f.name) as finding, format('alter function %s set search_path = %L;', f.name, '') as remedy
        from hangar.doctor_functions() f join pg_catalog.pg_proc p on p.oid = f.function
       where not coalesce(p.proconfig, '{}') @> array['search_path=""']
      union all
      select format('the view %s reads as its owner', t.name), format('alter view %s set (security_invoker = on);', t.name)
        from hangar.doctor_relations() t join pg_catalog.pg_class c on c.oid = t.relation
       where not t.is_table and not coalesce(c.reloptions, '{}') @> array['security_invoker=on']
      union all
      select format('no index supports the foreign key %s of %s', k.conname, t.name),
             format('create index on %s (%s);', t.name, (select string_agg(quote_ident(a.attname), ', ' order by u.nr)
               from unnest(k.conkey) with ordinality u (attnum, nr) join pg_catalog.pg_attribute a on a.attrelid = k.conrelid and a.attnum = u.attnum))
        from pg_catalog.pg_constraint k join hangar.doctor_relations() t on t.relation = k.conrelid
       where k.contype = 'f' and not exists (select 1 from pg_catalog.pg_index i where i.indrelid = k.conrelid and i.indpred is null
               and (i.indkey::int2[])[0:cardinality(k.conkey) - 1] = k.conkey)
    ) x;
  if v_found is not null then
    return hangar.doctor_says('wrong', left(v_found, 400), v_remedy);
  end if;
  return hangar.doctor_says('ok', 'the advisors find nothing about the objects of Hangar');
end
$$;

-- The time-out that applies to this call, so to every procedure that is called in the same way.
create function hangar.doctor_statement_timeout() returns jsonb
language plpgsql stable set search_path = ''
as $$
declare
  v_ms bigint := (select s.setting::bigint from pg_catalog.pg_settings s where s.name = 'statement_timeout');
begin
  if v_ms between 1 and 4999 then
    return hangar.doctor_says('wrong', format('the database cancels calls of service_role after %s ms; large syncs and sweeps need 8000', v_ms),
      'alter role service_role set statement_timeout = ''8s''; notify pgrst, ''reload config'';');
  end if;
  return hangar.doctor_says('ok', case when v_ms = 0 then 'calls of service_role have no statement_timeout'
                                       else format('the database cancels calls of service_role after %s ms', v_ms) end);
end
$$;

create function hangar.doctor_database_clock() returns jsonb
language plpgsql stable set search_path = ''
as $$
declare
  v_lead_s numeric := round(extract(epoch from hangar.now() - clock_timestamp()));
begin
  if abs(v_lead_s) > 30 then
    return hangar.doctor_says('wrong', format('hangar.now() differs from the clock of the database by %s s: the function was replaced', v_lead_s),
      'create or replace function hangar.now() returns timestamptz language plpgsql stable set search_path = '''' as '
      '$now$ begin return pg_catalog.clock_timestamp(); end $now$;');
  end if;
  return hangar.doctor_says('ok', 'hangar.now() shows the clock of the database');
end
$$;

select hangar.restrict_functions();
