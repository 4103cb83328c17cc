-- `hangar adopt`: an operator's decision about an app of the original system. `adopt`: from now on it is Hangar's. `close`: the app is not on
-- Fly any more, so the row is closed. The decision is recorded before the machine is marked on Fly and after it, and can be repeated until then.
-- Builds on: legacy_apps, desired_state, marks, nudge, access (the actor).

-- The machine that the original system made last: it is in the log only.
create function hangar.original_machine(p_row uuid) returns text
language sql stable set search_path = ''
as $$
  select e.metadata ->> 'machine_id' from public.user_fly_app_events e
   where e.fly_app_id = p_row and e.event_type = 'provision_completed' and e.metadata ->> 'machine_id' <> ''
   order by e.created_at desc, e.seq desc limit 1
$$;

-- The plan for which the original system made the app, if Hangar has one of this name.
create function hangar.original_tier(p_row uuid) returns text
language sql stable set search_path = ''
as $$
  select p.tier from public.user_fly_app_events e join public.fly_plans p on p.tier = e.metadata ->> 'tier'
   where e.fly_app_id = p_row and e.event_type = 'provision_started'
   order by e.created_at desc, e.seq desc limit 1
$$;

create function public.fly_legacy_apps(p_after uuid default null, p_limit integer default 200) returns jsonb
language plpgsql volatile security definer set search_path = ''
as $$
declare
  v_rows public.user_fly_apps[];
  v_users uuid[];
begin
  perform hangar.check_limit('p_limit', p_limit, 500);
  select coalesce(array_agg(r.app order by (r.app).id), '{}'), coalesce(array_agg((r.app).user_id), '{}') into v_rows, v_users
    from (select a as app from public.user_fly_apps a where a.generation = 0 and (p_after is null or a.id > p_after) order by a.id limit p_limit) r;
  return jsonb_build_object('settings', hangar.settings_json(), 'now', hangar.now(),
    'apps', (select coalesce(jsonb_agg(jsonb_build_object(
        'row', hangar.row_json(r), 'email', m.email, 'entitled', e.entitled, 'why', e.why, 'plan', e.plan, 'user_exists', e.user_exists,
        'wanted', case when e.entitled then to_jsonb(e.spec) || jsonb_build_object('monthly_cost_estimate_usd',
          hangar.monthly_cost_estimate_usd((e.spec).cpu_count, (e.spec).memory_mb)::text) end,
        'grace_s', (select p.grace_s from public.fly_plans p where p.tier = case when e.entitled then e.plan else hangar.original_tier(r.id) end),
        'event_machine_id', hangar.original_machine(r.id),
        'other_app', (select b.fly_app_name from public.user_fly_apps b where b.user_id = r.user_id and b.deleted_at is null and b.id <> r.id),
        'original_status', o.original ->> 'status', 'original_deleted_at', o.original ->> 'deleted_at') order by r.id), '[]')
        from unnest(v_rows) r
        left join hangar.entitlements(v_users) e on e.user_id = r.user_id
        left join hangar.emails(v_users) m on m.user_id = r.user_id
        left join hangar.original_apps o on o.row_id = r.id),
    'next', case when cardinality(v_rows) = p_limit then v_rows[p_limit].id end);
end
$$;
comment on function public.fly_legacy_apps(uuid, integer) is 'Rows of the original system that no operator has decided about, with what their users are entitled to. docs/database.md.';

-- The row, locked, if it still waits for this decision; null if it was decided. Raises 409 if the decision may not be made now.
create function hangar.lock_legacy(p_row uuid, p_decision text, p_facts jsonb, p_actor text, p_reason text) returns public.user_fly_apps
language plpgsql volatile set search_path = ''
as $$
declare
  v_row public.user_fly_apps;
  v_settings hangar.settings;
begin
  perform hangar.require_actor(p_actor);
  if coalesce(btrim(p_reason), '') = '' then
    raise exception 'a decision about an app of the original system needs a reason' using errcode = 'invalid_parameter_value';
  elsif p_decision is null or p_decision not in ('adopt', 'close') then
    raise exception 'p_decision must be adopt or close, not %', coalesce(p_decision, 'null') using errcode = 'invalid_parameter_value';
  end if;
  perform hangar.check_keys('facts', p_facts, array['installation_id', 'org_slug', 'app_id', 'machine_id', 'machine_state', 'machine_region',
    'observed_spec', 'price_usd_per_s', 'event_machine_id']);
  select * into strict v_settings from hangar.settings;
  select a.* into v_row from public.user_fly_apps a where a.id = p_row for no key update;
  if v_row.id is null then
    raise exception 'no row %', coalesce(p_row::text, 'null') using errcode = 'PT409';
  elsif v_row.desired_state <> 'legacy' then
    return null;
  elsif v_settings.paused then
    raise exception 'Hangar is paused: nothing is changed on Fly until somebody resumes it' using errcode = 'PT409';
  elsif p_facts ->> 'installation_id' is distinct from v_settings.installation_id::text then
    raise exception 'this database belongs to another installation than the one whose marks were written' using errcode = 'PT409';
  elsif p_decision = 'adopt' and (coalesce(p_facts ->> 'app_id', '') = '' or p_facts ->> 'org_slug' is distinct from v_settings.fly_org_slug) then
    raise exception 'Hangar cannot prove that the app % is in the organisation %', v_row.fly_app_name, v_settings.fly_org_slug using errcode = 'PT409';
  elsif p_decision = 'adopt' and exists (select 1 from public.user_fly_apps a where a.id <> v_row.id and a.deleted_at is null
      and (a.adopted_app_id = p_facts ->> 'app_id' or a.machine_id = p_facts ->> 'machine_id')) then
    raise exception 'the app % or its machine belongs to another row already', v_row.fly_app_name using errcode = 'PT409';
  end if;
  return v_row;
end
$$;

create function hangar.record_adoption(p_row public.user_fly_apps, p_status text, p_decision text, p_facts jsonb, p_actor text, p_reason text) returns void
language sql volatile set search_path = ''
as $$
  insert into public.user_fly_app_events (fly_app_id, user_id, event_type, status, metadata)
  values (p_row.id, p_row.user_id, 'adoption', p_status, pg_catalog.jsonb_strip_nulls(pg_catalog.jsonb_build_object(
    'decision', p_decision, 'app', p_row.fly_app_name, 'actor', p_actor, 'reason', pg_catalog.left(p_reason, 500)) || p_facts - 'observed_spec' - 'installation_id'))
$$;

create function public.fly_begin_adoption(p_row uuid, p_decision text, p_facts jsonb, p_actor text, p_reason text) returns jsonb
language plpgsql volatile security definer set search_path = '' set lock_timeout = '3s'
as $$
declare
  v_row public.user_fly_apps := hangar.lock_legacy(p_row, p_decision, p_facts, p_actor, p_reason);
begin
  if v_row.id is not null then
    perform hangar.record_adoption(v_row, 'intent', p_decision, p_facts, p_actor, p_reason);
  end if;
  return jsonb_build_object('outcome', case when v_row.id is null then 'decided' else 'begun' end);
end
$$;
comment on function public.fly_begin_adoption(uuid, text, jsonb, text, text) is 'The intent before the machine of a legacy app is marked on Fly. docs/database.md.';

-- What an adopted row is to be: the plan of an entitled user, otherwise what runs now. It counts as reached, so nothing is done at once;
-- what runs otherwise is drift. An app without a machine has work to do.
create function hangar.take_over(p_row public.user_fly_apps, p_facts jsonb) returns public.user_fly_apps
language plpgsql volatile set search_path = ''
as $$
declare
  v_row public.user_fly_apps;
  v_want hangar.entitlement;
  v_runs jsonb := coalesce(nullif(p_facts -> 'observed_spec', 'null'), '{}');
  v_machine text := nullif(p_facts ->> 'machine_id', '');
  v_spec hangar.machine_spec := hangar.spec_of(p_row);
begin
  select e.* into v_want from hangar.entitlements(array[p_row.user_id]) e;
  v_spec.docker_image := coalesce(v_runs ->> 'image', v_spec.docker_image);
  v_spec.cpu_kind := coalesce(v_runs ->> 'cpu_kind', v_spec.cpu_kind);
  v_spec.cpu_count := coalesce((v_runs ->> 'cpu_count')::integer, v_spec.cpu_count);
  v_spec.memory_mb := coalesce((v_runs ->> 'memory_mb')::integer, v_spec.memory_mb);
  v_spec.region := coalesce(p_facts ->> 'machine_region', v_spec.region);
  if v_want.entitled then
    v_spec := v_want.spec;
  end if;
  update public.user_fly_apps a
     set desired_state = 'present', generation = 1, observed_generation = case when v_machine is not null then 1 end,
         status = case when v_machine is not null then 'active' else 'provisioning' end,
         tier = case when v_want.entitled then v_want.plan else hangar.original_tier(a.id) end,
         (region, docker_image, cpu_kind, cpu_count, memory_mb, power, public_service, env_version) = (select v_spec.*),
         monthly_cost_estimate_usd = hangar.monthly_cost_estimate_usd(v_spec.cpu_count, v_spec.memory_mb),
         grace_s = (select p.grace_s from public.fly_plans p where p.tier = case when v_want.entitled then v_want.plan else hangar.original_tier(a.id) end),
         fly_org_slug = p_facts ->> 'org_slug', adopted_app_id = p_facts ->> 'app_id', machine_id = v_machine,
         machine_state = case when v_machine is null then 'absent' else p_facts ->> 'machine_state' end, machine_region = p_facts ->> 'machine_region',
         observed_spec = nullif(v_runs, '{}'), price_usd_per_s = (p_facts ->> 'price_usd_per_s')::numeric, observed_at = hangar.now(),
         deployed_at = coalesce(a.deployed_at, a.created_at), health_status = 'unknown', error_message = null, error_code = null, retry_count = 0,
         next_attempt_at = case when v_machine is null then hangar.now() end
   where a.id = p_row.id
  returning a.* into v_row;
  return v_row;
end
$$;

create function public.fly_finish_adoption(p_row uuid, p_decision text, p_facts jsonb, p_actor text, p_reason text) returns jsonb
language plpgsql volatile security definer set search_path = '' set lock_timeout = '3s'
as $$
declare
  v_row public.user_fly_apps := hangar.lock_legacy(p_row, p_decision, p_facts, p_actor, p_reason);
begin
  if v_row.id is null then
    return jsonb_build_object('outcome', 'decided', 'row', (select hangar.row_json(a) from public.user_fly_apps a where a.id = p_row));
  elsif p_decision = 'adopt' then
    v_row := hangar.take_over(v_row, p_facts);
  else
    update public.user_fly_apps a
       set desired_state = 'absent', generation = 1, status = 'deleted', deleted_at = hangar.now(), machine_state = 'absent',
           error_message = null, error_code = null, retry_count = 0
     where a.id = v_row.id
    returning a.* into v_row;
  end if;
  update hangar.original_apps o set decision = p_decision, decided_at = hangar.now(), actor = p_actor, reason = p_reason where o.row_id = p_row;
  perform hangar.record_adoption(v_row, 'succeeded', p_decision, p_facts, p_actor, p_reason);
  -- What the user is entitled to decides from here on, by the usual way.
  insert into hangar.marks (user_id) values (v_row.user_id);
  perform hangar.check_legacy_apps();
  perform hangar.wake_up(array[v_row.user_id]);
  return jsonb_build_object('outcome', case p_decision when 'adopt' then 'adopted' else 'closed' end, 'row', hangar.row_json(v_row));
end
$$;
comment on function public.fly_finish_adoption(uuid, text, jsonb, text, text) is 'The decision about a legacy app: Hangar manages it from now on, or its row is closed. docs/database.md.';

select hangar.restrict_functions();
