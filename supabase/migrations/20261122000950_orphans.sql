-- What happens to each orphan: it stays, returns to its user, or is removed.
-- Two independent checks are required before one is removed: hangar.is_removable here, and a direct look at Fly by the sweep.
-- Builds on: orphan_records, limits, entitlement, audit_log.

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
