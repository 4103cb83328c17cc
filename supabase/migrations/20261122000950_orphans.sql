-- Orphans: Fly apps with our proof of ownership and no live row. Which there are, and what happens to each.
-- Two independent checks are required before one is removed: hangar.is_removable here, and a direct look at Fly by the sweep.
-- Builds on: limits, entitlement, audit_log.

create function hangar.is_removable(p_orphan public.fly_orphans) returns boolean
language sql stable set search_path = ''
as $$
  select p_orphan.approved_by is not null
      or p_orphan.sightings >= 2
     and p_orphan.first_seen_at <= hangar.now() - pg_catalog.make_interval(secs => g.orphan_after_s::double precision)
      or exists (select 1 from public.user_fly_apps a
                  where a.fly_app_name = p_orphan.app and a.network = p_orphan.network and a.deleted_at is not null
                    and exists (select 1 from public.user_fly_app_events e
                                 where e.fly_app_id = a.id and e.event_type = 'action' and e.status = 'intent'
                                   and e.metadata ->> 'action' = 'delete_app' and e.metadata ->> 'purpose' = 'deprovision'))
    from hangar.settings g
$$;
comment on function hangar.is_removable(public.fly_orphans) is 'The first check: the orphan was seen by two sweeps over orphan_after_s, or approved by an operator, or its row was closed after a deletion of this very app was intended (Fly then answered that the app was gone, and was wrong).';

create function public.fly_list_orphans() returns jsonb
language sql volatile security definer set search_path = ''
as $$
  select pg_catalog.jsonb_build_object('orphans', coalesce(pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object(
           'app', o.app, 'network', o.network, 'first_seen_at', o.first_seen_at, 'sightings', o.sightings,
           'approved_by', o.approved_by, 'ripe', hangar.is_removable(o), 'user_id', o.user_id, 'awaits_word', hangar.needs_approval(o)) order by o.app), '[]'))
    from public.fly_orphans o
$$;
comment on function public.fly_list_orphans() is 'The orphans of the last sweep. The next sweep removes those that are `ripe`. docs/database.md.';

create function public.fly_record_orphans(p_seen jsonb) returns jsonb
language plpgsql volatile security definer set search_path = '' set lock_timeout = '3s'
as $$
declare
  v_now timestamptz := hangar.now();
begin
  if p_seen is null or jsonb_typeof(p_seen) <> 'array' then
    raise exception 'p_seen must be a JSON array' using errcode = 'invalid_parameter_value';
  end if;
  -- The worker that stored this intent is gone and recorded no outcome.
  insert into public.user_fly_app_events (fly_app_id, user_id, event_type, status, metadata)
  select i.fly_app_id, i.user_id, 'action', 'unknown',
         i.metadata || jsonb_build_object('intent_id', i.id, 'closed_by', 'sweep')
    from public.user_fly_app_events i
   where i.event_type = 'action' and i.status = 'intent' and (i.metadata ->> 'action') in ('destroy_machine', 'delete_app')
     and i.metadata ->> 'purpose' = 'orphan' and i.created_at between v_now - interval '1 day' and v_now - interval '10 minutes'
     and not exists (select 1 from public.user_fly_app_events o
                      where o.event_type = 'action' and o.metadata ->> 'intent_id' = i.id::text and o.created_at >= i.created_at);
  with seen as (
    select distinct on (s.app) s.app, s.network
      from pg_catalog.jsonb_to_recordset(p_seen) as s (app text, network text)
     where not exists (select 1 from public.user_fly_apps a
                        where a.fly_app_name = s.app and a.deleted_at is null
                          and right(s.network, 32) = replace(a.id::text, '-', ''))  -- the row that the proof names
     order by s.app
  ), forgotten as (
    delete from public.fly_orphans o where not exists (select 1 from seen s where s.app = o.app)
    returning o.app, o.network
  ), gone as (
    -- Counts as removed only if a removal was intended. The others were removed by someone else, or Fly's list lags behind.
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
    -- The same name with another network is another app: its age and sightings start again.
    on conflict (app) do update
      set first_seen_at = case when o.network = excluded.network then o.first_seen_at else v_now end,
          sightings = case when o.network = excluded.network then o.sightings + 1 else 1 end,
          approved_by = case when o.network = excluded.network then o.approved_by end,
          user_id = case when o.network = excluded.network then o.user_id end,
          lost = o.network = excluded.network and o.lost,
          network = excluded.network, last_seen_at = v_now
    returning o.app, o.network, o.sightings
  )
  insert into public.user_fly_app_events (event_type, status, metadata)
  select 'orphan_found', 'info', jsonb_build_object('app', st.app, 'network', st.network) from stored st where st.sightings = 1;
  return public.fly_list_orphans();
end
$$;
comment on function public.fly_record_orphans(jsonb) is 'Takes the listed apps with our proof of ownership, stores those without a live row as orphans, and forgets orphans that are not listed. docs/database.md.';

create function public.fly_approve_orphan(p_app text, p_actor text) returns jsonb
language plpgsql volatile security definer set search_path = '' set lock_timeout = '3s'
as $$
begin
  perform hangar.require_actor(p_actor);
  update public.fly_orphans set approved_by = p_actor where app = p_app;
  return jsonb_build_object('approved', found);
end
$$;
comment on function public.fly_approve_orphan(text, text) is 'An operator approves the removal of an orphan, so that it need not age. The next sweep still looks at it directly first. docs/database.md.';

-- Why this orphan must not be removed now, as a code; null if it may be. The counterpart of hangar.check_intent for apps without a row.
create function hangar.check_orphan_delete(p_app text, p_network text, p_row_id uuid, p_installation text) returns text
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
  v_brake := hangar.check_brake(p_app);
  if v_brake is null then
    return case when hangar.delete_slot_at() is not null then 'rate' end;
  end if;
  perform hangar.raise_brake_alert(v_brake, (select a.id from public.user_fly_apps a where a.id = p_row_id), null);
  return 'brake';
end
$$;

create function hangar.close_superseded_row(p_row public.user_fly_apps, p_by text) returns void
language plpgsql volatile set search_path = ''
as $$
begin
  update public.user_fly_apps a
     set status = 'deleted', deleted_at = hangar.now(), machine_state = 'absent', next_attempt_at = null, generation = a.generation + 1,
         lease_token = null, lease_holder = null, lease_expires_at = null
   where a.id = p_row.id
  returning a.* into p_row;
  perform hangar.resolve_failure_alerts(p_row.id);
  insert into public.user_fly_app_events (fly_app_id, user_id, event_type, status, metadata)
  values (p_row.id, p_row.user_id, 'desired_changed', 'info', jsonb_build_object('generation', p_row.generation,
    'why', 'its app is gone, and another app of this user is running', 'source', 'readopted', 'superseded_by', p_by));
end
$$;

-- What to do with an orphan whose user is entitled: returned to a user who has no app, surplus (verdict null) once the user's own app was
-- seen running since, and kept until one of the two is certain.
create function hangar.return_orphan_to_user(p_orphan public.fly_orphans, out verdict text, out code text, out reason text)
language plpgsql volatile set search_path = ''
as $$
declare
  v_live public.user_fly_apps;
begin
  verdict := 'keep';
  select a.* into v_live from public.user_fly_apps a where a.user_id = p_orphan.user_id and a.deleted_at is null for no key update skip locked;
  if v_live.status = 'active' and v_live.desired_state = 'present' and v_live.observed_at >= p_orphan.first_seen_at
     and (v_live.machine_state = 'started' or v_live.power = 'on_demand' and v_live.machine_state in ('stopped', 'suspended')) then
    verdict := null;
    return;
  elsif v_live.id is null and exists (select 1 from public.user_fly_apps a where a.user_id = p_orphan.user_id and a.deleted_at is null)
     or v_live.lease_expires_at > hangar.now() then
    code := 'row_busy';
    reason := 'its user''s own row is being worked on';
    return;
  elsif v_live.id is not null then
    if not p_orphan.lost or hangar.is_being_removed(p_orphan.app) or v_live.desired_state = 'absent' or v_live.machine_state <> 'absent'
       or v_live.open_intent is not null or v_live.create_unknown_at is not null then
      code := 'own_app_not_seen';
      reason := 'its user''s own app has not been seen running since';
      return;
    end if;
    -- The row names an app that is gone or never existed, and this one is running.
    perform hangar.close_superseded_row(v_live, p_orphan.app);
  end if;
  perform hangar.sync_desired_state(p_orphan.user_id, 'orphan', p_admit => true);
  if exists (select 1 from public.user_fly_apps a where a.fly_app_name = p_orphan.app and a.deleted_at is null) then
    delete from public.fly_orphans where app = p_orphan.app;
    verdict := 'readopted';
    code := case when v_live.id is null then 'user_had_no_row' else 'own_app_gone' end;
    reason := case when v_live.id is null then 'its user is entitled and had no row' else 'its user is entitled and the app of their row is gone' end;
  else
    -- Its row was closed. The user gets a new row, and then this app is surplus.
    code := 'new_row_first';
    reason := 'its entitled user gets a new row first';
  end if;
exception when lock_not_available then
  verdict := 'keep';
  code := 'row_busy';
  reason := 'another transaction is creating its user''s row';
end
$$;

create function hangar.keep_orphan(p_code text, p_reason text) returns jsonb
language plpgsql immutable set search_path = ''
as $$
begin
  return jsonb_build_object('verdict', 'keep', 'code', p_code, 'reason', p_reason);
end
$$;

create function public.fly_judge_orphan(p_app text, p_network text, p_row_id uuid, p_user uuid, p_intent jsonb) returns jsonb
language plpgsql volatile security definer set search_path = '' set lock_timeout = '3s'
as $$
declare
  v_orphan public.fly_orphans;
  v_owner uuid := (select a.user_id from public.user_fly_apps a where a.id = p_row_id);
  v_want record;
  v_return record;
  v_refused text;
begin
  -- The sweep's own reading of the fleet is a moment old, so ask again.
  if exists (select 1 from public.user_fly_apps a where a.fly_app_name = p_app and a.deleted_at is null) then
    return hangar.keep_orphan('in_use', 'a live row has this app');
  elsif p_network not like hangar.network_name((select g.installation_id from hangar.settings g), p_row_id) then
    return hangar.keep_orphan('installation', 'installation');
  end if;
  -- An owner that a machine once named is kept, even if the next list does not name one.
  update public.fly_orphans o
     set user_id = coalesce(v_owner, p_user, o.user_id), lost = o.lost or (v_owner is null and p_user is not null)
    from (select l.app from public.fly_orphans l where l.app = p_app and l.network = p_network for no key update skip locked) l
   where o.app = l.app
  returning o.* into v_orphan;
  if v_orphan.app is null then
    return hangar.keep_orphan('not_recorded', 'no sweep has recorded it, or it is being returned to its user now');
  end if;
  select e.* into v_want from hangar.entitlements(array[v_orphan.user_id]) e;
  if v_orphan.user_id is not null and v_want.entitled is null then
    return hangar.keep_orphan(v_want.why, 'nothing is known for certain about its user''s entitlement');
  elsif v_want.entitled then
    select r.* into v_return from hangar.return_orphan_to_user(v_orphan) r;
    if v_return.verdict is not null then
      return jsonb_build_object('verdict', v_return.verdict, 'code', v_return.code, 'reason', v_return.reason);
    end if;
  end if;
  if v_orphan.lost and hangar.check_brake(p_app) ->> 'why' = 'lost' then
    perform hangar.raise_brake_alert(hangar.check_brake(p_app), null, v_orphan.user_id);
  end if;
  if not hangar.is_removable(v_orphan) then
    return hangar.keep_orphan('too_new', 'not seen often or long enough');
  elsif v_want.entitled is not true and hangar.needs_approval(v_orphan) then
    return hangar.keep_orphan('needs_approval', 'this database never had its row, so an operator must approve the removal');
  end if;
  v_refused := hangar.check_orphan_delete(p_app, p_network, p_row_id, p_intent -> 'metadata' ->> 'installation_id');
  -- The brake may have made us wait for its lock, and the host may have written meanwhile.
  if v_refused is null and v_orphan.user_id is not null
     and (select e.entitled is distinct from v_want.entitled from hangar.entitlements(array[v_orphan.user_id]) e) then
    return hangar.keep_orphan('entitlement_changed', 'its user''s entitlement has just changed');
  elsif v_refused is not null then
    return hangar.keep_orphan(v_refused, v_refused);
  end if;
  perform hangar.store_events((select a.id from public.user_fly_apps a where a.id = p_row_id), v_orphan.user_id, jsonb_build_array(p_intent));
  return jsonb_build_object('verdict', 'remove', 'code', case when v_want.entitled then 'surplus' else 'not_entitled' end,
    'reason', case when v_want.entitled then 'its user has another app' else 'no entitled user owns it' end);
end
$$;
comment on function public.fly_judge_orphan(text, text, uuid, uuid, jsonb) is 'Decides about one orphan: keep, readopted, or remove (the intent is then stored). docs/database.md.';

create function public.fly_record_orphan_outcome(p_app text, p_outcome jsonb) returns jsonb
language plpgsql volatile security definer set search_path = '' set lock_timeout = '3s'
as $$
declare
  v_intent public.user_fly_app_events;
begin
  select e.* into v_intent from public.user_fly_app_events e
   where e.id = (p_outcome -> 'metadata' ->> 'intent_id')::uuid and e.metadata ->> 'app' = p_app;
  perform hangar.store_events(v_intent.fly_app_id, v_intent.user_id, jsonb_build_array(p_outcome));
  return jsonb_build_object('recorded', v_intent.id is not null);
end
$$;
comment on function public.fly_record_orphan_outcome(text, jsonb) is 'The outcome of an orphan''s removal. docs/database.md.';

select hangar.restrict_functions();
