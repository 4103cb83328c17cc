-- What `hangar doctor` checks about the host and the plans: the binding, its triggers, values that say nothing, sizes, regions, prices.
-- Builds on: doctor_calls, marks, entitlement, settings.

create function hangar.doctor_binding() returns jsonb
language plpgsql stable set search_path = '' set lock_timeout = '500ms'
as $$
declare
  v_binding hangar.binding;
  v_problem text;
  v_live boolean := (select g.live from hangar.settings g);
  v_again text;
begin
  select b.* into v_binding from hangar.binding b;
  v_again := case v_binding.kind
    when 'table' then format('select hangar.bind_subscriptions(%L, %L, %L);', v_binding.source, v_binding.columns, v_binding.users)
    else format('select hangar.bind_function(%L, %L%s);', v_binding.source, v_binding.users,
                case when v_binding.watched <> '{}' then format(', %L::regclass[]', v_binding.watched) else '' end) end;
  if v_binding.kind is null then
    return hangar.doctor_says(case when v_live then 'wrong' else 'warning' end, 'Hangar is not bound to a table of subscriptions, so it changes no user',
      $sql$select hangar.bind_subscriptions('public.YOUR_SUBSCRIPTIONS', '{"tier": "YOUR_TIER_COLUMN"}');$sql$);
  end if;
  v_problem := hangar.explain_unreadable_host();
  if v_problem is not null then
    return hangar.doctor_says('wrong', format('%s cannot be read: %s', v_binding.source, left(v_problem, 200)),
      v_again || case v_binding.kind when 'table' then '  -- once the column is back, or with the new name of the column or table' else '  -- once the function works again' end);
  end if;
  v_problem := hangar.explain_changed_users();
  if v_problem is not null then
    return hangar.doctor_says('warning', left(v_problem, 400), v_again);
  end if;
  return hangar.doctor_says('ok', format('%s %s is read', v_binding.kind, v_binding.source));
end
$$;

create function hangar.doctor_host_triggers() returns jsonb
language plpgsql stable set search_path = ''
as $$
declare
  v_binding hangar.binding;
  v_users oid;
  v_found text;
  v_remedy text;
  v_polled text;
begin
  select b.* into v_binding from hangar.binding b;
  if v_binding.kind is null then
    return hangar.doctor_says('warning', 'not checked: nothing is bound', hangar.doctor_binding() ->> 'remedy');
  end if;
  select u.relation into v_users from hangar.users_table(v_binding.users) u;
  select string_agg(format('%s on %s is %s', e.trigger, e.relation::regclass, case when e.enabled is null then 'missing' else 'disabled' end), ', ')
           filter (where e.enabled is not null or e.possible),
         string_agg(distinct case when e.enabled is null then 'select hangar.ensure_mark_triggers();'
                                  else format('alter table %s enable trigger %I;', e.relation::regclass, e.trigger) end, ' ')
           filter (where e.enabled is not null or e.possible),
         string_agg(distinct e.relation::regclass::text, ', ') filter (where e.enabled is null and not e.possible)
    into v_found, v_remedy, v_polled
    from (
      select r.relation, 'hangar_mark_' || v.event as trigger, c.relkind in ('r', 'p') and has_table_privilege(r.relation, 'trigger') as possible,
             (select t.tgenabled from pg_catalog.pg_trigger t where t.tgrelid = r.relation and t.tgname = 'hangar_mark_' || v.event) as enabled
        from (select v_users as relation union
              select c.oid from pg_catalog.pg_class c where v_binding.kind = 'table' and c.oid = v_binding.source_oid) r
        join pg_catalog.pg_class c on c.oid = r.relation
        cross join unnest(array['insert', 'update', 'delete', 'truncate']) v (event)
      union all
      select to_regclass(w)::oid, 'hangar_mark_watched', true,
             (select t.tgenabled from pg_catalog.pg_trigger t where t.tgrelid = to_regclass(w) and t.tgname = 'hangar_mark_watched')
        from unnest(v_binding.watched) w where to_regclass(w) is not null
    ) e
   where e.enabled is null or e.enabled not in ('O', 'A');
  if v_found is not null then
    return hangar.doctor_says('wrong', left(v_found, 400) || '. Changes of the host are found late', v_remedy);
  elsif v_polled is not null then
    return hangar.doctor_says('warning', format('%s cannot have a trigger, so every user is looked at each minute', v_polled),
      'docs/host-binding.md: bind a table if you can');
  elsif v_binding.kind = 'function' and not hangar.is_watching(v_binding.watched) then
    return hangar.doctor_says('warning', 'a bound function without watched tables: every user is looked at each minute',
      format('select hangar.bind_function(%L, %L, array[''public.YOUR_TABLE'']::regclass[]);', v_binding.source, v_binding.users));
  end if;
  return hangar.doctor_says('ok', 'the triggers on the tables of the host are enabled');
end
$$;

-- What the host's subscriptions are judged to be, by reason: only what says nothing. `apps`: how many of these users have an app.
create function hangar.doctor_unknown_values() returns table (why text, value text, users bigint, apps bigint, example uuid)
language plpgsql stable set search_path = ''
as $$
begin
  return query
  select j.why, case when j.why in ('unknown_status') then lower(hangar.trim_word(j.status)) when j.why = 'unknown_tier' then j.tier end,
         count(distinct j.user_id), count(distinct a.user_id), (array_agg(j.user_id order by j.user_id))[1]
    from hangar.judge_subscriptions(array(select s from hangar.list_known_subscriptions() s)) j
    left join public.user_fly_apps a on a.user_id = j.user_id and a.deleted_at is null and a.desired_state = 'present'
   where j.verdict is null
   group by 1, 2 order by 3 desc, 2;
end
$$;

create function hangar.doctor_statuses() returns jsonb
language plpgsql stable set search_path = ''
as $$
declare
  v_found text;
  v_remedy text;
begin
  select string_agg(format('%L of %s user(s), %s with an app, for example %s', coalesce(u.value, ''), u.users, u.apps, u.example), '; '),
         string_agg(format('insert into hangar.status_rules (status, rule) values (%L, %L);', u.value, case when u.apps > 0 then 'entitled' else 'no' end), ' ')
           filter (where u.value is not null)
    into v_found, v_remedy
    from (select * from hangar.doctor_unknown_values() x where x.why in ('unknown_status', 'no_status') limit 10) u;
  if v_found is not null then
    return hangar.doctor_says('wrong', 'statuses without a rule, so nothing changes for these users: ' || v_found,
      coalesce(v_remedy || '  -- entitled, until_end or no: written as it is for most of these users now. Decide for each status', 'Set the status in the table of the host'));
  end if;
  return hangar.doctor_says('ok', format('every status of the host has a rule; there are %s rules', (select count(*) from hangar.status_rules)));
end
$$;

create function hangar.doctor_tiers() returns jsonb
language plpgsql stable set search_path = ''
as $$
declare
  v_found text;
  v_remedy text;
  v_unused text;
begin
  select string_agg(format('%L of %s user(s), %s with an app, for example %s', coalesce(u.value, ''), u.users, u.apps, u.example), '; '),
         string_agg(format('insert into public.fly_plans (tier, dedicated) values (%L, %s);', u.value, case when u.apps > 0 then 'true' else 'false' end), ' ') filter (where u.value is not null)
    into v_found, v_remedy
    from (select * from hangar.doctor_unknown_values() x where x.why in ('unknown_tier', 'no_tier') limit 10) u;
  if v_found is not null then
    return hangar.doctor_says('wrong', 'tiers without a plan, so nothing changes for these users: ' || v_found,
      coalesce(v_remedy || '  -- true: every user of this tier gets an app; false: nobody. Decide for each tier', 'Set the tier in the table of the host'));
  end if;
  select string_agg(format('%L', x.tier), ', ' order by x.tier), string_agg(format('insert into public.fly_plans (tier, dedicated) values (%L, false);', x.tier), ' ')
    into v_unused, v_remedy
    from (select distinct s.tier from hangar.list_known_subscriptions() s
           where s.tier is not null and not exists (select 1 from public.fly_plans p where p.tier = s.tier) limit 10) x;
  if v_unused is not null then
    return hangar.doctor_says('warning', 'tiers without a plan, of subscriptions that have ended: ' || v_unused, v_remedy || '  -- true: this tier includes an app');
  end if;
  return hangar.doctor_says('ok', 'every tier of the host has a plan');
end
$$;

create function hangar.doctor_ends() returns jsonb
language plpgsql stable set search_path = ''
as $$
declare
  v_found record;
begin
  select u.* into v_found from hangar.doctor_unknown_values() u where u.why = 'unreadable_end' limit 1;
  if v_found.users is not null then
    return hangar.doctor_says('wrong', format('the end of the subscription of %s user(s) cannot be read as a time, for example of %s', v_found.users, v_found.example),
      format('Correct the end in %s, for example of user %s', (select b.source from hangar.binding b), v_found.example));
  end if;
  return hangar.doctor_says('ok', 'every end of a subscription can be read');
end
$$;

create function hangar.doctor_plans() returns jsonb
language plpgsql stable set search_path = ''
as $$
declare
  v_form text := (select r.form from hangar.setting_rules() r where r.setting = 'default_image');
  v_found text;
  v_remedy text;
begin
  select string_agg(format('plan %s: %s', p.tier, x.problem), '; ' order by p.tier),
         string_agg(format('update public.fly_plans set cpu_kind = ''shared'', cpu_count = 1, memory_mb = 256, region = ''sin'', docker_image = null where tier = %L;', p.tier),
                    ' ' order by p.tier) into v_found, v_remedy
    from public.fly_plans p
    cross join lateral (select nullif(concat_ws('; ', hangar.explain_refused_size(p.cpu_kind, p.cpu_count, p.memory_mb), hangar.explain_refused_region(p.region),
      case when p.docker_image !~ v_form then format('the image %L has no tag or digest', p.docker_image) end), '') as problem) x
   where x.problem is not null;
  if v_found is not null then
    return hangar.doctor_says('wrong', left(v_found, 400), v_remedy);
  elsif not exists (select 1 from public.fly_plans p where p.dedicated) then
    return hangar.doctor_says(case when (select g.live from hangar.settings g) then 'wrong' else 'warning' end, 'no plan includes an app',
      coalesce((select format('update public.fly_plans set dedicated = true where tier = %L;', max(p.tier)) || case when count(*) > 1 then '  -- the tier whose users get an app' else '' end
                  from public.fly_plans p where p.tier <> 'free'), 'insert into public.fly_plans (tier, dedicated) values (''pro'', true);'));
  end if;
  return hangar.doctor_says('ok', format('%s plan(s), %s with an app; sizes, regions and images are valid', (select count(*) from public.fly_plans),
    (select count(*) from public.fly_plans p where p.dedicated)));
end
$$;

create function hangar.doctor_plan_prices() returns jsonb
language plpgsql stable set search_path = ''
as $$
declare
  v_tiers text;
  v_remedy text;
begin
  select string_agg(p.tier, ', ' order by p.tier), string_agg(format('update public.fly_plans set price_usd = 29.00 where tier = %L;', p.tier), ' ' order by p.tier)
    into v_tiers, v_remedy from public.fly_plans p where p.dedicated and p.price_usd is null;
  if v_tiers is not null then
    return hangar.doctor_says('warning', format('plans with an app and without a price: %s. Reports show no margin for them', v_tiers), v_remedy);
  end if;
  return hangar.doctor_says('ok', 'every plan with an app has a price');
end
$$;

create function hangar.doctor_settings() returns jsonb
language plpgsql stable set search_path = ''
as $$
declare
  v_settings hangar.settings;
  v_found text;
  v_remedy text;
begin
  select g.* into strict v_settings from hangar.settings g;
  select string_agg(x.problem, '; ' order by x.setting), 'hangar settings set ' || string_agg(format('%s=%s', x.setting, x.example), ' ' order by x.setting)
    into v_found, v_remedy
    from (
      select r.setting, hangar.explain_refused_setting(r.setting, to_jsonb(v_settings) -> r.setting) as problem,
             case r.setting when 'app_prefix' then 'my-app' when 'fly_org_slug' then 'my-org' when 'default_image' then 'registry.fly.io/my-app:v1'
                            when 'default_region' then 'sin' else trunc(r.lowest)::text end as example
        from hangar.setting_rules() r
      union all
      select 'default_region', hangar.explain_refused_region(v_settings.default_region), 'sin'
      union all
      select 'retry_cap_s', case when v_settings.retry_cap_s < v_settings.retry_base_s then 'retry_cap_s is less than retry_base_s' end, '1800'
    ) x where x.problem is not null;
  if v_found is not null then
    return hangar.doctor_says('wrong', left(v_found, 400), v_remedy);
  end if;
  return hangar.doctor_says('ok', 'every setting has an allowed value');
end
$$;

select hangar.restrict_functions();
