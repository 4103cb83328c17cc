-- The tables of the original system, user_fly_apps and user_fly_app_events, upgraded in place: every row, id and time stays, and so do
-- columns that the host has added, and what refers to the tables. In a database without them the functions here do nothing.
-- What is replaced (constraints, indexes, policies, rights, a trigger) is kept as statements, so that `hangar uninstall` can restore it.
-- Builds on: schema. `app_tables` calls these functions. docs/upgrade.md.

create table hangar.original_apps (
  row_id uuid primary key,
  -- The row as it was. Some values do not fit Hangar's rules, for example an active app with a time of deletion.
  original jsonb not null,
  upgraded_at timestamptz not null default hangar.now(),
  decision text check (decision in ('adopt', 'close')),
  decided_at timestamptz,
  actor text,
  reason text,
  check ((decision is null) = (decided_at is null) and (decision is null) = (actor is null))
);
comment on table hangar.original_apps is 'Each app of the original system as its row was, and what an operator has decided about it. docs/upgrade.md.';

create table hangar.original_objects (
  nr integer generated always as identity primary key,
  table_name text not null,
  kind text not null check (kind in ('column', 'constraint', 'index', 'grant', 'policy', 'trigger', 'added')),
  name text not null,
  -- The statement that makes it as it was; for what Hangar has added, the one that removes it. A column of the original table has none.
  restore text,
  check ((kind = 'column') = (restore is null))
);
comment on table hangar.original_objects is 'What the tables of the original system consisted of, and how each part is made again.';

-- No policy yet, as in `tables`.
alter table hangar.original_apps enable row level security;
alter table hangar.original_objects enable row level security;

-- Remembers what this table consists of, in the order in which `hangar uninstall` makes it again.
create function hangar.record_original(p_table text) returns void
language plpgsql volatile set search_path = ''
as $$
declare
  v_table regclass := format('public.%I', p_table)::regclass;
begin
  insert into hangar.original_objects (table_name, kind, name, restore)
  select p_table, o.kind, o.name, o.restore
    from (
      select 1 as place, a.attnum::integer as nr, 'column' as kind, a.attname::text as name, null as restore
        from pg_catalog.pg_attribute a where a.attrelid = v_table and a.attnum > 0 and not a.attisdropped
      union all
      select 2, row_number() over (order by c.contype = 'f', c.conname)::integer, 'constraint', c.conname::text,
             format('alter table public.%I add constraint %I %s', p_table, c.conname, pg_catalog.pg_get_constraintdef(c.oid))
        from pg_catalog.pg_constraint c where c.conrelid = v_table and c.contype in ('c', 'u', 'f')
      union all
      select 3, row_number() over (order by i.indexrelid::regclass::text)::integer, 'index', i.indexrelid::regclass::text,
             pg_catalog.pg_get_indexdef(i.indexrelid)
        from pg_catalog.pg_index i
       where i.indrelid = v_table and not exists (select 1 from pg_catalog.pg_constraint c where c.conindid = i.indexrelid and c.conrelid = v_table)
      union all
      select 4, row_number() over (order by p.policyname)::integer, 'policy', p.policyname::text,
             format('create policy %I on public.%I as %s for %s to %s%s%s', p.policyname, p_table, p.permissive, p.cmd,
               (select string_agg(case r when 'public' then 'public' else quote_ident(r) end, ', ') from unnest(p.roles::text[]) r),
               ' using (' || p.qual || ')', ' with check (' || p.with_check || ')')
        from pg_catalog.pg_policies p where p.schemaname = 'public' and p.tablename = p_table
      union all
      select 5, g.nr::integer, 'grant', g.privilege_type,
             format('grant %s on public.%I to %s', g.privilege_type, p_table,
               case g.grantee when 0 then 'public' else quote_ident(pg_catalog.pg_get_userbyid(g.grantee)) end)
        from pg_catalog.pg_class c cross join lateral pg_catalog.aclexplode(c.relacl) with ordinality g (grantor, grantee, privilege_type, is_grantable, nr)
       where c.oid = v_table and (g.grantee = 0 or pg_catalog.pg_get_userbyid(g.grantee) in ('anon', 'authenticated', 'service_role'))
      union all
      -- Defaults and the columns that may be null, which Hangar makes stricter or looser.
      select 6, a.attnum::integer, 'constraint', a.attname || ' default',
             format('alter table public.%I alter column %I %s', p_table, a.attname,
                    coalesce('set default ' || pg_catalog.pg_get_expr(d.adbin, d.adrelid), 'drop default'))
        from pg_catalog.pg_attribute a left join pg_catalog.pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
       where a.attrelid = v_table and a.attnum > 0 and not a.attisdropped and a.attidentity = '' and a.attgenerated = ''
      union all
      select 7, a.attnum::integer, 'constraint', a.attname || ' not null',
             format('alter table public.%I alter column %I %s not null', p_table, a.attname, case when a.attnotnull then 'set' else 'drop' end)
        from pg_catalog.pg_attribute a
       where a.attrelid = v_table and a.attnum > 0 and not a.attisdropped and a.attidentity = ''
         and not exists (select 1 from pg_catalog.pg_index i where i.indrelid = v_table and i.indisprimary and a.attnum = any (i.indkey))
    ) o
   order by o.place, o.nr;
end
$$;

-- The columns that Hangar adds to this table of the original system: those that `app_tables` creates beside the original ones.
create function hangar.new_columns(p_table text) returns text[]
language sql immutable set search_path = ''
as $$
  select case p_table when 'user_fly_apps' then
    '{tier, desired_state, generation, observed_generation, network, machine_id, machine_state, machine_region, cpu_kind, power, public_service,
      secrets_version, token_issued_at, token_expires_at, token_running_until, token_wanted_at, token_renewal_at, addresses, next_attempt_at,
      error_code, lease_token, lease_holder, lease_expires_at, open_intent, create_unknown_at, hold_until, converged_before_hold, grace_s,
      delete_after, delete_turn_at, name_seq, bad_samples, bad_sample_at, price_usd_per_s, observed_at, admitted_cost_usd, health_step,
      observed_spec, image_digest, env_digest, drift, drift_since, drift_repair, drift_repair_at, drift_repairs, drift_error, env_version,
      env_version_deployed, adopted_app_id, move_release_id, spare_machine_id, token_key_id, new_name_request}'::text[]
    else '{seq}'::text[] end
$$;

-- What is built on this table and would stop the upgrade, as a sentence with what to do; null if nothing is.
create function hangar.explain_refused_parts(p_table regclass) returns text
language plpgsql stable set search_path = ''
as $$
declare
  v_found text;
begin
  select string_agg(format('%s on %s', quote_ident(c.conname), c.conrelid::regclass), ', ' order by c.conname) into v_found
    from pg_catalog.pg_constraint c
   where c.contype = 'f' and c.confrelid = p_table
     and c.confkey <> (select k.conkey from pg_catalog.pg_constraint k where k.conrelid = p_table and k.contype = 'p');
  if v_found is not null then
    return format('foreign keys of yours refer to another column than id, and Hangar replaces the unique rule that they need: %s. Drop them, or let '
      'them refer to id', v_found);
  end if;
  select string_agg(i.other::regclass::text, ', ' order by i.other::regclass::text) into v_found
    from (select case h.inhparent when p_table then h.inhrelid else h.inhparent end as other
            from pg_catalog.pg_inherits h where p_table in (h.inhparent, h.inhrelid)) i;
  if v_found is not null then
    return format('it inherits columns from other tables, or they inherit from it: %s. Separate them with `alter table … no inherit`', v_found);
  end if;
  return null;
end
$$;

-- Which rows the upgraded table could not hold, as a sentence with up to three ids or users and what to do; null if there are none.
create function hangar.explain_refused_rows(p_table text) returns text
language plpgsql stable set search_path = ''
as $$
declare
  v_rule record;
  -- A database may have the log alone.
  v_apps text := case when to_regclass(format('public.%I', 'user_fly_apps')) is null then '(select null::uuid as id where false)'
                      else format('public.%I', 'user_fly_apps') end;
  v_ids text[];
  v_first text;
begin
  for v_rule in
    select * from (values
      -- Shown by user, because an operator decides which of a user's two apps is gone.
      ('user_fly_apps', 'r.status <> ''deleted'' and exists (select 1 from {apps} o where o.user_id = r.user_id and o.id <> r.id and o.status <> ''deleted'')',
        'users have two rows that are not deleted, and Hangar allows one', 'Mark the row as deleted whose app is gone', 'user_id'),
      ('user_fly_apps', 'num_nulls(r.user_id, r.fly_app_name, r.fly_org_slug, r.status, r.region, r.docker_image, r.cpu_count, r.memory_mb, '
        'r.created_at, r.updated_at) > 0', 'rows lack a value that every app needs (user, name, organisation, status, region, image, size, times)',
        'Fill in what is missing', 'id'),
      ('user_fly_apps', 'r.status not in (''provisioning'', ''active'', ''error'', ''deprovisioning'', ''deleted'')',
        'rows have a status that the original system did not know', 'Give them one of provisioning, active, error, deprovisioning, deleted', 'id'),
      ('user_fly_apps', 'r.health_status not in (''healthy'', ''unhealthy'', ''unknown'')',
        'rows have a health_status that the original system did not know', 'Give them one of healthy, unhealthy, unknown, or null', 'id'),
      ('user_fly_apps', 'exists (select 1 from {apps} o where o.fly_app_name = r.fly_app_name and o.id <> r.id)',
        'rows have the name of an app that another row has too', 'Find out whose app it is, and delete or rename the others', 'id'),
      ('user_fly_app_events', 'num_nulls(r.event_type, r.status, r.created_at) > 0', 'entries have no event_type, status or created_at',
        'Fill in what is missing; a status may be any word', 'id'),
      ('user_fly_app_events', 'r.fly_app_id is not null and not exists (select 1 from {apps} a where a.id = r.fly_app_id)',
        'entries belong to an app that has no row in user_fly_apps', 'Set their fly_app_id to null, or delete them', 'id')
      ) as v (table_name, wrong, what, advice, shown) where v.table_name = p_table
  loop
    execute format('select array(select distinct r.%I::text from public.%I r where %s order by 1 limit 4)', v_rule.shown, p_table,
      replace(v_rule.wrong, '{apps}', v_apps)) into v_ids;
    if cardinality(v_ids) > 0 then
      v_first := array_to_string(v_ids[1:3], ', ') || case when cardinality(v_ids) > 3 then ' and more' else '' end;
      return format('%s: %s. %s, then install again', v_rule.what, v_first, v_rule.advice);
    end if;
  end loop;
  return null;
end
$$;

-- Why this table cannot be one of the original system, as a sentence; null if it can.
create function hangar.explain_not_original(p_table text) returns text
language plpgsql stable set search_path = ''
as $$
declare
  v_table regclass := format('public.%I', p_table)::regclass;
  v_wrong text;
  v_columns jsonb := case p_table when 'user_fly_apps' then
    '{"id": "uuid", "user_id": "uuid", "fly_app_name": "text", "fly_org_slug": "text", "status": "text", "region": "text", "docker_image": "text",
      "deployed_at": "timestamp with time zone", "last_health_check": "timestamp with time zone", "health_status": "text", "error_message": "text",
      "retry_count": "integer", "monthly_cost_estimate_usd": "numeric(10,2)", "cpu_count": "integer", "memory_mb": "integer",
      "created_at": "timestamp with time zone", "updated_at": "timestamp with time zone", "deleted_at": "timestamp with time zone"}'::jsonb
    else
    '{"id": "uuid", "fly_app_id": "uuid", "user_id": "uuid", "event_type": "text", "status": "text", "metadata": "jsonb", "error_details": "text",
      "created_at": "timestamp with time zone"}'::jsonb end;
begin
  if (select c.relkind from pg_catalog.pg_class c where c.oid = v_table) <> 'r' then
    return 'it is no plain table';
  end if;
  select string_agg(format('%s %s', w.key, coalesce('has the type ' || pg_catalog.format_type(a.atttypid, a.atttypmod), 'is missing')), ', ' order by w.key)
    into v_wrong
    from pg_catalog.jsonb_each_text(v_columns) w
    left join pg_catalog.pg_attribute a on a.attrelid = v_table and a.attname = w.key and not a.attisdropped
   where pg_catalog.format_type(a.atttypid, a.atttypmod) is distinct from w.value;
  if v_wrong is not null then
    return 'its columns differ: ' || v_wrong;
  elsif not exists (select 1 from pg_catalog.pg_constraint c where c.conrelid = v_table and c.contype = 'p'
                      and c.conkey = (select array[a.attnum] from pg_catalog.pg_attribute a where a.attrelid = v_table and a.attname = 'id')) then
    return 'its primary key is not the column id';
  end if;
  select string_agg(quote_ident(a.attname), ', ' order by a.attnum) into v_wrong
    from pg_catalog.pg_attribute a
   where a.attrelid = v_table and a.attnum > 0 and not a.attisdropped and a.attname = any (hangar.new_columns(p_table));
  if v_wrong is not null then
    return format('columns that you have added have names that Hangar needs for its own columns: %s. Rename each column, then install again', v_wrong);
  end if;
  select string_agg(quote_ident(a.attname), ', ' order by a.attnum) into v_wrong
    from pg_catalog.pg_attribute a
   where a.attrelid = v_table and a.attnum > 0 and not a.attisdropped and not v_columns ? a.attname
     and a.attnotnull and not a.atthasdef and a.attidentity = '';
  if v_wrong is not null then
    return format('Hangar could not insert rows, because columns that you have added must not be null and have no default: %s. Give them a default', v_wrong);
  end if;
  return coalesce(hangar.explain_refused_parts(v_table), hangar.explain_refused_rows(p_table));
end
$$;

-- Moves the tables of the original system into the schema hangar, for the length of this transaction. Does nothing if there are none.
create function hangar.set_originals_aside() returns void
language plpgsql volatile set search_path = ''
as $$
declare
  v_tables text[] := array(select t from unnest(array['user_fly_apps', 'user_fly_app_events']) t where to_regclass('public.' || t) is not null);
  v_table text;
begin
  foreach v_table in array v_tables loop
    execute format('lock table public.%I in access exclusive mode', v_table);
  end loop;
  -- All of them, before a foreign key names one of them by another schema.
  foreach v_table in array v_tables loop
    perform hangar.record_original(v_table);
  end loop;
  foreach v_table in array v_tables loop
    execute format('alter table public.%I set schema hangar', v_table);
  end loop;
end
$$;

-- The triggers that call the functions of the original system.
create function hangar.find_original_triggers() returns table (name name, relation regclass, mode text)
language sql stable set search_path = ''
as $$
  select t.tgname, t.tgrelid::regclass, case t.tgenabled when 'A' then 'always ' when 'R' then 'replica ' else '' end
    from pg_catalog.pg_trigger t join pg_catalog.pg_proc p on p.oid = t.tgfoid
   where not t.tgisinternal and t.tgenabled <> 'D' and p.prosrc ~ '(de)?provision-user-fly-app'
$$;

-- From here on nothing of the original system provisions or removes an app: Hangar does, and two systems would do it twice.
-- The trigger is disabled, not dropped; whatever else fires on the host's tables stays.
create function hangar.disable_original_triggers() returns void
language plpgsql volatile set search_path = ''
as $$
declare
  v_trigger record;
begin
  if not exists (select 1 from hangar.original_objects) then
    return;
  end if;
  for v_trigger in select t.name as tgname, t.relation, t.mode from hangar.find_original_triggers() t loop
    begin
      execute format('alter table %s disable trigger %I', v_trigger.relation, v_trigger.tgname);
      insert into hangar.original_objects (table_name, kind, name, restore)
      values (v_trigger.relation::text, 'trigger', v_trigger.tgname, format('alter table %s enable %strigger %I', v_trigger.relation, v_trigger.mode, v_trigger.tgname));
      raise notice 'Hangar: the trigger % on % is disabled. It called the functions of the original system; Hangar takes their place',
        v_trigger.tgname, v_trigger.relation;
    exception when insufficient_privilege then
      raise notice 'Hangar: disable the trigger % on % yourself, which calls the functions of the original system: this role may not', v_trigger.tgname, v_trigger.relation;
    end;
  end loop;
  -- Hangar's job takes the name of the original system's, which called its health function and never had a setting that worked.
  if to_regclass('cron.job') is not null then
    execute $sql$
      insert into hangar.original_objects (table_name, kind, name, restore)
      select 'cron.job', 'trigger', j.jobname, format('select cron.schedule(%L, %L, %L)', j.jobname, j.schedule, j.command)
        from cron.job j where j.jobname = 'check-fly-apps-health' and j.command not like '%hangar.%'
    $sql$;
  end if;
end
$$;

-- Before anything is created in `public`.
do $$
declare
  v_table text;
  v_wrong text;
begin
  foreach v_table in array array['user_fly_apps', 'user_fly_app_events'] loop
    v_wrong := case when to_regclass('public.' || v_table) is not null then hangar.explain_not_original(v_table) end;
    if v_wrong is not null then
      raise exception 'public.% exists, and Hangar cannot upgrade it in place as the table of the original system: %', v_table, v_wrong
        using errcode = 'duplicate_table', hint = 'If this is another table of yours, rename it. See docs/upgrade.md.';
    end if;
  end loop;
end
$$;

select hangar.restrict_functions();
