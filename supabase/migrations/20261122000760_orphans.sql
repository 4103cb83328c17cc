-- Fly apps without a live row, the brake, and the end of an outage.

create function hangar.is_ripe(p_orphan public.fly_orphans) returns boolean
language sql stable set search_path = ''
as $$
  select p_orphan.approved_by is not null
      or p_orphan.sightings >= 2
     and p_orphan.first_seen_at <= hangar.now() - pg_catalog.make_interval(secs => g.orphan_after_s::double precision)
    from hangar.settings g
$$;
comment on function hangar.is_ripe(public.fly_orphans) is 'The first witness: seen by two sweeps over orphan_after_s, or approved by an operator.';

create function public.fly_list_orphans() returns jsonb
language sql volatile security definer set search_path = ''
as $$
  select pg_catalog.jsonb_build_object('orphans', coalesce(pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object(
           'app', o.app, 'network', o.network, 'first_seen_at', o.first_seen_at, 'sightings', o.sightings,
           'approved_by', o.approved_by, 'ripe', hangar.is_ripe(o)) order by o.app), '[]'))
    from public.fly_orphans o
$$;
comment on function public.fly_list_orphans() is 'The orphans of the last sweep; a ripe one is removed by the next. docs/database.md.';

create function public.fly_record_orphans(p_seen jsonb) returns jsonb
language plpgsql volatile security definer set search_path = '' set lock_timeout = '3s'
as $$
declare
  v_now timestamptz := hangar.now();
begin
  if p_seen is null or jsonb_typeof(p_seen) <> 'array' then
    raise exception 'p_seen must be a JSON array' using errcode = 'invalid_parameter_value';
  end if;
  -- The worker that intended it is gone, and its word with it.
  insert into public.user_fly_app_events (fly_app_id, user_id, event_type, status, metadata)
  select i.fly_app_id, i.user_id, 'action', 'unknown',
         i.metadata || jsonb_build_object('intent_id', i.id, 'closed_by', 'sweep')
    from public.user_fly_app_events i
   where i.event_type = 'action' and i.status = 'intent' and (i.metadata ->> 'action') in ('destroy_machine', 'delete_app')
     and i.metadata ->> 'purpose' = 'orphan' and i.created_at between v_now - interval '1 day' and v_now - interval '10 minutes'
     and not exists (select 1 from public.user_fly_app_events o
                      where o.event_type = 'action' and o.metadata ->> 'intent_id' = i.id::text and o.created_at >= i.created_at);
  with seen as (
    select distinct on (s.app) s.app, s.network from pg_catalog.jsonb_to_recordset(p_seen) as s (app text, network text) order by s.app
  ), forgotten as (
    delete from public.fly_orphans o where not exists (select 1 from seen s where s.app = o.app)
    returning o.app, o.network
  ), gone as (
    -- Only one that we went to remove counts as removed; the others were somebody else's doing, or a list's lag.
    insert into public.user_fly_app_events (event_type, status, metadata)
    select 'orphan_removed', 'succeeded', jsonb_build_object('app', f.app, 'network', f.network)
      from forgotten f
     where exists (select 1 from public.user_fly_app_events e
                    where e.event_type = 'action' and e.status = 'intent' and e.metadata ->> 'action' = 'delete_app'
                      and e.metadata ->> 'purpose' = 'orphan' and e.metadata ->> 'app' = f.app
                      and e.created_at > v_now - interval '1 day')
  ), stored as (
    insert into public.fly_orphans as o (app, network, first_seen_at, last_seen_at)
    select s.app, s.network, v_now, v_now from seen s order by s.app
    -- The same name with another network is another app: it starts anew.
    on conflict (app) do update
      set first_seen_at = case when o.network = excluded.network then o.first_seen_at else v_now end,
          sightings = case when o.network = excluded.network then o.sightings + 1 else 1 end,
          approved_by = case when o.network = excluded.network then o.approved_by end,
          network = excluded.network, last_seen_at = v_now
    returning o.app, o.network, o.sightings
  )
  insert into public.user_fly_app_events (event_type, status, metadata)
  select 'orphan_found', 'info', jsonb_build_object('app', st.app, 'network', st.network) from stored st where st.sightings = 1;
  return public.fly_list_orphans();
end
$$;
comment on function public.fly_record_orphans(jsonb) is 'The apps with our proof and no live row that this sweep saw; what it did not see is forgotten. docs/database.md.';

create function public.fly_approve_orphan(p_app text, p_actor text) returns jsonb
language plpgsql volatile security definer set search_path = '' set lock_timeout = '3s'
as $$
begin
  if coalesce(p_actor, '') = '' then
    raise exception 'p_actor is needed' using errcode = 'invalid_parameter_value';
  end if;
  update public.fly_orphans set approved_by = p_actor where app = p_app;
  return jsonb_build_object('approved', found);
end
$$;
comment on function public.fly_approve_orphan(text, text) is 'An operator''s word that an orphan need not age; the next sweep still looks at it directly. docs/database.md.';

-- Why nothing may be destroyed now; null when it may. For what has no row; rows are judged by hangar.judge_intent.
create function hangar.judge_orphan_delete(p_app text, p_network text, p_row_id uuid, p_installation text) returns text
language plpgsql volatile set search_path = ''
as $$
declare
  v_settings hangar.settings;
  v_brake jsonb;
begin
  select * into strict v_settings from hangar.settings;
  if p_network not like 'hangar-' || left(replace(v_settings.installation_id::text, '-', ''), 12) || '-%'
     or p_installation <> v_settings.installation_id::text then
    return 'installation';
  elsif v_settings.paused then
    return 'paused';
  elsif v_settings.deletes_paused then
    return 'deletes_paused';
  end if;
  v_brake := hangar.judge_brake(p_app, p_row_id::text);
  if v_brake is null then
    return null;
  end if;
  perform hangar.raise_alert('brake', 'fleet', format('The brake is on: %s apps were destroyed in the last hour, %s is the most',
    v_brake ->> 'destroyed_last_hour', v_brake ->> 'most'), v_brake);
  return 'brake';
end
$$;

-- The user's row again, with the app that is there: after a restore of an older database. The reconciler adopts its machine.
-- Like an app whose creation was not answered: should Fly deny it for a moment, no other is made in its place.
create function hangar.readopt(p_app text, p_network text, p_row_id uuid, p_user uuid, p_want record) returns void
language plpgsql volatile set search_path = ''
as $$
declare
  v_row public.user_fly_apps;
begin
  insert into public.user_fly_apps (
    id, user_id, fly_app_name, fly_org_slug, network, status, desired_state, generation, next_attempt_at, tier, name_seq,
    region, docker_image, cpu_kind, cpu_count, memory_mb, power, public_service, monthly_cost_estimate_usd, create_unknown_at)
  select p_row_id, p_user, p_app, g.fly_org_slug, p_network, 'provisioning', 'present', 1, hangar.now(), p_want.plan,
         coalesce((select max(a.name_seq) + 1 from public.user_fly_apps a where a.user_id = p_user), 0),
         p_want.region, p_want.docker_image, p_want.cpu_kind, p_want.cpu_count, p_want.memory_mb, p_want.power, p_want.public_service,
         hangar.monthly_cost_estimate_usd(p_want.cpu_count, p_want.memory_mb), hangar.now()
    from hangar.settings g
  returning * into v_row;
  perform hangar.record_desired(v_row, null, p_want.why, 'readopted');
end
$$;

create function public.fly_judge_orphan(p_app text, p_network text, p_row_id uuid, p_user uuid, p_intent jsonb) returns jsonb
language plpgsql volatile security definer set search_path = '' set lock_timeout = '3s'
as $$
declare
  v_nudges text := hangar.mute_nudges();
  v_user uuid;
  v_want record;
  v_refused text;
begin
  -- Against the sweep's own reading of the fleet, which is a moment old.
  if exists (select 1 from public.user_fly_apps a where a.fly_app_name = p_app and a.deleted_at is null) then
    return jsonb_build_object('verdict', 'keep', 'reason', 'a live row has this app');
  elsif not exists (select 1 from public.fly_orphans o where o.app = p_app and o.network = p_network and hangar.is_ripe(o)) then
    return jsonb_build_object('verdict', 'keep', 'reason', 'not seen often or long enough');
  end if;
  v_user := coalesce((select a.user_id from public.user_fly_apps a where a.id = p_row_id), p_user);
  if v_user is not null then
    select d.* into v_want from hangar.derive(array[v_user]) d;
    if v_want.entitled is null and v_want.why = 'unknown_tier' then
      return jsonb_build_object('verdict', 'keep', 'reason', 'its user''s tier is unknown to fly_plans');
    elsif v_want.entitled and not exists (select 1 from public.user_fly_apps a where a.user_id = v_user and a.deleted_at is null) then
      if exists (select 1 from public.user_fly_apps a where a.id = p_row_id or a.fly_app_name = p_app) then
        -- Its row was closed; the user gets a new one, and then this app is surplus.
        perform hangar.apply(v_user, 'orphan', p_admit => true);
        return jsonb_build_object('verdict', 'keep', 'reason', 'its entitled user gets a new row first');
      end if;
      perform hangar.readopt(p_app, p_network, p_row_id, v_user, v_want);
      delete from public.fly_orphans where app = p_app;
      perform set_config('hangar.nudges', v_nudges, true);
      return jsonb_build_object('verdict', 'readopted', 'reason', 'its user is entitled and had no row');
    end if;
  end if;
  v_refused := hangar.judge_orphan_delete(p_app, p_network, p_row_id, p_intent -> 'metadata' ->> 'installation_id');
  if v_refused is not null then
    return jsonb_build_object('verdict', 'keep', 'reason', v_refused);
  end if;
  perform hangar.store_events((select a.id from public.user_fly_apps a where a.id = p_row_id), v_user, jsonb_build_array(p_intent));
  return jsonb_build_object('verdict', 'remove', 'reason', 'nobody''s');
end
$$;
comment on function public.fly_judge_orphan(text, text, uuid, uuid, jsonb) is 'Decides over one ripe orphan: keep, readopted, or remove (the intent is then stored). docs/database.md.';

create function public.fly_record_orphan_outcome(p_app text, p_outcome jsonb) returns jsonb
language plpgsql volatile security definer set search_path = '' set lock_timeout = '3s'
as $$
declare
  v_intent public.user_fly_app_events;
begin
  select e.* into v_intent from public.user_fly_app_events e where e.id = (p_outcome -> 'metadata' ->> 'intent_id')::uuid;
  perform hangar.store_events(v_intent.fly_app_id, v_intent.user_id, jsonb_build_array(p_outcome));
  return jsonb_build_object('recorded', v_intent.id is not null);
end
$$;
comment on function public.fly_record_orphan_outcome(text, jsonb) is 'The outcome of an orphan''s deletion. docs/database.md.';

create function public.fly_brake_status() returns jsonb
language sql volatile security definer set search_path = ''
as $$
  select pg_catalog.jsonb_build_object(
           'destroyed_last_hour', went.apps, 'most', pg_catalog.trunc(bound.most, 2)::text, 'tripped', went.apps >= bound.most,
           'released_at', g.brake_released_at)
    from hangar.settings g
    cross join lateral (select greatest(g.brake_floor, g.brake_share * count(*)) as most
                          from public.user_fly_apps a where a.deleted_at is null) bound
    cross join lateral (select count(distinct coalesce(e.fly_app_id::text, e.metadata ->> 'app')) as apps
                          from public.user_fly_app_events e
                         where e.event_type = 'action' and e.status = 'intent'
                           and (e.metadata ->> 'action') in ('destroy_machine', 'delete_app')
                           and e.created_at >= greatest(hangar.now() - interval '1 hour', g.brake_released_at)) went
$$;
comment on function public.fly_brake_status() is 'Destroys of the last hour (since the last release) against the bound. docs/database.md.';

create function public.fly_release_brake(p_actor text, p_reason text default null) returns jsonb
language plpgsql volatile security definer set search_path = '' set lock_timeout = '3s'
as $$
declare
  v_now timestamptz := hangar.now();
begin
  if coalesce(p_actor, '') = '' then
    raise exception 'p_actor is needed' using errcode = 'invalid_parameter_value';
  end if;
  perform set_config('hangar.actor', p_actor, true), set_config('hangar.reason', coalesce(p_reason, ''), true);
  update hangar.settings set brake_released_at = v_now where only_row;
  perform set_config('hangar.actor', '', true), set_config('hangar.reason', '', true);
  -- What waited for the brake need not wait on.
  update public.user_fly_apps a set next_attempt_at = v_now
   where a.deleted_at is null and a.desired_state = 'absent' and a.next_attempt_at > v_now
     and (a.delete_after is null or a.delete_after <= v_now) and a.error_code is null;
  update hangar.alerts set resolved_at = v_now where kind = 'brake' and resolved_at is null;
  return jsonb_build_object('released_at', v_now);
end
$$;
comment on function public.fly_release_brake(text, text) is 'The brake counts anew from now; what it held back is due. docs/database.md.';

create function public.fly_end_outage() returns jsonb
language plpgsql volatile security definer set search_path = '' set lock_timeout = '3s'
as $$
declare
  v_now timestamptz := hangar.now();
  v_due integer;
begin
  with waiting as (
    select a.id from public.user_fly_apps a
     where a.deleted_at is null and a.status = 'error' and a.next_attempt_at > v_now
       and (a.lease_expires_at is null or a.lease_expires_at <= v_now)
     order by a.next_attempt_at limit 500
       for no key update skip locked
  )
  update public.user_fly_apps a set next_attempt_at = v_now from waiting w where a.id = w.id;
  get diagnostics v_due = row_count;
  return jsonb_build_object('due', v_due);
end
$$;
comment on function public.fly_end_outage() is 'Fly answers again: up to 500 rows that waited after failures are due now, the rest in their own time. docs/database.md.';

revoke all on all functions in schema hangar from public, anon, authenticated, service_role;
grant execute on function hangar.now() to service_role;
revoke all on function public.fly_list_orphans(), public.fly_record_orphans(jsonb), public.fly_approve_orphan(text, text),
  public.fly_judge_orphan(text, text, uuid, uuid, jsonb), public.fly_record_orphan_outcome(text, jsonb), public.fly_brake_status(),
  public.fly_release_brake(text, text), public.fly_end_outage()
  from public, anon, authenticated;
grant execute on function public.fly_list_orphans(), public.fly_record_orphans(jsonb), public.fly_approve_orphan(text, text),
  public.fly_judge_orphan(text, text, uuid, uuid, jsonb), public.fly_record_orphan_outcome(text, jsonb), public.fly_brake_status(),
  public.fly_release_brake(text, text), public.fly_end_outage()
  to service_role;
